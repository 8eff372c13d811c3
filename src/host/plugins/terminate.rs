//! Ends plugins.
//!
//! Runs on the Python thread. Promise: `terminate_plugin` runs for each, plain or async, within its time limit, then
//! the background tasks are cancelled and awaited; an error in one plugin is reported and does not affect the others.
//! Caveat: a task that ignores its cancellation is left behind after that time, with a line in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;

use super::failure::describe;
use super::loaded_plugin::LoadedPlugin;
use super::task_scope::{PluginScope, TaskScope, has_unretrieved_exception};
use super::timeout::{wait_for, with_timeout};
use super::watch::Step;
use crate::host::bridge::coroutine::await_python;
use crate::host::bridge::step;
use crate::host::bridge::time_limit::TimeLimit;

/// Ends long-lived responses (event streams, web sockets), so that a drain does not wait for them.
pub(crate) fn close_long_lived_responses(plugins: &[Arc<LoadedPlugin>]) {
    Python::attach(|py| {
        for plugin in plugins {
            if let Err(error) = plugin.in_flight.close(py) {
                tracing::error!("plugin {}: ending its answers: {}", plugin.id, describe(py, &error));
            }
        }
    });
}

/// Waits until every request that was admitted to `plugins`, which take no more, has reached them, at most until
/// `deadline`.
///
/// # Errors
/// When the wait itself is cancelled.
pub(crate) async fn let_in(plugins: &[Arc<LoadedPlugin>], deadline: Instant) -> PyResult<()> {
    let waits = |plugin: &Arc<LoadedPlugin>| plugin.entrance.get().is_some_and(|entrance| entrance.waiting() > 0);
    while plugins.iter().any(waits) && Instant::now() < deadline {
        // A turn of the loop, in which the queue is taken further.
        let turn = Python::attach(|py| py.import("asyncio")?.call_method1("sleep", (0,)).map(Bound::unbind))?;
        await_python(turn).await?;
    }
    Ok(())
}

/// Waits until no request is inside `plugins` any more, at most until `deadline`.
///
/// # Errors
/// When the wait itself is cancelled.
pub(crate) async fn drain(plugins: &[Arc<LoadedPlugin>], deadline: Instant) -> PyResult<()> {
    close_long_lived_responses(plugins);
    for plugin in plugins {
        let mut step = None;
        while let Some(idle) = Python::attach(|py| plugin.in_flight.idle(py).map(|idle| idle.map(Bound::unbind)))? {
            step.get_or_insert_with(|| {
                Step::begin(&plugin.file, format!("the last requests to the old {}", plugin.id))
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let names: Vec<_> = plugins.iter().map(|plugin| &*plugin.id).collect();
                tracing::warn!("requests still run in the old {}; terminating it all the same", names.join(", "));
                return Ok(());
            }
            if let Some(waiting) = Python::attach(|py| wait_for(py, vec![idle.into_bound(py)], left))? {
                await_python(waiting).await?;
            }
        }
    }
    Ok(())
}

/// Ends `plugins` in their order; all of them together have until `deadline`.
pub(crate) async fn terminate(plugins: &[Arc<LoadedPlugin>], deadline: Instant) {
    for plugin in plugins {
        tracing::info!("Terminating plugin {}", plugin.id);
        let _step = Step::begin(&plugin.file, format!("terminate_plugin of {}", plugin.id));
        if let Err(error) = terminate_instance(&plugin.instance, &plugin.scope, left(deadline)).await {
            let reason = Python::attach(|py| describe(py, &error));
            tracing::error!("{}: plugin {}: terminate_plugin: {reason}", plugin.file.display(), plugin.id);
        }
        Python::attach(|py| plugin.pool.close(py));
    }
    for plugin in plugins {
        if let Err(error) = end_tasks(&plugin.scope, left(deadline)).await {
            let reason = Python::attach(|py| describe(py, &error));
            tracing::error!("plugin {}: ending its background tasks: {reason}", plugin.id);
        }
    }
}

/// Takes plugins back that were made but never served: `terminate_plugin` is called, since what they opened is open,
/// and the tasks that they started are ended.
pub(crate) async fn discard(plugins: &[Arc<LoadedPlugin>], timeout: Duration) {
    for plugin in plugins {
        tracing::info!("discarding plugin {} of {}, which does not serve", plugin.id, plugin.file.display());
        discard_instance(&plugin.file, &plugin.instance, &plugin.part, timeout).await;
        if let Err(error) = end_tasks(&plugin.part, timeout).await {
            let reason = Python::attach(|py| describe(py, &error));
            tracing::warn!("{}: ending its background tasks: {reason}", plugin.file.display());
        }
    }
}

/// Calls `terminate_plugin` of an instance that will never serve; it may well fail half made.
pub(crate) async fn discard_instance(file: &Path, instance: &Py<PyAny>, scope: &PluginScope, timeout: Duration) {
    let _step = Step::begin(file, "terminate_plugin of a discarded instance");
    if let Err(error) = terminate_instance(instance, scope, timeout).await {
        let reason = Python::attach(|py| describe(py, &error));
        tracing::warn!("{}: discarding an instance: terminate_plugin: {reason}", file.display());
    }
}

/// The time until `deadline`; never zero, so that a quick plugin can finish even when others were slow.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}

/// Calls `terminate_plugin` and awaits what it returns, if it can be awaited, at most for `timeout`.
///
/// # Errors
/// What it raised, or a time-out.
pub(crate) async fn terminate_instance(instance: &Py<PyAny>, scope: &PluginScope, timeout: Duration) -> PyResult<()> {
    let (context, result) = Python::attach(|py| -> PyResult<_> {
        let context = scope.copy_context(py)?;
        let entered = context.enter(py)?;
        scope.own(py)?;
        let limit = TimeLimit::begin("terminate_plugin", timeout);
        let result = instance.bind(py).call_method0(intern!(py, "terminate_plugin"))?;
        drop(limit);
        let result = step::awaitable(&result)?.map(|_| result.unbind());
        drop(entered);
        Ok((context, result))
    })?;
    match result {
        Some(result) => with_timeout(timeout, context, result, "terminate_plugin").await,
        None => Ok(()),
    }
}

/// Cancels the tasks of the scope and awaits them, at most for `timeout`.
///
/// # Errors
/// When the wait itself is cancelled.
pub(crate) async fn end_tasks(scope: &PluginScope, timeout: Duration) -> PyResult<()> {
    let waiting = Python::attach(|py| -> PyResult<Option<Py<PyAny>>> {
        let tasks = scope.owner.get().cancel(py)?;
        wait_for(py, tasks, timeout)
    })?;
    match waiting {
        Some(waiting) => log_uncancelled_tasks(await_python(waiting).await?),
        None => Ok(()),
    }
}

/// Ends the scope of plugins for good, whose tasks have ended: none of their timers fires, and no task begins.
pub(crate) fn close(py: Python<'_>, scope: &PluginScope) {
    if let Err(error) = TaskScope::close(scope.owner.bind(py)) {
        tracing::warn!("timers of a plugin that has ended may still fire: {}", describe(py, &error));
    }
}

/// Names in the log the threads that plugins have left behind, which nobody can end.
pub(crate) fn log_threads(py: Python<'_>, plugins: &[(Arc<str>, Arc<PluginScope>)]) {
    for (id, scope) in plugins {
        match TaskScope::threads_left_behind(scope.owner.bind(py)) {
            Ok(threads) if threads.is_empty() => {}
            Ok(threads) => tracing::warn!(
                "plugin {id} has left threads behind, which go on with its old code: {}; end them in terminate_plugin",
                threads.join(", ")
            ),
            Err(error) => tracing::debug!("plugin {id}: its threads are not known: {}", describe(py, &error)),
        }
    }
}

/// Logs the tasks that `asyncio.wait` returned as still pending, and the errors of the others that their own code has
/// not looked at.
///
/// # Errors
/// When `waited` is not what `asyncio.wait` returns.
pub(crate) fn log_uncancelled_tasks(waited: Py<PyAny>) -> PyResult<()> {
    Python::attach(|py| {
        let (done, pending) = waited.bind(py).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        for task in pending.try_iter()? {
            tracing::warn!("a background task does not end after its cancellation: {}", task?.repr()?);
        }
        for task in done.try_iter()? {
            let task = task?;
            if has_unretrieved_exception(&task)? {
                let error = PyErr::from_value(task.call_method0("exception")?);
                tracing::error!("a background task ended with {}", describe(py, &error));
            }
        }
        Ok(())
    })
}
