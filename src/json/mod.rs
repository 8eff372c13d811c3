//! JSON between Python objects and bytes: [`encode`] writes what `json.dumps(value)` gives, byte for byte, and
//! [`decode_into`] reads what `json.loads` accepts, at a fraction of their cost on the one Python thread.
//!
//! Both need the interpreter lock, so they belong on the Python thread; the signatures ask for a `Bound` to prove it.
//! Neither lets go of the lock by itself, and neither can be made to crash: what is too deep or contains itself is an
//! error, and a value that plugin code changes under the walk is an error or is seen as changed.
//! Caveat: the walk reads CPython's structures directly and leans on the lock for it, so a free-threaded build is
//! refused when compiling.

mod build_text;
mod decode;
mod encode;
mod fault;
mod integer;
mod keys;
mod layout;
pub(crate) mod missing_await;
mod number;
mod open;
mod place;
mod plain;
mod scan;
mod text;

#[cfg(test)]
mod tests;

pub use decode::decode_into;
pub use encode::encode;
pub(crate) use fault::EncodeError;
pub(crate) use layout::check as check_layout;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Write a value as the host writes results: the text of `json.dumps`, as bytes.
///
/// Raises what `json.dumps` raises, and `ValueError` for what is nested too deep or contains itself.
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
            // A note is for the log alone: the place names the data's keys.
            error.value(py).call_method1(intern!(py, "add_note"), (format!("at {path}"),))?;
            Err(error)
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
compile_error!("the JSON encoder relies on the interpreter lock; build against a Python that has it");

/// How many arrays and objects may be open at once, in either direction.
///
/// CPython's own encoder and decoder stop near the recursion limit, which is 1000 unless someone changed it. The decoder
/// does not recurse and the encoder only to a small depth, so the limit is about being told of a cycle soon, and costs
/// next to no stack.
pub(crate) const MAX_DEPTH: usize = 1000;
