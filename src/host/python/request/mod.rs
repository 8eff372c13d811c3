//! `data['request']`: one request as a plugin sees it, with the attributes of `aiohttp.web.Request`.
//!
//! Runs on the Python thread. Making the object only moves the [`RequestData`] in; each part becomes a Python object
//! when it is first used. Caveat: the body has arrived before the plugin runs, so reading never waits and there is no
//! stream.

mod cached;
mod content;
mod cookies;
mod form;
mod media_type;
mod query_string;
#[cfg(test)]
mod tests;
mod transport;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Version};
use pyo3::exceptions::{PyAttributeError, PyImportError, PyKeyError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyIterator, PySet, PyString};

use self::cached::cached;
pub(crate) use self::form::FileField;
pub(crate) use self::transport::Transport;
use super::completed_coroutine::CompletedCoroutine;
use super::multidict::MultiDict;
use crate::edge::files::response::{FileReply, FileRequest};
use crate::edge::http::response::Body;
use crate::edge::queue::request_data::RequestData;
use crate::edge::queue::responder::Reply;
use crate::host::bridge::aiohttp;
use crate::host::bridge::call::CallSlot;
use crate::host::bridge::channel::Channel;
use crate::host::bridge::locked::made_once;
use crate::host::bridge::reply;

/// A request. Its items (`request['x'] = 1`) are the plugin's own storage, as long as the request lives.
#[pyclass(frozen, weakref, mapping, module = "plugincore")]
pub struct Request {
    data: Box<RequestData>,
    slot: Weak<CallSlot>,
    headers: OnceLock<Py<MultiDict>>,
    query: OnceLock<Py<MultiDict>>,
    cookies: OnceLock<Py<PyDict>>,
    body: OnceLock<Py<PyBytes>>,
    form: OnceLock<Py<MultiDict>>,
    storage: OnceLock<Py<PyDict>>,
    match_info: OnceLock<Py<PyDict>>,
    /// Attributes that a plugin has set.
    attributes: OnceLock<Py<PyDict>>,
    /// aiohttp's own request, for what only that can answer.
    aiohttp: OnceLock<Py<PyAny>>,
}

impl Request {
    /// A request whose answer can be begun through `slot` as long as the call in it runs.
    pub fn new(data: Box<RequestData>, slot: Weak<CallSlot>) -> Self {
        Self {
            data,
            slot,
            headers: OnceLock::new(),
            query: OnceLock::new(),
            cookies: OnceLock::new(),
            body: OnceLock::new(),
            form: OnceLock::new(),
            storage: OnceLock::new(),
            match_info: OnceLock::new(),
            attributes: OnceLock::new(),
            aiohttp: OnceLock::new(),
        }
    }

    /// What the client sent.
    pub fn data(&self) -> &RequestData {
        &self.data
    }

    fn slot(&self) -> PyResult<Arc<CallSlot>> {
        self.slot.upgrade().ok_or_else(|| PyRuntimeError::new_err("the request has been answered already"))
    }

    /// The client's address as text; behind a trusted proxy the one that the proxy reports.
    pub fn client_ip(&self) -> String {
        self.data.client.to_string()
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        self.data.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn stored<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        cached(py, &self.storage, || Ok(PyDict::new(py).unbind()))
    }
}

/// A finished coroutine with this outcome.
fn ready<T>(outcome: PyResult<Bound<'_, T>>) -> CompletedCoroutine {
    CompletedCoroutine::new(outcome.map(|value| value.into_any().unbind()))
}

#[pymethods]
impl Request {
    /// The method, in upper case.
    #[getter]
    fn method(&self) -> &str {
        self.data.method.as_str()
    }

    /// The id of the request, as in the log, in errors and in `X-Request-Id`.
    #[getter]
    fn request_id(&self) -> String {
        self.data.id.to_string()
    }

    /// The id of the trace that the request belongs to, as 32 hexadecimal digits.
    #[getter]
    fn trace_id(&self) -> String {
        self.data.trace.trace_id_text()
    }

    /// The header `traceparent` for requests that are made to answer this one.
    #[getter]
    fn traceparent(&self) -> String {
        self.data.trace.text()
    }

    /// The name of the key in `[keys]` that admitted the request, `default` for that in `[auth]`; None without one.
    #[getter]
    fn key_name(&self) -> Option<&str> {
        self.data.key.name.get().map(|name| &**name)
    }

    /// The path, decoded.
    #[getter]
    fn path(&self) -> &str {
        self.data.path()
    }

    /// Path and query as sent; aiohttp, too, keeps the query in it.
    #[getter]
    fn raw_path(&self) -> &str {
        self.data.target()
    }

    /// Path and query as sent, without the question mark of an empty query.
    #[getter]
    fn path_qs(&self) -> &str {
        match self.data.target().split_once('?') {
            Some((path, "")) => path,
            _ => self.data.target(),
        }
    }

    /// The query, decoded for reading; take variables from `query`.
    #[getter]
    fn query_string(&self) -> String {
        self.data.target().split_once('?').map_or_else(String::new, |(_, query)| query_string::decode(query))
    }

    /// The variables of the query.
    #[getter]
    fn query<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MultiDict>> {
        cached(py, &self.query, || MultiDict::of_texts(py, &self.data.query))
    }

    /// All headers, repeated ones too; look-ups ignore case.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MultiDict>> {
        cached(py, &self.headers, || MultiDict::of_headers(py, &self.data.headers))
    }

    /// The cookies: name to value, the last of a repeated name.
    #[getter]
    fn cookies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        cached(py, &self.cookies, || {
            let cookies = PyDict::new(py);
            for header in self.data.headers.get_all(COOKIE) {
                for (name, value) in cookies::parse(&String::from_utf8_lossy(header.as_bytes())) {
                    cookies.set_item(name, value)?;
                }
            }
            Ok(cookies.unbind())
        })
    }

    /// The client's address; behind a trusted proxy the one that the proxy reports. `unix` for a client of a Unix
    /// socket.
    #[getter]
    fn remote(&self) -> String {
        self.data.client.to_string()
    }

    /// What the route left open: `{'tail': …}` when the path goes on after the plugin's route. Where a plugin has
    /// imported aiohttp, it is the dict that aiohttp has for this.
    #[getter]
    fn match_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        cached(py, &self.match_info, || {
            let variables = PyDict::new(py);
            if let Some(tail) = &self.data.subpath {
                variables.set_item(intern!(py, "tail"), tail)?;
            }
            let Some(module) = aiohttp::imported(intern!(py, "plugincore._aiohttp")) else {
                return Ok(variables.unbind());
            };
            Ok(module.call_method1(intern!(py, "match_info"), (variables,))?.cast_into::<PyDict>()?.unbind())
        })
    }

    /// The connection, for `get_extra_info`; once aiohttp sends the answer, what it sends it through.
    #[getter]
    fn transport<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(request) = self.aiohttp.get() {
            return request.bind(py).getattr(intern!(py, "transport"));
        }
        let transport = Transport { peer: self.data.remote, local: self.data.local.clone(), secure: self.data.is_tls };
        Ok(Bound::new(py, transport)?.into_any())
    }

    /// The protocol's version, a named tuple of `major` and `minor`.
    #[getter]
    fn version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static HTTP_VERSION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let named_tuple = made_once(py, &HTTP_VERSION, || {
            let namedtuple = py.import("collections")?.getattr("namedtuple")?;
            namedtuple.call1(("HttpVersion", ("major", "minor"))).map(Bound::unbind)
        })?;
        let parts = match self.data.version {
            Version::HTTP_10 => (1, 0),
            Version::HTTP_2 => (2, 0),
            _ => (1, 1),
        };
        named_tuple.bind(py).call1(parts)
    }

    /// `https` if the client uses TLS, else `http`.
    #[getter]
    fn scheme(&self) -> &'static str {
        if self.data.secure { "https" } else { "http" }
    }

    /// Whether the client uses TLS, by what a trusted proxy says, or else by the connection.
    #[getter]
    fn secure(&self) -> bool {
        self.data.secure
    }

    /// The client's certificate, a named tuple of `subject` and `fingerprint`; `None` if it has shown none.
    #[getter]
    fn client_certificate<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.data.certificate.as_deref().map(|certificate| transport::of_certificate(py, certificate)).transpose()
    }

    /// The `Host` header, with its port if it names one; without the header our own address, or `localhost` if the
    /// request came by a Unix socket.
    #[getter]
    fn host(&self) -> String {
        match (self.header(HOST), self.data.local.ip()) {
            (Some(host), _) => host.to_owned(),
            (None, Some(std::net::SocketAddr::V4(local))) => local.ip().to_string(),
            (None, Some(std::net::SocketAddr::V6(local))) => format!("[{}]", local.ip()),
            (None, None) => "localhost".to_owned(),
        }
    }

    /// The whole URL: a `yarl.URL` where yarl is installed, else text.
    #[getter]
    fn url<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = PyString::new(py, &format!("{}://{}{}", self.scheme(), self.host(), self.data.target()));
        match py.import("yarl") {
            Ok(yarl) => {
                let options = PyDict::new(py);
                options.set_item("encoded", true)?;
                yarl.getattr("URL")?.call((text,), Some(&options))
            }
            Err(error) if error.is_instance_of::<PyImportError>(py) => Ok(text.into_any()),
            Err(error) => Err(error),
        }
    }

    /// The content type without its parameters, in lower case; `application/octet-stream` when none is given.
    #[getter]
    fn content_type(&self) -> String {
        self.media_type().essence
    }

    /// The same as `content_type`; existing plugins ask for it, though aiohttp never had it.
    #[getter]
    fn r#type(&self) -> String {
        self.media_type().essence
    }

    /// The charset that the content type declares.
    #[getter]
    fn charset(&self) -> Option<String> {
        self.media_type().charset
    }

    /// The `Content-Length` header as a number.
    #[getter]
    fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH).and_then(|length| length.parse().ok())
    }

    /// Whether the client sent a body.
    #[getter]
    fn body_exists(&self) -> bool {
        !self.data.body.is_empty()
    }

    /// The same as `body_exists`: a body can be read any number of times.
    #[getter]
    fn can_read_body(&self) -> bool {
        self.body_exists()
    }

    /// The same as `body_exists`.
    #[getter]
    fn has_body(&self) -> bool {
        self.body_exists()
    }

    /// Whether the client wants the connection to stay open.
    #[getter]
    fn keep_alive(&self) -> bool {
        let names = |option: &str| {
            let options = self.data.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
            options.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(option))
        };
        if self.data.version > Version::HTTP_10 { !names("close") } else { names("keep-alive") }
    }

    /// Read the body.
    fn read(&self, py: Python<'_>) -> CompletedCoroutine {
        ready(self.bytes(py))
    }

    /// Read the body as text, in the declared charset or UTF-8.
    ///
    /// Awaiting raises `UnicodeDecodeError` on other bytes and `LookupError` for an unknown charset.
    fn text(&self, py: Python<'_>) -> CompletedCoroutine {
        ready(self.decoded(py))
    }

    /// Read the body as JSON; awaiting raises what `loads` raised.
    #[pyo3(signature = (*, loads = None))]
    fn json<'py>(&self, py: Python<'py>, loads: Option<Bound<'py, PyAny>>) -> CompletedCoroutine {
        ready(self.parsed(py, loads))
    }

    /// Read the body as a form: `str` for plain fields, `FileField` for files, empty when it is no form.
    fn post(&self, py: Python<'_>) -> CompletedCoroutine {
        ready(cached(py, &self.form, || form::fields(py, &self.data.variables, &self.media_type().essence)))
    }

    /// Do nothing; the body has been read already.
    fn release(&self, py: Python<'_>) -> CompletedCoroutine {
        CompletedCoroutine::new(Ok(py.None()))
    }

    /// Open a channel for a response that `_begin` begins; until then it shows whether the client is still connected.
    ///
    /// `RuntimeError` when the request has been answered, or begun to be.
    #[pyo3(name = "_open")]
    fn open_channel<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Channel>> {
        self.slot()?.open(py)
    }

    /// Begin the answer of the channel that was opened; for the modules that offer such results to plugins.
    ///
    /// `headers` is a mapping or pairs; `length` is the number of bytes to come, `None` if that is unknown.
    /// `RuntimeError` when the request has been answered, or begun to be, `ConnectionResetError` when the client is
    /// gone.
    #[pyo3(name = "_begin", signature = (status, headers, length = None, reason = None))]
    fn begin_answer(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        length: Option<u64>,
        reason: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let status = reply::status(status)?;
        let reason = reason.and_then(|reason| reply::reason(status, reason));
        let mut given = HeaderMap::new();
        reply::headers(headers, &mut given)?;
        let reply = Reply { status, reason, content_type: None, headers: given, body: Body::default() };
        self.slot()?.begin(py, reply, length)
    }

    /// Open a channel and begin its answer at once.
    #[pyo3(signature = (status, headers, length = None, reason = None))]
    fn _stream<'py>(
        &self,
        py: Python<'py>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        length: Option<u64>,
        reason: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Channel>> {
        let channel = self.open_channel(py)?;
        self.begin_answer(py, status, headers, length, reason)?;
        Ok(channel)
    }

    /// Answer with the file at `path`, which is opened and sent natively; conditions and ranges count if `status` is
    /// 200.
    ///
    /// `headers` is a mapping or pairs. `RuntimeError` when the request has been answered, or begun to be.
    fn _send_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let status = reply::status(status)?;
        let mut given = HeaderMap::new();
        reply::headers(headers, &mut given)?;
        let request = FileRequest { method: self.data.method.clone(), headers: self.data.headers.clone() };
        self.slot()?.send_file(py, FileReply { path, request, status, headers: given })
    }

    /// Answer 101 with `headers`: the connection's bytes go through the channel from then on.
    fn _switch_protocols<'py>(&self, py: Python<'py>, headers: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Channel>> {
        let mut given = HeaderMap::new();
        reply::headers(headers, &mut given)?;
        given.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        self.slot()?.switch_protocols(py, given)
    }

    /// The body; for the module that hands it to aiohttp.
    #[getter]
    fn _body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.bytes(py)
    }

    /// The plugin's own storage.
    #[getter]
    fn _state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.stored(py)
    }

    /// The event loop that the handler runs on, which asyncio returns on that loop's own thread alone; `None` when the
    /// request has been answered.
    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.slot.upgrade().and_then(|slot| slot.event_loop(py))
    }

    /// aiohttp's own request for this one.
    #[getter]
    fn _aiohttp_request<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        cached(py, &slf.get().aiohttp, || {
            let module = py.import(intern!(py, "plugincore._aiohttp"))?;
            Ok(module.call_method1(intern!(py, "aiohttp_request"), (slf,))?.unbind())
        })
    }

    /// Keep a value under a name that the request does not have itself, for code that does not know of its items.
    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get_type().hasattr(name)? {
            return Err(PyAttributeError::new_err(format!("attribute {name:?} of the request cannot be set")));
        }
        let py = slf.py();
        cached(py, &slf.get().attributes, || Ok(PyDict::new(py).unbind()))?.set_item(name, value)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        let set = slf.get().attributes.get().map(|set| set.bind(slf.py()));
        match set {
            Some(set) if set.contains(name)? => set.del_item(name),
            _ => Err(PyAttributeError::new_err(format!("attribute {name:?} of the request cannot be deleted"))),
        }
    }

    /// What a plugin has set, and what only aiohttp's own request has, where aiohttp is installed.
    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let absent = || PyAttributeError::new_err(format!("the request has no attribute {name:?}"));
        if let Some(set) = slf.get().attributes.get()
            && let Some(value) = set.bind(slf.py()).get_item(name)?
        {
            return Ok(value);
        }
        let text = name.to_str()?;
        // Python itself asks for dunders of its own accord, which is no reason to import aiohttp.
        if text.starts_with("__") {
            return Err(absent());
        }
        let py = slf.py();
        let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
        if text.starts_with('_') && !modules.contains(intern!(py, "aiohttp.web_request"))? {
            return Err(absent());
        }
        match Self::_aiohttp_request(slf) {
            Ok(request) => request.getattr_opt(name)?.ok_or_else(absent),
            Err(error) if error.is_instance_of::<PyImportError>(py) => Err(absent()),
            Err(error) => Err(error),
        }
    }

    /// The names of all attributes, with those that only aiohttp's own request has where a plugin has imported aiohttp.
    fn __dir__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PySet>> {
        let py = slf.py();
        let object = py.get_type::<PyAny>();
        let names = object.call_method1(intern!(py, "__dir__"), (slf,))?;
        let names = PySet::new(py, names.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        if let Some(module) = aiohttp::imported(intern!(py, "aiohttp.web_request")) {
            let class = module.getattr(intern!(py, "Request"))?;
            for name in class.dir()? {
                names.add(name)?;
            }
        }
        Ok(names)
    }

    /// Return what the plugin stored under `key`, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.stored(key.py())?.get_item(key)?.or(default))
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.get(key, None)?.ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stored(key.py())?.set_item(key, value)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stored(key.py())?.del_item(key)
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.stored(key.py())?.contains(key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.stored(py)?.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.stored(py)?.try_iter()
    }

    /// A request is true even when nothing is stored in it.
    fn __bool__(&self) -> bool {
        true
    }

    /// Method and path; letters that could forge a log line are escaped, query and body left out.
    fn __repr__(&self) -> String {
        let mut path = String::with_capacity(self.data.path().len());
        for letter in self.data.path().chars() {
            if matches!(letter, ' '..='~') {
                path.push(letter);
            } else {
                path.extend(letter.escape_default());
            }
        }
        format!("<Request {} {path}>", self.data.method)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.storage.get())?;
        visit.call(self.aiohttp.get())?;
        visit.call(self.cookies.get())?;
        visit.call(self.match_info.get())?;
        visit.call(self.attributes.get())?;
        visit.call(self.form.get())
    }
}
