//! The clock for hyper's time-outs, which are set anew with each request and nearly never run out.
//!
//! Promise: a time-out runs out at its deadline and not before. To put a deadline off, as hyper does for each head that
//! it waits for, is to store a number: the runtime's timer stays where it was, and is set once more when it goes off too
//! early. Caveat: so an idle connection wakes once before its time-out runs out, for nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Makes time-outs for hyper; to be used inside a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct LazyTimer;

struct LazySleep {
    deadline: tokio::time::Instant,
    /// Goes off at the deadline or earlier, never later.
    alarm: Pin<Box<tokio::time::Sleep>>,
}

impl LazySleep {
    fn put_off(&mut self, deadline: Instant) {
        self.deadline = deadline.into();
        if self.deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(self.deadline);
        }
    }
}

impl Future for LazySleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let deadline = self.deadline;
            if self.alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(deadline);
        }
    }
}

impl Sleep for LazySleep {}

impl Timer for LazyTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let deadline = deadline.into();
        Box::pin(LazySleep { deadline, alarm: Box::pin(tokio::time::sleep_until(deadline)) })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<LazySleep>() {
            Some(lazy) => lazy.get_mut().put_off(new_deadline),
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
            let mut sleep = LazyTimer.sleep(3 * SECOND);
            assert!(sleep.as_mut().now_or_never().is_none());
            assert_eq!(over(&mut sleep).await, 3 * SECOND);
        });
    }

    #[test]
    fn one_that_is_put_off_runs_out_later_however_often_that_was() {
        run(async {
            let mut sleep = LazyTimer.sleep(3 * SECOND);
            assert!(sleep.as_mut().now_or_never().is_none());
            for _ in 0..5 {
                tokio::time::advance(2 * SECOND).await;
                LazyTimer.reset(&mut sleep, LazyTimer.now() + 3 * SECOND);
                assert!(sleep.as_mut().now_or_never().is_none());
            }
            assert_eq!(over(&mut sleep).await, 3 * SECOND);
        });
    }

    #[test]
    fn one_that_is_moved_forward_runs_out_sooner() {
        run(async {
            let mut sleep = LazyTimer.sleep(30 * SECOND);
            LazyTimer.reset(&mut sleep, LazyTimer.now() + SECOND);
            assert_eq!(over(&mut sleep).await, SECOND);
        });
    }
}
