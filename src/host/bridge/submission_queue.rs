//! The queue from the I/O threads to the Python thread.
//!
//! Filled on any thread, emptied on the Python thread. Promise: what is put in is seen by the consumer without a lost
//! wake-up, and one wake-up serves any number of requests. A wake-up is a system call that makes a descriptor readable,
//! which the event loop watches; it is made only while the consumer sleeps. Caveat: there is one consumer; the queue
//! itself has no bound, [`admission`](crate::edge::policy::admission) bounds what enters.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::edge::queue::responder::QueuedRequest;

/// Work for the thread that takes requests from the queue, which is not a request itself: reload, stop.
pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// Requests and callbacks on their way to the Python thread.
pub(crate) struct SubmissionQueue {
    queue: Mutex<Queue>,
    /// True while the consumer sleeps, that is while a producer has to wake it.
    idle: AtomicBool,
    wake: Wake,
    /// How often the consumer has begun to look.
    turns: AtomicU64,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<QueuedRequest>,
    callbacks: Vec<Callback>,
    closed: bool,
}

impl SubmissionQueue {
    /// An empty queue whose consumer is asleep.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), idle: AtomicBool::new(true), wake: Wake::new()?, turns: AtomicU64::new(0) })
    }

    /// The descriptor that is readable when there is something to take.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.wake.raw_fd()
    }

    /// Moves all `requests` into the queue. Once the queue is closed they are dropped, which answers them with 503.
    pub(crate) fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            requests.clear();
            return;
        }
        queue.requests.extend(requests.drain(..));
        drop(queue);
        self.wake_if_idle();
    }

    /// Has `callback` run on the Python thread. Once the queue is closed it is dropped instead.
    pub(crate) fn send(&self, callback: Callback) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.callbacks.push(callback);
        }
        drop(queue);
        self.wake_if_idle();
    }

    /// Refuses everything from now on and drops what waits, which answers it with 503.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut *queue);
        queue.closed = true;
        drop(queue);
        drop(waiting);
    }

    /// Takes everything that waits: requests to the end of `requests`, callbacks as the result.
    pub(crate) fn take(&self, requests: &mut VecDeque<QueuedRequest>) -> Vec<Callback> {
        let mut queue = self.lock();
        if requests.is_empty() {
            std::mem::swap(requests, &mut queue.requests);
        } else {
            requests.append(&mut queue.requests);
        }
        std::mem::take(&mut queue.callbacks)
    }

    /// The consumer is about to look: no producer needs to wake it until it is [`Self::fall_asleep`].
    pub(crate) fn wake_up(&self) {
        // Only the consumer counts.
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.idle.store(false, Ordering::SeqCst);
        self.wake.clear();
    }

    /// The consumer wants to sleep. False when something came in meanwhile, so that it has to look again.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.idle.store(true, Ordering::SeqCst);
        // Looking again after arming closes the gap in which a producer saw a consumer that was still awake.
        let queue = self.lock();
        let empty = queue.requests.is_empty() && queue.callbacks.is_empty();
        drop(queue);
        empty || !self.idle.swap(false, Ordering::SeqCst)
    }

    /// The consumer yields with work left: the loop must call it again after its timers.
    pub(crate) fn rearm(&self) {
        self.wake.set();
    }

    /// How often the consumer has begun to look; for any thread.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Has the consumer look, whether or not there is something to take.
    pub(super) fn wake(&self) {
        self.wake_if_idle();
    }

    fn wake_if_idle(&self) {
        if self.idle.swap(false, Ordering::SeqCst) {
            self.wake.set();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing can panic half-way through a change of the queue, so a poisoned one is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor that the event loop watches and any thread can make readable; it stays so from [`Wake::set`] until
/// [`Wake::clear`], neither of which ever blocks. On Linux both ends are one eventfd.
struct Wake {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Wake {
    /// Opens a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    #[cfg(target_os = "linux")]
    fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self { read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Opens a descriptor that is not readable yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    #[cfg(not(target_os = "linux"))]
    fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for end in [&read, &write] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Self { read, write })
    }

    /// The descriptor to watch for reading.
    fn raw_fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    /// Makes the descriptor readable.
    fn set(&self) {
        #[cfg(target_os = "linux")]
        let (end, token) = (&self.read, 1u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (end, token) = (&self.write, [1u8]);
        // The only failure left is "would block": the counter or the pipe is full, so it is readable already.
        let _ = rustix::io::write(end, &token);
    }

    /// Makes the descriptor unreadable again.
    fn clear(&self) {
        let mut sink = [0u8; 8];
        while matches!(rustix::io::read(&self.read, &mut sink), Ok(n) if n == sink.len() && cfg!(not(target_os = "linux")))
        {
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(wake: &Wake) -> bool {
        let mut fds = [PollFd::new(&wake.read, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polling one descriptor") == 1
    }

    #[test]
    fn stays_readable_from_the_first_set_until_cleared() {
        let wake = Wake::new().expect("a descriptor");
        assert!(!readable(&wake));
        wake.set();
        wake.set();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
    }
}
