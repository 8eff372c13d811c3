//! The body of a request: as bytes, as text, and as what JSON makes of it.
//!
//! Runs on the Python thread. Promise: the bytes become a Python object once. Caveat: a charset that neither Python nor
//! the web knows is an error of the caller.

use pyo3::exceptions::PyLookupError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};

use super::Request;
use super::cached::cached;
use super::media_type::MediaType;
use crate::edge::http::request::Charset;
use crate::host::bridge::locked::made_once;
use http::header::CONTENT_TYPE;

impl Request {
    /// What the header says that the body is.
    pub(super) fn media_type(&self) -> MediaType {
        MediaType::parse(self.header(CONTENT_TYPE))
    }

    /// The body.
    pub(super) fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        cached(py, &self.body, || Ok(PyBytes::new(py, &self.data.body).unbind()))
    }

    /// The body as text, in the charset that the header names.
    pub(super) fn decoded<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let label = self.media_type().charset;
        let label = label.as_deref().unwrap_or("utf-8");
        self.bytes(py)?.call_method1(intern!(py, "decode"), (label,)).or_else(|error| {
            // Python lacks some of the names that the web has for charsets.
            let charset = if error.is_instance_of::<PyLookupError>(py) { Charset::from_label(label) } else { None };
            match charset.and_then(|charset| charset.decode(&self.data.body)) {
                Some(text) => Ok(PyString::new(py, &text).into_any()),
                None => Err(error),
            }
        })
    }

    /// The body as what `loads`, or else `json.loads`, makes of it.
    pub(super) fn parsed<'py>(&self, py: Python<'py>, loads: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let loads = match loads {
            Some(loads) => loads,
            None => made_once(py, &LOADS, || Ok(py.import("json")?.getattr("loads")?.unbind()))?.bind(py).clone(),
        };
        loads.call1((self.decoded(py)?,))
    }
}
