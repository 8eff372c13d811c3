//! What Python sees of the host.

pub mod config;
pub mod headers;
pub mod logjam;
pub mod multidict;
pub mod ready;
pub mod request;
pub mod sysinfo;

use pyo3::prelude::*;

/// `plugincore._core`: the compiled half of the package; `plugincore` re-exports it by name.
#[pymodule(name = "_core")]
pub mod core_module {
}
