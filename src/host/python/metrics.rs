//! `self.metrics` of a plugin: figures of its own in `/-/metrics`.
//!
//! Called on any thread of Python. Promise: what is counted is kept natively, so that it is shown without Python and
//! goes on over reloads; a call never raises for want of room. Caveat: wrong names of labels are errors of the plugin,
//! and raise `ValueError`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods};

use crate::edge::observe::metrics::family::Kind;
use crate::edge::observe::metrics::own::{self, DEFAULT_BOUNDS, InvalidMetric, OwnFamily, OwnMetrics};

/// Declares the figures that a plugin keeps.
#[pyclass(frozen, module = "plugincore.baseplugin")]
pub struct Metrics(Arc<OwnMetrics>);

impl Metrics {
    /// Those of the plugin with this id.
    pub(super) fn of(plugin: &str) -> Self {
        Self(own::of(plugin.trim_matches('/')))
    }

    fn declare(
        &self,
        kind: Kind,
        about: (&str, &str),
        labels: Vec<String>,
        bounds: Vec<f64>,
    ) -> PyResult<Arc<OwnFamily>> {
        let invalid = |error: InvalidMetric| PyValueError::new_err(error.to_string());
        self.0.declare(kind, about, labels, bounds).map_err(invalid)
    }
}

#[pymethods]
impl Metrics {
    /// A number that only grows, exported as `<plugin>_<name>`, which ends in `_total`.
    #[pyo3(signature = (name, documentation, labels = Vec::new()), text_signature = "($self, name, documentation, labels=())")]
    fn counter(&self, name: &str, documentation: &str, labels: Vec<String>) -> PyResult<Counter> {
        self.declare(Kind::Counter, (name, documentation), labels, Vec::new()).map(Counter)
    }

    /// A number that rises and falls.
    #[pyo3(signature = (name, documentation, labels = Vec::new()), text_signature = "($self, name, documentation, labels=())")]
    fn gauge(&self, name: &str, documentation: &str, labels: Vec<String>) -> PyResult<Gauge> {
        self.declare(Kind::Gauge, (name, documentation), labels, Vec::new()).map(Gauge)
    }

    /// Values by ranges, whose upper bounds are `buckets`.
    #[pyo3(
        signature = (name, documentation, labels = Vec::new(), buckets = None),
        text_signature = "($self, name, documentation, labels=(), buckets=None)"
    )]
    fn histogram(
        &self,
        name: &str,
        documentation: &str,
        labels: Vec<String>,
        buckets: Option<Vec<f64>>,
    ) -> PyResult<Histogram> {
        let bounds = buckets.unwrap_or_else(|| DEFAULT_BOUNDS.to_vec());
        self.declare(Kind::Histogram, (name, documentation), labels, bounds).map(Histogram)
    }
}

/// The values of the labels in their order, as text.
fn values(family: &OwnFamily, given: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<String>> {
    let names = family.labels();
    let value = |name: &String| -> PyResult<Option<String>> {
        let value = given.map(|given| given.get_item(name)).transpose()?.flatten();
        value.map(|value| Ok(value.str()?.to_string_lossy().into_owned())).transpose()
    };
    let values: Option<Vec<String>> = names.iter().map(value).collect::<PyResult<_>>()?;
    let is_complete = given.map_or(0, PyDictMethods::len) == names.len();
    values.filter(|_| is_complete).ok_or_else(|| {
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        PyValueError::new_err(format!("the labels of this metric are: {names}"))
    })
}

/// A number that only grows.
#[pyclass(frozen, module = "plugincore.baseplugin")]
pub struct Counter(Arc<OwnFamily>);

#[pymethods]
impl Counter {
    /// Add `n` to the number with these labels.
    #[pyo3(signature = (n = 1.0, **labels), text_signature = "($self, n=1, **labels)")]
    fn inc(&self, n: f64, labels: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        if n.is_nan() || n < 0.0 {
            return Err(PyValueError::new_err("a counter only grows; use a gauge for what falls"));
        }
        self.0.add(values(&self.0, labels)?, n);
        Ok(())
    }
}

/// A number that rises and falls.
#[pyclass(frozen, module = "plugincore.baseplugin")]
pub struct Gauge(Arc<OwnFamily>);

#[pymethods]
impl Gauge {
    /// Set the number with these labels.
    #[pyo3(signature = (value, **labels), text_signature = "($self, value, **labels)")]
    fn set(&self, value: f64, labels: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.0.set(values(&self.0, labels)?, value);
        Ok(())
    }
}

/// Values by ranges, with their number and sum.
#[pyclass(frozen, module = "plugincore.baseplugin")]
pub struct Histogram(Arc<OwnFamily>);

#[pymethods]
impl Histogram {
    /// Count a value with these labels.
    #[pyo3(signature = (value, **labels), text_signature = "($self, value, **labels)")]
    fn observe(&self, value: f64, labels: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.0.observe(values(&self.0, labels)?, value);
        Ok(())
    }
}
