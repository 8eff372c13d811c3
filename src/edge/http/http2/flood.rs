//! Counts the frames of a client that cost the server work and carry nothing.
//!
//! Runs on the I/O threads; reads along with the bytes in front of h2. A client may cancel requests, send pings and
//! settings and update windows, but not without end: PING, SETTINGS and empty DATA frames cost the server an answer or
//! a wake-up each, and a request that is cancelled at once costs a whole request ("rapid reset"). Promise: such frames
//! are limited for each connection, however they are mixed, by what an honest client has reason to send: requests and
//! bytes of answers earn what they need. Caveat: the limit is one of rates; CONTINUATION frames, the size of header
//! lists and DATA frames of a few bytes are limited by h2.

use std::time::Duration;

use tokio::time::Instant;

/// What a client may owe.
const MAX_DEBT: u32 = 1000;

/// The time in which it may owe that: what is owed is forgotten if it took longer.
const PERIOD: Duration = Duration::from_secs(10);

/// What a request earns.
const REQUEST: u32 = 2;

/// What a frame costs that makes the server give up work, or do some for nothing.
const COSTLY: u32 = 4;

/// Bytes of answers for one frame that updates a window: clients send two for a DATA frame, which has ten bytes or
/// more.
const BYTES_FOR_UPDATE: i64 = 5;

/// Most bytes that count as sent and not yet acknowledged by updates.
const MAX_SENT: i64 = 1 << 30;

const PREFACE: usize = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// `END_HEADERS` of HEADERS and CONTINUATION.
const LAST_OF_BLOCK: u8 = 4;

/// `ACK` of SETTINGS and PING, `END_STREAM` of DATA.
const FIRST_FLAG: u8 = 1;
const PADDED: u8 = 8;

/// Longest padding of a DATA frame with its length.
const MAX_PADDING: usize = 256;

/// Reads along with what a client sends on one connection, from its first byte.
#[derive(Debug)]
pub(super) struct FloodMeter {
    /// Bytes to come before the next head of a frame.
    skip: usize,
    head: [u8; HEAD],
    /// How many bytes of `head` there are.
    read: usize,
    debt: u32,
    since: Instant,
    /// Bytes of answers for which the client may still update windows.
    sent: i64,
    /// Whether the last frame has begun a list of headers that goes on in the next.
    in_block: bool,
}

impl FloodMeter {
    /// For a connection that begins with the preface.
    pub(super) fn new() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], read: 0, debt: 0, since: Instant::now(), sent: 0, in_block: false }
    }

    /// Records that bytes have been sent to the client.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add_unsigned(bytes as u64).min(MAX_SENT);
    }

    /// Reads along with `bytes`; false if the client has sent too many frames that carry nothing.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.read).min(bytes.len());
            self.head[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
            self.read += taken;
            bytes = &bytes[taken..];
            if self.read == HEAD {
                self.read = 0;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if !self.take(kind, flags, self.skip) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether the client has sent a part of a frame, or of a list of headers, which is nothing yet. DATA frames do not
    /// count: there are other limits for them.
    pub(super) fn is_within_head(&self) -> bool {
        self.in_block || self.read > 0 || self.skip > 0 && self.head[3] != DATA
    }

    /// Takes a frame with `length` bytes of payload into account.
    fn take(&mut self, kind: u8, flags: u8, length: usize) -> bool {
        let is_first_flag = flags & FIRST_FLAG != 0;
        self.in_block = matches!(kind, HEADERS | CONTINUATION) && flags & LAST_OF_BLOCK == 0;
        let cost = match kind {
            DATA if is_first_flag => 0,
            DATA if length == 0 => COSTLY,
            DATA => u32::from(flags & PADDED != 0 && length <= MAX_PADDING),
            HEADERS => {
                self.debt = self.debt.saturating_sub(REQUEST);
                0
            }
            CONTINUATION => 0,
            RST_STREAM => COSTLY,
            SETTINGS | PING if !is_first_flag => {
                // What h2 answers is not something that a window is updated for.
                self.sent = self.sent.saturating_sub_unsigned((HEAD + length) as u64);
                if kind == SETTINGS { COSTLY } else { 1 }
            }
            WINDOW_UPDATE if self.sent >= BYTES_FOR_UPDATE => {
                self.sent -= BYTES_FOR_UPDATE;
                0
            }
            _ => 1,
        };
        self.debt += cost;
        if self.debt <= MAX_DEBT {
            return true;
        }
        // The clock is read here only: once for so many frames.
        let is_flood = self.since.elapsed() < PERIOD;
        (self.debt, self.since) = (0, Instant::now());
        !is_flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0);
        frame
    }

    /// How many times `frames` pass, at most `most`, in pieces of `size` bytes.
    fn passed(frames: &[u8], most: usize, size: usize) -> usize {
        let mut meter = FloodMeter::new();
        assert!(meter.follow(&[b'P'; PREFACE]));
        (0..most).take_while(|_| frames.chunks(size).all(|piece| meter.follow(piece))).count()
    }

    #[test]
    fn each_kind_of_flood_ends_however_it_is_cut() {
        let floods = [
            (frame(PING, 0, 8), 1000),
            (frame(SETTINGS, 0, 6), 250),
            (frame(SETTINGS, FIRST_FLAG, 0), 1000),
            (frame(DATA, 0, 0), 250),
            (frame(DATA, PADDED, 4), 1000),
            (frame(2, 0, 5), 1000),
            (frame(WINDOW_UPDATE, 0, 4), 1000),
            (frame(0xfa, 0, 3), 1000),
            ([frame(HEADERS, 5, 20), frame(RST_STREAM, 0, 4)].concat(), 499),
        ];
        for (frames, limit) in floods {
            for size in [1, 3, 10, frames.len()] {
                assert_eq!(limit, passed(&frames, 5000, size), "{frames:?} {size}");
            }
        }
    }

    #[test]
    fn a_head_that_has_begun_is_noticed_until_its_last_byte() {
        let mut meter = FloodMeter::new();
        let mut within = |bytes: &[u8]| meter.follow(bytes) && meter.is_within_head();
        assert!(!within(&[b'P'; PREFACE - 1]), "that has a limit of its own");
        assert!(!within(b"P"));
        let head = [frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 3), frame(CONTINUATION, 4, 3)].concat();
        let (last, rest) = head.split_last().unwrap();
        assert!(rest.iter().all(|byte| within(&[*byte])));
        assert!(!within(&[*last]));
        assert!(!within(&frame(DATA, 0, 9)[..12]));
    }

    #[test]
    fn honest_clients_pass() {
        let request = frame(HEADERS, 5, 20);
        let honest = [
            request.clone(),
            // Two of three requests are cancelled.
            [request.clone(), request.clone(), frame(RST_STREAM, 0, 4)].concat(),
            [request.clone(), frame(2, 0, 5), frame(PING, 0, 8)].concat(),
            [frame(DATA, 0, 1), frame(DATA, FIRST_FLAG, 0)].concat(),
        ];
        for frames in honest {
            assert_eq!(5000, passed(&frames, 5000, 7), "{frames:?}");
        }
    }

    #[test]
    fn bytes_of_answers_earn_updates_of_windows_and_the_answers_to_pings_do_not() {
        let mut meter = FloodMeter::new();
        meter.follow(&[b'P'; PREFACE]);
        let update = frame(WINDOW_UPDATE, 0, 4);
        for _ in 0..5000 {
            meter.note_sent(10);
            assert!(meter.follow(&update) && meter.follow(&update));
        }
        let pings = (0..5000).take_while(|_| {
            let passes = meter.follow(&frame(PING, 0, 8)) && meter.follow(&update);
            meter.note_sent(17);
            passes
        });
        assert!(pings.count() < 1000);
    }
}
