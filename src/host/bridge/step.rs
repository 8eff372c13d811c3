//! One step of a Python coroutine, taken from Rust.
//!
//! Runs on the Python thread. Promise: a step has exactly the meaning of `coroutine.send` and `coroutine.throw`; the
//! end of the coroutine is a value here and not a `StopIteration`. Caveat: the objects that a coroutine yields belong
//! to the asyncio task that runs it; they must be handed on untouched.

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;

/// How far one step came.
pub enum Step<'py> {
    /// The coroutine waits; this is what it yielded.
    Yielded(Bound<'py, PyAny>),
    /// The coroutine returned.
    Returned(Bound<'py, PyAny>),
}

/// Resumes `coroutine` with `value` (`None` at the start).
///
/// # Errors
/// What the coroutine raised.
pub fn send<'py>(coroutine: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
    use pyo3::ffi::PySendResult::{PYGEN_ERROR, PYGEN_NEXT, PYGEN_RETURN};
    let py = coroutine.py();
    let mut out = std::ptr::null_mut();
    // SAFETY: both pointers are live for the call because the `Bound`s are; `out` is a valid place for the result.
    let sent = unsafe { pyo3::ffi::PyIter_Send(coroutine.as_ptr(), value.as_ptr(), &raw mut out) };
    match sent {
        // SAFETY: for these two results `PyIter_Send` has stored a new reference in `out`, which is ours now.
        PYGEN_NEXT => Ok(Step::Yielded(unsafe { Bound::from_owned_ptr(py, out) })),
        // SAFETY: as above.
        PYGEN_RETURN => Ok(Step::Returned(unsafe { Bound::from_owned_ptr(py, out) })),
        PYGEN_ERROR => Err(PyErr::fetch(py)),
    }
}

/// Raises `error` where `coroutine` waits.
///
/// # Errors
/// What the coroutine raised, `error` itself if it did not catch it.
pub fn throw<'py>(coroutine: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Step<'py>> {
    let py = coroutine.py();
    let Some(method) = coroutine.getattr_opt(intern!(py, "throw"))? else {
        // A plain iterator behind `__await__`: nothing in it could catch the error.
        return Err(error);
    };
    match method.call1((error.into_value(py),)) {
        Ok(yielded) => Ok(Step::Yielded(yielded)),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            Ok(Step::Returned(error.value(py).getattr(intern!(py, "value"))?))
        }
        Err(error) => Err(error),
    }
}

/// The iterator behind `await object`, or `None` if `object` cannot be awaited.
///
/// # Errors
/// What the object's `__await__` raised.
pub fn awaitable<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: checking the type of a live object has no other effect.
    if unsafe { pyo3::ffi::PyCoro_CheckExact(object.as_ptr()) } != 0 {
        return Ok(Some(object.clone()));
    }
    // SAFETY: a live object has a live type, whose table of async slots, if it has one, lives as long as it.
    let slots = unsafe { (*pyo3::ffi::Py_TYPE(object.as_ptr())).tp_as_async.as_ref() };
    match slots.and_then(|slots| slots.am_await) {
        // SAFETY: the slot of the object's own type, which gives a new reference or null with an exception set.
        Some(iterator) => unsafe { Bound::from_owned_ptr_or_err(object.py(), iterator(object.as_ptr())) }.map(Some),
        None if is_generator_coroutine(object)? => Ok(Some(object.clone())),
        None => Ok(None),
    }
}

/// `@types.coroutine` generators have no `__await__`, yet can be awaited.
fn is_generator_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: checking the type of a live object has no other effect.
    if unsafe { pyo3::ffi::PyGen_CheckExact(object.as_ptr()) } == 0 {
        return Ok(false);
    }
    let py = object.py();
    py.import(intern!(py, "inspect"))?.call_method1(intern!(py, "isawaitable"), (object,))?.extract()
}
