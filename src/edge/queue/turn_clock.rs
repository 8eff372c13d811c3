//! The time, read once for several requests.
//!
//! Used on the I/O threads and on the Python thread, each of which has its own reading. Promise: a reading is no older
//! than the thread's last sleep, and is used a few times at most. Caveat: requests that a thread takes up one right
//! after the other may begin at the same instant, so a response that was ready at once may have taken no time at all.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How often a reading is used. A thread that has always something to do would keep it for ever.
const USES: u32 = 16;

/// A reading of the clock: nanoseconds since the first one of the process. Two of them are subtracted several times for
/// each request, which takes far longer with an `Instant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    fn now() -> Self {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        // The process does not last for the 585 years that fit.
        #[expect(clippy::cast_possible_truncation, reason = "as above")]
        let nanoseconds = FIRST.elapsed().as_nanos() as u64;
        Self(nanoseconds)
    }

    /// How long it is after `earlier`; nothing if it is not.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A reading, and how often it may still be used.
#[derive(Clone, Copy)]
struct Reading {
    time: Moment,
    uses_left: u32,
}

thread_local! {
    static READING: Cell<Reading> = const { Cell::new(Reading { time: Moment(0), uses_left: 0 }) };
}

/// The time, as this thread has read it last.
#[inline]
pub(crate) fn now() -> Moment {
    READING.with(|kept| match kept.get() {
        Reading { time, uses_left } if uses_left > 0 => {
            kept.set(Reading { time, uses_left: uses_left - 1 });
            time
        }
        _ => read_into(kept),
    })
}

/// The time. [`now`] returns this reading from here on.
pub(crate) fn read() -> Moment {
    READING.with(read_into)
}

fn read_into(kept: &Cell<Reading>) -> Moment {
    let time = Moment::now();
    kept.set(Reading { time, uses_left: USES - 1 });
    time
}

/// Has the next [`now`] read the time.
#[inline]
pub(crate) fn forget() {
    READING.with(|kept| kept.set(Reading { uses_left: 0, ..kept.get() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_used_until_it_is_forgotten_or_used_up() {
        let first = read();
        assert_eq!(first, now());
        forget();
        let second = now();
        assert!(second > first);
        assert!((1..USES).all(|_| now() == second));
        assert!(now() > second);
    }
}
