//! Which strings are stored as plain ASCII, and where their characters are.
//!
//! Promise: [`ascii`] reads a `str` in place, by what the headers of the Python that this was compiled against say.
//! Until 3.13 PyO3 repeats what they say. From 3.14 on it only has functions for it, which cost a call for each string,
//! while C code goes on reading the same fields inline; so does this. The headers of 3.14 and 3.15 define them so:
//!
//! ```c
//! struct { unsigned int interned:2, kind:3, compact:1, ascii:1, statically_allocated:1, :24; } state;
//! ```
//!
//! Compiled C extensions depend on that, so it cannot change within a version; each version has its own build of this
//! crate, and PyO3 refuses versions that it does not know. How a compiler packs bit fields is no part of the C
//! standard, though, so [`check`] compares what is read here and in `integer` with what Python's functions return.
//! Caveat: it has to be called before anything is read, which the import of `plugincore._core` does.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyType};

use super::integer;

/// The bytes of a `str` of ASCII alone.
#[derive(Clone, Copy)]
pub(super) struct Ascii {
    pub data: *const u8,
    pub length: usize,
}

/// The characters of `text` if they are ASCII and follow its header in the same block of memory.
///
/// # Safety
/// `text` must be a live `str` or an instance of a subclass. What is returned is valid while it lives.
#[cfg(not(Py_3_14))]
#[inline]
pub(super) unsafe fn ascii(text: *mut ffi::PyObject) -> Option<Ascii> {
    // SAFETY: the caller vouches for a live str. A compact ASCII one is ready and holds `length` one-byte units, which
    // never change: a str is immutable.
    unsafe {
        (ffi::PyUnicode_IS_COMPACT_ASCII(text) != 0).then(|| Ascii {
            data: ffi::PyUnicode_1BYTE_DATA(text),
            length: ffi::PyUnicode_GET_LENGTH(text).cast_unsigned(),
        })
    }
}

/// The characters of `text` if they are ASCII and follow its header in the same block of memory.
///
/// # Safety
/// `text` must be a live `str` or an instance of a subclass. What is returned is valid while it lives.
#[cfg(Py_3_14)]
#[inline]
pub(super) unsafe fn ascii(text: *mut ffi::PyObject) -> Option<Ascii> {
    /// `compact` and `ascii`, which begin behind five bits. Compilers fill a bit field from the end of the word that
    /// comes first in memory.
    const COMPACT_ASCII: u32 = if cfg!(target_endian = "little") { 0b11 << 5 } else { 0b11 << (32 - 7) };
    // SAFETY: the caller vouches for a live str, each of which begins with this header; it and the characters never
    // change: a str is immutable, and `interned` alone is written later, under the interpreter lock that is held here.
    // A compact ASCII str has `length` one-byte units behind the header.
    unsafe {
        let header = text.cast::<ffi::PyASCIIObject>();
        ((*header).state & COMPACT_ASCII == COMPACT_ASCII)
            .then(|| Ascii { data: header.add(1).cast(), length: (*header).length.cast_unsigned() })
    }
}

/// Compares what is read from `str` and `int` objects with what Python's own functions return.
///
/// # Errors
/// `ImportError` if they differ: this Python is not laid out as its version's headers say.
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    let subclass = py.get_type::<PyType>().call1(("text", (py.get_type::<PyString>(),), PyDict::new(py)))?;
    for text in ["", "a", "longer than a block of bytes", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
        let exact = PyString::new(py, text).into_any();
        let derived = subclass.call1((text,))?;
        if !reads(&exact, text.is_ascii()) || !reads(&derived, false) {
            return Err(unknown_layout("str"));
        }
    }
    for value in [0, 1, -1, (1 << 30) - 1, 1 << 30, 1 - (1 << 60), 1 << 60, i64::MAX, i64::MIN] {
        let int = PyInt::new(py, value);
        // SAFETY: a live int.
        if unsafe { integer::machine_integer(int.as_ptr()) } != Some(value) {
            return Err(unknown_layout("int"));
        }
    }
    Ok(())
}

/// Whether the characters of `text` are found in place if `expected`, at the place and of the number that Python's
/// functions return, and not found otherwise.
fn reads(text: &Bound<'_, PyAny>, expected: bool) -> bool {
    let length = text.len().ok();
    // SAFETY: a live str, which is ready: it was made by PyO3 and by Python.
    unsafe {
        let found = ascii(text.as_ptr());
        let data = ffi::PyUnicode_1BYTE_DATA(text.as_ptr()).cast_const();
        found.is_some() == expected && found.is_none_or(|found| found.data == data && Some(found.length) == length)
    }
}

#[cold]
fn unknown_layout(kind: &str) -> PyErr {
    PyImportError::new_err(format!(
        "plugincore cannot read the {kind} objects of this Python, which are laid out in another way than in the \
         CPython that it was built for; build it again with this Python: pip install --no-binary plugincore plugincore"
    ))
}
