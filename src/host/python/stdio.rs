//! Standard output and standard error as Python writes to them.
//!
//! Runs on any Python thread. What plugins print is written like the log: at once and in order with it, never an error
//! for the request that prints, and without waiting for a reader that does not read. Caveat: what writes to the
//! descriptors themselves, such as a C library or `os.write`, waits and fails as elsewhere.

use pyo3::prelude::*;

use crate::edge::observe::output::{self, Standard};

/// Puts `sys.stdout` and `sys.stderr` in front of the log's outputs.
///
/// # Errors
/// When Python's standard library is incomplete.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    py.import("plugincore._stdio")?.call_method0("install").map(drop)
}

/// Writes to standard error if `descriptor` is 2, else to standard output.
#[pyfunction]
pub(crate) fn write_standard(descriptor: i32, data: &[u8]) -> usize {
    let output = output::standard(if descriptor == 2 { Standard::Error } else { Standard::Output });
    output.write(data.to_vec());
    output.flush();
    data.len()
}
