//! The values of Python's ints.
//!
//! Most ints are of one or two of CPython's digits, which are read where they lie rather than by a call, as the
//! versions' headers define them (`cpython/longintrepr.h`). Caveat: `layout::check` compares that with what Python's
//! functions return and has to be called first.

use std::ptr::addr_of;

use pyo3::ffi;

/// The value of an int that fits in 64 bits.
///
/// # Safety
/// `int` must be a live int or an instance of a subclass.
#[inline]
pub(super) unsafe fn machine_integer(int: *mut ffi::PyObject) -> Option<i64> {
    // SAFETY: the caller vouches for a live int.
    unsafe { short_integer(int).map_or_else(|| ask(int), Some) }
}

/// # Safety
/// As for [`machine_integer`].
#[inline(never)]
unsafe fn ask(int: *mut ffi::PyObject) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: for an int this cannot fail and runs no code; too large a value is told by `overflow` alone.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(int, &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// Bits in a digit of four bytes.
const DIGIT_BITS: u32 = 30;

/// The head of an int and its lowest digits, of which only those exist that `tag` counts.
#[repr(C)]
struct Int {
    head: ffi::PyObject,
    /// Since Python 3.12 the number of digits above three bits, the lowest two of which are 0 for positive numbers,
    /// 1 for zero and 2 for negative ones; before, the number of digits, negated for negative numbers.
    tag: isize,
    digits: [u32; 2],
}

/// The value of an int of at most two digits.
///
/// # Safety
/// As for [`machine_integer`].
#[inline]
unsafe fn short_integer(int: *mut ffi::PyObject) -> Option<i64> {
    // SAFETY: the type of ints is there as long as the interpreter, and its item is a digit. If that has four bytes,
    // the layout is as above: it has been this since Python 2.7, but for the tag, and a subclass adds to its end.
    // The digits that are read exist, as the tag says so, and an int that others can see does not change.
    unsafe {
        if ffi::PyLong_Type.tp_itemsize != 4 {
            return None;
        }
        let int = int.cast_const().cast::<Int>();
        let (count, sign) = count_and_sign((*int).tag);
        let digit = |index: usize| i64::from(addr_of!((*int).digits).cast::<u32>().add(index).read());
        match count {
            0 => Some(0),
            1 => Some(sign * digit(0)),
            2 => Some(sign * (digit(0) | digit(1) << DIGIT_BITS)),
            _ => None,
        }
    }
}

#[cfg(Py_3_12)]
#[inline]
const fn count_and_sign(tag: isize) -> (usize, i64) {
    // Zero has no digits, and yet a place for one.
    (tag.cast_unsigned() >> 3, 1 - (tag & 3) as i64)
}

#[cfg(not(Py_3_12))]
#[inline]
const fn count_and_sign(tag: isize) -> (usize, i64) {
    (tag.unsigned_abs(), tag.signum() as i64)
}
