//! What belongs to a plugin file: its background tasks, and the context in which its code runs.
//!
//! Runs on the Python thread. Promise: a task that a plugin creates, while it is imported, constructed, initialised or
//! called, directly or through other tasks, is kept alive until it ends and is cancelled and awaited when the plugin is
//! removed. Context variables that it sets while it is loaded (such as the precision of `decimal`) hold for all that it
//! does later, and for no other plugin. Threads that it starts carry the owner on. Once a scope is closed, none of its
//! timers fires and no task of it begins. Caveat: the scope of a task is found by the loop's task factory; the tasks of
//! a plugin that replaces the factory are cancelled only when the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};

use crate::host::bridge::context::{Entered, OwnContext};
use crate::host::bridge::locked::{Locked, made_once};
use crate::host::python::imports;

/// The tasks of one generation of a plugin file, or of one plugin in it.
#[pyclass(frozen, module = "plugincore._core")]
pub struct TaskScope {
    tasks: Py<PySet>,
    /// How many there are, for others to read.
    count: Arc<AtomicUsize>,
    /// The owners of the plugins in the file, whose tasks end with those of the file.
    parts: Locked<Vec<Py<TaskScope>>>,
    /// Weak references to the threads that were started, each with the pool that it works for, if it does.
    threads: Py<PyList>,
    /// Whether it has ended, so that no task of it begins any more.
    closed: AtomicBool,
}

/// An owner of tasks, and the context of the code that creates them: of one generation of a plugin file or, in the same
/// context, of one plugin in it until that serves.
pub(crate) struct PluginScope {
    /// Who gets the tasks.
    pub owner: Py<TaskScope>,
    context: OwnContext,
}

impl PluginScope {
    /// A scope for a file, without tasks, whose context is a copy of the current one.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Arc<Self>> {
        Ok(Arc::new(Self { owner: TaskScope::new(py)?, context: OwnContext::copy_current(py)? }))
    }

    /// A scope for one plugin of the file, so that its tasks can be ended alone.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn part(&self, py: Python<'_>) -> PyResult<Arc<Self>> {
        let owner = TaskScope::new(py)?;
        let part = owner.clone_ref(py);
        self.owner.get().parts.with(|parts| parts.push(part));
        Ok(Arc::new(Self { owner, context: self.context.clone_ref(py) }))
    }

    /// Enters the context itself, for code that is part of loading: what it sets there stays, and this owner, too.
    ///
    /// # Errors
    /// When it has been entered already.
    pub(crate) fn enter<'py>(&self, py: Python<'py>) -> PyResult<Entered<'py>> {
        let entered = self.context.enter(py)?;
        self.own(py)?;
        Ok(entered)
    }

    /// The context itself, once more.
    pub(crate) fn context(&self, py: Python<'_>) -> OwnContext {
        self.context.clone_ref(py)
    }

    /// A copy of the context, for a request or whatever else is to leave nothing behind; with the owner that entered it
    /// last, which is the file's once it has been loaded.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn copy_context(&self, py: Python<'_>) -> PyResult<OwnContext> {
        self.context.copy(py)
    }

    /// Makes the owner that of what the current context does from here on.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn own(&self, py: Python<'_>) -> PyResult<()> {
        current(py)?.call_method1(intern!(py, "set"), (&self.owner,)).map(drop)
    }
}

/// The context variable that holds the [`TaskScope`] of the code that runs.
static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn current(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let variable = made_once(py, &CURRENT, || {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        Ok(class.call(("plugincore.owner",), Some(&options))?.unbind())
    })?;
    Ok(variable.bind(py))
}

impl TaskScope {
    fn new(py: Python<'_>) -> PyResult<Py<Self>> {
        Py::new(
            py,
            Self {
                tasks: PySet::empty(py)?.unbind(),
                count: Arc::default(),
                parts: Locked::default(),
                threads: PyList::empty(py).unbind(),
                closed: AtomicBool::new(false),
            },
        )
    }

    /// The number of tasks, without those of plugins in the file.
    pub(crate) fn count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }

    fn recount(&self, py: Python<'_>) {
        self.count.store(self.tasks.bind(py).len(), Ordering::Relaxed);
    }

    /// Keeps `task` until it ends.
    ///
    /// # Errors
    /// When `task` is not like an asyncio task.
    pub fn track(slf: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        slf.get().tasks.bind(py).add(task)?;
        slf.get().recount(py);
        task.call_method1(intern!(py, "add_done_callback"), (slf.getattr(intern!(py, "_ended"))?,)).map(drop)
    }

    /// Cancels the tasks that still run and returns them.
    ///
    /// # Errors
    /// When something that is not a task was adopted.
    pub fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut tasks: Vec<_> = self.tasks.bind(py).iter().collect();
        for task in &tasks {
            task.call_method0(intern!(py, "cancel"))?;
        }
        for part in self.parts(py) {
            tasks.extend(part.get().cancel(py)?);
        }
        Ok(tasks)
    }
}

impl TaskScope {
    fn parts(&self, py: Python<'_>) -> Vec<Py<Self>> {
        self.parts.with_references(py, |parts, references| parts.iter().map(|part| references.again(part)).collect())
    }

    /// It and its parts, which end with it.
    fn with_parts(slf: &Bound<'_, Self>) -> Vec<Py<Self>> {
        let mut all = slf.get().parts(slf.py());
        all.push(slf.clone().unbind());
        all
    }

    /// Ends it for good: no timer of it fires and no task of it begins any more.
    ///
    /// # Errors
    /// When there is no running loop.
    pub(crate) fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let all = Self::with_parts(slf);
        for one in &all {
            one.get().closed.store(true, Ordering::Relaxed);
        }
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
        // Other loops than asyncio's own keep their timers to themselves.
        let Some(timers) = event_loop.getattr_opt("_scheduled")? else { return Ok(()) };
        let variable = current(py)?;
        for timer in timers.try_iter()?.collect::<PyResult<Vec<_>>>()? {
            let Some(context) = timer.getattr_opt("_context")?.filter(|context| !context.is_none()) else { continue };
            let owner = context.call_method1("get", (variable,))?;
            if all.iter().any(|one| one.is(&owner)) {
                timer.call_method0("cancel")?;
            }
        }
        Ok(())
    }

    /// The names of the threads that it has started and that go on by themselves.
    ///
    /// # Errors
    /// When a thread is not like one of `threading`.
    pub(crate) fn threads_left_behind(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let py = slf.py();
        let threads = PyList::empty(py);
        for one in Self::with_parts(slf) {
            threads.call_method1("extend", (&one.get().threads,))?;
        }
        py.import("plugincore._threads")?.call_method1("left_behind", (threads,))?.extract()
    }
}

#[pymethods]
impl TaskScope {
    /// Remembers a thread that was started; `pool` is a weak reference to the pool that it works for, or None.
    fn note_thread(&self, thread: &Bound<'_, PyAny>, pool: Option<Py<PyAny>>) -> PyResult<()> {
        let py = thread.py();
        let threads = self.threads.bind(py);
        // Plugins may start one thread after the other; those that have ended are forgotten at the next one.
        for index in (0..threads.len()).rev() {
            if threads.get_item(index)?.get_item(0)?.call0()?.is_none() {
                threads.del_item(index)?;
            }
        }
        threads.append((py.import("weakref")?.call_method1("ref", (thread,))?, pool))
    }

    /// `task_callback`: plugins hand tasks here that they want ended with them.
    fn __call__(slf: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::track(slf, task)
    }

    /// Releases a task that has ended. If it failed, it is looked at again a little later: asyncio reports an exception
    /// that was not retrieved only when the task is collected, which never happens to one that is kept.
    fn _ended(slf: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        slf.get().tasks.bind(py).discard(task)?;
        slf.get().recount(py);
        if has_unretrieved_exception(task)? {
            let event_loop = task.call_method0(intern!(py, "get_loop"))?;
            let task = py.import("weakref")?.call_method1("ref", (task,))?;
            event_loop.call_method1("call_later", (UNRETRIEVED.as_secs_f64(), slf.getattr("_report")?, task))?;
        }
        Ok(())
    }

    /// Reports a task whose exception was not retrieved, as asyncio would.
    #[staticmethod]
    fn _report(task: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, task) = (task.py(), task.call0()?);
        if task.is_none() || !has_unretrieved_exception(&task)? {
            return Ok(());
        }
        let context = PyDict::new(py);
        context.set_item("message", "Task exception was never retrieved")?;
        // Retrieving it counts, so that it is reported once.
        context.set_item("exception", task.call_method0("exception")?)?;
        context.set_item("task", &task)?;
        task.call_method0("get_loop")?.call_method1("call_exception_handler", (context,)).map(drop)
    }
}

/// How long the exception of a task may go unnoticed.
const UNRETRIEVED: Duration = Duration::from_secs(1);

/// Whether `task` has failed and its exception was not retrieved; false for a task that does not say.
pub(super) fn has_unretrieved_exception(task: &Bound<'_, PyAny>) -> PyResult<bool> {
    task.getattr_opt(intern!(task.py(), "_log_traceback"))?.map_or(Ok(false), |unretrieved| unretrieved.is_truthy())
}

/// The owner of the code of `coroutine`, for tasks that are made where no context tells: by threads that work for all
/// plugins.
fn owner_of<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = coroutine.py();
    let Some(frame) = coroutine.getattr_opt(intern!(py, "cr_frame"))?.filter(|frame| !frame.is_none()) else {
        return Ok(None);
    };
    imports::owner_of_code(&frame.getattr(intern!(py, "f_globals"))?)
}

/// Has `event_loop` note the owner of each task that it creates.
///
/// # Errors
/// When the loop takes no task factory.
pub(crate) fn install_task_factory(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let task = py.import("asyncio")?.getattr("Task")?.unbind();
    py.import("plugincore._threads")?.call_method1("install", (current(py)?,))?;
    event_loop.call_method1("set_task_factory", (Bound::new(py, TaskFactory { task })?,)).map(drop)
}

#[pyclass(frozen, module = "plugincore._core")]
struct TaskFactory {
    task: Py<PyAny>,
}

#[pymethods]
impl TaskFactory {
    #[pyo3(signature = (event_loop, coroutine, **options))]
    fn __call__<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        coroutine: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        let options = options.map_or_else(|| Ok(PyDict::new(py)), pyo3::types::PyDictMethods::copy)?;
        options.set_item(intern!(py, "loop"), event_loop)?;
        let task = self.task.bind(py).call(PyTuple::new(py, [coroutine])?, Some(&options))?;
        let owner = current(py)?.call_method0(intern!(py, "get"))?;
        let owner = if owner.is_none() { owner_of(coroutine)? } else { Some(owner) };
        if let Some(owner) = owner.as_ref().and_then(|owner| owner.cast::<TaskScope>().ok()) {
            TaskScope::track(owner, &task)?;
            if owner.get().closed.load(Ordering::Relaxed) {
                // It is over before its first step.
                task.call_method0(intern!(py, "cancel"))?;
            }
        }
        Ok(task)
    }
}
