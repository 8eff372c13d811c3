//! `LogJam`: how Python writes to the log stream, with the interface of pluginserver's class of that name.
//!
//! Runs on any Python thread. When a call returns, its line has been written, unless the output hangs; the interpreter
//! is held meanwhile, which cannot deadlock because no writing thread ever attaches to it. Caveat: a plugin's text is
//! written as it is, apart from the escapes that keep a record on one line, so plugins themselves keep keys and bodies
//! out of it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::edge::observe::common_log::CommonLogEntry;
use crate::edge::observe::line::{FieldValue, Level, Record, is_json};
use crate::edge::observe::log_file::{LogFile, LogFileError};
use crate::edge::observe::sink::Sink;
use crate::edge::observe::subscriber;
use crate::host::bridge::request_scope;

/// The server's name in the stream while no log is installed, as in a plugin's own tests.
const DEFAULT_NAME: &str = "plugincore";

/// A named logger: one line a call, to standard output and, if a file is named, to that file too.
///
/// Calling it is calling `info`. Arguments are joined by spaces after `str()`; keywords become fields behind the message. Levels are DEBUG, INFO, WARN, ERROR,
/// CRITICAL and EXCEPTION; `level` is read in any case, and an unknown one means INFO.
///
/// >>> import pathlib, tempfile
/// >>> from plugincore.logjam import LogJam
/// >>> with tempfile.TemporaryDirectory() as folder:
/// ...     log = LogJam(name="shop", level="WARN", file=f"{folder}/shop.log", stdio=False)
/// ...     log("not shown,", log.threshold > log.levels.get("INFO"))
/// ...     log.error("no", "more", "tea")
/// ...     text = pathlib.Path(log.file).read_text()
/// >>> text.split(" - ", 1).pop()
/// 'shop - ERROR - no more tea\n'
#[pyclass(frozen, subclass, weakref, dict, module = "plugincore.logjam")]
pub struct LogJam {
    /// Set by `__init__` and not by `__new__`, so that subclasses may take arguments of their own.
    stream: OnceLock<Stream>,
}

/// A name and where its lines go.
struct Stream {
    name: ArcSwap<String>,
    /// The log file as it was named.
    file: Option<OsString>,
    sink: Arc<Sink>,
}

impl Stream {
    fn write(&self, py: Python<'_>, level: Level, message: &str, fields: Fields<'_>, exception: Option<&str>) {
        write(py, &self.sink, &Record { exception, ..Record::new(level, &self.name.load(), message) }, fields);
    }
}

/// Names and values behind a message.
type Fields<'a> = Vec<(Cow<'a, str>, FieldValue)>;

/// Writes a record with `fields`, and with the request that the code that logs it runs for.
fn write(py: Python<'_>, sink: &Sink, record: &Record<'_>, mut fields: Fields<'_>) {
    let scope = request_scope::current(py);
    let scope = scope.as_ref().map(Bound::get);
    if let Some(scope) = scope {
        fields.push((REQUEST_ID.into(), FieldValue::Text(scope.id.to_string())));
        // As text, one that has begun here would say the same once more.
        if scope.trace.is_continued() || is_json() {
            fields.push((TRACE_ID.into(), FieldValue::Text(scope.trace.trace_id_text())));
        }
    }
    let details = scope.map(|scope| ("plugin", Cow::Borrowed(&*scope.plugin)));
    sink.write_record(&Record { fields: &fields, details: details.as_slice(), ..*record });
    sink.flush();
}

/// The field that names the request.
const REQUEST_ID: &str = "request_id";

/// The field that names its trace.
const TRACE_ID: &str = "trace_id";

/// Names that fields cannot have, since JSON has them for what is always there.
const RESERVED: [&str; 8] = ["time", "level", "logger", "message", "plugin", REQUEST_ID, TRACE_ID, "exception"];

/// The keywords of a call as fields.
fn fields_of(keywords: Option<&Bound<'_, PyDict>>) -> Fields<'static> {
    let pairs = keywords.into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let name = text_of(&name);
            let name = if RESERVED.contains(&&*name) { format!("{name}_") } else { name };
            (Cow::Owned(name), field_value(&value))
        })
        .collect()
}

/// Numbers, truth values, None and what JSON has for lists and dicts; the text of anything else.
fn field_value(value: &Bound<'_, PyAny>) -> FieldValue {
    if value.is_instance_of::<PyString>() {
        return FieldValue::Text(text_of(value));
    }
    let is_json = value.is_none()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyDict>();
    let encoded = if is_json { as_json(value).ok() } else { None };
    encoded.map_or_else(|| FieldValue::Text(text_of(value)), FieldValue::Json)
}

/// What `json.dumps` makes of a value, unless JSON lacks a number in it.
fn as_json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item("allow_nan", false)?;
    options.set_item("default", py.import("builtins")?.getattr("str")?)?;
    py.import("json")?.call_method("dumps", (value,), Some(&options))?.extract()
}

impl LogJam {
    /// The server's log, which handlers find as `data['log']`; changing its threshold changes the host's.
    ///
    /// # Errors
    /// Only for want of memory.
    pub fn server(py: Python<'_>) -> PyResult<Py<Self>> {
        match subscriber::server() {
            Some(log) => Self::create(py, &log.name, Arc::clone(&log.sink)),
            None => Self::create(py, DEFAULT_NAME, server_sink()),
        }
    }

    fn create(py: Python<'_>, name: &str, sink: Arc<Sink>) -> PyResult<Py<Self>> {
        let file = sink.file().map(|path| path.as_os_str().to_owned());
        let stream = Stream { name: ArcSwap::from_pointee(name.to_owned()), file, sink };
        Py::new(py, Self { stream: OnceLock::from(stream) })
    }

    fn stream(&self) -> PyResult<&Stream> {
        self.stream.get().ok_or_else(|| PyRuntimeError::new_err("LogJam.__init__() has not been called"))
    }

    fn log(&self, level: Level, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let stream = self.stream()?;
        // Asked before the arguments are turned into text, which may be costly.
        if stream.sink.admits(level) {
            stream.write(args.py(), level, &joined(args), fields_of(fields), None);
        }
        Ok(())
    }
}

#[pymethods]
impl LogJam {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(*, name, level='INFO', file=None, stdio=True)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { stream: OnceLock::new() }
    }

    #[pyo3(signature = (*, name=None, level="INFO", file=None, stdio=true))]
    fn __init__(
        &self,
        py: Python<'_>,
        name: Option<&Bound<'_, PyAny>>,
        level: &str,
        file: Option<PathBuf>,
        stdio: bool,
    ) -> PyResult<()> {
        let name = checked_name(name)?;
        let file = file.filter(|path| !path.as_os_str().is_empty());
        let sink = Sink::open(Level::parse(level), file.as_deref(), stdio).map_err(|error| os_error(py, error))?;
        let file = file.map(PathBuf::into_os_string);
        let unset = self.stream.set(Stream { name: ArcSwap::from_pointee(name), file, sink: Arc::new(sink) });
        unset.map_err(|_| PyRuntimeError::new_err("LogJam.__init__() was called a second time"))
    }

    /// The name in each line; may be set.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.stream()?.name.load().as_str().to_owned())
    }

    #[setter]
    fn set_name(&self, name: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stream()?.name.store(Arc::new(checked_name(Some(name))?));
        Ok(())
    }

    /// The log file as it was named, or None.
    #[getter]
    fn file(&self) -> PyResult<Option<OsString>> {
        Ok(self.stream()?.file.clone())
    }

    /// The argument of that name: False keeps lines from a terminal (not from a pipe).
    #[getter]
    fn stdio(&self) -> PyResult<bool> {
        Ok(self.stream()?.sink.stdio())
    }

    /// Whether lines are shown on a terminal.
    #[getter]
    fn tty(&self) -> PyResult<bool> {
        Ok(self.stream()?.sink.is_terminal())
    }

    /// The lowest number of `levels` that is written; may be set.
    #[getter]
    fn threshold(&self) -> PyResult<u8> {
        Ok(self.stream()?.sink.threshold())
    }

    #[setter]
    fn set_threshold(&self, threshold: u8) -> PyResult<()> {
        self.stream()?.sink.set_threshold(threshold);
        Ok(())
    }

    /// The levels' names and numbers.
    #[classattr]
    fn levels(py: Python<'_>) -> PyResult<Py<PyDict>> {
        let levels = PyDict::new(py);
        for level in Level::ALL {
            levels.set_item(level.name(), level.severity())?;
        }
        Ok(levels.unbind())
    }

    /// Logs at INFO.
    #[pyo3(signature = (*args, **fields))]
    fn __call__(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Info, args, fields)
    }

    /// Logs at DEBUG.
    #[pyo3(signature = (*args, **fields))]
    fn debug(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Debug, args, fields)
    }

    /// Logs at INFO.
    #[pyo3(signature = (*args, **fields))]
    fn info(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Info, args, fields)
    }

    /// Logs at WARN.
    #[pyo3(signature = (*args, **fields))]
    fn warn(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Warn, args, fields)
    }

    /// Logs at WARN.
    #[pyo3(signature = (*args, **fields))]
    fn warning(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Warn, args, fields)
    }

    /// Logs at ERROR.
    #[pyo3(signature = (*args, **fields))]
    fn error(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Error, args, fields)
    }

    /// Logs at CRITICAL.
    #[pyo3(signature = (*args, **fields))]
    fn critical(&self, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.log(Level::Critical, args, fields)
    }

    /// Logs at EXCEPTION. While an exception is being handled its traceback is part of the record, which remains one
    /// line; pluginserver left the traceback out.
    #[pyo3(signature = (*args, **fields))]
    fn exception(&self, py: Python<'_>, args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let stream = self.stream()?;
        if stream.sink.admits(Level::Exception) {
            let (message, exception) = (joined(args), handled_traceback(py));
            stream.write(py, Level::Exception, &message, fields_of(fields), exception.as_deref());
        }
        Ok(())
    }

    /// Writes one request in the Common Log Format and returns that line.
    ///
    /// `file` is a path to append to or an open text file; without it the line goes to the log at INFO. `size` is in
    /// bytes, and 0 is as good as any; `timestamp` is in seconds since 1970 and means now when left out.
    #[pyo3(signature = (
        ip, path, size, method, protocol, status, file=None, *, user_ident=None, user_auth=None, timestamp=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "the signature is pluginserver's")]
    fn common_log(
        &self,
        py: Python<'_>,
        ip: &Bound<'_, PyAny>,
        path: &Bound<'_, PyAny>,
        size: &Bound<'_, PyAny>,
        method: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        status: &Bound<'_, PyAny>,
        file: Option<&Bound<'_, PyAny>>,
        user_ident: Option<&str>,
        user_auth: Option<&str>,
        timestamp: Option<f64>,
    ) -> PyResult<String> {
        let entry = CommonLogEntry {
            ip: &text_of(ip),
            ident: user_ident.unwrap_or("-"),
            user: user_auth.unwrap_or("-"),
            time: request_time(timestamp)?.to_zoned(TimeZone::system()),
            method: &text_of(method),
            path: &text_of(path),
            protocol: &text_of(protocol),
            status: &text_of(status),
            size: &text_of(size),
        };
        let line = entry.to_string();
        match file {
            None => self.stream()?.write(py, Level::Info, &line, Vec::new(), None),
            Some(file) => match file.extract::<PathBuf>() {
                Ok(path) => {
                    let file = LogFile::open(&path).map_err(|error| os_error(py, error))?;
                    file.append(format!("{line}\n"));
                    file.output().flush();
                }
                Err(_) => drop(file.call_method1("write", (format!("{line}\n"),))?),
            },
        }
        Ok(line)
    }
}

/// Writes a record of Python's `logging` to the server's log: its logger's name, its level's number (between two levels
/// the lower one counts), its finished text and its traceback.
#[pyfunction]
#[pyo3(signature = (name, levelno, text, exception = None))]
pub(crate) fn emit_log_record(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    levelno: i64,
    text: &Bound<'_, PyAny>,
    exception: Option<&Bound<'_, PyAny>>,
) {
    let level = match levelno {
        50.. => Level::Critical,
        40.. => Level::Error,
        30.. => Level::Warn,
        20.. => Level::Info,
        _ => Level::Debug,
    };
    let (name, text, exception) = (text_of(name), text_of(text), exception.map(text_of));
    let record = Record { exception: exception.as_deref(), ..Record::new(level, &name, &text) };
    write(py, &server_sink(), &record, Vec::new());
}

/// Brings Python's `logging` and `warnings` into the log stream by a handler on the root logger, unless that has one
/// already. To be called once, after [`subscriber::install`] and before any plugin is imported.
///
/// # Errors
/// Whatever importing `plugincore.logjam` raises.
pub(crate) fn install_logging_bridge(py: Python<'_>) -> PyResult<()> {
    let threshold = server_sink().threshold();
    py.import("plugincore.logjam")?.call_method1("install_handler", (threshold,))?;
    Ok(())
}

/// Has Python's `logging` let records from `level` on through to the server's log.
pub(crate) fn set_level(py: Python<'_>, level: Level) {
    let module = py.import("plugincore.logjam");
    let changed = module.and_then(|module| module.call_method1("change_threshold", (level.severity(),)));
    if let Err(error) = changed {
        tracing::error!("the level of Python's logging cannot be changed: {error}");
    }
}

fn server_sink() -> Arc<Sink> {
    let installed = subscriber::server().map(|log| Arc::clone(&log.sink));
    installed.unwrap_or_else(|| Arc::new(Sink::without_file(Level::Info, true)))
}

fn checked_name(name: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
    match name {
        Some(name) if name.is_truthy()? => Ok(name.str()?.to_string_lossy().into_owned()),
        _ => Err(PyValueError::new_err("a log needs a name: LogJam(name='...')")),
    }
}

/// `OSError` with number, reason and path, from which Python makes `PermissionError` and its like.
fn os_error(py: Python<'_>, error: LogFileError) -> PyErr {
    let Some(number) = error.reason.raw_os_error() else { return PyOSError::new_err(error.to_string()) };
    match py.import("os").and_then(|os| os.call_method1("strerror", (number,))) {
        Ok(reason) => PyOSError::new_err((number, reason.unbind(), error.path.into_os_string())),
        Err(failure) => failure,
    }
}

fn joined(args: &Bound<'_, PyTuple>) -> String {
    args.iter().map(|argument| text_of(&argument)).collect::<Vec<_>>().join(" ")
}

/// `str(object)`; the type's name in angle brackets when that raises, since logging must not break its caller.
fn text_of(object: &Bound<'_, PyAny>) -> String {
    match object.str() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => match object.get_type().name() {
            Ok(name) => format!("<{}>", name.to_string_lossy()),
            Err(_) => "<object>".to_owned(),
        },
    }
}

/// The traceback of the exception being handled; `None` when there is none or it cannot be shown.
fn handled_traceback(py: Python<'_>) -> Option<String> {
    let exception_info = py.import("sys").ok()?.call_method0("exc_info").ok()?.cast_into::<PyTuple>().ok()?;
    if exception_info.get_item(0).ok()?.is_none() {
        return None;
    }
    let lines = py.import("traceback").ok()?.call_method1("format_exception", exception_info).ok()?;
    let lines = lines.try_iter().ok()?.map_while(Result::ok).map(|line| text_of(&line));
    Some(lines.collect::<String>().trim_end().to_owned())
}

fn request_time(timestamp: Option<f64>) -> PyResult<Timestamp> {
    let Some(seconds) = timestamp else { return Ok(Timestamp::now()) };
    let since_1970 = SignedDuration::try_from_secs_f64(seconds);
    let time = since_1970.and_then(Timestamp::from_duration);
    time.map_err(|_| PyValueError::new_err(format!("timestamp={seconds} is not a time in seconds since 1970")))
}
