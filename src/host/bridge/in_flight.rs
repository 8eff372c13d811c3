//! The calls inside one plugin: how many there are, and an event when the last one has ended.
//!
//! Runs on the Python thread; a call may also end on another one, whose garbage collector found its task. Promise: a
//! call counts from its beginning until its [`Guard`] is dropped, and a future that [`InFlight::idle`] gave is resolved
//! as soon as there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use super::channel::CloseSignal;
use super::locked::Locked;

/// Set in [`InFlight::calls`] while a future waits for the last call, so that the end of a call costs one comparison.
const AWAITED: usize = 1 << (usize::BITS - 1);

/// The calls inside one plugin instance.
#[derive(Default)]
pub(crate) struct InFlight {
    /// The number of calls, with [`AWAITED`].
    calls: Arc<AtomicUsize>,
    /// The asyncio futures to resolve when the last call has ended.
    waiting: Locked<Vec<Py<PyAny>>>,
    closing: Arc<CloseSignal>,
}

/// One call inside a plugin; it has ended when this is dropped.
pub(super) struct Guard(Arc<InFlight>);

impl InFlight {
    /// Counts a call until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Guard {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Guard(Arc::clone(self))
    }

    /// The number of calls, for others to read.
    pub(crate) fn gauge(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.calls)
    }

    /// A future of the running event loop that is resolved when no call is inside any more; `None` if none is now.
    ///
    /// # Errors
    /// When no event loop is running.
    pub(crate) fn idle<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.calls.load(Ordering::Acquire) & !AWAITED == 0 {
            return Ok(None);
        }
        let event_loop = py.import(intern!(py, "asyncio"))?.call_method0(intern!(py, "get_running_loop"))?;
        let future = event_loop.call_method0(intern!(py, "create_future"))?;
        let waiting = future.clone().unbind();
        self.waiting.with(|futures| futures.push(waiting));
        if self.calls.fetch_or(AWAITED, Ordering::AcqRel) & !AWAITED == 0 {
            // The last one has ended meanwhile, on another thread.
            self.announce_idle();
        }
        Ok(Some(future))
    }

    /// Ends long-lived responses, so that the calls which send them end.
    ///
    /// # Errors
    /// What a watcher of a channel raised.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.closing.announce(py)
    }

    /// Resolves the futures that wait.
    #[cold]
    fn announce_idle(&self) {
        self.calls.fetch_and(!AWAITED, Ordering::AcqRel);
        let futures = self.waiting.take();
        // While the interpreter ends, no loop runs that could wait.
        Python::try_attach(|py| {
            for future in futures {
                if let Err(error) = resolve(future.bind(py)) {
                    tracing::debug!("the end of a plugin's last request cannot be announced: {error}");
                }
            }
        });
    }
}

/// Has the loop of `future` resolve it; this may be another thread.
fn resolve(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    let event_loop = future.call_method0(intern!(py, "get_loop"))?;
    let set_result = future.getattr(intern!(py, "set_result"))?;
    event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (set_result, py.None())).map(drop)
}

impl Guard {
    /// The signal that long-lived responses of the plugin are to end.
    pub(super) fn closing(&self) -> &Arc<CloseSignal> {
        &self.0.closing
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == AWAITED | 1 {
            self.0.announce_idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use pyo3::types::{PyCFunction, PyDict};

    use super::*;

    #[test]
    fn the_end_of_the_last_call_resolves_a_future() {
        Python::initialize();
        Python::attach(|py| {
            let in_flight = Arc::new(InFlight::default());
            let guards = Locked::new(vec![in_flight.enter(), in_flight.enter()]);
            let idle = move |arguments: &Bound<'_, pyo3::types::PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                in_flight.idle(arguments.py()).map(|future| future.map(Bound::unbind))
            };
            let end = move |_: &Bound<'_, pyo3::types::PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                drop(guards.with(Vec::pop));
            };
            let names = PyDict::new(py);
            names.set_item("idle", PyCFunction::new_closure(py, None, None, idle).unwrap()).unwrap();
            names.set_item("end", PyCFunction::new_closure(py, None, None, end).unwrap()).unwrap();
            py.run(
                c"
import asyncio
async def main():
    futures = idle(), idle()
    end()
    await asyncio.sleep(0)
    assert not any(future.done() for future in futures)
    end()
    await asyncio.wait_for(asyncio.gather(*futures), 5)
    assert idle() is None
asyncio.run(main())
",
                Some(&names),
                None,
            )
            .inspect_err(|error| error.display(py))
            .unwrap();
        });
    }
}
