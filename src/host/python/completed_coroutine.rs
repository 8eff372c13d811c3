//! `CompletedCoroutine`: an awaitable whose outcome is known before it is awaited.
//!
//! Runs on the Python thread. The host has read the whole body when a plugin runs, so `request.read()` and similar
//! methods need no suspension; a `CompletedCoroutine` has a coroutine's methods, which `asyncio` requires, and finishes
//! in its first step. Caveat: the work is done by the call, not by the `await`; an error still appears at the `await`.

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;

use crate::host::bridge::locked::Locked;

/// A finished coroutine: `await` it, or give it to `create_task`, `gather` or `wait_for`, once.
#[pyclass(frozen, module = "plugincore")]
pub struct CompletedCoroutine {
    outcome: Locked<Option<PyResult<Py<PyAny>>>>,
}

impl CompletedCoroutine {
    /// Wraps a value, or the error that awaiting shall raise.
    pub fn new(outcome: PyResult<Py<PyAny>>) -> Self {
        Self { outcome: Locked::new(Some(outcome)) }
    }

    fn take(&self) -> PyResult<PyResult<Py<PyAny>>> {
        self.outcome.take().ok_or_else(|| PyRuntimeError::new_err("cannot reuse already awaited coroutine"))
    }
}

#[pymethods]
impl CompletedCoroutine {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self) -> PyResult<Py<PyAny>> {
        let value = self.take()??;
        // The one-element tuple keeps a value that is itself a tuple from becoming the exception's arguments.
        Err(PyStopIteration::new_err((value,)))
    }

    /// Finish, as a coroutine's `send` does; the first value sent to any coroutine must be `None`.
    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if !value.is_none() && self.outcome.with(|outcome| outcome.is_some()) {
            return Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"));
        }
        self.__next__()
    }

    /// Finish by raising the given exception instead of the outcome.
    #[pyo3(signature = (typ, val = None, tb = None))]
    fn throw(
        &self,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let error = match val {
            None => PyErr::from_value(typ),
            Some(val) if val.is_instance_of::<pyo3::exceptions::PyBaseException>() => PyErr::from_value(val),
            Some(val) => PyErr::from_value(typ.call1((val,))?),
        };
        if let Some(tb) = tb {
            error.set_traceback(tb.py(), Some(tb.cast_into()?));
        }
        drop(self.take()?);
        Err(error)
    }

    /// Forget the outcome; a later `await` is an error.
    fn close(&self) {
        drop(self.outcome.take());
    }
}

#[cfg(test)]
mod tests {
    use pyo3::exceptions::PyValueError;
    use pyo3::types::PyDict;

    use super::*;

    /// Runs a snippet that finds `value` (resolves to `(1, 2)`) and `error` (raises `ValueError('no')`).
    fn run(code: &std::ffi::CStr) {
        Python::initialize();
        Python::attach(|py| {
            let names = PyDict::new(py);
            let value = (1, 2).into_pyobject(py).unwrap().into_any().unbind();
            names.set_item("value", CompletedCoroutine::new(Ok(value)).into_pyobject(py).unwrap()).unwrap();
            let error = CompletedCoroutine::new(Err(PyValueError::new_err("no")));
            names.set_item("error", error.into_pyobject(py).unwrap()).unwrap();
            py.run(c"import asyncio, collections.abc, inspect", Some(&names), None).unwrap();
            py.run(code, Some(&names), None).inspect_err(|error| error.display(py)).unwrap();
        });
    }

    #[test]
    fn awaiting_gives_the_value_even_when_it_is_a_tuple() {
        run(c"
async def main():
    return await value
assert asyncio.run(main()) == (1, 2)
");
    }

    #[test]
    fn awaiting_raises_the_error() {
        run(c"
async def main():
    try:
        await error
    except ValueError as e:
        return str(e)
assert asyncio.run(main()) == 'no'
");
    }

    #[test]
    fn asyncio_takes_it_for_a_coroutine() {
        run(c"
assert asyncio.iscoroutine(value) and inspect.isawaitable(value)
assert isinstance(value, collections.abc.Coroutine)
async def main():
    task = asyncio.create_task(value)
    assert repr(task)
    return await asyncio.gather(asyncio.wait_for(task, 5), error, return_exceptions=True)
value, error = asyncio.run(main())
assert value == (1, 2) and isinstance(error, ValueError)
");
    }

    #[test]
    fn a_second_await_is_a_runtime_error() {
        run(c"
async def main():
    await value
    try:
        await value
    except RuntimeError as e:
        return str(e)
assert asyncio.run(main()) == 'cannot reuse already awaited coroutine'
");
    }

    #[test]
    fn a_cancelled_task_raises_cancelled_error_through_it() {
        run(c"
async def main():
    task = asyncio.create_task(value)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return 'cancelled'
assert asyncio.run(main()) == 'cancelled'
");
    }

    #[test]
    fn thrown_exceptions_come_out_in_each_of_the_three_spellings() {
        run(c"
def outcome(*args):
    try:
        ready.throw(*args)
    except KeyError as e:
        return e.args
ready = value
assert outcome(KeyError('a')) == ('a',)
ready = error
assert outcome(KeyError, 'b', None) == ('b',)
try:
    ready.throw(KeyError)
except RuntimeError:
    pass
else:
    raise AssertionError('a finished one took an exception')
");
    }

    #[test]
    fn sending_follows_the_rules_of_coroutines() {
        run(c"
try:
    value.send(1)
except TypeError:
    pass
try:
    value.send(None)
except StopIteration as stop:
    assert stop.value == (1, 2)
error.close()
error.close()
try:
    error.send(None)
except RuntimeError:
    pass
else:
    raise AssertionError('closed, yet it answered')
");
    }
}
