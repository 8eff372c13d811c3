//! The Python end of a response that is sent piece by piece, and of a connection that has been upgraded.
//!
//! Runs on the Python thread; the I/O thread holds the other end. Promise: writing never blocks the loop; the writer
//! can see that the client is slow, and that it has disconnected, and is called on the loop when either changes.
//! Caveat: this is a mechanism; what to do with a slow client is decided by the Python code that holds the channel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods, PyWeakrefReference};

use super::locked::Locked;
use super::submission_queue::SubmissionQueue;
use crate::edge::http::pipe::{Reader, Writer};

/// What goes to the client.
pub(crate) struct BodySender {
    writer: Writer,
    waker: Waker,
}

impl BodySender {
    fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// The answer is complete.
    pub(crate) fn finish(&self) {
        self.writer.finish();
    }

    /// The answer ends here although it is not complete; the client sees a broken connection.
    pub(crate) fn abort(&self) {
        self.writer.abort();
    }

    /// True once the answer has come to its end, complete or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.writer.has_ended()
    }

    /// True when the client does not read any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.writer.poll_gone(&self.context()).is_ready()
    }
}

/// The reading end of an answer that has not begun. A client that leaves before that takes it away, so that whoever
/// prepares the answer learns of it as of one who leaves later.
pub(crate) struct PendingBody(Mutex<Option<Reader>>);

impl PendingBody {
    /// Keeps `reader`.
    pub(crate) fn new(reader: Reader) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(reader))))
    }

    /// Takes it out, to send what comes out of it; `None` when the client is gone.
    pub(crate) fn take(&self) -> Option<Reader> {
        // Only replaced under the lock, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Wake for PendingBody {
    fn wake(self: Arc<Self>) {
        drop(self.take());
    }
}

/// Whether answers without an end are asked to end, because their plugin is on its way out.
#[derive(Default)]
pub(crate) struct CloseSignal(AtomicBool);

impl CloseSignal {
    /// True once they have been asked.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Asks those that are open, and has those that open later find it so.
    ///
    /// # Errors
    /// What a watcher raised; the others have been called all the same.
    pub(crate) fn announce(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.0.store(true, Ordering::Release);
        let references: Vec<_> =
            OPEN.with_references(py, |open, references| open.values().map(|known| references.again(known)).collect());
        let mut result = Ok(());
        for channel in references.iter().filter_map(|reference| reference.bind(py).upgrade()) {
            let channel = channel.cast::<Channel>()?.get();
            if Arc::ptr_eq(&channel.closing, self) {
                result = result.and(channel.notify_watcher(py));
            }
        }
        result
    }
}

/// An answer under way, or a connection after its upgrade.
///
/// `watch` names a callable that is run on the event loop whenever there may be news: room after `has_room()` was
/// false, bytes after `receive()` gave `None`, the client is gone, or the plugin is on its way out.
#[pyclass(frozen, weakref, module = "plugincore._core")]
pub struct Channel {
    id: u64,
    down: Arc<BodySender>,
    up: Option<Locked<Reader>>,
    watcher: Locked<Option<Py<PyAny>>>,
    closing: Arc<CloseSignal>,
}

impl Channel {
    /// A channel that writes to `writer` and, after an upgrade, reads from `up`.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn open<'py>(
        py: Python<'py>,
        submissions: &Arc<SubmissionQueue>,
        writer: Writer,
        up: Option<Reader>,
        closing: &Arc<CloseSignal>,
    ) -> PyResult<(Bound<'py, Self>, Arc<BodySender>)> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let waker = Waker::from(Arc::new(ChannelWaker {
            submissions: Arc::clone(submissions),
            id,
            on_its_way: AtomicBool::new(false),
        }));
        let down = Arc::new(BodySender { writer, waker });
        let (up, closing) = (up.map(Locked::new), Arc::clone(closing));
        let channel = Self { id, down: Arc::clone(&down), up, watcher: Locked::default(), closing };
        let channel = Bound::new(py, channel)?;
        let reference = PyWeakrefReference::new(&channel)?.unbind();
        let earlier = OPEN.with(|open| open.insert(id, reference));
        debug_assert!(earlier.is_none(), "each channel has an id of its own");
        Ok((channel, down))
    }

    fn notify_watcher(&self, py: Python<'_>) -> PyResult<()> {
        let watcher = self
            .watcher
            .with_references(py, |watcher, references| watcher.as_ref().map(|known| references.again(known)));
        watcher.map_or(Ok(()), |watcher| watcher.call0(py).map(drop))
    }
}

#[pymethods]
impl Channel {
    /// Send bytes, or anything with a buffer; `ConnectionResetError` when the client is gone.
    ///
    /// They are queued whether the client keeps up or not: ask `has_room()` before the next piece.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let piece = match data.cast::<PyBytes>() {
            Ok(bytes) => Bytes::copy_from_slice(bytes.as_bytes()),
            Err(_) => Bytes::from(PyBuffer::<u8>::get(data)?.to_vec(data.py())?),
        };
        self.down.writer.write(piece).map_err(|gone| PyConnectionResetError::new_err(gone.to_string()))
    }

    /// Return whether more should be written now.
    fn has_room(&self) -> bool {
        self.down.writer.poll_room(&self.down.context()).is_ready()
    }

    /// Return whether the client is gone.
    fn is_gone(&self) -> bool {
        self.down.is_gone()
    }

    /// Return whether an answer without an end should end now: the server stops, or the plugin is reloaded or removed.
    fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    /// Return what the client has sent after an upgrade: bytes, `None` when nothing waits, `b""` after the end.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(up) = &self.up else {
            return Err(PyRuntimeError::new_err("the connection still speaks HTTP"));
        };
        let piece = up.with(|up| up.poll_next(&self.down.context()));
        Ok(match piece {
            Poll::Ready(Some(Ok(piece))) => Some(PyBytes::new(py, &piece)),
            Poll::Ready(Some(Err(_)) | None) => Some(PyBytes::new(py, b"")),
            Poll::Pending => None,
        })
    }

    /// Call `watcher()` on the event loop when there may be news; `None` ends it.
    fn watch(&self, watcher: Option<Py<PyAny>>) {
        drop(self.watcher.replace(watcher));
    }

    /// End the answer: it is complete.
    fn finish(&self) {
        self.down.finish();
    }

    /// End the answer although it is not complete: the client sees a broken connection.
    fn abort(&self) {
        self.down.abort();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.watcher.traverse(|watcher| visit.call(watcher))
    }

    fn __clear__(&self) {
        self.watch(None);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        drop(OPEN.with(|open| open.remove(&self.id)));
    }
}

/// By id, because the I/O threads, which report changes, may hold no Python object.
static OPEN: Locked<BTreeMap<u64, Py<PyWeakrefReference>>> = Locked::new(BTreeMap::new());

/// Has the Python thread look at a channel.
struct ChannelWaker {
    submissions: Arc<SubmissionQueue>,
    id: u64,
    on_its_way: AtomicBool,
}

impl Wake for ChannelWaker {
    fn wake(self: Arc<Self>) {
        if self.on_its_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let knock = Arc::clone(&self);
        self.submissions.send(Box::new(move || {
            // First this and then the look, or news that come between would be lost.
            knock.on_its_way.store(false, Ordering::Release);
            Python::attach(|py| {
                if let Err(error) = look(py, knock.id) {
                    error.write_unraisable(py, None);
                }
            });
        }));
    }
}

fn look(py: Python<'_>, id: u64) -> PyResult<()> {
    let reference = OPEN.with_references(py, |open, references| open.get(&id).map(|known| references.again(known)));
    let Some(channel) = reference.and_then(|reference| reference.bind(py).upgrade()) else { return Ok(()) };
    channel.cast::<Channel>()?.get().notify_watcher(py)
}
