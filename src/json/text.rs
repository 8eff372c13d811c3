//! Strings as JSON text in ASCII, escaped exactly as `json.dumps` does by default.
//!
//! A string is looked at sixteen bytes at a time and copied at once; the few that need an escape are then begun anew.
//! Caveat: DEL (0x7f) is escaped although JSON does not ask for it, because Python escapes all that is not printable
//! ASCII.

use std::slice;

use pyo3::{PyErr, PyResult, Python, ffi};

use super::cursor::{Cursor, behind, end_at};
use super::layout::{Ascii, ascii};

/// What [`put_if_plain`] may write to beyond the text's own length: quotes, and the rest of a block.
pub(super) const STRING_ROOM: usize = 2 + BLOCK;
/// Bytes looked at in one step.
pub(super) const BLOCK: usize = 16;
/// Half a block.
const WORD: usize = 8;
/// A word of spaces.
const SPACES: u64 = u64::MAX / 0xff * b' ' as u64;

/// Appends the JSON string of `text`, quotes included; lone surrogates become `\udXXX`.
///
/// The characters are read directly, so a `str` subclass cannot interfere. Fails only when memory runs out.
///
/// # Safety
/// `text` must be a live `str` or an instance of a subclass, and the interpreter lock be held.
pub(super) unsafe fn write_string(py: Python<'_>, out: &mut Vec<u8>, text: *mut ffi::PyObject) -> PyResult<()> {
    // SAFETY: the caller vouches for a live str, which this makes ready if it is not, or says why it cannot.
    unsafe {
        if ffi::PyUnicode_READY(text) != 0 {
            return Err(PyErr::fetch(py));
        }
        write_ready_string(out, text);
    }
    Ok(())
}

/// Does what [`write_string`] does unless `text` is one of the strings that need to be made ready first, which before
/// Python 3.12 some are that C code made; says whether it did.
///
/// # Safety
/// As for [`write_string`].
#[inline]
unsafe fn write_ready_string(out: &mut Vec<u8>, text: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller vouches for a live str; there is room for it, and what was put is within that.
    unsafe {
        let Some(Ascii { data, length }) = ascii(text) else {
            return write_wide(out, text);
        };
        let place = behind(out, length + STRING_ROOM);
        match put_if_plain(place, data, length) {
            Some(end) => end_at(out, end),
            None => write_bytes(out, slice::from_raw_parts(data, length)),
        }
    }
    true
}

/// Writes the text in quotes and gives the place behind it, unless something in it needs an escape.
///
/// # Safety
/// `data` must be the `length` bytes of a live [`Ascii`], and [`STRING_ROOM`] bytes more from `place` on be free to
/// write to.
#[inline]
pub(super) unsafe fn put_if_plain(place: Cursor, data: *const u8, length: usize) -> Option<Cursor> {
    // What lies before the text belongs to the same object, so a whole word that ends with the text can be read.
    const { assert!(size_of::<ffi::PyASCIIObject>() >= WORD) };
    // SAFETY: all reads are within the text, but for that of a text shorter than a word: it ends with the text and begins
    // less than a word before it, in the head of the str object, which the caller vouches for. Writes begin at `place`
    // and end within a block of the closing quote, for which the caller made room. Nothing overlaps, as the caller is
    // the only one to know that room.
    unsafe {
        place.write(b'"');
        let text = place.add(1);
        if length < WORD {
            let word = u64::from_le(data.add(length).sub(WORD).cast::<u64>().read_unaligned());
            // Moves the text to the front; in two steps, as an empty text shifts everything out.
            let padded = word >> (8 * (WORD - 1 - length)) >> 8 | SPACES << (8 * length);
            if first_special(block_of(padded, SPACES)).is_some() {
                return None;
            }
            text.cast::<u64>().write_unaligned(padded.to_le());
        } else if length < BLOCK {
            let last = length - WORD;
            let (head, tail) = (data.cast::<u64>().read_unaligned(), data.add(last).cast::<u64>().read_unaligned());
            if first_special(block_of(u64::from_le(head), u64::from_le(tail))).is_some() {
                return None;
            }
            text.cast::<u64>().write_unaligned(head);
            text.add(last).cast::<u64>().write_unaligned(tail);
        } else {
            let last = length - BLOCK;
            let mut at = 0;
            while at < last {
                let block = data.add(at).cast::<[u8; BLOCK]>().read();
                if first_special(block).is_some() {
                    return None;
                }
                text.add(at).cast::<[u8; BLOCK]>().write(block);
                at += BLOCK;
            }
            let block = data.add(last).cast::<[u8; BLOCK]>().read();
            if first_special(block).is_some() {
                return None;
            }
            text.add(last).cast::<[u8; BLOCK]>().write(block);
        }
        text.add(length).write(b'"');
        Some(text.add(length + 1))
    }
}

/// Does what [`write_ready_string`] does for strings that are not [`Ascii`].
///
/// # Safety
/// As for [`write_string`].
#[inline(never)]
pub(super) unsafe fn write_wide(out: &mut Vec<u8>, text: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller vouches for a live str. If it is ready, it holds `length` units of the size its kind tells,
    // aligned for them and immutable.
    unsafe {
        #[cfg(not(Py_3_12))]
        if ffi::PyUnicode_IS_READY(text) == 0 {
            return false;
        }
        let length = ffi::PyUnicode_GET_LENGTH(text).cast_unsigned();
        match ffi::PyUnicode_KIND(text) {
            ffi::PyUnicode_1BYTE_KIND => {
                write_bytes(out, slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text), length));
            }
            ffi::PyUnicode_2BYTE_KIND => {
                let units = slice::from_raw_parts(ffi::PyUnicode_2BYTE_DATA(text), length);
                write_points(out, units.iter().map(|&unit| u32::from(unit)));
            }
            _ => {
                let units = slice::from_raw_parts(ffi::PyUnicode_4BYTE_DATA(text), length);
                write_points(out, units.iter().copied());
            }
        }
    }
    true
}

/// Writes a string of Latin-1 code points, some of which may need an escape.
#[inline(never)]
pub(super) fn write_bytes(out: &mut Vec<u8>, mut rest: &[u8]) {
    out.reserve(rest.len() + 2);
    out.push(b'"');
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

fn write_points(out: &mut Vec<u8>, points: impl ExactSizeIterator<Item = u32>) {
    out.reserve(points.len() + 2);
    out.push(b'"');
    for point in points {
        match u8::try_from(point) {
            Ok(byte) if !needs_escape(byte) => out.push(byte),
            _ => write_escape(out, point),
        }
    }
    out.push(b'"');
}

#[inline]
const fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte > b'~' || byte == b'"' || byte == b'\\'
}

#[inline]
fn block_of(low: u64, high: u64) -> [u8; BLOCK] {
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// The place of the first byte that needs an escape.
#[cfg(target_arch = "x86_64")]
#[inline]
fn first_special(block: [u8; BLOCK]) -> Option<usize> {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86-64; a block is as large as a vector, of which every pattern of bits is one.
    let specials = unsafe {
        let block = std::mem::transmute::<[u8; BLOCK], __m128i>(block);
        let equals = |byte: u8| _mm_cmpeq_epi8(block, _mm_set1_epi8(byte.cast_signed()));
        // Bytes are signed here: those that are not ASCII are below zero.
        let unprintable = _mm_or_si128(_mm_cmplt_epi8(block, _mm_set1_epi8(b' '.cast_signed())), equals(0x7f));
        _mm_movemask_epi8(_mm_or_si128(unprintable, _mm_or_si128(equals(b'"'), equals(b'\\'))))
    };
    (specials != 0).then(|| specials.trailing_zeros() as usize)
}

/// The place of the first byte that needs an escape.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn first_special(block: [u8; BLOCK]) -> Option<usize> {
    let (words, _) = block.as_chunks::<8>();
    let [low, high] = [words[0], words[1]].map(|word| special_bytes(u64::from_le_bytes(word)));
    let specials = u128::from(high) << 64 | u128::from(low);
    (specials != 0).then(|| specials.trailing_zeros() as usize / 8)
}

/// Sets the top bit of the first byte (from the low end) that needs an escape. Bytes after it may be flagged wrongly,
/// as a subtraction borrows from its neighbour; bytes before it never are.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    const fn zero_bytes(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    let delete = zero_bytes(word ^ (ONES * 0x7f));
    (below_space | quote | backslash | delete | word) & TOPS
}

/// The length of the longest prefix that can be copied as it is.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(place) = first_special(*block) {
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
