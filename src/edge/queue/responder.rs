//! One request on its way through Python and back: the job, the outcome, and the way home.
//!
//! Promise: every [`Responder`] is answered exactly once. If it is dropped on the way, because the server stops or a
//! task was destroyed, that is an answer too. Caveat: outcomes reach the I/O thread in batches; after
//! [`Responder::complete`] the caller has to call [`CompletionQueue::flush`] or [`CompletionQueue::flush_to_sleeper`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use tokio::sync::{Notify, oneshot};

use super::request_data::RequestData;
use crate::edge::files::response::FileReply;
use crate::edge::http::request_id::RequestId;
use crate::edge::http::rescue::{Failure, Rejection};
use crate::edge::http::response::Body;
use crate::edge::http::upgrade::Upgrade;
use crate::edge::policy::admission::Permit;

/// A request that was admitted, for the plugin named in it.
pub(crate) struct QueuedRequest {
    /// Id of the plugin that answers.
    pub plugin: Arc<str>,
    /// What the client sent.
    pub request: Box<RequestData>,
    /// The way home.
    pub responder: Responder,
}

/// What came out of a plugin.
#[derive(Debug)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
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

/// An answer of a plugin.
#[derive(Debug)]
pub struct Reply {
    /// 200 to 599.
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

/// The way home of one request; holds its permit until it is answered.
pub(crate) struct Responder {
    reply: Option<oneshot::Sender<Outcome>>,
    completions: Arc<CompletionQueue>,
    request_id: RequestId,
    started: bool,
    _permit: Permit,
}

impl Responder {
    /// Opens an responder whose outcome is fulfilled on the I/O thread that runs `completions`.
    pub(crate) fn open(
        completions: Arc<CompletionQueue>,
        permit: Permit,
        request_id: RequestId,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        (Self { reply: Some(reply), completions, request_id, started: false, _permit: permit }, outcome)
    }

    /// The name of the request in the log.
    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// True when nobody waits for the outcome any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Waits until nobody waits for the outcome any more; at once when there is one already.
    pub(crate) fn poll_abandoned(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.reply.as_mut().map_or(Poll::Ready(()), |reply| reply.poll_closed(context))
    }

    /// True once an outcome has been given.
    pub(crate) fn is_answered(&self) -> bool {
        self.reply.is_none()
    }

    /// From here on, being dropped means that the handler was cut off rather than never run.
    pub(crate) fn start(&mut self) {
        self.started = true;
    }

    /// Answers the request, unless it has been begun to answer already.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.begin(outcome);
    }

    /// Answers the request and keeps its place, because the answer is the beginning of a longer one.
    pub(crate) fn begin(&mut self, outcome: Outcome) {
        if let Some(reply) = self.reply.take() {
            self.completions.push(reply, outcome);
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
            self.completions.push(reply, outcome);
            self.completions.flush();
        }
    }
}

/// Outcomes on their way to one I/O thread.
#[derive(Default)]
pub(crate) struct CompletionQueue {
    done: Mutex<Vec<(oneshot::Sender<Outcome>, Outcome)>>,
    dirty: AtomicBool,
    /// True while the I/O thread is known to look at `dirty` before it sleeps; false for one that says nothing about it.
    awake: AtomicBool,
    notify: Notify,
}

impl CompletionQueue {
    fn push(&self, reply: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push((reply, outcome));
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Tells the I/O thread, once for all outcomes since the last time.
    pub(crate) fn flush(&self) {
        if self.dirty.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// [`Self::flush`], unless the I/O thread is awake: it looks here before it sleeps, and to wake it costs a system
    /// call. True if nothing is left to be told.
    pub(crate) fn flush_to_sleeper(&self) -> bool {
        if !self.dirty.load(Ordering::SeqCst) {
            return true;
        }
        // The I/O thread says that it sleeps and then looks; here it is the other way round, so one of both sees it.
        let asleep = !self.awake.load(Ordering::SeqCst);
        if asleep {
            self.flush();
        }
        asleep
    }

    /// The I/O thread looks what has come, as it does now and then while it is awake.
    pub(crate) fn look(&self) {
        if self.dirty.load(Ordering::Relaxed) {
            self.flush();
        }
    }

    /// The I/O thread is about to sleep.
    pub(crate) fn fall_asleep(&self) {
        self.awake.store(false, Ordering::SeqCst);
        self.flush();
    }

    /// The I/O thread is awake, until it calls [`Self::fall_asleep`].
    pub(crate) fn wake_up(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// Fulfils outcomes as they come; runs on the I/O thread for as long as it serves.
    pub(crate) async fn run(&self) {
        let mut batch = Vec::new();
        loop {
            self.notify.notified().await;
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
    use crate::edge::policy::admission::{Limit, admit};

    fn responder(completions: &Arc<CompletionQueue>) -> (Responder, oneshot::Receiver<Outcome>) {
        let permit = admit(&Limit::new(1), &Limit::new(1)).expect("a free place");
        Responder::open(Arc::clone(completions), permit, RequestId::fresh())
    }

    #[tokio::test]
    async fn a_dropped_exchange_is_answered_by_how_far_it_came() {
        let completions = Arc::new(CompletionQueue::default());
        let (waiting, unavailable) = responder(&completions);
        let (mut running, interrupted) = responder(&completions);
        running.start();
        drop((waiting, running));
        let answers = async { (unavailable.await, interrupted.await) };
        tokio::select! {
            () = completions.run() => unreachable!("it runs for ever"),
            (first, second) = answers => {
                assert!(matches!(first, Ok(Outcome::Rejected(Rejection::ShuttingDown))));
                assert!(matches!(second, Ok(Outcome::Failed(Failure::Interrupted))));
            }
        }
    }

    #[test]
    fn an_exchange_whose_client_left_is_abandoned() {
        let (responder, outcome) = responder(&Arc::default());
        assert!(!responder.is_abandoned());
        drop(outcome);
        assert!(responder.is_abandoned());
    }
}
