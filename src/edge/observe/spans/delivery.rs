//! What waits to be sent, and how often it is tried.
//!
//! Plain data. Promise: no more than [`CAPACITY`] spans wait. Caveat: the spans that are being sent are not among them.

use std::time::{Duration, Instant};

use super::span::Span;

/// Spans that may wait.
const CAPACITY: usize = 8192;

/// Spans that are sent by one request.
const BATCH: usize = 512;

/// How often spans are sent before they count as lost.
const ATTEMPTS: u32 = 3;

/// How long the second attempt waits; each further one waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest pause that a collector may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// There is no room, or it is too late.
pub(super) struct Refused;

/// What is to be done about spans that wait.
pub(super) struct Next {
    /// There is no thread, and it counts as started.
    pub starts_thread: bool,
    /// The thread waits for this.
    pub wakes_thread: bool,
}

/// The queue, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct State {
    waiting: Vec<Span>,
    /// Whether the thread runs.
    pub has_thread: bool,
    /// How many spans it is sending.
    pub sending: usize,
    /// When everything has to be out; no more comes then.
    pub deadline: Option<Instant>,
}

impl State {
    /// Puts spans behind those that wait.
    pub(super) fn put(&mut self, spans: Vec<Span>) -> Result<Next, Refused> {
        if self.deadline.is_some() || self.waiting.len() + spans.len() > CAPACITY {
            return Err(Refused);
        }
        let (was_empty, had_batch) = (self.is_empty(), self.has_batch());
        self.waiting.extend(spans);
        let starts_thread = !self.has_thread;
        self.has_thread = true;
        Ok(Next { starts_thread, wakes_thread: was_empty || (!had_batch && self.has_batch()) })
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a whole batch waits.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting.len() >= BATCH
    }

    /// Takes the oldest spans; none if nothing waits.
    pub(super) fn take_batch(&mut self) -> Option<Vec<Span>> {
        let batch: Vec<_> = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
        self.sending = batch.len();
        Some(batch).filter(|batch| !batch.is_empty())
    }

    /// Throws all away that waits; returns how much it was.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }
}

/// Why spans were not taken.
#[derive(Debug)]
pub(super) struct SendError {
    /// In words.
    pub reason: String,
    /// Whether another attempt may succeed.
    pub may_recover: bool,
    /// The pause that the collector asks for.
    pub pause: Option<Duration>,
}

/// The attempts to send one batch.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    failed: u32,
}

impl Delivery {
    /// How long to wait for the next attempt; none if there is to be none.
    pub(super) fn pause_after(&mut self, error: &SendError) -> Option<Duration> {
        self.failed += 1;
        let goes_on = error.may_recover && self.failed < ATTEMPTS;
        goes_on.then(|| error.pause.unwrap_or(PAUSE * 2_u32.pow(self.failed - 1)).min(MAX_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(number: usize) -> Vec<Span> {
        (0..number).map(|_| Span::default()).collect()
    }

    #[test]
    fn no_more_spans_wait_than_there_is_room_for() {
        let mut state = State::default();
        assert!(state.put(spans(CAPACITY - 1)).is_ok_and(|next| next.starts_thread && next.wakes_thread));
        assert!(state.put(spans(2)).is_err());
        assert!(state.put(spans(1)).is_ok_and(|next| !next.starts_thread && !next.wakes_thread));
        assert_eq!(Some(BATCH), state.take_batch().map(|batch| batch.len()));
        assert_eq!(CAPACITY - BATCH, state.clear());
        assert!(state.take_batch().is_none() && state.sending == 0);
    }

    #[test]
    fn the_thread_is_woken_by_the_first_span_and_by_a_whole_batch() {
        let mut state = State::default();
        let woken = (0..2 * BATCH).filter(|_| state.put(spans(1)).is_ok_and(|next| next.wakes_thread)).count();
        assert_eq!(2, woken);
        state.deadline = Some(Instant::now());
        assert!(state.put(spans(1)).is_err());
    }

    #[test]
    fn a_batch_is_tried_three_times_with_growing_pauses() {
        let mut error = SendError { reason: String::new(), may_recover: true, pause: None };
        let mut delivery = Delivery::default();
        let pauses = [(); 3].map(|()| delivery.pause_after(&error));
        assert_eq!([Some(PAUSE), Some(2 * PAUSE), None], pauses);
        error.pause = Some(Duration::from_secs(1000));
        assert_eq!(Some(MAX_PAUSE), Delivery::default().pause_after(&error));
        error.may_recover = false;
        assert_eq!(None, Delivery::default().pause_after(&error));
    }
}
