//! A Rust future as a Python coroutine, so that life-cycle code in Rust can await what plugins wrote in Python.
//!
//! Runs on the Python thread. Promise: the future runs inside the asyncio task that awaits the coroutine; what it
//! awaits through [`await_python`] is stepped in that very task, so cancellation, timeouts and context variables work
//! as in Python. No other thread, no waker and no `Future` object is involved. Caveat: one thing is awaited at a time
//! (no `join!`, no `select!` over Python awaitables, no tokio types); asyncio's own tools do more.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;

use super::context::OwnContext;
use super::locked::Locked;
use super::step::{self, Step};
use super::time_limit::TimeLimit;

type BoxedFuture = Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>> + Send>>;

/// How the awaited Python object is to be resumed.
enum Resume {
    Send(Py<PyAny>),
    Throw(PyErr),
}

thread_local! {
    /// Set by the coroutine before it polls, taken by the awaiting leaf.
    static RESUME: RefCell<Option<Resume>> = const { RefCell::new(None) };
    /// Set by the awaiting leaf when it must wait, taken by the coroutine after it polled.
    static YIELDED: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

/// The Python face of a Rust future: a coroutine that can be awaited once.
#[pyclass(frozen, module = "plugincore._core", name = "coroutine")]
pub struct Coroutine {
    state: Locked<State>,
}

enum State {
    Fresh(BoxedFuture),
    Waiting(BoxedFuture),
    Running,
    Finished,
}

/// Makes a coroutine of `future`.
///
/// # Errors
/// When there is no memory for the object.
pub(crate) fn coroutine<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, Coroutine>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    let erased = async move {
        let value = future.await?;
        Python::attach(|py| value.into_py_any(py))
    };
    Bound::new(py, Coroutine { state: Locked::new(State::Fresh(Box::pin(erased))) })
}

/// Starts a task of the host's own for `coroutine`, one that `asyncio.all_tasks()` does not show: plugins that tidy up
/// cancel whatever they find there, and would take the server down with them.
///
/// # Errors
/// When the loop is closed.
pub(crate) fn host_task<'py>(
    event_loop: &Bound<'py, PyAny>,
    coroutine: Bound<'py, Coroutine>,
) -> PyResult<Bound<'py, PyAny>> {
    let task = event_loop.call_method1("create_task", (coroutine,))?;
    event_loop.py().import("asyncio")?.call_method1("_unregister_task", (&task,))?;
    Ok(task)
}

impl Coroutine {
    fn resume<'py>(&self, py: Python<'py>, resume: Resume) -> PyResult<Bound<'py, PyAny>> {
        let mut future = match (self.state.replace(State::Running), resume) {
            (State::Fresh(future), Resume::Send(_)) => future,
            (State::Fresh(_), Resume::Throw(error)) => {
                self.enter(State::Finished);
                return Err(error);
            }
            (State::Waiting(future), resume) => {
                drop(RESUME.replace(Some(resume)));
                future
            }
            (State::Running, _) => return Err(PyRuntimeError::new_err("coroutine is being awaited already")),
            (State::Finished, _) => {
                self.enter(State::Finished);
                return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
            }
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(RESUME.take());
        match polled {
            Poll::Pending => {
                self.enter(State::Waiting(future));
                YIELDED.take().map(|object| object.into_bound(py)).ok_or_else(|| {
                    PyRuntimeError::new_err("a life-cycle future waited for something that is not Python's")
                })
            }
            Poll::Ready(result) => {
                self.enter(State::Finished);
                Err(match result {
                    Ok(value) => PyStopIteration::new_err((value,)),
                    Err(error) if error.is_instance_of::<PyStopIteration>(py) => stopped(py, error),
                    Err(error) => error,
                })
            }
        }
    }

    fn enter(&self, state: State) {
        drop(self.state.replace(state));
    }
}

#[pymethods]
impl Coroutine {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.resume(py, Resume::Send(py.None()))
    }

    fn send<'py>(&self, py: Python<'py>, value: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.resume(py, Resume::Send(value))
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        kind: Bound<'py, PyAny>,
        value: Option<Bound<'py, PyAny>>,
        _traceback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let error = thrown(kind, value)?;
        self.resume(py, Resume::Throw(error))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.state.with(|state| {
            let idle = matches!(*state, State::Fresh(_) | State::Finished);
            idle.then(|| std::mem::replace(state, State::Finished))
        });
        if ended.is_some() {
            return Ok(());
        }
        match self.resume(py, Resume::Throw(PyGeneratorExit::new_err(()))) {
            Ok(_) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Err(error)
                if error.is_instance_of::<PyStopIteration>(py) || error.is_instance_of::<PyGeneratorExit>(py) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// What Python makes of a `StopIteration` that escapes from a coroutine: it would pass for a normal end.
fn stopped(py: Python<'_>, error: PyErr) -> PyErr {
    let raised = PyRuntimeError::new_err("coroutine raised StopIteration");
    raised.set_cause(py, Some(error));
    raised
}

/// The exception that `throw(kind, value)` asks for: an instance, or a class to be called with the value.
pub(super) fn thrown<'py>(kind: Bound<'py, PyAny>, value: Option<Bound<'py, PyAny>>) -> PyResult<PyErr> {
    let raised = match value.filter(|value| !value.is_none()) {
        Some(value) if value.is_instance_of::<pyo3::exceptions::PyBaseException>() => value,
        Some(value) => kind.call1((value,))?,
        None if kind.is_instance_of::<pyo3::types::PyType>() => kind.call0()?,
        None => kind,
    };
    if raised.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        Ok(PyErr::from_value(raised))
    } else {
        Err(PyTypeError::new_err("throw() takes an exception"))
    }
}

/// Awaits a Python awaitable from inside a [`coroutine`].
///
/// The future is an error when `object` cannot be awaited, and whatever the awaitable raises.
pub(crate) async fn await_python(object: Py<PyAny>) -> PyResult<Py<PyAny>> {
    await_maybe_within(None, object).await
}

/// How the steps of an awaitable are taken.
pub(crate) struct Surroundings {
    /// The context of each step.
    pub context: OwnContext,
    /// What it is, for the error if it blocks.
    pub what: String,
    /// How long it may take in all.
    pub limit: Duration,
}

/// The same, with each step taken in these surroundings.
pub(crate) async fn await_python_within(surroundings: Surroundings, object: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let until = Instant::now() + surroundings.limit;
    await_maybe_within(Some((surroundings, until)), object).await
}

async fn await_maybe_within(within: Option<(Surroundings, Instant)>, object: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let iterator = Python::attach(|py| {
        let _entered = within.as_ref().map(|(within, _)| within.context.enter(py)).transpose()?;
        let object = object.into_bound(py);
        step::awaitable(&object)?.map(Bound::unbind).ok_or_else(|| {
            let name = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("{name} cannot be awaited"))
        })
    })?;
    PythonAwait { within, iterator }.await
}

/// How long a step may block in any case.
const SHORTEST_STEP: Duration = Duration::from_secs(1);

struct PythonAwait {
    within: Option<(Surroundings, Instant)>,
    iterator: Py<PyAny>,
}

impl Future for PythonAwait {
    type Output = PyResult<Py<PyAny>>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        Python::attach(|py| {
            let _entered = match self.within.as_ref().map(|(within, _)| within.context.enter(py)).transpose() {
                Ok(entered) => entered,
                Err(error) => return Poll::Ready(Err(error)),
            };
            // When the time is over it is cancelled, and may tidy up.
            let _limit = self.within.as_ref().map(|(within, until)| {
                TimeLimit::until(&within.what, within.limit, (*until).max(Instant::now() + SHORTEST_STEP))
            });
            let iterator = self.iterator.bind(py);
            let step = match RESUME.take() {
                None => step::send(iterator, py.None().bind(py)),
                Some(Resume::Send(value)) => step::send(iterator, value.bind(py)),
                Some(Resume::Throw(error)) => step::throw(iterator, error),
            };
            match step {
                Ok(Step::Yielded(object)) => {
                    drop(YIELDED.replace(Some(object.unbind())));
                    Poll::Pending
                }
                Ok(Step::Returned(value)) => Poll::Ready(Ok(value.unbind())),
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }
}
