//! Strings as JSON text in ASCII, escaped exactly as `json.dumps` does by default. Pure functions.
//!
//! A string is looked at sixteen bytes at a time and copied at once; the few that need an escape are then begun anew.
//! DEL (0x7f) is escaped although JSON does not ask for it, because Python escapes all that is not printable ASCII.

use super::block::{BLOCK, Block, first_escape, needs_escape};
use super::borrowed::{Ascii, Units};
use super::cursor::{Buffer, Cursor};

/// What [`put_text`] may write of a text shorter than a block.
pub(super) const SHORT_TEXT_ROOM: usize = BLOCK + 1;
/// Half a block.
const WORD: usize = 8;
/// A word of spaces.
const SPACES: u64 = u64::MAX / 0xff * b' ' as u64;

/// Writes the text and the closing quote, unless the text needs an escape: then the cursor comes back as the error.
#[inline]
pub(super) fn put_text<'id, const ROOM: usize, const LEFT: usize>(
    buffer: &mut Buffer<'id, '_>,
    cursor: Cursor<'id, ROOM>,
    text: Ascii<'_>,
) -> Result<Cursor<'id, LEFT>, Cursor<'id, LEFT>> {
    let bytes = text.bytes();
    let length = bytes.len();
    if length < WORD {
        // Moves the text to the front; in two steps, as an empty text shifts everything out.
        let padded = text.last_word() >> (8 * (WORD - 1 - length)) >> 8 | SPACES << (8 * length);
        if first_escape(block_of(padded, SPACES)).is_some() {
            return Err(cursor.limit());
        }
        return Ok(cursor.put_and(padded.to_le_bytes(), length, b'"'));
    }
    if length < BLOCK
        && let Some(head) = bytes.first_chunk()
        && let Some(tail) = bytes.last_chunk()
    {
        if first_escape(block_of(u64::from_le_bytes(*head), u64::from_le_bytes(*tail))).is_some() {
            return Err(cursor.limit());
        }
        return Ok(cursor.put_ends_and(*head, *tail, length, b'"'));
    }
    buffer.put_blocks_and(cursor, bytes, b'"', |block| first_escape(block).is_none())
}

#[inline]
fn block_of(low: u64, high: u64) -> Block {
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// Appends a string, quotes included; lone surrogates become `\udXXX`.
#[inline(never)]
pub(super) fn write_string(out: &mut Vec<u8>, text: Units<'_>) {
    out.push(b'"');
    match text {
        Units::One(units) => finish_latin1(out, units),
        Units::Two(units) => finish_points(out, units.iter().map(|&unit| u32::from(unit))),
        Units::Four(units) => finish_points(out, units.iter().copied()),
    }
}

/// Appends Latin-1 code points, some of which may need an escape, and the closing quote.
#[inline(never)]
pub(super) fn finish_latin1(out: &mut Vec<u8>, mut rest: &[u8]) {
    out.reserve(rest.len() + 1);
    loop {
        let (plain, tail) = rest.split_at(plain_prefix(rest));
        out.extend_from_slice(plain);
        let Some((&special, tail)) = tail.split_first() else {
            break;
        };
        write_escape(out, u32::from(special));
        rest = tail;
    }
    out.push(b'"');
}

/// Appends code points and the closing quote.
fn finish_points(out: &mut Vec<u8>, points: impl ExactSizeIterator<Item = u32>) {
    out.reserve(points.len() + 1);
    for point in points {
        match u8::try_from(point) {
            Ok(byte) if !needs_escape(byte) => out.push(byte),
            _ => write_escape(out, point),
        }
    }
    out.push(b'"');
}

/// The length of the longest prefix that can be copied as it is.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(place) = first_escape(*block) {
            return index * BLOCK + place;
        }
    }
    let clean = bytes.len() - tail.len();
    clean + tail.iter().position(|&byte| needs_escape(byte)).unwrap_or(tail.len())
}

#[inline]
fn write_escape(out: &mut Vec<u8>, point: u32) {
    let short = match point {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x22 => b'"',
        0x5c => b'\\',
        0x1_0000.. => {
            // The UTF-16 pair: a str holds no code point above 0x10ffff, so 20 bits remain.
            let offset = point - 0x1_0000;
            write_unit(out, 0xd800 | (offset >> 10));
            return write_unit(out, 0xdc00 | (offset & 0x3ff));
        }
        _ => return write_unit(out, point),
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[inline]
fn write_unit(out: &mut Vec<u8>, unit: u32) {
    /// The two digits of each byte.
    const HEX: [[u8; 2]; 256] = {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut table = [[0; 2]; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
            byte += 1;
        }
        table
    };
    let [first, second] = HEX[(unit >> 8 & 0xff) as usize];
    let [third, fourth] = HEX[(unit & 0xff) as usize];
    out.extend_from_slice(&[b'\\', b'u', first, second, third, fourth]);
}
