//! The requests of one I/O thread that plugins have not answered yet, and the ends of their times: `queue_time` until
//! the handler is called, `handler_time` until it answers.
//!
//! Local to its I/O thread; the Python thread claims a request on the [`board`](super::board) before it calls the
//! handler. Promise: a request whose time in the queue is over is answered while Python is blocked, and its handler is
//! never called; no request is cut off before its time. There is no timer and no lock for a request: a sweep looks at
//! all of them, ten times within the shortest time, and only while there are any. Caveat: a request may so get a fifth
//! more than its time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::backend::Backend;
use super::board::{RequestNumber, Ticket};
use super::responder::{CompletionQueue, Outcome, TimedOutcome};
use crate::edge::http::rescue::{Failure, Rejection};
use crate::edge::routing::Endpoint;

/// How often the sweep looks within the shortest time.
const LOOKS: u32 = 10;

const SHORTEST_PERIOD: Duration = Duration::from_millis(5);
const LONGEST_PERIOD: Duration = Duration::from_millis(250);

/// A request that has not been answered. It is small, since most are answered before a sweep sees them.
struct Entry {
    number: RequestNumber,
    endpoint: Arc<Endpoint>,
    waker: Option<Waker>,
    seen: Option<Box<Seen>>,
}

/// What sweeps have seen of a request.
#[derive(Default)]
struct Seen {
    /// When it was first seen in the queue.
    queued: Option<Instant>,
    /// When it was first seen in its handler.
    begun: Option<Instant>,
    /// What it is answered with, since its time is over.
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy)]
enum Verdict {
    QueueTime,
    HandlerTime(Duration),
}

impl Entry {
    fn verdict(&self) -> Option<Verdict> {
        self.seen.as_ref()?.verdict
    }
}

/// The requests of the current thread.
pub(crate) struct Outstanding {
    completions: Arc<CompletionQueue>,
    entries: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    next: Cell<u64>,
    /// The shortest time of those that are there, or were since there was none.
    shortest: Cell<Duration>,
    /// Whether the sweep sleeps until there is a request.
    is_resting: Cell<bool>,
    changed: Notify,
}

impl Outstanding {
    /// For the current thread, to which outcomes come by `completions`.
    pub(crate) fn new(completions: Arc<CompletionQueue>) -> Rc<Self> {
        let next = Cell::new(completions.board().first);
        Rc::new(Self {
            completions,
            entries: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            next,
            shortest: Cell::new(Duration::MAX),
            is_resting: Cell::new(false),
            changed: Notify::new(),
        })
    }

    /// Adds a request to `endpoint`; nothing if no time of it is limited.
    pub(crate) fn enter(self: &Rc<Self>, endpoint: Arc<Endpoint>) -> Option<Place> {
        let shortest = endpoint.shortest_time?;
        let number = RequestNumber(self.next.get());
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| self.entries.borrow().len());
        let word = self.completions.board().place(place)?;
        // It reaches the Python thread with the request, under the lock of the queue.
        word.store(number.waiting(), Ordering::Relaxed);
        self.next.set(number.0 + 1);
        let entry = Entry { number, endpoint, waker: None, seen: None };
        let mut entries = self.entries.borrow_mut();
        match entries.get_mut(place) {
            Some(free) => *free = Some(entry),
            None => entries.push(Some(entry)),
        }
        self.count.set(self.count.get() + 1);
        if shortest < self.shortest.get() {
            self.shortest.set(shortest);
            self.changed.notify_one();
        } else if self.is_resting.replace(false) {
            self.changed.notify_one();
        }
        Some(Place { outstanding: Rc::clone(self), ticket: Ticket { number, place } })
    }

    /// Looks after the times of the requests for as long as the thread serves.
    pub(crate) async fn run<B: Backend>(&self, backend: &B) {
        loop {
            if self.count.get() == 0 {
                self.shortest.set(Duration::MAX);
                self.is_resting.set(true);
                self.changed.notified().await;
                self.is_resting.set(false);
            }
            let period = (self.shortest.get() / LOOKS).clamp(SHORTEST_PERIOD, LONGEST_PERIOD);
            // Ends earlier when a request with a shorter time comes.
            let _ = tokio::time::timeout(period, self.changed.notified()).await;
            let overdue = self.sweep(Instant::now());
            if !overdue.is_empty() {
                backend.cancel(overdue);
            }
        }
    }

    /// Ends the requests whose time is over; returns those whose handlers run.
    fn sweep(&self, now: Instant) -> Vec<RequestNumber> {
        let (board, mut overdue) = (self.completions.board(), Vec::new());
        for (place, entry) in self.entries.borrow_mut().iter_mut().enumerate() {
            let (Some(entry), Some(word)) = (entry, board.place(place)) else { continue };
            let settings = &entry.endpoint.settings;
            let (waiting, claimed) = (entry.number.waiting(), entry.number.claimed());
            let state = word.load(Ordering::Relaxed);
            let seen = entry.seen.get_or_insert_default();
            if state == waiting
                && let Some(limit) = settings.queue_time
            {
                let since = *seen.queued.get_or_insert(now);
                let is_over = now - since >= limit;
                if is_over && word.compare_exchange(waiting, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    seen.verdict = Some(Verdict::QueueTime);
                }
            } else if state == claimed
                && let Some(limit) = settings.handler_time
            {
                let since = *seen.begun.get_or_insert(now);
                if now - since >= limit && seen.verdict.is_none() {
                    seen.verdict = Some(Verdict::HandlerTime(limit));
                    overdue.push(entry.number);
                }
            }
            if seen.verdict.is_some()
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
        overdue
    }
}

/// The place of a request among those that are not answered; free again when dropped.
pub(crate) struct Place {
    outstanding: Rc<Outstanding>,
    /// For the Python thread.
    pub ticket: Ticket,
}

impl Place {
    /// What the request is answered with, if its time is over.
    fn verdict(&self) -> Option<Verdict> {
        let entries = self.outstanding.entries.borrow();
        entries.get(self.ticket.place)?.as_ref()?.verdict()
    }

    /// Has `waker` woken when the time of the request is over.
    fn wake_when_over(&self, waker: &Waker) {
        let mut entries = self.outstanding.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(self.ticket.place).and_then(Option::as_mut)
            && !entry.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            entry.waker = Some(waker.clone());
        }
    }

    fn plugin(&self) -> Option<Arc<str>> {
        let entries = self.outstanding.entries.borrow();
        entries.get(self.ticket.place)?.as_ref().map(|entry| Arc::clone(entry.endpoint.id()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let outstanding = &self.outstanding;
        if let Some(word) = outstanding.completions.board().place(self.ticket.place) {
            word.store(0, Ordering::Relaxed);
        }
        // Dropped when the entries are borrowed no more: it is what an endpoint hangs on.
        let entry = outstanding.entries.borrow_mut().get_mut(self.ticket.place).and_then(Option::take);
        drop(entry);
        outstanding.free.borrow_mut().push(self.ticket.place);
        outstanding.count.set(outstanding.count.get() - 1);
    }
}

/// The outcome of a request, or the end of its time.
pub(crate) struct Awaited {
    outcome: oneshot::Receiver<TimedOutcome>,
    place: Option<Place>,
}

impl Awaited {
    /// Awaits `outcome`, as long as `place` allows it.
    pub(crate) fn new(outcome: oneshot::Receiver<TimedOutcome>, place: Option<Place>) -> Self {
        Self { outcome, place }
    }

    /// Id of the plugin, for the log, if a time of the request is limited.
    pub(crate) fn plugin(&self) -> Option<Arc<str>> {
        self.place.as_ref().and_then(Place::plugin)
    }
}

impl Future for Awaited {
    type Output = TimedOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TimedOutcome> {
        let untimed = |outcome| TimedOutcome { outcome, times: None };
        // First, since a handler that is cancelled for it may answer before this is polled.
        match self.place.as_ref().and_then(Place::verdict) {
            None => {}
            Some(Verdict::QueueTime) => return Poll::Ready(untimed(Outcome::Rejected(Rejection::Congested))),
            Some(Verdict::HandlerTime(limit)) => {
                return Poll::Ready(untimed(Outcome::Failed(Failure::Overdue { limit })));
            }
        }
        if let Poll::Ready(outcome) = Pin::new(&mut self.outcome).poll(context) {
            // The sender answers even when it is dropped; an error is left only when this thread itself ends.
            return Poll::Ready(outcome.unwrap_or_else(|_| untimed(Outcome::Rejected(Rejection::ShuttingDown))));
        }
        if let Some(place) = &self.place {
            place.wake_when_over(context.waker());
        }
        Poll::Pending
    }
}
