//! plugincore: a Rust HTTP server that hosts Python plugins in its own process.
//!
//! Four rooms, each of which uses only what stands before it here: [`edge`] is everything native (connections,
//! policies, routing, static files), [`json`] converts between Python objects and JSON, [`host`] runs the plugins,
//! [`app`] puts them together and [`cli`] is the command line. Caveat: the edge runs on I/O threads that never attach
//! to the interpreter; it does not know the `pyo3` crate.

#[cfg(feature = "mimalloc")]
mod allocator;
mod app;
mod cli;
mod edge;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzed;
mod host;
mod json;

use std::process::ExitCode;

use pyo3::prelude::*;

/// What the benchmarks measure on its own; no interface for anything else.
#[doc(hidden)]
pub mod measured {
    pub use crate::edge::http::request::{BodyData, Variables};
    pub use crate::edge::http::request_id::RequestId;
    pub use crate::edge::http::service::Peer;
    pub use crate::edge::http::trace::TraceContext;
    pub use crate::edge::policy::address::Client;
    pub use crate::edge::queue::request_data::{KeyCheck, RequestData};
    pub use crate::host::bridge::{invoke, step};
    pub use crate::host::python::header_cache::HeaderCache;
    pub use crate::host::python::headers::RequestHeaders;
    pub use crate::host::python::request::Request;
    pub use crate::json::{decode_into, encode};
}

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Runs the standalone executable: starts an interpreter that has this library and the package's Python half inside.
pub fn main() -> ExitCode {
    pyo3::append_to_inittab!(_core);
    host::python::embed::main(cli::main)
}

/// `plugincore._core`: the compiled half of the package; the modules of `plugincore` re-export it by name.
#[pymodule]
mod _core {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::host::bridge::channel::Channel;
    #[pymodule_export]
    use crate::host::plugins::manager::PluginManager;
    #[pymodule_export]
    use crate::host::python::baseplugin::BasePlugin;
    #[pymodule_export]
    use crate::host::python::completed_coroutine::CompletedCoroutine;
    #[pymodule_export]
    use crate::host::python::config::read_ini;
    #[pymodule_export]
    use crate::host::python::headers::RequestHeaders;
    #[pymodule_export]
    use crate::host::python::logjam::{LogJam, emit_log_record};
    #[pymodule_export]
    use crate::host::python::metrics::{Counter, Gauge, Histogram, Metrics};
    #[pymodule_export]
    use crate::host::python::multidict::MultiDict;
    #[pymodule_export]
    use crate::host::python::request::{FileField, Request, Transport};
    #[pymodule_export]
    use crate::host::python::stdio::write_standard;
    #[pymodule_export]
    use crate::host::python::sysinfo::native as sysinfo;
    #[pymodule_export]
    use crate::host::testing::Rehearsal;
    #[pymodule_export]
    use crate::host::testing::connection::Connection;
    #[pymodule_export]
    use crate::json::encode_json;

    /// Refuse an interpreter whose objects the JSON writer could not read, and name the version of the crate.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::json::check_layout(module.py())
    }

    /// Run the command line: `arguments` begin with the program's name, `restart` is the command that starts it again.
    ///
    /// Returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<OsString>, restart: Vec<OsString>) -> u8 {
        crate::cli::main(py, arguments, restart)
    }
}
