//! `str` objects made from the strings of a JSON text.
//!
//! Runs on the Python thread. The characters are written straight into the new object, whose size and kind are known
//! beforehand, before anything else sees it.

use std::mem::MaybeUninit;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::borrowed::Str;
use super::scan::{AsciiBytes, Text};

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
pub(super) fn new_ascii<'py>(py: Python<'py>, text: AsciiBytes<'_>) -> PyResult<Bound<'py, PyString>> {
    let bytes = text.bytes();
    // SAFETY: the result is null with an exception set, or a new str with room for as many ASCII characters, all of
    // which are written before anything else sees it. (That of an empty string is shared, but then nothing is written.)
    unsafe {
        let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(bytes.len().cast_signed(), 0x7f))?;
        let data = ffi::PyUnicode_1BYTE_DATA(object.as_ptr());
        data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        Ok(object.cast_into_unchecked())
    }
}

fn new_unicode<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    /// What UTF-8 begins the first character beyond Latin-1 with, and the first that needs more than 16 bits.
    const BEGINS: [u8; 2] = [0xc4, 0xf0];
    let length = text.bytes().filter(|byte| byte & 0xc0 != 0x80).count();
    // The first byte of a character shows its class, and Python wants strings in the smallest that holds them.
    let largest = text.bytes().fold(0, u8::max);
    if largest < BEGINS[0] {
        collect(py, length, text.chars().map(|character| character as u8))
    } else if largest < BEGINS[1] {
        collect(py, length, text.chars().map(|character| character as u16))
    } else {
        collect(py, length, text.chars())
    }
}

/// What the characters of a `str` can be stored as.
trait Unit: Copy {
    /// The largest code point that Python stores in this size; every value of the type is one up to that.
    const LARGEST: ffi::Py_UCS4;
}

impl Unit for u8 {
    const LARGEST: ffi::Py_UCS4 = 0xff;
}

impl Unit for u16 {
    const LARGEST: ffi::Py_UCS4 = 0xffff;
}

impl Unit for char {
    const LARGEST: ffi::Py_UCS4 = 0x0010_ffff;
}

/// The `str` of as many characters as `length` says.
#[inline]
fn collect<U: Unit>(py: Python<'_>, length: usize, units: impl Iterator<Item = U>) -> PyResult<Bound<'_, PyString>> {
    // SAFETY: the result is null with an exception set, or a new str with room for `length` units of the size that
    // holds `LARGEST`, which nothing else sees before it is returned. (That of an empty string is shared, but has no
    // units.)
    let (object, room) = unsafe {
        let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(length.cast_signed(), U::LARGEST))?;
        let data = ffi::PyUnicode_DATA(object.as_ptr()).cast::<MaybeUninit<U>>();
        (object.cast_into_unchecked(), slice::from_raw_parts_mut(data, length))
    };
    let mut written = 0;
    for (slot, unit) in room.iter_mut().zip(units) {
        slot.write(unit);
        written += 1;
    }
    assert_eq!(length, written, "a string has as many characters as were counted");
    Ok(object)
}

/// The key strings met last, so that the objects of one array share them with their hashes.
///
/// They are dropped with the body: to intern keys that a client chooses would keep them for ever.
#[derive(Default)]
pub(super) struct KeyCache<'py> {
    slots: [Option<Bound<'py, PyString>>; 32],
}

impl<'py> KeyCache<'py> {
    /// Longer keys are rare and cost more to compare.
    const LONGEST: usize = 32;

    #[inline]
    pub(crate) fn get(&mut self, py: Python<'py>, key: AsciiBytes<'_>) -> PyResult<Bound<'py, PyString>> {
        let bytes = key.bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return new_ascii(py, key) };
        if bytes.len() > Self::LONGEST {
            return new_ascii(py, key);
        }
        let middle = bytes[bytes.len() / 2];
        let mix = usize::from(*first) ^ usize::from(*last) << 1 ^ usize::from(middle) << 2 ^ bytes.len();
        let slot = &mut self.slots[mix % 32];
        if let Some(known) = slot
            && Str::new(known).ascii().is_some_and(|known| known.bytes() == bytes)
        {
            return Ok(known.clone());
        }
        Ok(slot.insert(new_ascii(py, key)?).clone())
    }
}
