//! The signal to drain: accept no more connections and let each one finish its current or next request.
//!
//! May be used on any thread: one [`Trigger`] starts the drain, any number of [`Drain`]s wait for it. Caveat: a drain
//! has no deadline; the caller of [`serve`](super::connection::serve) sets one by dropping that future.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::unconstrained;

/// What becomes of clients that have no request in the server when it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrainKind {
    /// How long a connection without a request waits for one, and for its TLS handshake before that. Its answer says
    /// that the connection ends. A request may be on its way already: closing at once would lose it, although the
    /// client did nothing wrong.
    pub idle_grace: Duration,
    /// Whether connections that wait to be accepted are left to the process that listens next.
    pub has_successor: bool,
}

impl DrainKind {
    /// Before the end of the server.
    pub(crate) const STOP: Self = Self { idle_grace: Duration::from_millis(250), has_successor: false };
    /// Before the server starts again.
    pub(crate) const RESTART: Self = Self { has_successor: true, ..Self::STOP };
    /// When another process serves already, so that nobody waits for the end.
    pub(crate) const HAND_OVER: Self = Self { idle_grace: Duration::from_secs(1), has_successor: true };
}

/// How long after a drain's idle grace the rest of a head may take of which a part has arrived, and then the client's
/// end of the connection: a client that does nothing more must not delay the end of the server.
pub(super) const LAST_GRACE: Duration = Duration::from_secs(1);

/// Makes a trigger and the signal that follows it.
pub(crate) fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Drain(receiver))
}

/// Starts the drain. Dropping it starts the drain as well, since nothing else could start it then.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<Option<DrainKind>>);

impl Trigger {
    /// Starts the drain; there is no way back, and starting twice is harmless: the first kind counts.
    pub(crate) fn start(&self, kind: DrainKind) {
        self.0.send_if_modified(|started| started.is_none() && started.replace(kind).is_none());
    }
}

/// The receiving end of the signal; clone it for every listener and connection.
#[derive(Clone, Debug)]
pub(crate) struct Drain(watch::Receiver<Option<DrainKind>>);

impl Drain {
    /// The kind of the drain that has started, or a stop.
    pub(crate) fn kind(&self) -> DrainKind {
        self.0.borrow().unwrap_or(DrainKind::STOP)
    }

    /// Waits for the start; returns at once when draining has started already. Safe to drop and call again.
    ///
    /// Cheap to poll before the start: a connection does so at each of its requests.
    pub(crate) async fn started(&mut self) {
        let current = self.0.clone();
        // Unconstrained, so that it is registered whenever it has been polled.
        let mut start = pin!(unconstrained(self.0.wait_for(Option::is_some)));
        let mut registered: Option<Waker> = None;
        poll_fn(|cx| {
            let is_registered = registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if is_registered && matches!(current.has_changed(), Ok(false)) {
                return Poll::Pending;
            }
            // An error means that the trigger is gone, which counts as a start.
            let polled = start.as_mut().poll(cx).map(drop);
            registered = Some(cx.waker().clone());
            polled
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{DrainKind, channel};

    #[test]
    fn every_clone_receives_the_signal() {
        let (trigger, drain) = channel();
        let mut clone = drain.clone();
        assert!(pin!(clone.started()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        trigger.start(DrainKind::STOP);
        assert_eq!(Poll::Ready(()), pin!(clone.started()).poll(&mut Context::from_waker(Waker::noop())));
    }

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_waker_of_the_last_poll_is_woken() {
        let (trigger, mut drain) = channel();
        let (first, last) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let mut started = pin!(drain.started());
        for bell in [&first, &first, &last, &last] {
            let waker = Waker::from(Arc::clone(bell));
            assert!(started.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        trigger.start(DrainKind::STOP);
        assert_eq!((0, 1), (first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)));
        assert_eq!(Poll::Ready(()), started.poll(&mut Context::from_waker(Waker::noop())));
    }

    #[test]
    fn a_dropped_trigger_starts_the_drain() {
        let (trigger, mut drain) = channel();
        assert!(pin!(drain.started()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(trigger);
        assert_eq!(Poll::Ready(()), pin!(drain.started()).poll(&mut Context::from_waker(Waker::noop())));
    }
}
