//! The time, read once for several requests.
//!
//! Used on the I/O threads and on the Python thread, each of which has its own reading. Promise: a reading is no older
//! than the thread's last sleep, and is used a few times at most. Caveat: requests that a thread takes up one right
//! after the other may begin at the same instant, so a response that was ready at once may have taken no time at all.

use std::cell::Cell;
use std::time::Instant;

/// How often a reading is used. A thread that has always something to do would keep it for ever.
const USES: u32 = 16;

thread_local! {
    static READING: Cell<Option<Instant>> = const { Cell::new(None) };
    static USES_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// The time, as this thread has read it last.
#[inline]
pub(crate) fn now() -> Instant {
    let uses_left = USES_LEFT.get();
    match READING.get() {
        Some(reading) if uses_left > 0 => {
            USES_LEFT.set(uses_left - 1);
            reading
        }
        _ => read(),
    }
}

/// The time. [`now`] returns this reading from here on.
pub(crate) fn read() -> Instant {
    let reading = Instant::now();
    READING.set(Some(reading));
    USES_LEFT.set(USES - 1);
    reading
}

/// Has the next [`now`] read the time.
#[inline]
pub(crate) fn forget() {
    USES_LEFT.set(0);
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
