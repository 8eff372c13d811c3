//! CPython inside the standalone executable.
//!
//! Runs on the main thread. Promise: the interpreter starts as the `python` of the active virtual environment would,
//! with the package `plugincore` served from the executable itself, and is finalised before the process ends. Processes
//! that `multiprocessing` spawns run the executable, too, or they would lack the package. Caveat: only `main.rs` calls
//! this; in the wheel the interpreter is there already.

use std::ffi::{CStr, CString, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule};

/// The Python version that the executable was built for, such as `3.11`.
const VERSION: &str = env!("PLUGINCORE_PYTHON_VERSION");
/// The interpreter that it was built with; its standard library is used outside of virtual environments.
const BUILT_WITH: &str = env!("PLUGINCORE_PYTHON");

/// The package itself, which comes first, since importing any of its modules looks at it.
const PACKAGE: &str = include_str!("../../../python/plugincore/__init__.py");

/// The modules of the Python half: names of their files and what is in them, each after those that it imports.
const MODULES: &[(&str, &str)] = &[
    ("logjam", include_str!("../../../python/plugincore/logjam.py")),
    ("_schemas", include_str!("../../../python/plugincore/_schemas.py")),
    ("_hints", include_str!("../../../python/plugincore/_hints.py")),
    ("_reports", include_str!("../../../python/plugincore/_reports.py")),
    ("_shared_logging", include_str!("../../../python/plugincore/_shared_logging.py")),
    ("bounds", include_str!("../../../python/plugincore/bounds.py")),
    ("baseplugin", include_str!("../../../python/plugincore/baseplugin.py")),
    ("configfile", include_str!("../../../python/plugincore/configfile.py")),
    ("pluginmanager", include_str!("../../../python/plugincore/pluginmanager.py")),
    ("_answers", include_str!("../../../python/plugincore/_answers.py")),
    ("_streams", include_str!("../../../python/plugincore/_streams.py")),
    ("responses", include_str!("../../../python/plugincore/responses.py")),
    ("sysinfo", include_str!("../../../python/plugincore/sysinfo.py")),
    ("_psutil", include_str!("../../../python/plugincore/_psutil.py")),
    ("_modules", include_str!("../../../python/plugincore/_modules.py")),
    ("_packages", include_str!("../../../python/plugincore/_packages.py")),
    ("_pool", include_str!("../../../python/plugincore/_pool.py")),
    ("_prometheus", include_str!("../../../python/plugincore/_prometheus.py")),
    ("_threads", include_str!("../../../python/plugincore/_threads.py")),
    ("_stdio", include_str!("../../../python/plugincore/_stdio.py")),
];

/// Modules that are loaded when they are asked for, because they want packages that may be missing.
const ON_DEMAND: &[(&str, &str)] = &[
    ("_aiohttp", include_str!("../../../python/plugincore/_aiohttp.py")),
    ("_telemetry", include_str!("../../../python/plugincore/_telemetry.py")),
];

/// The program to run: its arguments, beginning with its name, and the command that starts it again, to an exit code.
pub(crate) type Program = fn(Python<'_>, Vec<OsString>, Vec<OsString>) -> u8;

/// Runs `program` inside an interpreter, which has to know the built-in module `_core` already.
pub(crate) fn main(program: Program) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let is_child = is_child_of_multiprocessing(&arguments);
    let interpreted: &[OsString] = if is_child { &arguments } else { &[] };
    let code = match python_executable().and_then(|executable| initialize(&executable, interpreted)) {
        Ok(()) if is_child => run_as_python(),
        Ok(()) => run(program),
        Err(problem) => {
            // Without standard error there is no reader.
            let _ = writeln!(std::io::stderr(), "{problem}");
            1
        }
    };
    ExitCode::from(code)
}

/// The interpreter to start as: the active environment's, else the one that the executable was built with.
fn python_executable() -> Result<PathBuf, String> {
    let Some(environment) = std::env::var_os("VIRTUAL_ENV").filter(|environment| !environment.is_empty()) else {
        return Ok(PathBuf::from(BUILT_WITH));
    };
    let environment = PathBuf::from(environment);
    let configuration = environment.join("pyvenv.cfg");
    let text = std::fs::read_to_string(&configuration).map_err(|error| {
        format!(
            "VIRTUAL_ENV={}: {}: {error}; unset it or activate an environment",
            environment.display(),
            configuration.display()
        )
    })?;
    match environment_version(&text) {
        Some(version) if version != VERSION => Err(format!(
            "VIRTUAL_ENV={} is an environment of Python {version}, but this executable embeds Python {VERSION}; \
             activate an environment of {VERSION}, or build the executable with PYO3_PYTHON naming Python {version}",
            environment.display()
        )),
        _ => Ok(environment.join("bin/python")),
    }
}

/// `3.11` of the line `version = 3.11.7` (or `version_info`, as virtualenv writes it).
fn environment_version(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "version" | "version_info").then(|| value.trim())
    })?;
    let mut parts = value.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

/// Whether `multiprocessing` has started this process, whose arguments are then those of a `python`: flags and `-c`
/// with the call of one of its modules.
fn is_child_of_multiprocessing(arguments: &[OsString]) -> bool {
    let starts_with = |text: &OsString, start: &str| text.as_bytes().starts_with(start.as_bytes());
    arguments.windows(2).any(|pair| pair[0] == "-c" && starts_with(&pair[1], "from multiprocessing."))
}

/// Does what `python` does with the arguments that [`initialize`] was given.
fn run_as_python() -> u8 {
    if let Err(code) = Python::attach(|py| preload(py).map_err(|error| print(py, &error))) {
        return code;
    }
    // SAFETY: the interpreter is initialised, with arguments, and this thread, the only one, is attached to it. It is
    // finalised by the call, and nothing uses Python afterwards.
    let code = unsafe {
        ffi::PyGILState_Ensure();
        ffi::Py_RunMain()
    };
    u8::try_from(code & 0xff).unwrap_or(1)
}

fn print(py: Python<'_>, error: &PyErr) -> u8 {
    error.print(py);
    1
}

/// Starts the interpreter as `executable`; `arguments` are for Python to read, if there are any.
fn initialize(executable: &Path, arguments: &[OsString]) -> Result<(), String> {
    let path = CString::new(executable.as_os_str().as_bytes())
        .map_err(|_| "the path of the Python interpreter has a NUL byte".to_owned())?;
    let arguments: Vec<CString> = arguments.iter().filter_map(|part| CString::new(part.as_bytes()).ok()).collect();
    let mut arguments: Vec<_> = arguments.iter().map(|part| part.as_ptr()).collect();
    // SAFETY: the interpreter is not initialised yet, which is when its configuration may be made; `config` is
    // initialised by `PyConfig_InitPythonConfig` before any other use, its address of `executable` and `program_name`
    // are fields of that same live struct, and it is cleared on every way out. Nothing else runs in this process.
    let failed = unsafe {
        let mut config = std::mem::MaybeUninit::<ffi::PyConfig>::zeroed().assume_init();
        ffi::PyConfig_InitPythonConfig(&raw mut config);
        config.parse_argv = i32::from(!arguments.is_empty());
        let mut failed = None;
        if !arguments.is_empty() {
            // No process has as many arguments as would not fit.
            let count = arguments.len().try_into().unwrap_or_default();
            let status = ffi::PyConfig_SetBytesArgv(&raw mut config, count, arguments.as_mut_ptr());
            if ffi::PyStatus_Exception(status) != 0 {
                failed = Some(message(&status));
            }
        }
        for field in [&raw mut config.executable, &raw mut config.program_name] {
            let status = ffi::PyConfig_SetBytesString(&raw mut config, field, path.as_ptr());
            if ffi::PyStatus_Exception(status) != 0 {
                failed = Some(message(&status));
            }
        }
        if failed.is_none() {
            let status = ffi::Py_InitializeFromConfig(&raw const config);
            if ffi::PyStatus_Exception(status) != 0 {
                failed = Some(message(&status));
            }
        }
        ffi::PyConfig_Clear(&raw mut config);
        if failed.is_none() {
            // The thread state is taken up again through `Python::attach`, like any other.
            ffi::PyEval_SaveThread();
        }
        failed
    };
    match failed {
        Some(reason) => Err(format!("Python {VERSION} cannot start from {}: {reason}", executable.display())),
        None => Ok(()),
    }
}

fn message(status: &ffi::PyStatus) -> String {
    if status.err_msg.is_null() {
        return "unknown reason".to_owned();
    }
    // SAFETY: CPython sets the message to a static, NUL-terminated text.
    unsafe { CStr::from_ptr(status.err_msg) }.to_string_lossy().into_owned()
}

fn run(program: Program) -> u8 {
    let code = Python::attach(|py| match preload(py).and_then(|()| set_arguments(py)) {
        Ok(()) => {
            let arguments: Vec<OsString> = std::env::args_os().collect();
            let mut restart = arguments.clone();
            if let (Some(program), Ok(executable)) = (restart.first_mut(), std::env::current_exe()) {
                *program = executable.into_os_string();
            }
            program(py, arguments, restart)
        }
        Err(error) => print(py, &error),
    });
    // SAFETY: the interpreter is initialised and no other thread is attached: the server has ended its own threads, and
    // finalising waits for those of plugins. Nothing uses Python afterwards.
    let finalised = unsafe {
        ffi::PyGILState_Ensure();
        ffi::Py_FinalizeEx()
    };
    if finalised == 0 { code } else { code.max(1) }
}

fn set_arguments(py: Python<'_>) -> PyResult<()> {
    py.import("sys")?.setattr("argv", PyList::new(py, std::env::args_os())?)
}

/// Puts the package into `sys.modules`, so that no installed one of another version is mixed with this executable.
fn preload(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    let modules = sys.getattr("modules")?;
    let core = py.import("_core")?;
    core.setattr("__name__", "plugincore._core")?;
    modules.set_item("plugincore._core", &core)?;
    modules.del_item("_core")?;
    let package = load(py, "plugincore", "__init__", PACKAGE)?;
    // A package by its path; nothing is looked up there, because everything is here.
    package.setattr("__path__", PyList::empty(py))?;
    package.setattr("_core", &core)?;
    for (name, source) in MODULES {
        package.setattr(name, load(py, &format!("plugincore.{name}"), name, source)?)?;
    }
    sys.getattr("meta_path")?.call_method1("insert", (0, Bound::new(py, Finder)?))?;
    // `sys.executable` is the environment's `python`, which need not have the package.
    py.import("multiprocessing.spawn")?.call_method1("set_executable", (std::env::current_exe()?,)).map(drop)
}

fn load<'py>(py: Python<'py>, name: &str, file: &str, source: &str) -> PyResult<Bound<'py, PyModule>> {
    let file = format!("<plugincore>/{file}.py");
    PyModule::from_code(py, &CString::new(source)?, &CString::new(file)?, &CString::new(name)?)
}

/// What Python's import system asks for the modules that are loaded on demand.
#[pyclass(frozen, module = "plugincore._core")]
struct Finder;

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, _path = None, _target = None))]
    fn find_spec<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        _path: Option<Bound<'py, PyAny>>,
        _target: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if on_demand(name).is_none() {
            return Ok(None);
        }
        slf.py().import("importlib.machinery")?.getattr("ModuleSpec")?.call1((name, slf)).map(Some)
    }

    /// Python makes the module itself.
    fn create_module(&self, _spec: &Bound<'_, PyAny>) {}

    fn exec_module(&self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let name = module.name()?.to_str()?.to_owned();
        let Some((file, source)) = on_demand(&name) else { return Ok(()) };
        let builtins = py.import("builtins")?;
        let code = builtins.call_method1("compile", (*source, format!("<plugincore>/{file}.py"), "exec"))?;
        builtins.call_method1("exec", (code, module.dict())).map(drop)
    }
}

fn on_demand(name: &str) -> Option<&'static (&'static str, &'static str)> {
    let file = name.strip_prefix("plugincore.")?;
    ON_DEMAND.iter().find(|(known, _)| *known == file)
}
