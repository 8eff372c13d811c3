//! Objects of a request that are made when a plugin first reads them.
//!
//! Runs on the Python thread. Promise: each is made once and is the same from then on. Caveat: what makes it may run
//! Python code, in which it may be made a second time; then the first one stays.

use std::sync::OnceLock;

use pyo3::prelude::*;

/// The object in `cell`, made on the first call.
pub(super) fn cached<'py, T>(
    py: Python<'py>,
    cell: &OnceLock<Py<T>>,
    make: impl FnOnce() -> PyResult<Py<T>>,
) -> PyResult<Bound<'py, T>> {
    if let Some(earlier) = cell.get() {
        return Ok(earlier.bind(py).clone());
    }
    let object = make()?;
    // Making may run Python code, so it stays outside of the lock; here nothing can wait for another thread.
    Ok(cell.get_or_init(|| object).bind(py).clone())
}
