//! plugincore: a Rust HTTP server that hosts Python plugins in its own process.
//!
//! A request goes one way: socket → [`http`] → [`policy`] → [`routing`] → native handler ([`control`], [`files`]) or
//! [`bridge`] → Python thread → plugin → response. Nothing later in that row is imported by anything
//! earlier; [`app`] is the one place that knows all of them. Caveat: everything left of the bridge runs on
//! I/O threads that never attach to the interpreter, so no `Py` object may appear there.

#[cfg(feature = "mimalloc")]
mod allocator;
pub mod app;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod control;
pub mod files;
pub mod http;
pub mod observe;
pub mod plugins;
pub mod policy;
pub mod python;
pub mod routing;

use pyo3::prelude::*;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// `plugincore._core`: the compiled half of the package; the modules of `plugincore` re-export it by name.
#[pymodule]
pub mod _core {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::app::rehearsal::Rehearsal;
    #[pymodule_export]
    use crate::bridge::channel::Channel;
    #[pymodule_export]
    use crate::bridge::json::encode_json;
    #[pymodule_export]
    use crate::plugins::manager::PluginManager;
    #[pymodule_export]
    use crate::python::baseplugin::BasePlugin;
    #[pymodule_export]
    use crate::python::config::read_ini;
    #[pymodule_export]
    use crate::python::headers::RequestHeaders;
    #[pymodule_export]
    use crate::python::logjam::{LogJam, emit_log_record};
    #[pymodule_export]
    use crate::python::multidict::MultiDict;
    #[pymodule_export]
    use crate::python::ready::Ready;
    #[pymodule_export]
    use crate::python::request::{FileField, Request, Transport};
    #[pymodule_export]
    use crate::python::stdio::write_standard;
    #[pymodule_export]
    use crate::python::sysinfo::native as sysinfo;

    /// Refuse an interpreter whose objects the JSON writer could not read.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::bridge::json::check_layout(module.py())
    }

    /// Run the command line: `arguments` begin with the program's name, `restart` is the command that starts it again.
    ///
    /// Returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<OsString>, restart: Vec<OsString>) -> u8 {
        crate::cli::main(py, arguments, restart)
    }
}
