//! Why a value could not be written, and where in the value that was.
//!
//! The place is put together only once there is an error, so that a value without fault pays nothing for it.
//! Caveat: only the outermost steps are shown; a value too deep would otherwise fill the log with its path.

use std::fmt::Write as _;

use pyo3::PyErr;

use super::limits::MAX_DEPTH;

/// The number of steps of a path that are shown.
const SHOWN_STEPS: usize = 12;

/// A value that cannot be written as JSON. `path` leads to the culprit, as in `result["a"][3]`; keys are shown as
/// they stand in the JSON text, so a path is printable ASCII on one line.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The exception that `json.dumps` would have raised: a `TypeError` for a value or a key of a type without a JSON
    /// form, a `ValueError` for an int above Python's limit of digits, or whatever a container's own `items` or
    /// `__iter__` raised.
    #[error("{path}: {error}")]
    Python {
        /// Where it happened.
        path: String,
        /// What Python said.
        #[source]
        error: PyErr,
    },
    /// More than [`MAX_DEPTH`] lists and dicts inside each other, which is also what a value that contains itself
    /// looks like.
    #[error("{path}: nested more than {MAX_DEPTH} levels deep, or contains itself")]
    TooDeep {
        /// The way down, shortened.
        path: String,
    },
}

/// What stopped the walk.
pub(super) enum WalkError {
    Python(PyErr),
    TooDeep,
}

/// One step of the way to a fault.
pub(super) enum PathSegment<'text> {
    /// The key as written, with its quotes.
    Key(&'text [u8]),
    Index(usize),
}

impl WalkError {
    /// Joins the fault with the way there, outermost step first.
    pub(super) fn at<'text>(self, steps: impl Iterator<Item = PathSegment<'text>>) -> EncodeError {
        let path = render(steps);
        match self {
            Self::Python(error) => EncodeError::Python { path, error },
            Self::TooDeep => EncodeError::TooDeep { path },
        }
    }
}

impl From<PyErr> for WalkError {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

fn render<'text>(mut steps: impl Iterator<Item = PathSegment<'text>>) -> String {
    let mut path = String::from("result");
    for step in steps.by_ref().take(SHOWN_STEPS) {
        // Writing to a String cannot fail.
        let _ = match step {
            PathSegment::Key(key) => write!(path, "[{}]", String::from_utf8_lossy(key)),
            PathSegment::Index(index) => write!(path, "[{index}]"),
        };
    }
    if steps.next().is_some() {
        path.push_str("...");
    }
    path
}
