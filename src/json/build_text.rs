//! `str` objects made from the strings of a JSON text.
//!
//! The characters are written straight into the new object, whose size and kind are known beforehand. Caveat: an object
//! is filled after it was made, which is sound only as long as nobody else has seen it.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::scan::{Ascii, Text};

/// The `str` of `text`. Fails only when memory runs out.
pub(super) fn new_string<'py>(py: Python<'py>, text: Text<'_>) -> PyResult<Bound<'py, PyString>> {
    match text {
        Text::Ascii(text) => new_ascii(py, text),
        Text::Unicode(text) => new_unicode(py, text),
        Text::Surrogates(bytes) => {
            PyString::from_encoded_object(&PyBytes::new(py, bytes), Some(c"utf-8"), Some(c"surrogatepass"))
        }
    }
}

/// The `str` of `text`. Fails only when memory runs out.
#[inline]
pub(super) fn new_ascii<'py>(py: Python<'py>, text: Ascii<'_>) -> PyResult<Bound<'py, PyString>> {
    let bytes = text.bytes();
    // SAFETY: the new object has room for as many one-byte units as asked for, and is ours alone until it is returned.
    // All of them are written. (The object for an empty string is shared, but then nothing is written.)
    unsafe {
        let object = allocate(py, bytes.len(), 0x7f)?;
        let data = ffi::PyUnicode_1BYTE_DATA(object.as_ptr());
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Ok(object)
    }
}

fn new_unicode<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    /// What UTF-8 begins the first character beyond Latin-1 with, and the first that needs more than 16 bits.
    const BEGINS: [u8; 2] = [0xc4, 0xf0];
    let length = text.bytes().filter(|byte| byte & 0xc0 != 0x80).count();
    let largest = text.bytes().fold(0, u8::max);
    // SAFETY: the new object has room for `length` units of the size that the largest character needs, which is that of
    // the class its first byte tells; it is ours alone until it is returned, and each character fills one unit.
    unsafe {
        if largest < BEGINS[0] {
            let object = allocate(py, length, 0xff)?;
            fill(ffi::PyUnicode_1BYTE_DATA(object.as_ptr()), text, |character| character as u8);
            Ok(object)
        } else if largest < BEGINS[1] {
            let object = allocate(py, length, 0xffff)?;
            fill(ffi::PyUnicode_2BYTE_DATA(object.as_ptr()), text, |character| character as u16);
            Ok(object)
        } else {
            let object = allocate(py, length, 0x0010_ffff)?;
            fill(ffi::PyUnicode_4BYTE_DATA(object.as_ptr()), text, u32::from);
            Ok(object)
        }
    }
}

/// Writes the characters of `text` from `data` on.
///
/// # Safety
/// There must be room for as many units as `text` has characters.
#[inline]
unsafe fn fill<U>(data: *mut U, text: &str, unit: impl Fn(char) -> U) {
    for (index, character) in text.chars().enumerate() {
        // SAFETY: the caller vouches for the room.
        unsafe { data.add(index).write(unit(character)) };
    }
}

/// A new `str` of `length` characters up to `largest`, which are still to be written.
///
/// # Safety
/// All characters must be written, one of them of the class of `largest` unless that is ASCII, before anyone else sees
/// the object.
#[inline]
unsafe fn allocate(py: Python<'_>, length: usize, largest: ffi::Py_UCS4) -> PyResult<Bound<'_, PyString>> {
    // SAFETY: the result is null with an exception set, or a str.
    unsafe {
        let object = ffi::PyUnicode_New(length.cast_signed(), largest);
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The key strings met last, so that the objects of one array share them with their hashes.
///
/// They are dropped with the body: to intern keys that a client chooses would keep them for ever.
#[derive(Default)]
pub(super) struct Keys<'py> {
    slots: [Option<Bound<'py, PyString>>; 32],
}

impl<'py> Keys<'py> {
    /// Longer keys are rare and cost more to compare.
    const LONGEST: usize = 32;

    #[inline]
    pub(crate) fn get(&mut self, py: Python<'py>, key: Ascii<'_>) -> PyResult<Bound<'py, PyString>> {
        let bytes = key.bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return new_ascii(py, key) };
        if bytes.len() > Self::LONGEST {
            return new_ascii(py, key);
        }
        let middle = bytes[bytes.len() / 2];
        let mix = usize::from(*first) ^ usize::from(*last) << 1 ^ usize::from(middle) << 2 ^ bytes.len();
        let slot = &mut self.slots[mix % 32];
        if let Some(known) = slot
            // SAFETY: what is in a slot was made from ASCII, so it has `length` one-byte units, and is held there.
            && bytes == unsafe { ascii_of(known) }
        {
            return Ok(known.clone());
        }
        Ok(slot.insert(new_ascii(py, key)?).clone())
    }
}

/// The characters of `text`.
///
/// # Safety
/// It must be a compact ASCII `str`.
unsafe fn ascii_of<'a>(text: &'a Bound<'_, PyString>) -> &'a [u8] {
    // SAFETY: the caller vouches for the kind; a str is immutable and keeps its units as long as it lives.
    unsafe {
        let length = ffi::PyUnicode_GET_LENGTH(text.as_ptr()).cast_unsigned();
        std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text.as_ptr()), length)
    }
}
