//! On which the threads agree whether a request is begun or its time is over.
//!
//! Written on an I/O thread and on the Python thread. Promise: of the two, one comes first, and the other learns of it;
//! neither waits, and a request needs no memory of its own for it. Caveat: a place is used again by the next request,
//! so it is compared by the number of the request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places of a board that are made at a time.
const CHUNK: usize = 256;

/// Chunks of a board; requests that find no place, above a quarter of a million, have no limits of time.
const CHUNKS: usize = 1024;

/// Names a request among all of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestNumber(pub(super) u64);

impl RequestNumber {
    /// What its place holds while it waits.
    pub(super) fn waiting(self) -> u64 {
        self.0 << 1
    }

    /// What its place holds once it is claimed.
    pub(super) fn claimed(self) -> u64 {
        self.0 << 1 | 1
    }
}

/// What became of the requests of an I/O thread, for both threads.
pub(crate) struct Board {
    /// The first number; it is never 0, which stands for no request.
    pub(super) first: u64,
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Default for Board {
    fn default() -> Self {
        /// Numbers of one board; at a million requests a second they last for half a year.
        const NUMBERS: u64 = 1 << 44;
        static BOARDS: AtomicU64 = AtomicU64::new(0);
        let first = BOARDS.fetch_add(1, Ordering::Relaxed) * NUMBERS + 1;
        Self { first, chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }
}

impl Board {
    /// What the place holds: 0, or what stands for a request; nothing beyond the last place.
    pub(super) fn place(&self, place: usize) -> Option<&AtomicU64> {
        let chunk = self.chunks.get(place / CHUNK)?;
        chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect()).get(place % CHUNK)
    }
}

/// The claim to a request, for the Python thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The request.
    pub number: RequestNumber,
    /// Its place on the board of its I/O thread.
    pub(super) place: usize,
}

impl Ticket {
    /// Has the request count as begun; false if its time is over, so that it must not be.
    pub(crate) fn claim(self, board: &Board) -> bool {
        let Some(place) = board.place(self.place) else { return true };
        let (waiting, claimed) = (self.number.waiting(), self.number.claimed());
        place.compare_exchange(waiting, claimed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_claimed_once_and_not_after_its_end() {
        let board = Board::default();
        let ticket = Ticket { number: RequestNumber(board.first), place: 3 };
        let word = board.place(3).expect("a place");
        word.store(ticket.number.waiting(), Ordering::Relaxed);
        assert!(ticket.claim(&board));
        assert!(!ticket.claim(&board));
        word.store(RequestNumber(board.first + 1).waiting(), Ordering::Relaxed);
        assert!(!ticket.claim(&board), "the place is another request's");
    }

    #[test]
    fn boards_have_numbers_of_their_own_and_an_end() {
        assert_ne!(Board::default().first, Board::default().first);
        assert!(Board::default().place(CHUNK * CHUNKS).is_none());
    }
}
