//! The walk over Python objects that writes what `json.dumps(value)` would, byte for byte.
//!
//! Values of exactly the built-in scalar types are written from borrowed pointers; everything else is held by a strong
//! reference while it is walked, since a subclass's `items` or `__iter__`, a huge int, or an error may run Python code
//! that changes or drops what we look at. Caveat: Python code can thus run inside the walk, but only of plugins that
//! return such subclasses.

use std::ffi::CStr;
use std::ops::Range;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::MAX_DEPTH;
use super::fault::{EncodeError, Fault, Step};
use super::number::{write_float, write_integer};
use super::text::{write_ready_string, write_string};

/// Appends the JSON text of `value` to `out`: pure ASCII, with `", "` and `": "` between the parts.
///
/// Subclasses are written as their base: an `IntEnum` as a number, a namedtuple as an array, a dict subclass by its
/// `items()`. Keys may be str, int, float, bool or None; keys that come to the same text are repeated. NaN and the
/// infinities are written as Python names them.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn encode(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let mut walk = Walk { py: value.py(), out, open: Vec::new() };
    walk.run(value).map_err(|fault| {
        let error = fault.at(walk.open.iter().filter_map(|open| open.step(walk.out)));
        walk.out.truncate(start);
        error
    })
}

/// The walk, with the containers it is inside of kept in a list rather than on the thread's stack, so that no value can
/// exhaust that.
struct Walk<'py, 'out> {
    py: Python<'py>,
    out: &'out mut Vec<u8>,
    open: Vec<Open<'py>>,
}

/// A container being walked: what comes next in it, and where we are for the sake of an error.
enum Open<'py> {
    List {
        list: Bound<'py, PyList>,
        next: usize,
    },
    Tuple {
        tuple: Bound<'py, PyTuple>,
        next: usize,
    },
    Dict {
        dict: Bound<'py, PyDict>,
        position: ffi::Py_ssize_t,
        size: usize,
        count: usize,
        key: Range<usize>,
    },
    /// What the `items()` of a dict subclass gave.
    Items {
        items: Bound<'py, PyList>,
        next: usize,
        key: Range<usize>,
    },
}

impl Open<'_> {
    /// The item being written; none while the walk is between two entries of a dict. `key` spans the key in `out`.
    fn step<'out>(&self, out: &'out [u8]) -> Option<Step<'out>> {
        match self {
            Self::List { next, .. } | Self::Tuple { next, .. } => next.checked_sub(1).map(Step::Index),
            Self::Dict { key, .. } | Self::Items { key, .. } => (!key.is_empty()).then(|| Step::Key(&out[key.clone()])),
        }
    }
}

/// What the walk of one container stopped for.
enum Stop<'py> {
    /// An item that is to be looked at more closely before going on.
    Item(Bound<'py, PyAny>),
    /// The end, with the bracket to write.
    End(u8),
}

impl<'py> Walk<'py, '_> {
    fn run(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Fault> {
        // SAFETY: `value` keeps the object alive.
        if !unsafe { write_plain(self.out, value.as_ptr()) } {
            self.enter(value.clone())?;
        }
        while let Some(open) = self.open.last_mut() {
            match open.advance(self.py, self.out)? {
                Stop::Item(item) => self.enter(item)?,
                Stop::End(bracket) => {
                    self.out.push(bracket);
                    self.open.pop();
                }
            }
        }
        Ok(())
    }

    /// Opens a container, or writes an instance of a subclass or a huge int; asks in the order CPython asks.
    fn enter(&mut self, object: Bound<'py, PyAny>) -> Result<(), Fault> {
        let object = match object.cast_into_exact::<PyDict>() {
            Ok(dict) => {
                self.begin(b'{')?;
                let size = dict.len();
                self.open.push(Open::Dict { dict, position: 0, size, count: 0, key: 0..0 });
                return Ok(());
            }
            Err(error) => error.into_inner(),
        };
        let object = match object.cast_into_exact::<PyList>() {
            Ok(list) => {
                self.begin(b'[')?;
                self.open.push(Open::List { list, next: 0 });
                return Ok(());
            }
            Err(error) => error.into_inner(),
        };
        let object = match object.cast_into_exact::<PyTuple>() {
            Ok(tuple) => {
                self.begin(b'[')?;
                self.open.push(Open::Tuple { tuple, next: 0 });
                return Ok(());
            }
            Err(error) => error.into_inner(),
        };
        if object.is_instance_of::<PyString>() {
            // SAFETY: a str, held by `object`.
            unsafe { write_string(self.py, self.out, object.as_ptr()) }?;
        } else if let Ok(int) = object.cast::<PyInt>() {
            write_any_integer(self.out, int)?;
        } else if let Ok(float) = object.cast::<PyFloat>() {
            write_float(self.out, stored_float(float));
        } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            // SAFETY: a live object; the result is a new list, or null with an exception set. This honours __iter__.
            let list = unsafe { Bound::from_owned_ptr_or_err(self.py, ffi::PySequence_List(object.as_ptr())) }?;
            let list = list.cast_into().map_err(PyErr::from)?;
            self.begin(b'[')?;
            self.open.push(Open::List { list, next: 0 });
        } else if let Ok(dict) = object.cast::<PyDict>() {
            // CPython asks `items()` only when the dict beneath has any.
            let items = if dict.is_empty() {
                PyList::empty(self.py)
            } else {
                // SAFETY: a live mapping; the result is a new list, or null with an exception set.
                let items = unsafe { Bound::from_owned_ptr_or_err(self.py, ffi::PyMapping_Items(dict.as_ptr())) }?;
                items.cast_into().map_err(PyErr::from)?
            };
            self.begin(b'{')?;
            self.open.push(Open::Items { items, next: 0, key: 0..0 });
        } else {
            let message = format!("Object of type {} is not JSON serializable", object.get_type().name()?);
            return Err(PyTypeError::new_err(message).into());
        }
        Ok(())
    }

    /// Writes the bracket of a container that the caller is about to push, unless that would be one too many.
    fn begin(&mut self, bracket: u8) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.out.push(bracket);
        Ok(())
    }
}

impl<'py> Open<'py> {
    /// Writes items up to the first that is no plain scalar. No Python code runs but for a key that is a huge int, so
    /// what changed since the last call, when an item was entered, is looked at afresh here.
    fn advance(&mut self, py: Python<'py>, out: &mut Vec<u8>) -> Result<Stop<'py>, Fault> {
        match self {
            Self::List { list, next } => {
                // SAFETY: the list is held. Its size is asked anew for each item, so the index is in range and the slot
                // holds an object that the list keeps alive until code runs.
                unsafe {
                    while *next < ffi::PyList_GET_SIZE(list.as_ptr()).unsigned_abs() {
                        let item = ffi::PyList_GET_ITEM(list.as_ptr(), next.cast_signed());
                        separate(out, *next);
                        *next += 1;
                        if !write_plain(out, item) {
                            return Ok(Stop::Item(Bound::from_borrowed_ptr(py, item)));
                        }
                    }
                }
                Ok(Stop::End(b']'))
            }
            Self::Tuple { tuple, next } => {
                while *next < tuple.len() {
                    // SAFETY: the index is in range, and a tuple keeps its items.
                    unsafe {
                        let item = ffi::PyTuple_GET_ITEM(tuple.as_ptr(), next.cast_signed());
                        separate(out, *next);
                        *next += 1;
                        if !write_plain(out, item) {
                            return Ok(Stop::Item(Bound::from_borrowed_ptr(py, item)));
                        }
                    }
                }
                Ok(Stop::End(b']'))
            }
            Self::Dict { dict, position, size, count, key: span } => {
                let changed = |reason| Err(PyRuntimeError::new_err(reason).into());
                *span = 0..0;
                // Only now can its size have changed: what the loop writes runs no Python code.
                if dict.len() != *size {
                    return changed("dictionary changed size during iteration");
                }
                let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
                // SAFETY: a live dict and valid out-pointers; PyDict_Next bears a dict that was changed in between.
                while unsafe { ffi::PyDict_Next(dict.as_ptr(), position, &raw mut key, &raw mut value) } != 0 {
                    // A dict that swaps keys for others while it is walked would keep us here for ever.
                    if count == size {
                        *span = 0..0;
                        return changed("dictionary keys changed during iteration");
                    }
                    separate(out, *count);
                    *count += 1;
                    // SAFETY: both were just read out of the dict, and no code ran since.
                    if let Some(value) = unsafe { write_entry(py, out, key, value, span) }? {
                        return Ok(Stop::Item(value));
                    }
                }
                Ok(Stop::End(b'}'))
            }
            Self::Items { items, next, key: span } => {
                while *next < items.len() {
                    *span = 0..0;
                    let item = items.get_item(*next)?;
                    let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
                    let pair = pair.ok_or_else(|| PyValueError::new_err("items must return 2-tuples"))?;
                    separate(out, *next);
                    *next += 1;
                    // SAFETY: a tuple of two, kept alive by `item`, which keeps its items.
                    let value = unsafe {
                        let (key, value) =
                            (ffi::PyTuple_GET_ITEM(pair.as_ptr(), 0), ffi::PyTuple_GET_ITEM(pair.as_ptr(), 1));
                        write_entry(py, out, key, value, span)
                    }?;
                    if let Some(value) = value {
                        return Ok(Stop::Item(value));
                    }
                }
                Ok(Stop::End(b'}'))
            }
        }
    }
}

#[inline]
fn separate(out: &mut Vec<u8>, written: usize) {
    if written > 0 {
        out.extend_from_slice(b", ");
    }
}

/// Writes a key and, if it is a plain scalar, its value; else returns the value. `span` becomes the place of the key.
///
/// # Safety
/// `key` and `value` must be alive now; they need not outlive Python code that runs inside.
#[inline]
unsafe fn write_entry<'py>(
    py: Python<'py>,
    out: &mut Vec<u8>,
    key: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    span: &mut Range<usize>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let start = out.len();
    // SAFETY: both are alive, and writing a str or a plain value runs no code that could change that.
    unsafe {
        if ffi::PyUnicode_CheckExact(key) == 0 || !write_ready_string(out, key) {
            return write_unusual_entry(py, out, key, value, span);
        }
        *span = start..out.len();
        out.extend_from_slice(b": ");
        Ok((!write_plain(out, value)).then(|| Bound::from_borrowed_ptr(py, value)))
    }
}

/// Does what [`write_entry`] does for a key that is not exactly a str.
///
/// # Safety
/// As for [`write_entry`].
#[cold]
unsafe fn write_unusual_entry<'py>(
    py: Python<'py>,
    out: &mut Vec<u8>,
    key: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    span: &mut Range<usize>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    *span = 0..0;
    let start = out.len();
    // SAFETY: both are alive, and are held before anything else happens.
    let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
        unsafe { (Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)) };
    write_unusual_key(py, out, &key)?;
    *span = start..out.len();
    out.extend_from_slice(b": ");
    // SAFETY: `value` is held.
    Ok((!unsafe { write_plain(out, value.as_ptr()) }).then_some(value))
}

/// Writes an instance of exactly a built-in scalar type and says whether `object` was one. Runs no Python code.
///
/// # Safety
/// `object` must be alive.
#[inline]
unsafe fn write_plain(out: &mut Vec<u8>, object: *mut ffi::PyObject) -> bool {
    // SAFETY: `object` is alive, and each access follows a check of the exact type.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if kind == &raw mut ffi::PyUnicode_Type {
            return write_ready_string(out, object);
        }
        if kind == &raw mut ffi::PyLong_Type {
            let Some(value) = machine_integer(object) else {
                return false;
            };
            write_integer(out, value);
        } else if kind == &raw mut ffi::PyFloat_Type {
            write_float(out, ffi::PyFloat_AS_DOUBLE(object));
        } else {
            let Some(name) = constant(object) else { return false };
            out.extend_from_slice(name);
        }
    }
    true
}

/// Writes a key that is not exactly a str: an instance of a subclass, or a number or a constant in quotes.
fn write_unusual_key(py: Python<'_>, out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> PyResult<()> {
    if key.is_instance_of::<PyString>() {
        // SAFETY: a str, held by `key`.
        return unsafe { write_string(py, out, key.as_ptr()) };
    }
    out.push(b'"');
    // SAFETY: `key` is alive.
    if let Some(name) = unsafe { constant(key.as_ptr()) } {
        out.extend_from_slice(name);
    } else if let Ok(float) = key.cast::<PyFloat>() {
        write_float(out, stored_float(float));
    } else if let Ok(int) = key.cast::<PyInt>() {
        write_any_integer(out, int)?;
    } else {
        // SAFETY: a live type has a NUL-terminated name.
        let kind = unsafe { CStr::from_ptr((*ffi::Py_TYPE(key.as_ptr())).tp_name) }.to_string_lossy();
        let message = format!("keys must be str, int, float, bool or None, not {kind}");
        return Err(PyTypeError::new_err(message));
    }
    out.push(b'"');
    Ok(())
}

/// Writes an int of any size or subclass as `int.__repr__` does, within Python's limit of digits.
fn write_any_integer(out: &mut Vec<u8>, int: &Bound<'_, PyInt>) -> PyResult<()> {
    // SAFETY: a live int; for one, PyNumber_ToBase asks no method of a subclass and gives a new str or null.
    unsafe {
        if let Some(value) = machine_integer(int.as_ptr()) {
            write_integer(out, value);
            return Ok(());
        }
        let digits = Bound::from_owned_ptr_or_err(int.py(), ffi::PyNumber_ToBase(int.as_ptr(), 10))?;
        out.extend_from_slice(digits.cast::<PyString>()?.to_str()?.as_bytes());
    }
    Ok(())
}

/// The JSON word for None, True and False.
///
/// # Safety
/// `object` must be alive.
#[inline]
unsafe fn constant(object: *mut ffi::PyObject) -> Option<&'static [u8]> {
    // SAFETY: the singletons live as long as the interpreter; only addresses are compared.
    unsafe {
        if object == ffi::Py_None() {
            Some(b"null")
        } else if object == ffi::Py_True() {
            Some(b"true")
        } else if object == ffi::Py_False() {
            Some(b"false")
        } else {
            None
        }
    }
}

/// The value of an int that fits in 64 bits.
///
/// # Safety
/// `int` must be a live int or an instance of a subclass.
#[inline]
unsafe fn machine_integer(int: *mut ffi::PyObject) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: for an int this cannot fail and runs no code; too large a value is told by `overflow` alone.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(int, &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// The number itself, whatever a subclass says in `__float__`.
fn stored_float(float: &Bound<'_, PyFloat>) -> f64 {
    // SAFETY: a live float or an instance of a subclass, which has the same head.
    unsafe { ffi::PyFloat_AS_DOUBLE(float.as_ptr()) }
}
