//! Python objects of exactly the built-in types, read where they lie, without counting references.
//!
//! Runs on the Python thread. An [`Object`] is made by one unsafe function, whose caller promises that nothing changes
//! meanwhile; all that can be reached from there is safe, because each type here is made only after the check of the
//! exact Python type, and none gives access to anything that runs Python code. [`Str`] and [`Int`] can also be made
//! from references that are held: these objects never change.
//!
//! Strings and ints are read as the headers of the Python that this was compiled against define them. Until 3.13 PyO3
//! repeats that for strings; from 3.14 on it only has functions for it, which cost a call for each string, while C code
//! goes on reading the same fields inline; so does this. The headers of 3.14 and 3.15 define them so:
//!
//! ```c
//! struct { unsigned int interned:2, kind:3, compact:1, ascii:1, statically_allocated:1, :24; } state;
//! ```
//!
//! Compiled C extensions depend on that, so it cannot change within a version; each version has its own build of this
//! crate, and PyO3 refuses versions that it does not know. How a compiler packs bit fields is no part of the C
//! standard, though. Caveat: so `layout::check` has to be called first; the import of `plugincore._core` does.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, PyErr, PyTypeInfo};

/// An object that is alive and, like all that it contains, unchanged as long as `'a` lasts.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Object<'a, 'py>(Borrowed<'a, 'py, PyAny>);

/// A value of which there is one object.
pub(super) enum Constant {
    None,
    True,
    False,
}

impl<'a, 'py: 'a> Object<'a, 'py> {
    /// Borrows an object with all that it contains.
    ///
    /// # Safety
    /// As long as what this returns, or anything borrowed from it, is in use, no Python code may run and no reference
    /// to a Python object be dropped: either could change or free what is borrowed. New references may be made.
    #[inline]
    pub(super) unsafe fn borrow<T>(object: &'a Bound<'py, T>) -> Self {
        Self(object.as_any().as_borrowed())
    }

    /// A reference that is counted.
    pub(super) fn hold(self) -> Bound<'py, PyAny> {
        self.0.to_owned()
    }

    /// What identifies it among all objects that are alive.
    #[inline]
    pub(super) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The object if it is exactly of the type `T`.
    #[inline]
    fn exactly<T: PyTypeInfo>(self) -> Option<Borrowed<'a, 'py, T>> {
        // SAFETY: the type has been checked.
        self.0.is_exact_instance_of::<T>().then(|| unsafe { self.0.cast_unchecked() })
    }

    /// The object if it is exactly a `str`.
    #[inline]
    pub(super) fn as_str(self) -> Option<Str<'a, 'py>> {
        self.exactly().map(Str)
    }

    /// The object if it is exactly an `int`.
    #[inline]
    pub(super) fn as_int(self) -> Option<Int<'a, 'py>> {
        self.exactly().map(Int)
    }

    /// The value of the object if it is exactly a `float`.
    #[inline]
    pub(super) fn as_float(self) -> Option<f64> {
        self.exactly::<PyFloat>().map(|float| float.value())
    }

    /// The object if it is None, True or False.
    #[inline]
    pub(super) fn as_constant(self) -> Option<Constant> {
        let object = self.0.as_ptr();
        // SAFETY: these three give addresses, and ask for nothing but an interpreter.
        let (none, yes, no) = unsafe { (ffi::Py_None(), ffi::Py_True(), ffi::Py_False()) };
        if object == none {
            Some(Constant::None)
        } else if object == yes {
            Some(Constant::True)
        } else {
            (object == no).then_some(Constant::False)
        }
    }

    /// The object if it is exactly a `dict`.
    #[inline]
    pub(super) fn as_dict(self) -> Option<Dict<'a, 'py>> {
        self.exactly().map(Dict)
    }

    /// The object if it is exactly a `list`.
    #[inline]
    pub(super) fn as_list(self) -> Option<List<'a, 'py>> {
        self.exactly().map(List)
    }

    /// The object if it is exactly a `list` or a `tuple`.
    #[inline]
    pub(super) fn as_sequence(self) -> Option<Sequence<'a, 'py>> {
        let tuple = || self.exactly().map(|tuple| Sequence::Tuple(Tuple(tuple)));
        self.as_list().map(Sequence::List).or_else(tuple)
    }

    /// The two items of a tuple, of a subclass or not, if it has two.
    #[inline]
    pub(super) fn as_pair(self) -> Option<[Self; 2]> {
        let tuple = Borrowed::cast::<PyTuple>(self.0).ok().map(Tuple)?;
        if let [first, second] = tuple.items() { Some([*first, *second]) } else { None }
    }
}

/// A `list`.
#[derive(Clone, Copy)]
pub(super) struct List<'a, 'py>(Borrowed<'a, 'py, PyList>);

impl<'a, 'py> List<'a, 'py> {
    /// All items.
    #[inline]
    pub(super) fn items(self) -> &'a [Object<'a, 'py>] {
        let list = self.0.as_ptr().cast::<ffi::PyListObject>();
        // SAFETY: a live list, of which neither the size nor the items change meanwhile. They are pointers to live
        // objects, which is what an `Object` is: C code that makes a list fills it before other code sees it. An empty
        // list may have no memory for items.
        unsafe {
            let items = NonNull::new((*list).ob_item).unwrap_or(NonNull::dangling());
            slice::from_raw_parts(items.cast().as_ptr(), ffi::Py_SIZE(list.cast()).cast_unsigned())
        }
    }

    /// A reference that is counted.
    pub(super) fn hold(self) -> Bound<'py, PyList> {
        self.0.to_owned()
    }
}

/// A `tuple` or an instance of a subclass.
#[derive(Clone, Copy)]
pub(super) struct Tuple<'a, 'py>(Borrowed<'a, 'py, PyTuple>);

impl<'a, 'py> Tuple<'a, 'py> {
    /// All items.
    #[inline]
    pub(super) fn items(self) -> &'a [Object<'a, 'py>] {
        let tuple = self.0.as_ptr().cast::<ffi::PyTupleObject>();
        // SAFETY: as for the items of a list; those of a tuple are part of it.
        unsafe {
            let items = (&raw const (*tuple).ob_item).cast();
            slice::from_raw_parts(items, ffi::Py_SIZE(tuple.cast()).cast_unsigned())
        }
    }

    /// A reference that is counted.
    pub(super) fn hold(self) -> Bound<'py, PyTuple> {
        self.0.to_owned()
    }
}

/// A `list` or a `tuple`.
#[derive(Clone, Copy)]
pub(super) enum Sequence<'a, 'py> {
    List(List<'a, 'py>),
    Tuple(Tuple<'a, 'py>),
}

impl<'a, 'py> Sequence<'a, 'py> {
    /// All items.
    #[inline]
    pub(super) fn items(self) -> &'a [Object<'a, 'py>] {
        match self {
            Self::List(list) => list.items(),
            Self::Tuple(tuple) => tuple.items(),
        }
    }
}

/// A `dict`.
#[derive(Clone, Copy)]
pub(super) struct Dict<'a, 'py>(Borrowed<'a, 'py, PyDict>);

impl<'a, 'py> Dict<'a, 'py> {
    /// The number of entries.
    #[inline]
    pub(super) fn size(self) -> usize {
        // SAFETY: a live dict.
        unsafe { (*self.0.as_ptr().cast::<ffi::PyDictObject>()).ma_used }.cast_unsigned()
    }

    /// The entry at `position`, which is 0 at first and goes to the next one.
    #[inline]
    pub(super) fn next(self, position: &mut ffi::Py_ssize_t) -> Option<(Object<'a, 'py>, Object<'a, 'py>)> {
        let (mut key, mut value) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: a live dict and valid out-pointers, which are set to live objects if there is an entry. Python bears
        // any position, that of a dict that was changed meanwhile, too.
        unsafe {
            (ffi::PyDict_Next(self.0.as_ptr(), position, key.as_mut_ptr(), value.as_mut_ptr()) != 0).then(|| {
                let object = |pointer| Object(Borrowed::from_ptr(self.0.py(), pointer));
                (object(key.assume_init()), object(value.assume_init()))
            })
        }
    }

    /// A reference that is counted.
    pub(super) fn hold(self) -> Bound<'py, PyDict> {
        self.0.to_owned()
    }
}

/// A `str` or an instance of a subclass.
#[derive(Clone, Copy)]
pub(super) struct Str<'a, 'py>(Borrowed<'a, 'py, PyString>);

/// The characters of a [`Str`] by the size that each takes.
pub(super) enum Units<'a> {
    One(&'a [u8]),
    Two(&'a [u16]),
    Four(&'a [u32]),
}

impl<'a, 'py> Str<'a, 'py> {
    #[inline]
    pub(super) fn new(text: &'a Bound<'py, PyString>) -> Self {
        Self(text.as_borrowed())
    }

    /// The characters if they are ASCII and follow the header in the same block of memory.
    #[cfg(not(Py_3_14))]
    #[inline]
    pub(super) fn ascii(self) -> Option<Ascii<'a>> {
        let text = self.0.as_ptr();
        // SAFETY: a live str. A compact ASCII one is ready and holds `length` one-byte units.
        unsafe {
            (ffi::PyUnicode_IS_COMPACT_ASCII(text) != 0).then(|| Ascii {
                data: ffi::PyUnicode_1BYTE_DATA(text),
                length: ffi::PyUnicode_GET_LENGTH(text).cast_unsigned(),
                text: PhantomData,
            })
        }
    }

    /// The characters if they are ASCII and follow the header in the same block of memory.
    #[cfg(Py_3_14)]
    #[inline]
    pub(super) fn ascii(self) -> Option<Ascii<'a>> {
        /// `compact` and `ascii`, which begin behind five bits. Compilers fill a bit field from the end of the word
        /// that comes first in memory.
        const COMPACT_ASCII: u32 = if cfg!(target_endian = "little") { 0b11 << 5 } else { 0b11 << (32 - 7) };
        let header = self.0.as_ptr().cast::<ffi::PyASCIIObject>();
        // SAFETY: a live str, each of which begins with this header; it never changes, as a str is immutable, but for
        // `interned`, which is written under the interpreter lock that is held here. A compact ASCII str has `length`
        // one-byte units behind the header.
        unsafe {
            ((*header).state & COMPACT_ASCII == COMPACT_ASCII).then(|| Ascii {
                data: header.add(1).cast(),
                length: (*header).length.cast_unsigned(),
                text: PhantomData,
            })
        }
    }

    /// The characters, unless the string has to be made ready first, which before Python 3.12 some have to be that C
    /// code made.
    pub(super) fn units(self) -> Option<Units<'a>> {
        let text = self.0.as_ptr();
        // SAFETY: a live str. If it is ready, it holds `length` units of the size that its kind gives, aligned for
        // them, which never change.
        unsafe {
            #[cfg(not(Py_3_12))]
            if ffi::PyUnicode_IS_READY(text) == 0 {
                return None;
            }
            let length = ffi::PyUnicode_GET_LENGTH(text).cast_unsigned();
            Some(match ffi::PyUnicode_KIND(text) {
                ffi::PyUnicode_1BYTE_KIND => Units::One(slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text), length)),
                ffi::PyUnicode_2BYTE_KIND => Units::Two(slice::from_raw_parts(ffi::PyUnicode_2BYTE_DATA(text), length)),
                _ => Units::Four(slice::from_raw_parts(ffi::PyUnicode_4BYTE_DATA(text), length)),
            })
        }
    }

    /// The characters, once the string has been made ready. Fails only when memory runs out.
    pub(super) fn ready_units(self) -> PyResult<Units<'a>> {
        // SAFETY: a live str.
        if unsafe { ffi::PyUnicode_READY(self.0.as_ptr()) } != 0 {
            return Err(PyErr::fetch(self.0.py()));
        }
        Ok(self.units().unwrap_or(Units::One(&[])))
    }
}

/// The characters of a compact ASCII `str`.
#[derive(Clone, Copy)]
pub(super) struct Ascii<'a> {
    data: *const u8,
    length: usize,
    text: PhantomData<&'a [u8]>,
}

impl<'a> Ascii<'a> {
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        // SAFETY: as many bytes of a live str, which is immutable.
        unsafe { slice::from_raw_parts(self.data, self.length) }
    }

    /// The last eight bytes, the first of them in the lowest; what precedes a shorter text is of no use.
    #[inline]
    pub(super) fn last_word(self) -> u64 {
        const { assert!(size_of::<ffi::PyASCIIObject>() >= size_of::<u64>()) };
        // SAFETY: what lies before the text is the header of the same live object, which is longer than a word.
        u64::from_le(unsafe { self.data.add(self.length).sub(size_of::<u64>()).cast::<u64>().read_unaligned() })
    }
}

/// An `int` or an instance of a subclass.
#[derive(Clone, Copy)]
pub(super) struct Int<'a, 'py>(Borrowed<'a, 'py, PyInt>);

/// Bits in a digit of four bytes.
const DIGIT_BITS: u32 = 30;

/// The head of an int and its lowest digits, of which only those exist that `tag` counts.
#[repr(C)]
struct IntLayout {
    head: ffi::PyObject,
    /// Since Python 3.12 the number of digits above three bits, the lowest two of which are 0 for positive numbers,
    /// 1 for zero and 2 for negative ones; before, the number of digits, negated for negative numbers.
    tag: isize,
    digits: [u32; 2],
}

impl<'a, 'py> Int<'a, 'py> {
    #[inline]
    pub(super) fn new(int: &'a Bound<'py, PyInt>) -> Self {
        Self(int.as_borrowed())
    }

    /// The value if it fits in 64 bits.
    #[inline]
    pub(super) fn to_i64(self) -> Option<i64> {
        self.short().map_or_else(|| self.converted(), Some)
    }

    /// The value of an int of at most two of CPython's digits, as most are, read without a call
    /// (`cpython/longintrepr.h`).
    #[inline]
    fn short(self) -> Option<i64> {
        let int = self.0.as_ptr().cast_const().cast::<IntLayout>();
        // SAFETY: the type of ints is there as long as the interpreter, and its item is a digit. If that has four
        // bytes, the layout is as above: it has been this since Python 2.7, but for the tag, and a subclass adds to its
        // end. The digits that are read exist, as the tag says so, and an int that others can see does not change.
        unsafe {
            if ffi::PyLong_Type.tp_itemsize != 4 {
                return None;
            }
            let (count, sign) = count_and_sign((*int).tag);
            let digit = |index: usize| i64::from((&raw const (*int).digits).cast::<u32>().add(index).read());
            match count {
                0 => Some(0),
                1 => Some(sign * digit(0)),
                2 => Some(sign * (digit(0) | digit(1) << DIGIT_BITS)),
                _ => None,
            }
        }
    }

    /// The value if it fits in 64 bits, converted by Python.
    #[inline(never)]
    fn converted(self) -> Option<i64> {
        let mut overflow = 0;
        // SAFETY: a live int, for which this cannot fail and runs no code; `overflow` alone reports too large a value.
        let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(self.0.as_ptr(), &raw mut overflow) };
        (overflow == 0).then_some(value)
    }

    /// The decimal digits as `int.__repr__` gives them, whatever the methods of a subclass. Fails above Python's limit.
    pub(super) fn digits(self) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a live int; the result is a new str, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(self.0.py(), ffi::PyNumber_ToBase(self.0.as_ptr(), 10)) }
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

/// The name of the object's type as CPython's C code puts it into messages, with the module of types made in C.
pub(super) fn type_name(object: &Bound<'_, PyAny>) -> String {
    // SAFETY: a live type has a NUL-terminated name.
    unsafe { CStr::from_ptr((*ffi::Py_TYPE(object.as_ptr())).tp_name) }.to_string_lossy().into_owned()
}

/// Whether the characters of `text` are found in place if `expected`, at the place and of the number that Python's
/// functions return, and not found otherwise.
pub(super) fn is_read_right(text: &Bound<'_, PyString>, expected: bool) -> bool {
    let length = text.len().ok();
    // SAFETY: a live str, which is ready unless C code made it.
    let data = unsafe { ffi::PyUnicode_1BYTE_DATA(text.as_ptr()) }.cast_const();
    Str::new(text)
        .ascii()
        .map_or(!expected, |found| expected && ptr::eq(found.data, data) && Some(found.length) == length)
}
