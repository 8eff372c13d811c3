//! The figures that plugins keep with the package `prometheus_client`, as text.
//!
//! Runs on the Python thread, which only begins it; the text is written in a thread of Python's own. Promise: nothing is
//! imported for it. Caveat: a registry that cannot be written is logged and has no text.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use tokio::sync::oneshot;

use crate::edge::observe::metrics::exposition::Format;
use crate::host::bridge::locked::Locked;

/// Has the text of the package's registry sent to `receiver`, which is dropped if there is none.
pub(crate) fn collect(py: Python<'_>, format: Format, receiver: oneshot::Sender<String>) {
    if let Err(error) = begin(py, format, receiver) {
        tracing::error!("the figures of prometheus_client cannot be asked for: {error}");
    }
}

fn begin(py: Python<'_>, format: Format, receiver: oneshot::Sender<String>) -> PyResult<()> {
    let receiver = Locked::new(Some(receiver));
    let done = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
        let text = arguments.get_item(0)?.extract()?;
        if let Some(receiver) = receiver.take() {
            // Who asked may not wait any more.
            let _ = receiver.send(text);
        }
        Ok(())
    };
    let log = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
        tracing::warn!("{}", arguments.get_item(0)?);
        Ok(())
    };
    let done = PyCFunction::new_closure(py, None, None, done)?;
    let log = PyCFunction::new_closure(py, None, None, log)?;
    let module = py.import(intern!(py, "plugincore._prometheus"))?;
    module.call_method1(intern!(py, "collect"), (format == Format::OpenMetrics, done, log)).map(drop)
}
