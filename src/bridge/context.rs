//! A copy of the current context, entered for as long as a value lives.
//!
//! Promise: what code sets in context variables meanwhile is seen by the tasks that it starts and by nobody else.
//! Caveat: contexts are left in the reverse order of entering, so the value stays on the stack of whoever made it.

use pyo3::prelude::*;

/// An entered context; dropping it leaves the context.
pub struct OwnContext<'py>(Bound<'py, PyAny>);

impl<'py> OwnContext<'py> {
    /// Copies the current context and enters the copy.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn enter(py: Python<'py>) -> PyResult<Self> {
        // SAFETY: the interpreter is attached (`py`); the result is a new reference or null with an exception set,
        // which is just what `from_owned_ptr_or_err` takes.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyContext_CopyCurrent()) }?;
        // SAFETY: `context` is a live context object that nobody has entered, since it was made just now.
        if unsafe { pyo3::ffi::PyContext_Enter(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Self(context))
    }
}

impl Drop for OwnContext<'_> {
    fn drop(&mut self) {
        // SAFETY: a live context that this thread entered in `enter`.
        if unsafe { pyo3::ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            tracing::error!("a context cannot be left: {}", PyErr::fetch(self.0.py()));
        }
    }
}
