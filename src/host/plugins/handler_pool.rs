//! The threads in which a plugin's plain handlers run, if `[plugin x] threads` gives it some.
//!
//! Runs on the Python thread; the threads themselves belong to Python. Promise: a request that runs in a thread is, to
//! everything else, one of an async handler. Caveat: a change of the number makes new threads; the earlier ones end
//! when they are idle.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::host::bridge::locked::Locked;

/// The threads of one plugin, made when they are first needed.
pub(crate) struct HandlerPool {
    /// How many there may be; asked for at each request.
    threads: AtomicUsize,
    made: Locked<Option<(usize, Py<PyAny>)>>,
}

impl HandlerPool {
    /// For a plugin that may have so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: AtomicUsize::new(threads), made: Locked::default() }
    }

    /// Has the plugin have so many threads from now on.
    pub(super) fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Ordering::Relaxed);
    }

    /// Whether the plugin has threads of its own.
    pub(super) fn has_threads(&self) -> bool {
        self.threads.load(Ordering::Relaxed) > 0
    }

    /// What calls `handler` with `data` in one of the threads of `plugin`, to be awaited; nothing if there are none, or
    /// if it is not a plain function.
    ///
    /// # Errors
    /// When Python has no memory for it.
    pub(super) fn call<'py>(
        &self,
        plugin: &str,
        handler: &Bound<'py, PyAny>,
        data: &Bound<'py, PyDict>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = handler.py();
        let threads = self.threads.load(Ordering::Relaxed);
        if threads == 0 {
            return Ok(None);
        }
        let module = py.import(intern!(py, "plugincore._pool"))?;
        if !module.call_method1(intern!(py, "is_plain"), (handler,))?.is_truthy()? {
            return Ok(None);
        }
        let known = self.made.with_references(py, |pool, references| match pool {
            Some((count, pool)) if *count == threads => Some(references.again(pool)),
            _ => None,
        });
        let pool = if let Some(pool) = known {
            pool.into_bound(py)
        } else {
            let pool = module.call_method1(intern!(py, "HandlerPool"), (plugin, threads))?;
            close(py, self.made.replace(Some((threads, pool.clone().unbind()))));
            pool
        };
        pool.call_method1(intern!(py, "call"), (handler, data)).map(Some)
    }

    /// Lets the threads end.
    pub(super) fn close(&self, py: Python<'_>) {
        close(py, self.made.take());
    }
}

fn close(py: Python<'_>, pool: Option<(usize, Py<PyAny>)>) {
    if let Some((_, pool)) = pool
        && let Err(error) = pool.call_method0(py, intern!(py, "close"))
    {
        tracing::debug!("the threads of a plugin are not ended: {error}");
    }
}
