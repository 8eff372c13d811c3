//! The walk over Python objects that writes what `json.dumps(value)` would, byte for byte.
//!
//! Runs on the Python thread. Values that run no Python code are written by [`plain`]; everything else is done here,
//! with strong references to all that is being walked, since a subclass's `items` or `__iter__`, a huge int, or an
//! error may run Python code that changes or drops what is walked.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySequence, PyString, PyTuple};

use super::borrowed::{Int, Str, type_name};
use super::error::{EncodeError, WalkError};
use super::frame::Frame;
use super::limits::MAX_DEPTH;
use super::missing_await::missing_await;
use super::number::{write_float, write_integer};
use super::plain::{self, Suspend};
use super::replacement::replacement;
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
    let mut walk = Walk { out, frames: Vec::new() };
    walk.run(value).map_err(|fault| {
        let error = fault.at(walk.frames.iter().filter_map(|frame| frame.segment(walk.out)));
        walk.out.truncate(start);
        error
    })
}

/// The walk, with the containers it is inside of kept in a list rather than on the thread's stack whenever Python code
/// may run, so that no value can exhaust that and no code can free what is being walked.
struct Walk<'py, 'out> {
    out: &'out mut Vec<u8>,
    frames: Vec<Frame<'py>>,
}

impl<'py> Walk<'py, '_> {
    fn run(&mut self, value: &Bound<'py, PyAny>) -> Result<(), WalkError> {
        let mut suspend = self.write(value);
        loop {
            suspend = match suspend {
                Some(Suspend::Item(item)) => self.enter(item)?,
                Some(Suspend::Entry(key, value)) => self.write_entry(&key, &value)?,
                Some(Suspend::KeysChanged) => return changed("dictionary keys changed during iteration"),
                Some(Suspend::NotAPair) => return Err(PyValueError::new_err("items must return 2-tuples").into()),
                None if self.frames.is_empty() => return Ok(()),
                None => self.resume()?,
            };
        }
    }

    /// Writes as much of the value as runs no Python code.
    fn write(&mut self, value: &Bound<'py, PyAny>) -> Option<Suspend<'py>> {
        plain::write(self.out, &mut self.frames, value, MAX_DEPTH)
    }

    /// Writes as much of the innermost open container as runs no Python code. What changed since it was looked at last
    /// is seen here.
    fn resume(&mut self) -> Result<Option<Suspend<'py>>, WalkError> {
        let Some(mut frame) = self.frames.pop() else { return Ok(None) };
        if let Frame::Dict { dict, entries, key } = &mut frame
            && dict.len() != entries.size
        {
            *key = 0..0;
            self.frames.push(frame);
            return changed("dictionary changed size during iteration");
        }
        Ok(plain::resume(self.out, &mut self.frames, &frame, MAX_DEPTH))
    }

    /// Writes an entry of the innermost open container, whatever its key.
    fn write_entry(
        &mut self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> Result<Option<Suspend<'py>>, WalkError> {
        let start = self.out.len();
        write_key(self.out, key)?;
        if let Some(span) = self.frames.last_mut().and_then(Frame::key_mut) {
            *span = start..self.out.len();
        }
        self.out.extend_from_slice(b": ");
        Ok(self.write(value))
    }

    /// Writes an instance of a subclass, a huge int, or a container that was too deep for the stack; the checks are in
    /// CPython's order.
    fn enter(&mut self, object: Bound<'py, PyAny>) -> Result<Option<Suspend<'py>>, WalkError> {
        if object.is_exact_instance_of::<PyDict>()
            || object.is_exact_instance_of::<PyList>()
            || object.is_exact_instance_of::<PyTuple>()
        {
            self.may_open()?;
            return Ok(self.write(&object));
        }
        if let Ok(text) = object.cast::<PyString>() {
            write_string(self.out, Str::new(text).ready_units()?);
        } else if let Ok(int) = object.cast::<PyInt>() {
            write_any_integer(self.out, int)?;
        } else if let Ok(float) = object.cast::<PyFloat>() {
            write_float(self.out, float.value());
        } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            // This honours __iter__.
            let list = object.cast::<PySequence>().map_err(PyErr::from)?.to_list()?.into_any();
            self.may_open()?;
            return Ok(self.write(&list));
        } else if let Ok(dict) = object.cast::<PyDict>() {
            // CPython calls `items()` only when the dict beneath has any.
            let items = if dict.is_empty() { PyList::empty(dict.py()) } else { dict.as_mapping().items()? };
            self.may_open()?;
            self.out.push(b'{');
            self.frames.push(Frame::Items { items, next: 0, key: 0..0 });
        } else if let Some(other) = replacement(&object)? {
            return Ok(self.write(&other));
        } else {
            let hint = missing_await(&object);
            let message = format!("Object of type {} is not JSON serializable{hint}", object.get_type().name()?);
            return Err(PyTypeError::new_err(message).into());
        }
        Ok(None)
    }

    fn may_open(&self) -> Result<(), WalkError> {
        if self.frames.len() == MAX_DEPTH { Err(WalkError::TooDeep) } else { Ok(()) }
    }
}

#[cold]
fn changed<T>(reason: &'static str) -> Result<T, WalkError> {
    Err(PyRuntimeError::new_err(reason).into())
}

/// Writes a key: a str, an instance of a subclass, or a number or a constant in quotes.
fn write_key(out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(text) = key.cast::<PyString>() {
        write_string(out, Str::new(text).ready_units()?);
        return Ok(());
    }
    out.push(b'"');
    if key.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(bool) = key.cast::<PyBool>() {
        out.extend_from_slice(if bool.is_true() { b"true" } else { b"false" });
    } else if let Ok(int) = key.cast::<PyInt>() {
        write_any_integer(out, int)?;
    } else if let Ok(float) = key.cast::<PyFloat>() {
        write_float(out, float.value());
    } else {
        let message = format!("keys must be str, int, float, bool or None, not {}", type_name(key));
        return Err(PyTypeError::new_err(message));
    }
    out.push(b'"');
    Ok(())
}

/// Writes an int of any size or subclass as `int.__repr__` does, within Python's limit of digits.
fn write_any_integer(out: &mut Vec<u8>, int: &Bound<'_, PyInt>) -> PyResult<()> {
    let int = Int::new(int);
    if let Some(value) = int.to_i64() {
        write_integer(out, value);
    } else {
        out.extend_from_slice(int.digits()?.cast::<PyString>()?.to_str()?.as_bytes());
    }
    Ok(())
}
