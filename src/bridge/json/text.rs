//! Strings as JSON text in ASCII, escaped exactly as `json.dumps` does by default.
//!
//! Runs that need no escape are found eight bytes at a time and copied whole. Caveat: DEL (0x7f) is escaped although
//! JSON does not ask for it, because Python escapes all that is not printable ASCII.

use std::slice;

use pyo3::{PyErr, PyResult, Python, ffi};

/// Appends the JSON string of `text`, quotes included; lone surrogates become `\udXXX`.
///
/// The characters are read directly, so a `str` subclass cannot interfere. Fails only when memory runs out.
///
/// # Safety
/// `text` must be a live `str` or an instance of a subclass, and the interpreter lock be held.
#[inline]
pub(super) unsafe fn write_string(py: Python<'_>, out: &mut Vec<u8>, text: *mut ffi::PyObject) -> PyResult<()> {
    // SAFETY: the caller vouches for a live str. A compact ASCII one is ready and holds `length` one-byte units, which
    // no one changes while the lock is held: a str is immutable.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(text) != 0 {
            let length = ffi::PyUnicode_GET_LENGTH(text).unsigned_abs();
            write_bytes(out, slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text), length));
            return Ok(());
        }
        write_wide(py, out, text)
    }
}

/// The strings that are not plain ASCII, or are instances of a subclass.
///
/// # Safety
/// As for [`write_string`].
unsafe fn write_wide(py: Python<'_>, out: &mut Vec<u8>, text: *mut ffi::PyObject) -> PyResult<()> {
    // SAFETY: the caller vouches for a live str. Once ready (which before 3.12 some strings made by C code are not), it
    // holds `length` units of the size its kind tells, aligned for them and immutable.
    unsafe {
        if ffi::PyUnicode_READY(text) != 0 {
            return Err(PyErr::fetch(py));
        }
        let length = ffi::PyUnicode_GET_LENGTH(text).unsigned_abs();
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
    Ok(())
}

/// Writes a string of Latin-1 code points.
#[inline]
fn write_bytes(out: &mut Vec<u8>, mut rest: &[u8]) {
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

/// The length of the longest prefix that can be copied as it is.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let clean = bytes.len() - tail.len();
    clean + tail.iter().position(|&byte| needs_escape(byte)).unwrap_or(tail.len())
}

/// Sets the top bit of the first byte (from the low end) that needs an escape. Bytes after it may be flagged wrongly,
/// as a subtraction borrows from its neighbour; bytes before it never are.
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

fn write_unit(out: &mut Vec<u8>, unit: u32) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| HEX[(unit >> shift & 0xf) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
