//! `Fallback`: an argument of a Python method that may be left out, where `None` is a value like any other.
//!
//! Runs on the Python thread.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

/// An argument that may be left out, where `None` is a value like any other.
pub(crate) enum Fallback<'py> {
    /// The caller gave none, so a missing key is an error.
    Absent,
    /// What to return for a missing key.
    Given(Bound<'py, PyAny>),
}

impl<'py> Fallback<'py> {
    /// The fallback value.
    ///
    /// # Errors
    /// `KeyError(key)` when the caller gave none.
    pub(crate) fn or_key_error(self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Absent => Err(PyKeyError::new_err((key.clone().unbind(),))),
            Self::Given(value) => Ok(value),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Fallback<'py> {
    type Error = std::convert::Infallible;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> Result<Self, Self::Error> {
        Ok(Self::Given(value.to_owned()))
    }
}
