//! A timer for a connection's timeouts, of which one starts with each request and nearly none expires.
//!
//! Runs on the I/O threads. hyper makes a timeout for each head that it waits for and drops it when the head has
//! arrived. Promise: a timeout expires at its deadline and not before. All timeouts of a connection share one timer of
//! the runtime, which is not reset as long as it fires early enough; when it fires too early, it is set once more. So
//! an idle connection wakes once before its timeout expires. Caveat: all timeouts of a timer must be awaited by the
//! same task.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Makes the time-outs of one connection; to be used inside a tokio runtime.
#[derive(Clone, Debug, Default)]
pub(crate) struct LazyTimer(Arc<Mutex<Clock>>);

#[derive(Debug, Default)]
struct Clock {
    alarm: Option<Alarm>,
    /// No time-out runs longer than until then.
    latest: Option<tokio::time::Instant>,
    /// When a head has to be there of which a part is.
    head: Option<tokio::time::Instant>,
}

/// Goes off at the deadline of the time-out that was polled last, or earlier.
type Alarm = Pin<Box<tokio::time::Sleep>>;

struct LazySleep {
    deadline: tokio::time::Instant,
    timer: LazyTimer,
}

impl Future for LazySleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut clock = self.timer.clock();
        let deadline = clock.head.unwrap_or(self.deadline);
        let deadline = clock.latest.map_or(deadline, |latest| latest.min(deadline));
        let alarm = clock.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(context));
            if alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }
}

impl Sleep for LazySleep {}

impl LazyTimer {
    /// Has the time-out of the head that hyper waits for run out in `time`, whatever it was before, since a part of the
    /// head is there. hyper polls it when it has read that part.
    pub(crate) fn begin_head(&self, time: Duration) {
        self.clock().head = Some(tokio::time::Instant::now() + time);
    }

    /// Has the next time-out be what hyper makes it.
    pub(crate) fn end_head(&self) {
        self.clock().head = None;
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        // Nothing can panic half-way through a change of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every time-out of the connection, also one that runs already, run out within `time`. What awaits it must be
    /// polled once more.
    pub(crate) fn cut_short(&self, time: Duration) {
        self.clock().latest = Some(tokio::time::Instant::now() + time);
    }
}

impl Timer for LazyTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(LazySleep { deadline: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<LazySleep>() {
            Some(lazy) => lazy.get_mut().deadline = new_deadline.into(),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a future on a clock that jumps to the next alarm instead of waiting for it.
    fn run(future: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(future);
    }

    async fn over(sleep: &mut Pin<Box<dyn Sleep>>) -> Duration {
        let began = tokio::time::Instant::now();
        poll_fn(|context| sleep.as_mut().poll(context)).await;
        began.elapsed()
    }

    #[test]
    fn a_time_out_runs_out_at_its_deadline() {
        run(async {
            let mut sleep = LazyTimer::default().sleep(3 * SECOND);
            assert!(sleep.as_mut().now_or_never().is_none());
            assert_eq!(over(&mut sleep).await, 3 * SECOND);
        });
    }

    #[test]
    fn each_of_a_connections_time_outs_runs_out_at_its_own_deadline() {
        run(async {
            let timer = LazyTimer::default();
            for _ in 0..5 {
                let mut dropped = timer.sleep(3 * SECOND);
                assert!(dropped.as_mut().now_or_never().is_none());
                tokio::time::advance(2 * SECOND).await;
            }
            assert_eq!(over(&mut timer.sleep(3 * SECOND)).await, 3 * SECOND);
            assert_eq!(over(&mut timer.sleep(3 * SECOND)).await, 3 * SECOND);
        });
    }

    #[test]
    fn one_that_is_put_off_runs_out_later_however_often_that_was() {
        run(async {
            let timer = LazyTimer::default();
            let mut sleep = timer.sleep(3 * SECOND);
            for _ in 0..5 {
                assert!(sleep.as_mut().now_or_never().is_none());
                tokio::time::advance(2 * SECOND).await;
                timer.reset(&mut sleep, timer.now() + 3 * SECOND);
            }
            assert_eq!(over(&mut sleep).await, 3 * SECOND);
        });
    }

    #[test]
    fn one_that_is_cut_short_runs_out_then_and_so_does_the_next() {
        run(async {
            let timer = LazyTimer::default();
            let mut sleep = timer.sleep(30 * SECOND);
            assert!(sleep.as_mut().now_or_never().is_none());
            timer.cut_short(2 * SECOND);
            assert_eq!(over(&mut timer.sleep(SECOND)).await, SECOND);
            assert_eq!(over(&mut sleep).await, SECOND);
            assert_eq!(over(&mut timer.sleep(SECOND)).await, Duration::ZERO);
        });
    }

    #[test]
    fn a_shorter_one_after_a_longer_one_runs_out_sooner() {
        run(async {
            let timer = LazyTimer::default();
            let mut long = timer.sleep(30 * SECOND);
            assert!(long.as_mut().now_or_never().is_none());
            assert_eq!(over(&mut timer.sleep(SECOND)).await, SECOND);
            timer.reset(&mut long, timer.now() + SECOND);
            assert_eq!(over(&mut long).await, SECOND);
        });
    }
}
