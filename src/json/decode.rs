//! A JSON body read into Python objects straight from the bytes, with the semantics of `json.loads`.
//!
//! Nothing reaches the caller's dict unless the whole body is right. Caveat: what is wrong with a body is described in
//! words of our own, not in those of `json`.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use super::limits::MAX_DEPTH;
use super::new_string::{KeyCache, new_ascii, new_string};
use super::scan::{Number, Scanner, SyntaxError};

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

impl From<SyntaxError> for DecodeError {
    #[cold]
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error.to_string())
    }
}

/// Adds the members of the JSON object in `body`, UTF-8 text, to `target`, except those whose key `skip` names.
///
/// The last of repeated keys wins; ints are exact at any size; NaN, Infinity and -Infinity are numbers; the halves of
/// surrogate pairs may stand alone. Returns whether `body` was an object: text that does not begin with `{` is none and
/// is not looked at further.
///
/// # Errors
/// [`DecodeError`]; `target` is then untouched.
pub fn decode_into(body: &[u8], target: &Bound<'_, PyDict>, skip: impl Fn(&str) -> bool) -> Result<bool, DecodeError> {
    let mut scanner = Scanner::new(body);
    if scanner.peek() != b'{' {
        return Ok(false);
    }
    let py = target.py();
    let members = Builder { py, scanner, keys: KeyCache::default(), open: Vec::new(), items: Vec::new() }.document()?;
    for (key, value) in members {
        // A key that is no Unicode text, for a lone surrogate, is none that a caller could name.
        if !key.to_str().is_ok_and(&skip) {
            target.set_item(key, value)?;
        }
    }
    Ok(true)
}

/// The objects made so far. The containers around the current place are kept in a list rather than on the thread's
/// stack, so that no body can exhaust that.
struct Builder<'py, 'body> {
    py: Python<'py>,
    scanner: Scanner<'body>,
    keys: KeyCache<'py>,
    open: Vec<OpenContainer<'py>>,
    /// The items of all arrays that are open: each becomes a list of the right size when it ends.
    items: Vec<Bound<'py, PyAny>>,
}

/// A key of an object with its value.
type Member<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>);

/// A container whose end has not been read.
enum OpenContainer<'py> {
    /// With the number of items that belong to arrays further out.
    Array(usize),
    /// With the key whose value comes next.
    Object(Bound<'py, PyDict>, Bound<'py, PyString>),
}

impl<'py> Builder<'py, '_> {
    /// Reads the object that is the whole text; returns its members as they come.
    fn document(mut self) -> Result<Vec<Member<'py>>, DecodeError> {
        let mut members = Vec::new();
        self.scanner.pass();
        if self.scanner.peek() == b'}' {
            self.scanner.pass();
        } else {
            loop {
                let key = key_and_colon(self.py, &mut self.scanner, &mut self.keys)?;
                members.push((key, self.member()?));
                if self.scanner.is_over(b'}')? {
                    break;
                }
            }
        }
        // Zero stands for the end, and a zero in the text cannot be passed.
        self.scanner.peek();
        if self.scanner.is_at_end() { Ok(members) } else { Err(self.scanner.error("end").into()) }
    }

    /// Reads one value with all it contains.
    fn member(&mut self) -> Result<Bound<'py, PyAny>, DecodeError> {
        loop {
            if let Some(value) = self.value()?
                && let Some(member) = self.put_away(value)?
            {
                return Ok(member);
            }
        }
    }

    /// Reads a scalar or an empty container, or opens a container and reads up to its first value.
    #[inline]
    fn value(&mut self) -> Result<Option<Bound<'py, PyAny>>, DecodeError> {
        let py = self.py;
        Ok(Some(match self.scanner.peek() {
            b'"' => match self.scanner.plain_string() {
                Some(bytes) => new_ascii(py, bytes)?,
                None => new_string(py, self.scanner.string()?)?,
            }
            .into_any(),
            b'{' => {
                self.begin()?;
                let members = PyDict::new(py);
                if self.scanner.peek() == b'}' {
                    self.scanner.pass();
                    return Ok(Some(members.into_any()));
                }
                let key = key_and_colon(self.py, &mut self.scanner, &mut self.keys)?;
                self.open.push(OpenContainer::Object(members, key));
                return Ok(None);
            }
            b'[' => {
                self.begin()?;
                if self.scanner.peek() == b']' {
                    self.scanner.pass();
                    return Ok(Some(PyList::empty(py).into_any()));
                }
                self.open.push(OpenContainer::Array(self.items.len()));
                return Ok(None);
            }
            b'-' if self.scanner.is_next("-I") => {
                self.scanner.word("-Infinity")?;
                PyFloat::new(py, f64::NEG_INFINITY).into_any()
            }
            b'0'..=b'9' | b'-' => match self.scanner.number()? {
                Number::Small(value) => PyInt::new(py, value).into_any(),
                Number::Float(value) => PyFloat::new(py, value).into_any(),
                Number::Big(digits) => py.get_type::<PyInt>().call1((PyBytes::new(py, digits),))?,
            },
            b't' => {
                self.scanner.word("true")?;
                PyBool::new(py, true).to_owned().into_any()
            }
            b'f' => {
                self.scanner.word("false")?;
                PyBool::new(py, false).to_owned().into_any()
            }
            b'n' => {
                self.scanner.word("null")?;
                py.None().into_bound(py)
            }
            b'N' => {
                self.scanner.word("NaN")?;
                PyFloat::new(py, f64::NAN).into_any()
            }
            b'I' => {
                self.scanner.word("Infinity")?;
                PyFloat::new(py, f64::INFINITY).into_any()
            }
            _ => return Err(self.scanner.error("value").into()),
        }))
    }

    /// Puts a value into its container, and that into the next if it ends there, and so on; returns the outermost.
    #[inline]
    fn put_away(&mut self, value: Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>, DecodeError> {
        let mut value = value;
        while let Some(open) = self.open.last_mut() {
            match open {
                OpenContainer::Array(outer) => {
                    self.items.push(value);
                    if !self.scanner.is_over(b']')? {
                        return Ok(None);
                    }
                    value = PyList::new(self.py, self.items.drain(*outer..))?.into_any();
                }
                OpenContainer::Object(members, key) => {
                    members.set_item(&*key, value)?;
                    if !self.scanner.is_over(b'}')? {
                        *key = key_and_colon(self.py, &mut self.scanner, &mut self.keys)?;
                        return Ok(None);
                    }
                    value = members.clone().into_any();
                }
            }
            self.open.pop();
        }
        Ok(Some(value))
    }

    /// Passes an opening bracket.
    fn begin(&mut self) -> Result<(), DecodeError> {
        // The object that is the document is open, too.
        if self.open.len() + 1 == MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        self.scanner.pass();
        Ok(())
    }
}

/// Reads a key and the colon behind it.
#[inline]
fn key_and_colon<'py>(
    py: Python<'py>,
    scanner: &mut Scanner<'_>,
    keys: &mut KeyCache<'py>,
) -> Result<Bound<'py, PyString>, DecodeError> {
    if scanner.peek() != b'"' {
        return Err(scanner.error("key").into());
    }
    let key = match scanner.plain_string() {
        Some(ascii) => keys.get(py, ascii)?,
        None => new_string(py, scanner.string()?)?,
    };
    if scanner.peek() != b':' {
        return Err(scanner.error("`:`").into());
    }
    scanner.pass();
    Ok(key)
}
