//! Checks one property of the WebSocket frames that a client sends: that they are masked.
//!
//! Runs on the I/O threads. Promise: the handler never receives an unmasked frame; instead it gets one with reserved
//! bits set, for which it closes the WebSocket with code 1002 (RFC 6455, 5.1), and nothing after that. Caveat: the
//! first byte of a frame is held until the second arrives; nothing else of a frame is checked here.

use bytes::Bytes;

/// A frame that no end accepts: reserved bits, and an empty payload with a mask.
const REFUSED: &[u8] = &[0xb1, 0x80, 0, 0, 0, 0];

/// Reads along with what a client sends.
#[derive(Debug, Default)]
pub(crate) struct MaskCheck {
    /// The first byte of a frame whose second has not come yet.
    held: Option<u8>,
    /// How many bytes of a frame's length are to come, and what came of them.
    length_bytes: u8,
    length: u64,
    /// Bytes that are to come of a frame's mask and payload.
    left: u64,
}

impl MaskCheck {
    /// Reads along with `piece`: `Ok` is what may be passed on now, `Err` the last that may be.
    pub(crate) fn follow(&mut self, piece: Bytes) -> Result<Bytes, Bytes> {
        let piece = match self.held.take() {
            Some(first) => Bytes::from([&[first], &*piece].concat()),
            None => piece,
        };
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if self.left > 0 {
                let rest = piece.len() - at;
                let taken = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                at += taken;
                self.left -= taken as u64;
            } else if self.length_bytes > 0 {
                at += 1;
                self.length_bytes -= 1;
                self.length = self.length << 8 | u64::from(byte);
                if self.length_bytes == 0 {
                    self.begin_payload(self.length);
                }
            } else {
                let Some(second) = piece.get(at + 1) else {
                    self.held = Some(byte);
                    return Ok(piece.slice(..at));
                };
                if second & 0x80 == 0 {
                    return Err(Bytes::from([&piece[..at], REFUSED].concat()));
                }
                at += 2;
                match second & 0x7f {
                    126 => (self.length_bytes, self.length) = (2, 0),
                    127 => (self.length_bytes, self.length) = (8, 0),
                    length => self.begin_payload(u64::from(length)),
                }
            }
        }
        Ok(piece)
    }

    fn begin_payload(&mut self, length: u64) {
        const MASK: u64 = 4;
        self.left = length.saturating_add(MASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of `sent` in pieces of `size` bytes, and whether it was cut off.
    fn passed(sent: &[u8], size: usize) -> (Vec<u8>, bool) {
        let (mut check, mut passed) = (MaskCheck::default(), Vec::new());
        for piece in sent.chunks(size) {
            match check.follow(Bytes::copy_from_slice(piece)) {
                Ok(piece) => passed.extend_from_slice(&piece),
                Err(last) => {
                    passed.extend_from_slice(&last);
                    return (passed, true);
                }
            }
        }
        (passed, false)
    }

    fn masked(payload: usize) -> Vec<u8> {
        let mut frame = match payload {
            0..126 => vec![0x82, 0x80 | u8::try_from(payload).unwrap()],
            126..65536 => [&[0x82, 0xfe][..], &u16::try_from(payload).unwrap().to_be_bytes()].concat(),
            _ => [&[0x82, 0xff][..], &(payload as u64).to_be_bytes()].concat(),
        };
        frame.resize(frame.len() + 4 + payload, 1);
        frame
    }

    #[test]
    fn masked_frames_pass_however_they_are_cut() {
        let sent = [0, 1, 125, 126, 300, 65535, 65536, 0].map(masked).concat();
        for size in [1, 2, 3, 7, 1000, sent.len()] {
            assert_eq!((sent.clone(), false), passed(&sent, size), "{size}");
        }
    }

    #[test]
    fn one_that_is_not_masked_is_replaced_and_nothing_comes_after_it() {
        let good = [masked(3), masked(200)].concat();
        for bad in [&[0x81, 1, b'x'][..], &[0x89, 0], &[0x81, 126, 0, 200], &[0x88, 2, 3, 232]] {
            let sent = [&good, bad, &good].concat();
            for size in [1, 2, 3, 7, sent.len()] {
                assert_eq!(([&good, REFUSED].concat(), true), passed(&sent, size), "{bad:?} {size}");
            }
        }
    }
}
