//! A context of Python's context variables: that of a plugin file, and the copy of it in which one request runs.
//!
//! Runs on the Python thread. Promise: what code sets in context variables while the copy is entered is seen by the
//! tasks that it starts and by no other code. Caveat: contexts are left in the reverse order of entering, so the result
//! of [`OwnContext::enter`] stays on the stack of its caller.

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::locked::References;

/// A context that belongs to a plugin file, or to one request.
pub struct OwnContext(Py<PyAny>);

impl OwnContext {
    /// Copies the current context.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn copy_current(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: the interpreter is attached (`py`); the result is a new reference or null with an exception set,
        // which is just what `from_owned_ptr_or_err` takes.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }.map(|context| Self(context.unbind()))
    }

    /// Copies this one, as it is now.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        // SAFETY: the interpreter is attached (`py`) and the argument a live context; the result is as above.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(self.0.as_ptr())) }
            .map(|context| Self(context.unbind()))
    }

    /// The same context once more.
    #[must_use]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// The same, under a lock.
    #[must_use]
    pub(crate) fn again(&self, references: &References<'_>) -> Self {
        Self(references.again(&self.0))
    }

    /// Enters it, until the result is dropped.
    ///
    /// # Errors
    /// When it has been entered already.
    pub fn enter<'py>(&self, py: Python<'py>) -> PyResult<Entered<'py>> {
        let context = self.0.bind(py).clone();
        // SAFETY: a live context object; entering one that is entered already is an error, which is looked for.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Entered(context))
    }

    /// Shows the context to the garbage collector.
    ///
    /// # Errors
    /// What the collector's visitor says.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

/// Sets a variable in the current context, as `variable.set(value)` does, which takes longer.
///
/// # Errors
/// When it is not a context variable, or there is no memory.
pub(super) fn set(variable: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: the interpreter is attached, both are live objects, and another type than that of context variables is
    // an error; the result is a new reference, or null with an exception set.
    let token = unsafe {
        Bound::from_owned_ptr_or_err(variable.py(), ffi::PyContextVar_Set(variable.as_ptr(), value.as_ptr()))
    };
    token.map(drop)
}

/// An entered context; dropping it leaves the context.
pub struct Entered<'py>(Bound<'py, PyAny>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: a live context that this thread entered in `enter`.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            tracing::error!("a context cannot be left: {}", PyErr::fetch(self.0.py()));
        }
    }
}
