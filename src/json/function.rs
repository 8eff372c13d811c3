//! `encode_json`, which the Python half of the package calls. Runs on the Python thread.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::encode::encode;
use super::error::EncodeError;
use super::limits::MAX_DEPTH;

/// Write a value as the host writes results: the text of `json.dumps`, as bytes.
///
/// Raises what `json.dumps` raises, and `ValueError` for a value that is nested too deep or contains itself.
#[pyfunction]
pub(crate) fn encode_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let mut out = Vec::with_capacity(256);
    match encode(value, &mut out) {
        Ok(()) => Ok(PyBytes::new(py, &out)),
        Err(EncodeError::TooDeep { .. }) => {
            Err(PyValueError::new_err(format!("nested more than {MAX_DEPTH} levels deep, or contains itself")))
        }
        Err(EncodeError::Python { path, error }) => {
            // A note is for the log alone: the path names the data's keys.
            error.value(py).call_method1(intern!(py, "add_note"), (format!("at {path}"),))?;
            Err(error)
        }
    }
}
