//! Which plugin a background task belongs to.
//!
//! Promise: a task that a plugin creates, while it is imported, constructed, initialised or asked, directly or through
//! other tasks, is kept alive until it ends and is cancelled and awaited when the plugin goes. Caveat: it relies on the
//! loop's task factory; a plugin that replaces the factory has its tasks cancelled only when the server stops.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PySet, PyTuple};

/// The tasks of one generation of a plugin file.
#[pyclass(frozen, module = "plugincore._core")]
pub struct Owner {
    serial: u64,
    tasks: Py<PySet>,
}

/// The context variable that holds the [`Owner`] of the code that runs.
static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
/// Serial of the owner last entered on the Python thread outside any task, so that entering it again costs nothing.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static SERIALS: AtomicU64 = AtomicU64::new(1);

fn current(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let variable = CURRENT.get_or_try_init(py, || -> PyResult<_> {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        Ok(class.call(("plugincore.owner",), Some(&options))?.unbind())
    })?;
    Ok(variable.bind(py))
}

impl Owner {
    /// An owner without tasks.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(py: Python<'_>) -> PyResult<Py<Self>> {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        Py::new(py, Self { serial, tasks: PySet::empty(py)?.unbind() })
    }

    /// Makes this the owner of what the current context does from here on.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        current(py)?.call_method1(intern!(py, "set"), (slf,)).map(drop)
    }

    /// [`Self::enter`] for the consumer's own context, which nothing else changes: free when the owner is the same as
    /// the last time.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn enter_consumer(slf: &Bound<'_, Self>) -> PyResult<()> {
        let serial = slf.get().serial;
        if ENTERED.load(Ordering::Relaxed) != serial {
            Self::enter(slf)?;
            ENTERED.store(serial, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps `task` until it ends.
    ///
    /// # Errors
    /// When `task` is not like an asyncio task.
    pub fn adopt(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        let tasks = self.tasks.bind(py);
        tasks.add(task)?;
        task.call_method1(intern!(py, "add_done_callback"), (tasks.getattr(intern!(py, "discard"))?,)).map(drop)
    }

    /// Cancels the tasks that still run and returns them.
    ///
    /// # Errors
    /// When something that is not a task was adopted.
    pub fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let tasks: Vec<_> = self.tasks.bind(py).iter().collect();
        for task in &tasks {
            task.call_method0(intern!(py, "cancel"))?;
        }
        Ok(tasks)
    }
}

#[pymethods]
impl Owner {
    /// `task_callback`: plugins hand tasks here that they want ended with them.
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.adopt(task)
    }
}

/// Has `event_loop` note the owner of each task that it creates.
///
/// # Errors
/// When the loop takes no task factory.
pub fn install_task_factory(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let task = py.import("asyncio")?.getattr("Task")?.unbind();
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
        if let Ok(owner) = current(py)?.call_method0(intern!(py, "get"))?.cast::<Owner>() {
            owner.get().adopt(&task)?;
        }
        Ok(task)
    }
}
