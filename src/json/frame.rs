//! The containers that a walk is inside of while Python code may run, each with the position of its next item.
//!
//! Runs on the Python thread. The contents of a container may have changed whenever such code ran, so only indices and
//! counts are kept here.

use std::ops::Range;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::error::PathSegment;

/// A container being walked.
pub(super) enum Frame<'py> {
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
        entries: Entries,
        key: Range<usize>,
    },
    /// The list that the `items()` of a dict subclass gave.
    Items {
        items: Bound<'py, PyList>,
        next: usize,
        key: Range<usize>,
    },
}

/// How far the walk of a dict got.
#[derive(Clone, Copy)]
pub(super) struct Entries {
    /// The position that `PyDict_Next` keeps.
    pub position: ffi::Py_ssize_t,
    pub written: usize,
    /// The size of the dict at first.
    pub size: usize,
}

impl Frame<'_> {
    /// The path segment of the item being written; none while the walk is between two entries of a dict. `key` spans
    /// the key in `out`.
    pub(super) fn segment<'out>(&self, out: &'out [u8]) -> Option<PathSegment<'out>> {
        match self {
            Self::List { next, .. } | Self::Tuple { next, .. } => next.checked_sub(1).map(PathSegment::Index),
            Self::Dict { key, .. } | Self::Items { key, .. } => {
                (!key.is_empty()).then(|| PathSegment::Key(&out[key.clone()]))
            }
        }
    }

    /// The span of the key of the entry being written, in a container that has keys.
    pub(super) fn key_mut(&mut self) -> Option<&mut Range<usize>> {
        match self {
            Self::Dict { key, .. } | Self::Items { key, .. } => Some(key),
            Self::List { .. } | Self::Tuple { .. } => None,
        }
    }
}
