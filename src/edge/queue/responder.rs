//! A request in the queue, its outcome, and the queue that outcomes return by.
//!
//! Made on an I/O thread, answered on the Python thread. Promise: every [`Responder`] is answered exactly once; one
//! that is dropped, because the server stops or a task was destroyed, is answered by that. Caveat: outcomes reach the
//! I/O thread in batches; after [`Responder::complete`] the caller has to call [`CompletionQueue::flush`] or
//! [`CompletionQueue::flush_to_sleeper`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use tokio::sync::{Notify, oneshot};

use super::board::{Board, RequestNumber, Ticket};
use super::request_data::RequestData;
use super::turn_clock::{self, Moment};
use crate::edge::files::response::FileReply;
use crate::edge::http::request_id::RequestId;
use crate::edge::http::rescue::{Failure, Rejection};
use crate::edge::http::response::Body;
use crate::edge::http::upgrade::Upgrade;
use crate::edge::observe::metrics::thread::PluginTimes;
use crate::edge::policy::admission::{Entrance, Permit};

/// A request that was admitted, for the plugin named in it.
pub(crate) struct QueuedRequest {
    /// Id of the plugin that answers.
    pub plugin: Arc<str>,
    /// What the client sent.
    pub request: Box<RequestData>,
    /// Takes the outcome.
    pub responder: Responder,
}

/// What came out of a plugin.
#[derive(Debug)]
pub enum Outcome {
    /// The answer of the plugin; boxed, because it is passed on many times.
    Reply(Box<Reply>),
    /// The handler failed; the client gets a 500 without details that are not its business.
    Failed(Failure),
    /// The host could not run the handler at all.
    Rejected(Rejection),
    /// A file, which the I/O side opens, since it may have to wait for the disk.
    File(Box<FileReply>),
    /// The connection leaves HTTP behind.
    Switched {
        /// Headers of the 101 answer, `Upgrade` and `Connection` among them.
        headers: HeaderMap,
        /// What becomes of the connection.
        upgrade: Upgrade,
    },
}

impl Outcome {
    /// Whether the client gets a status of 500 or more; what comes of a file is not known yet.
    fn is_error(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.status.is_server_error(),
            Self::Failed(_) => true,
            Self::Rejected(rejection) => rejection.status(false).is_server_error(),
            Self::File(_) | Self::Switched { .. } => false,
        }
    }
}

impl Outcome {
    /// Whether the plugin has failed at the request: with 500, or with 504.
    fn is_fault(&self) -> bool {
        let is_fault = |status| matches!(status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT);
        match self {
            Self::Reply(reply) => is_fault(reply.status),
            Self::Failed(_) => true,
            Self::Rejected(rejection) => is_fault(rejection.status(false)),
            Self::File(_) | Self::Switched { .. } => false,
        }
    }
}

/// An answer of a plugin.
#[derive(Debug)]
pub struct Reply {
    /// The status, from 200 to 599.
    pub status: StatusCode,
    /// What stands beside the status, if not the usual phrase.
    pub reason: Option<ReasonPhrase>,
    /// The body's type, unless `headers` names another.
    pub content_type: Option<HeaderValue>,
    /// Headers that the plugin set.
    pub headers: HeaderMap,
    /// The body, whole or as it comes.
    pub body: Body,
}

/// Takes the outcome of one request; holds its permit until then.
pub(crate) struct Responder {
    reply: Option<oneshot::Sender<TimedOutcome>>,
    completions: Arc<CompletionQueue>,
    request_id: RequestId,
    started: bool,
    /// If a time of the request is limited.
    ticket: Option<Ticket>,
    permit: Permit,
    /// Since when it waits.
    queued: Moment,
    /// When it was taken out of the queue.
    taken: Option<Moment>,
}

/// An outcome, and how long it took to come about.
#[derive(Debug)]
pub(crate) struct TimedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// Nothing if no handler was called.
    pub times: Option<PluginTimes>,
}

impl Responder {
    /// A responder whose outcome is delivered on the I/O thread that runs `completions`, and the receiver of it. The
    /// request waits since `queued`.
    pub(crate) fn open(
        completions: Arc<CompletionQueue>,
        permit: Permit,
        request_id: RequestId,
        ticket: Option<Ticket>,
        queued: Moment,
    ) -> (Self, oneshot::Receiver<TimedOutcome>) {
        let (reply, outcome) = oneshot::channel();
        let reply = Some(reply);
        (Self { reply, completions, request_id, started: false, ticket, permit, queued, taken: None }, outcome)
    }

    /// Notes that the request leaves the queue `now`.
    pub(crate) fn take(&mut self, now: Moment) {
        self.taken = Some(now);
    }

    /// How long the request was in the queue and in its handler; nothing if that was not called.
    fn times(&self) -> Option<PluginTimes> {
        let taken = self.taken.filter(|_| self.started)?;
        Some(PluginTimes { queue: taken.since(self.queued), handler: turn_clock::read().since(taken) })
    }

    /// Claims the request for its handler. False if its client has gone or its time in the queue is over: then the
    /// handler must not be called.
    pub(crate) fn claim(&self) -> bool {
        !self.is_abandoned() && self.ticket.is_none_or(|ticket| ticket.claim(&self.completions.board))
    }

    /// The request, if a time of it is limited.
    pub(crate) fn number(&self) -> Option<RequestNumber> {
        self.ticket.map(|ticket| ticket.number)
    }

    /// The id of the request in the log.
    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// True if the outcome is not awaited any more, because the client has gone or has been answered.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Waits until the outcome is not awaited any more; ready at once if there has been one.
    pub(crate) fn poll_abandoned(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.reply.as_mut().map_or(Poll::Ready(()), |reply| reply.poll_closed(context))
    }

    /// True once an outcome has been given.
    pub(crate) fn is_answered(&self) -> bool {
        self.reply.is_none()
    }

    /// Records that the handler runs: if the responder is dropped from now on, the request was cut off (500) and not
    /// left out (503).
    pub(crate) fn start(&mut self) {
        self.started = true;
        self.permit.end_wait();
    }

    /// Answers the request, unless [`Self::begin`] has done so.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.begin(outcome);
    }

    /// Where the request was admitted.
    pub(crate) fn entrance(&self) -> &Arc<Entrance> {
        &self.permit.entrance
    }

    /// Answers the request and keeps its permit, because the body of the answer is still to come.
    pub(crate) fn begin(&mut self, outcome: Outcome) {
        if let Some(reply) = self.reply.take() {
            if outcome.is_error() {
                self.permit.note_failure();
            }
            self.permit.note_outcome(outcome.is_fault());
            let times = self.times();
            self.completions.push(reply, TimedOutcome { outcome, times });
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let outcome = if self.started {
                Outcome::Failed(Failure::Interrupted)
            } else {
                Outcome::Rejected(Rejection::ShuttingDown)
            };
            self.permit.note_failure();
            self.completions.push(reply, TimedOutcome { outcome, times: None });
            self.completions.flush();
        }
    }
}

/// Outcomes on their way to one I/O thread.
#[derive(Default)]
pub(crate) struct CompletionQueue {
    done: Mutex<Vec<(oneshot::Sender<TimedOutcome>, TimedOutcome)>>,
    dirty: AtomicBool,
    /// True while the I/O thread is sure to check `dirty` before it sleeps; false for a thread that does not report
    /// that.
    awake: AtomicBool,
    notify: Notify,
    /// Which of the requests that are to be answered have been claimed.
    board: Board,
}

impl CompletionQueue {
    /// Which of the requests that are to be answered have been claimed.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    fn push(&self, reply: oneshot::Sender<TimedOutcome>, outcome: TimedOutcome) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push((reply, outcome));
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Wakes the I/O thread, once for all outcomes since the last call.
    pub(crate) fn flush(&self) {
        if self.dirty.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// [`Self::flush`], unless the I/O thread is awake: it checks before it sleeps, and to wake it costs a system call.
    /// True if no outcome is left that it has not been woken for.
    pub(crate) fn flush_to_sleeper(&self) -> bool {
        if !self.dirty.load(Ordering::SeqCst) {
            return true;
        }
        // The I/O thread clears `awake` and then reads `dirty`; here `dirty` was set before `awake` is read, so that at
        // least one of the two threads sees the other's change.
        let asleep = !self.awake.load(Ordering::SeqCst);
        if asleep {
            self.flush();
        }
        asleep
    }

    /// Called by the I/O thread while it is awake, to collect outcomes that have come.
    pub(crate) fn look(&self) {
        if self.dirty.load(Ordering::Relaxed) {
            self.flush();
        }
    }

    /// Called by the I/O thread before it sleeps.
    pub(crate) fn fall_asleep(&self) {
        self.awake.store(false, Ordering::SeqCst);
        self.flush();
    }

    /// Called by the I/O thread when it wakes; it is awake until it calls [`Self::fall_asleep`].
    pub(crate) fn wake_up(&self) {
        self.awake.store(true, Ordering::SeqCst);
        turn_clock::forget();
    }

    /// Delivers outcomes as they come; runs on the I/O thread for as long as it serves.
    pub(crate) async fn run(&self) {
        let mut batch = Vec::new();
        loop {
            self.notify.notified().await;
            turn_clock::forget();
            std::mem::swap(&mut batch, &mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
            for (reply, outcome) in batch.drain(..) {
                // The receiver is gone when the client is: then the outcome has nowhere to go.
                let _ = reply.send(outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::policy::admission::{Entrance, Limit, admit};

    fn responder(completions: &Arc<CompletionQueue>) -> (Responder, oneshot::Receiver<TimedOutcome>) {
        let permit = admit(&Limit::new(1), &Entrance::new(Limit::new(1))).expect("a free place");
        Responder::open(Arc::clone(completions), permit, RequestId::fresh(), None, turn_clock::read())
    }

    #[tokio::test]
    async fn a_dropped_responder_is_answered_by_how_far_its_request_came() {
        let completions = Arc::new(CompletionQueue::default());
        let (waiting, unavailable) = responder(&completions);
        let (mut running, interrupted) = responder(&completions);
        running.start();
        drop((waiting, running));
        let answers = async { (unavailable.await, interrupted.await) };
        tokio::select! {
            () = completions.run() => unreachable!("it runs for ever"),
            (first, second) = answers => {
                let outcome = |answer: Result<TimedOutcome, _>| answer.unwrap().outcome;
                assert!(matches!(outcome(first), Outcome::Rejected(Rejection::ShuttingDown)));
                assert!(matches!(outcome(second), Outcome::Failed(Failure::Interrupted)));
            }
        }
    }

    #[test]
    fn a_responder_whose_client_left_is_abandoned() {
        let (responder, outcome) = responder(&Arc::default());
        assert!(!responder.is_abandoned());
        drop(outcome);
        assert!(responder.is_abandoned());
    }
}
