//! The check that this Python lays out `str` and `int` objects as `borrowed` reads them. Runs on the Python thread,
//! once, before any object is read.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyType};

use super::borrowed::{Int, is_read_right};

/// Compares what is read from `str` and `int` objects with what Python's own functions return.
///
/// # Errors
/// `ImportError` if they differ: this Python is not laid out as its version's headers say.
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    let subclass = py.get_type::<PyType>().call1(("text", (py.get_type::<PyString>(),), PyDict::new(py)))?;
    for text in ["", "a", "longer than a block of bytes", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
        let exact = PyString::new(py, text);
        let derived = subclass.call1((text,))?.cast_into()?;
        if !is_read_right(&exact, text.is_ascii()) || !is_read_right(&derived, false) {
            return Err(unknown_layout("str"));
        }
    }
    for value in [0, 1, -1, (1 << 30) - 1, 1 << 30, 1 - (1 << 60), 1 << 60, i64::MAX, i64::MIN] {
        if Int::new(&PyInt::new(py, value)).to_i64() != Some(value) {
            return Err(unknown_layout("int"));
        }
    }
    Ok(())
}

#[cold]
fn unknown_layout(kind: &str) -> PyErr {
    PyImportError::new_err(format!(
        "plugincore cannot read the {kind} objects of this Python, which are laid out in another way than in the \
         CPython that it was built for; build it again with this Python: pip install --no-binary plugincore plugincore"
    ))
}
