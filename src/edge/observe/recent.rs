//! The last lines of the log, for the page.
//!
//! Written on all threads that log, read on the I/O threads. Promise: [`LINES`] lines at most are kept, of
//! [`LINE_BYTES`] bytes each at most, and nothing once there is no page. Caveat: what is kept is what is logged, so only
//! those who may control the server may see it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::line::Level;

/// Lines that are kept.
const LINES: usize = 500;

/// Bytes of a line that are kept.
const LINE_BYTES: usize = 4096;

/// A line of the log.
#[derive(Clone, Debug)]
pub(crate) struct RecentLine {
    /// Counted from 1.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// Who wrote it.
    pub name: String,
    /// What it says.
    pub text: String,
}

#[derive(Debug)]
struct Recent {
    written: u64,
    lines: VecDeque<RecentLine>,
}

static RECENT: Mutex<Recent> = Mutex::new(Recent { written: 0, lines: VecDeque::new() });

/// On from the beginning, since the lines of a start count, too.
static IS_KEPT: AtomicBool = AtomicBool::new(true);

/// Has lines kept from now on, or none.
pub(crate) fn keep(is_kept: bool) {
    if IS_KEPT.swap(is_kept, Ordering::Relaxed) && !is_kept {
        RECENT.lock().unwrap_or_else(PoisonError::into_inner).lines = VecDeque::new();
    }
}

/// Keeps a line.
pub(super) fn note(level: Level, name: &str, text: &str) {
    if !IS_KEPT.load(Ordering::Relaxed) {
        return;
    }
    let end = (0..=LINE_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let (time, name, text) = (Timestamp::now(), name.to_owned(), text[..end].to_owned());
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.written += 1;
    let number = recent.written;
    if recent.lines.len() == LINES {
        recent.lines.pop_front();
    }
    recent.lines.push_back(RecentLine { number, time, level, name, text });
}

/// The lines behind the one with the number `after`.
pub(crate) fn lines(after: u64) -> Vec<RecentLine> {
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.lines.iter().filter(|line| line.number > after).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        for number in 0..2 * LINES {
            note(Level::Info, "recent", &format!("{number} {}", "ä".repeat(LINE_BYTES)));
        }
        let kept = lines(0);
        assert_eq!(LINES, kept.len());
        assert!(kept.iter().all(|line| line.text.len() <= LINE_BYTES));
        let last = kept.last().unwrap().number;
        note(Level::Warn, "recent", "new");
        assert!(lines(last).iter().any(|line| line.text == "new"));
    }
}
