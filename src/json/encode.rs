//! The walk over Python objects that writes what `json.dumps(value)` would, byte for byte.
//!
//! What runs no Python code is written by [`plain`]; everything else is done here, with strong references to all that is
//! being walked, since a subclass's `items` or `__iter__`, a huge int, or an error may run Python code that changes or
//! drops what we look at. Caveat: Python code can thus run inside the walk, but only of plugins that return such
//! subclasses.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::error::{EncodeError, WalkError};
use super::frame::Frame;
use super::integer::machine_integer;
use super::limits::MAX_DEPTH;
use super::missing_await::missing_await;
use super::number::{write_float, write_integer};
use super::plain::{self, Resume, Suspend};
use super::text::write_string;

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
        let error = fault.at(walk.open.iter().filter_map(|frame| frame.segment(walk.out)));
        walk.out.truncate(start);
        error
    })
}

/// The walk, with the containers it is inside of kept in a list rather than on the thread's stack whenever Python code
/// may run, so that no value can exhaust that and no code can free what is being walked.
struct Walk<'py, 'out> {
    py: Python<'py>,
    out: &'out mut Vec<u8>,
    open: Vec<Frame<'py>>,
}

impl<'py> Walk<'py, '_> {
    fn run(&mut self, value: &Bound<'py, PyAny>) -> Result<(), WalkError> {
        let mut stop = self.write(value);
        loop {
            stop = match stop {
                Some(Suspend::Item(item)) => self.enter(item)?,
                Some(Suspend::Entry(key, value)) => self.write_entry(&key, &value)?,
                Some(Suspend::KeysChanged) => return changed("dictionary keys changed during iteration"),
                Some(Suspend::NoPair) => return Err(PyValueError::new_err("items must return 2-tuples").into()),
                None if self.open.is_empty() => return Ok(()),
                None => self.go_on()?,
            };
        }
    }

    /// Writes as much of the value as runs no Python code.
    fn write(&mut self, value: &Bound<'py, PyAny>) -> Option<Suspend<'py>> {
        // SAFETY: the value is held.
        unsafe { plain::write(self.py, self.out, &mut self.open, value.as_ptr(), MAX_DEPTH) }
    }

    /// Writes as much of the innermost open container as runs no Python code. What changed since it was looked at last
    /// is seen here.
    fn go_on(&mut self) -> Result<Option<Suspend<'py>>, WalkError> {
        let (container, rest) = match self.open.pop() {
            None => return Ok(None),
            Some(Frame::List { list, next }) => (list.into_any(), Resume::Sequence { next }),
            Some(Frame::Tuple { tuple, next }) => (tuple.into_any(), Resume::Sequence { next }),
            Some(Frame::Dict { dict, entries, .. }) => {
                if dict.len() != entries.size {
                    self.open.push(Frame::Dict { dict, entries, key: 0..0 });
                    return changed("dictionary changed size during iteration");
                }
                (dict.into_any(), Resume::Dict(entries))
            }
            Some(Frame::Items { items, next, .. }) => (items.into_any(), Resume::Items { next }),
        };
        // SAFETY: the container is held, and `rest` says how far its walk got.
        Ok(unsafe { plain::write_rest(self.py, self.out, &mut self.open, container.as_ptr(), rest, MAX_DEPTH) })
    }

    /// Writes an entry of the innermost open container, whatever its key.
    fn write_entry(
        &mut self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> Result<Option<Suspend<'py>>, WalkError> {
        let start = self.out.len();
        write_key(self.py, self.out, key)?;
        if let Some(span) = self.open.last_mut().and_then(Frame::key_mut) {
            *span = start..self.out.len();
        }
        self.out.extend_from_slice(b": ");
        Ok(self.write(value))
    }

    /// Writes an instance of a subclass, a huge int, or a container that was too deep for the stack; asks in the order
    /// CPython asks.
    fn enter(&mut self, object: Bound<'py, PyAny>) -> Result<Option<Suspend<'py>>, WalkError> {
        if object.is_exact_instance_of::<PyDict>()
            || object.is_exact_instance_of::<PyList>()
            || object.is_exact_instance_of::<PyTuple>()
        {
            self.may_open()?;
            return Ok(self.write(&object));
        }
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
            self.may_open()?;
            return Ok(self.write(&list));
        } else if let Ok(dict) = object.cast::<PyDict>() {
            // CPython asks `items()` only when the dict beneath has any.
            let items = if dict.is_empty() {
                PyList::empty(self.py)
            } else {
                // SAFETY: a live mapping; the result is a new list, or null with an exception set.
                let items = unsafe { Bound::from_owned_ptr_or_err(self.py, ffi::PyMapping_Items(dict.as_ptr())) }?;
                items.cast_into().map_err(PyErr::from)?
            };
            self.may_open()?;
            self.out.push(b'{');
            self.open.push(Frame::Items { items, next: 0, key: 0..0 });
        } else {
            let hint = missing_await(&object);
            let message = format!("Object of type {} is not JSON serializable{hint}", object.get_type().name()?);
            return Err(PyTypeError::new_err(message).into());
        }
        Ok(None)
    }

    fn may_open(&self) -> Result<(), WalkError> {
        if self.open.len() == MAX_DEPTH { Err(WalkError::TooDeep) } else { Ok(()) }
    }
}

#[cold]
fn changed<T>(reason: &'static str) -> Result<T, WalkError> {
    Err(PyRuntimeError::new_err(reason).into())
}

/// Writes a key: a str, an instance of a subclass, or a number or a constant in quotes.
fn write_key(py: Python<'_>, out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> PyResult<()> {
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

/// The number itself, whatever a subclass says in `__float__`.
fn stored_float(float: &Bound<'_, PyFloat>) -> f64 {
    // SAFETY: a live float or an instance of a subclass, which has the same head.
    unsafe { ffi::PyFloat_AS_DOUBLE(float.as_ptr()) }
}
