//! A JSON body read into Python objects straight from the bytes, with the semantics of `json.loads`.
//!
//! Nothing reaches the caller's dict unless the whole body is right. Caveat: text that `json.loads` accepts and the
//! parser does not (escapes of lone surrogates) is read a second time by `json.loads` itself.

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use super::MAX_DEPTH;

/// A body that is no JSON object although it begins like one.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON; the text says what is wrong, with line and column.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// More than [`MAX_DEPTH`] arrays and objects inside each other.
    #[error("the body is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Python refused: an int above its limit of digits, or no memory.
    #[error(transparent)]
    Python(#[from] PyErr),
}

/// Adds the members of the JSON object in `body`, UTF-8 text, to `target`, except those whose key `skip` names.
///
/// The last of repeated keys wins; ints are exact at any size; NaN, Infinity and -Infinity are numbers. Returns whether
/// `body` was an object: text that does not begin with `{` is none and is not looked at further.
///
/// # Errors
/// [`DecodeError`]; `target` is then untouched.
pub fn decode_into(body: &[u8], target: &Bound<'_, PyDict>, skip: impl Fn(&str) -> bool) -> Result<bool, DecodeError> {
    let py = target.py();
    let mut parser = Jiter::new(body).with_allow_inf_nan();
    if !matches!(parser.peek(), Ok(Peek::Object)) {
        return Ok(false);
    }
    let mut build = Build { py, parser, keys: Keys::default() };
    let members = match build.document() {
        Ok(members) => members,
        Err(Refusal::Syntax(error)) if only_python_may_accept(&error) => load_with_python(py, body)?,
        Err(Refusal::Syntax(error)) => return Err(DecodeError::Syntax(error.description(&build.parser))),
        Err(Refusal::TooDeep) => return Err(DecodeError::TooDeep),
        Err(Refusal::Python(error)) => return Err(error.into()),
    };
    for (key, value) in members {
        // A key that is no Unicode text, for a lone surrogate, is none that a caller could name.
        let skipped = key.cast::<PyString>().is_ok_and(|key| key.to_str().is_ok_and(&skip));
        if !skipped {
            target.set_item(key, value)?;
        }
    }
    Ok(true)
}

enum Refusal {
    Syntax(JiterError),
    TooDeep,
    Python(PyErr),
}

impl From<JiterError> for Refusal {
    fn from(error: JiterError) -> Self {
        Self::Syntax(error)
    }
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

struct Build<'py, 'body> {
    py: Python<'py>,
    parser: Jiter<'body>,
    keys: Keys<'py>,
}

/// A container whose end has not been read.
enum Open<'py> {
    Array(Bound<'py, PyList>),
    /// With the key whose value comes next.
    Object(Bound<'py, PyDict>, Bound<'py, PyString>),
}

impl<'py> Build<'py, '_> {
    fn document(&mut self) -> Result<Bound<'py, PyDict>, Refusal> {
        let value = self.value()?;
        self.parser.finish()?;
        Ok(value.cast_into().map_err(PyErr::from)?)
    }

    /// Reads one value with all it contains. The containers around the current place are kept in a list rather than on
    /// the thread's stack, so that no body can exhaust that.
    fn value(&mut self) -> Result<Bound<'py, PyAny>, Refusal> {
        let mut open: Vec<Open<'py>> = Vec::new();
        let mut peek = self.parser.peek()?;
        loop {
            if open.len() == MAX_DEPTH && matches!(peek, Peek::Array | Peek::Object) {
                return Err(Refusal::TooDeep);
            }
            let mut value = match peek {
                Peek::Array => match self.parser.known_array()? {
                    Some(first) => {
                        open.push(Open::Array(PyList::empty(self.py)));
                        peek = first;
                        continue;
                    }
                    None => PyList::empty(self.py).into_any(),
                },
                Peek::Object => match self.parser.known_object()? {
                    Some(key) => {
                        open.push(Open::Object(PyDict::new(self.py), self.keys.get(self.py, key)));
                        peek = self.parser.peek()?;
                        continue;
                    }
                    None => PyDict::new(self.py).into_any(),
                },
                _ => self.scalar(peek)?,
            };
            // Each container that this value completes is itself the next value to put away.
            peek = loop {
                value = match open.pop() {
                    Some(Open::Array(items)) => {
                        items.append(value)?;
                        if let Some(next) = self.parser.array_step()? {
                            open.push(Open::Array(items));
                            break next;
                        }
                        items.into_any()
                    }
                    Some(Open::Object(members, key)) => {
                        members.set_item(key, value)?;
                        if let Some(key) = self.parser.next_key()? {
                            open.push(Open::Object(members, self.keys.get(self.py, key)));
                            break self.parser.peek()?;
                        }
                        members.into_any()
                    }
                    None => return Ok(value),
                };
            };
        }
    }

    fn scalar(&mut self, peek: Peek) -> Result<Bound<'py, PyAny>, Refusal> {
        Ok(match peek {
            Peek::String => PyString::new(self.py, self.parser.known_str()?).into_any(),
            Peek::Null => {
                self.parser.known_null()?;
                self.py.None().into_bound(self.py)
            }
            Peek::True | Peek::False => {
                let truth = self.parser.known_bool(peek)?;
                PyBool::new(self.py, truth).to_owned().into_any()
            }
            _ => self.number(peek)?,
        })
    }

    fn number(&mut self, peek: Peek) -> Result<Bound<'py, PyAny>, Refusal> {
        Ok(match self.parser.known_number(peek) {
            Ok(NumberAny::Int(NumberInt::Int(value))) => PyInt::new(self.py, value).into_any(),
            Ok(NumberAny::Float(value)) => PyFloat::new(self.py, value).into_any(),
            _ => self.huge_integer(peek)?,
        })
    }

    /// Reads an int beyond 64 bits, which the parser refuses or gives in a form of its own; so it also names again what
    /// is wrong with a number that is none.
    #[cold]
    fn huge_integer(&mut self, peek: Peek) -> Result<Bound<'py, PyAny>, Refusal> {
        let digits = self.parser.known_number_bytes(peek)?;
        Ok(self.py.get_type::<PyInt>().call1((PyBytes::new(self.py, digits),))?)
    }
}

/// The key strings met last, so that the objects of one array share them with their hashes.
///
/// They are dropped with the body: to intern keys that a client chooses would keep them for ever.
#[derive(Default)]
struct Keys<'py> {
    slots: [Option<Bound<'py, PyString>>; 32],
}

impl<'py> Keys<'py> {
    /// Longer keys are rare and cost more to compare.
    const LONGEST: usize = 32;

    fn get(&mut self, py: Python<'py>, key: &str) -> Bound<'py, PyString> {
        if key.len() > Self::LONGEST {
            return PyString::new(py, key);
        }
        let mix = key.bytes().fold(0_usize, |mix, byte| mix.wrapping_mul(31).wrapping_add(byte.into()));
        let slot = &mut self.slots[mix % self.slots.len()];
        if let Some(known) = slot
            && known.to_str().is_ok_and(|known| known == key)
        {
            return known.clone();
        }
        slot.insert(PyString::new(py, key)).clone()
    }
}

/// Whether `json.loads` may accept what the parser refused: it lets the halves of surrogate pairs stand alone and knows
/// no largest number.
fn only_python_may_accept(error: &JiterError) -> bool {
    matches!(
        error.error_type,
        JiterErrorType::JsonError(
            JsonErrorType::LoneLeadingSurrogateInHexEscape
                | JsonErrorType::UnexpectedEndOfHexEscape
                | JsonErrorType::NumberOutOfRange
        )
    )
}

#[cold]
fn load_with_python<'py>(py: Python<'py>, body: &[u8]) -> Result<Bound<'py, PyDict>, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    let json = py.import("json")?;
    match json.call_method1("loads", (text,)) {
        Ok(value) => Ok(value.cast_into::<PyDict>().map_err(PyErr::from)?),
        Err(error) if error.is_instance_of::<PyRecursionError>(py) => Err(DecodeError::TooDeep),
        Err(error) if error.is_instance(py, &json.getattr("JSONDecodeError")?) => {
            Err(DecodeError::Syntax(error.value(py).to_string()))
        }
        Err(error) => Err(error.into()),
    }
}
