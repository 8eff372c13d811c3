//! One plugin, served to its own tests: the engine of `plugincore.testing`.
//!
//! Runs on the Python thread, except [`wire`]. Promise: loading, arguments, keys, limits, CORS, dispatch, results and
//! errors are the server's own code, on the caller's event loop; there is no socket, no signal handling and no reload.
//! Caveat: log lines of the host go to standard output, for the test's report.

pub(crate) mod connection;
pub(crate) mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};
use tokio::sync::oneshot;

use self::connection::Connection;
use self::wire::{Answer, Ask, Connect, Wire, with_host};
use crate::edge::config::diagnostic::log_warnings;
use crate::edge::config::settings::Settings;
use crate::edge::control::api::PluginAction;
use crate::edge::control::kept::KeptState;
use crate::edge::control::{DifferenceReport, ReloadReport, ReloadTarget};
use crate::edge::gateway::state::{ServerState, Snapshot};
use crate::edge::http::params::ConnectionParams;
use crate::edge::http::request_id::X_REQUEST_ID;
use crate::edge::observe::line::Level;
use crate::edge::observe::metrics::exposition::Format;
use crate::edge::observe::{sink, subscriber};
use crate::edge::policy::admission::{Entrance, Limit};
use crate::edge::queue::backend::Backend;
use crate::edge::queue::board::RequestNumber;
use crate::edge::queue::responder::{CompletionQueue, QueuedRequest};
use crate::edge::routing::{Endpoint, RouteTable};
use crate::host::bridge::consumer::Consumer;
use crate::host::bridge::coroutine::{Coroutine, await_python, coroutine};
use crate::host::bridge::locked::Locked;
use crate::host::bridge::outcome::ExceptionHook;
use crate::host::bridge::overdue;
use crate::host::bridge::submission_queue::SubmissionQueue;
use crate::host::plugins::dispatch::dispatcher;
use crate::host::plugins::environment::Environment;
use crate::host::plugins::load::{LoadedFile, load_class, load_file, release};
use crate::host::plugins::loaded_plugin::LoadedPlugin;
use crate::host::plugins::module::{self, FileModule, ModuleTable};
use crate::host::plugins::registry::Registry;
use crate::host::plugins::task_scope;
use crate::host::plugins::terminate::{end_tasks, log_uncancelled_tasks, terminate_instance};
use crate::host::plugins::timeout::wait_for;
use crate::host::python::logjam::LogJam;
use crate::host::python::multidict::MultiDict;
use crate::host::python::{config, interpreter};

/// A server for one plugin, without sockets. Use it through `plugincore.testing`.
///
/// `file` is the plugin's file; `plugin` is a class from it, or the name of one, or None if there is only one. `config`
/// is the `Config` that the plugin gets and that the server's settings are read from. `parameters` win over those of
/// `[plugin_parms]`. `level` is that of the log.
#[pyclass(frozen, module = "plugincore._core")]
pub struct Rehearsal {
    file: PathBuf,
    plugin: Py<PyAny>,
    settings: Settings,
    environment: Environment,
    waiting: Arc<Waiting>,
    running: Locked<Option<Running>>,
}

/// What exists between start and stop.
struct Running {
    plugin: Arc<LoadedPlugin>,
    origin: Option<Arc<FileModule>>,
    consumer: Arc<Consumer>,
    wire: Wire,
}

/// What requests wait for; on the Python thread.
#[derive(Default)]
struct Waiting {
    serial: AtomicU64,
    asked: Locked<HashMap<u64, Asked>>,
    /// What handlers raised, by the ids of the requests.
    raised: Locked<HashMap<String, Py<PyAny>>>,
    /// What is called with the bytes that come by a connection.
    listeners: Locked<HashMap<u64, Py<PyAny>>>,
}

/// A request that was made.
struct Asked {
    /// What its maker awaits.
    future: Py<PyAny>,
    /// Keeps its connection open.
    _open: oneshot::Sender<()>,
}

/// The plugin as the gateway sees it; it cannot be reloaded.
pub(crate) struct RehearsalBackend(Arc<SubmissionQueue>);

impl Backend for RehearsalBackend {
    fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        self.0.submit(requests);
    }

    fn cancel(&self, requests: Vec<RequestNumber>) {
        overdue::cancel(&self.0, requests);
    }

    fn reload(&self, _: ReloadTarget) -> oneshot::Receiver<ReloadReport> {
        oneshot::channel().1
    }

    fn change(&self, _: PluginAction, _: String) -> oneshot::Receiver<ReloadReport> {
        oneshot::channel().1
    }

    fn collect_registry(&self, _: Format) -> oneshot::Receiver<String> {
        oneshot::channel().1
    }

    fn difference(&self) -> oneshot::Receiver<DifferenceReport> {
        oneshot::channel().1
    }

    fn set_log_level(&self, _: Level) {}
}

#[pymethods]
impl Rehearsal {
    #[new]
    #[pyo3(signature = (file, plugin, config, parameters, level))]
    fn new(
        py: Python<'_>,
        file: PathBuf,
        plugin: Py<PyAny>,
        config: &Bound<'_, PyAny>,
        parameters: Option<Py<PyDict>>,
        level: &str,
    ) -> PyResult<Self> {
        let invalid = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
        let file = std::path::absolute(file)?;
        let folder = file.parent().map(PathBuf::from).unwrap_or_default();
        let document = config::for_rehearsal(config, &folder)?;
        let (settings, warnings) = Settings::from_config(&document);
        let settings = settings.map_err(|error| invalid(&error))?;
        let parsed = Level::parse(level);
        if let Some(log) = subscriber::server() {
            log.sink.set_threshold(parsed.severity());
        } else {
            sink::write_for_tests();
            subscriber::install("plugincore", parsed, None).map_err(|error| invalid(&error))?;
        }
        log_warnings(&warnings);
        let waiting = Arc::<Waiting>::default();
        let environment = Environment {
            modules: ModuleTable::new(py, &folder)?,
            config: config.clone().unbind(),
            log: LogJam::server(py)?.into_any(),
            args: interpreter::program_arguments(py, "", None, level)?,
            task_callback: None,
            base: PathBuf::new(),
            folder: settings.paths.plugins.clone(),
            timeout: settings.server.plugin_timeout,
            terminate_timeout: settings.server.shutdown_timeout,
            legacy_status: settings.legacy_status,
            plugin_sections: [0; 32],
            has_server_key: false,
            parameter_lines: Vec::new(),
            plugins: Arc::clone(&settings.plugins),
            given: None,
            overrides: parameters,
            exception_hook: Some(waiting.exception_hook()),
        };
        Ok(Self { file, plugin, settings, environment, waiting, running: Locked::new(None) })
    }

    /// Load the plugin on the running loop and begin to serve it; what its constructor raises comes out.
    fn start(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move { slf.get().open().await })
    }

    /// The plugin object; None before `start` and after `stop`.
    #[getter]
    fn instance(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let plugin = self.running.with(|running| running.as_ref().map(|running| Arc::clone(&running.plugin)));
        plugin.map(|plugin| plugin.instance.clone_ref(py))
    }

    /// The id under which the plugin is served; None before `start` and after `stop`.
    #[getter]
    fn plugin_id(&self) -> Option<String> {
        self.running.with(|running| running.as_ref().map(|running| running.plugin.id.to_string()))
    }

    /// Make a request and return `(status, headers, body, exception)`; exception is what the handler raised, or None.
    fn request<'py>(
        slf: Py<Self>,
        py: Python<'py>,
        method: &str,
        target: &str,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        client: IpAddr,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let request = with_host(request(method, target, headers, body).map_err(PyValueError::new_err)?);
        coroutine(py, async move { slf.get().ask(request, SocketAddr::from((client, 49152))).await })
    }

    /// Open a connection; `received` is called with bytes as they come, and with none at its end.
    fn connect(&self, received: Py<PyAny>, client: IpAddr) -> PyResult<Connection> {
        let consumer = self.running.with(|running| running.as_ref().map(|running| Arc::clone(&running.consumer)));
        let consumer = consumer.ok_or_else(closed)?;
        let serial = self.waiting.serial.fetch_add(1, Ordering::Relaxed);
        drop(self.waiting.listeners.with(|listeners| listeners.insert(serial, received)));
        let (queue, submissions) = (Arc::clone(&self.waiting), Arc::clone(consumer.submissions()));
        let received = Box::new(move |bytes: Bytes| {
            let queue = Arc::clone(&queue);
            submissions.send(Box::new(move || Python::attach(|py| queue.hear(py, serial, &bytes))));
        });
        let (connection, outgoing) = Connection::new();
        let connect = Connect { client: SocketAddr::from((client, 49152)), outgoing, received };
        self.running
            .with(|running| running.as_ref().map(|running| running.wire.connect(connect)))
            .ok_or_else(closed)?;
        Ok(connection)
    }

    /// Terminate the plugin, end its background tasks and serve it no more; what `terminate_plugin` raises comes out.
    fn stop(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, Coroutine>> {
        coroutine(py, async move { slf.get().close().await })
    }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the client is not open: use it in `with`")
}

fn request(
    method: &str,
    target: &str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is not a method"))?;
    let target = target.parse::<Uri>().map_err(|error| format!("{target:?} is not a path: {error}"))?;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = target;
    for (name, value) in headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
        let value =
            HeaderValue::from_bytes(&value).map_err(|_| format!("the value of header {name} cannot be sent"))?;
        request.headers_mut().append(key, value);
    }
    Ok(request)
}

impl Rehearsal {
    async fn open(&self) -> PyResult<()> {
        if self.running.with(|running| running.is_some()) {
            return Err(PyRuntimeError::new_err("the plugin is being served already"));
        }
        let class = Python::attach(|py| -> PyResult<_> {
            let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
            // The factory only notes owners, so it may stay; one of the test's own is not replaced.
            if event_loop.call_method0("get_task_factory")?.is_none() {
                task_scope::install_task_factory(&event_loop)?;
            }
            Ok(self.plugin.bind(py).cast::<PyType>().ok().map(|class| class.clone().unbind()))
        })?;
        let mut loaded = if let Some(class) = class {
            load_class(&self.environment, &self.file, class).await
        } else {
            let prepare = |folder: &Path| Python::attach(|py| module::replace_in_path(py, None, folder));
            self.file.parent().map_or(Ok(()), prepare)?;
            load_file(&self.environment, &self.file).await
        };
        let running = match self.chosen(&loaded) {
            Ok(plugin) => Python::attach(|py| self.serve(py, plugin, loaded.origin.take())),
            Err(error) => Err(error),
        };
        match running {
            Ok(running) => {
                drop(self.running.replace(Some(running)));
                Ok(())
            }
            Err(error) => {
                for plugin in &loaded.plugins {
                    self.end(plugin).await?;
                }
                self.release(loaded.origin.as_deref());
                Err(error)
            }
        }
    }

    /// The plugin that is meant; an error of any class in the file is an error here.
    fn chosen(&self, loaded: &LoadedFile) -> PyResult<Arc<LoadedPlugin>> {
        if let Some(failure) = loaded.failures.first() {
            return Err(Python::attach(|py| match &failure.cause {
                Some(cause) => cause.clone_ref(py),
                None => PyRuntimeError::new_err(failure.to_string()),
            }));
        }
        let wanted = Python::attach(|py| self.plugin.extract::<String>(py).ok());
        let class_of = |plugin: &LoadedPlugin| {
            Python::attach(|py| plugin.instance.bind(py).get_type().name().map(|name| name.to_string()))
        };
        let mut names = Vec::new();
        let mut found = Vec::new();
        for plugin in &loaded.plugins {
            let name = class_of(plugin)?;
            if wanted.as_ref().is_none_or(|wanted| *wanted == name) {
                found.push(plugin);
            }
            names.push(name);
        }
        match found[..] {
            [plugin] => Ok(Arc::clone(plugin)),
            [] if names.is_empty() => {
                Err(PyValueError::new_err(format!("{} defines no class derived from BasePlugin", self.file.display())))
            }
            _ => Err(PyValueError::new_err(format!(
                "{} defines {}; say which is meant with class_name",
                self.file.display(),
                names.join(", ")
            ))),
        }
    }

    fn serve(&self, py: Python<'_>, plugin: Arc<LoadedPlugin>, origin: Option<Arc<FileModule>>) -> PyResult<Running> {
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
        let limits = &self.settings.limits;
        let mut table = RouteTable::default();
        let (settings, policy) = (plugin.settings(), Arc::clone(&plugin.policy));
        let entrance = Entrance::new(Limit::new(settings.in_flight));
        let parameters = plugin.typed.as_ref().map(|typed| Arc::clone(&typed.parameters));
        Endpoint::new(&plugin.id, entrance, plugin.methods, policy, settings)
            .map(|endpoint| endpoint.described(parameters, Arc::clone(&plugin.description)))
            .and_then(|endpoint| table.insert(Arc::new(endpoint)))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let submissions = Arc::new(SubmissionQueue::new()?);
        let live = Snapshot::new(&self.settings, table, None, None, None);
        let backend = Arc::new(RehearsalBackend(Arc::clone(&submissions)));
        let shared = ServerState::new(live, backend, limits, KeptState::default());
        let completions = Arc::<CompletionQueue>::default();
        let registry = Arc::<Registry>::default();
        registry.publish(vec![Arc::clone(&plugin)], Vec::new());
        let dispatch = dispatcher(py, registry, self.environment.log.clone_ref(py))?;
        let consumer = Consumer::new(&event_loop, submissions, vec![Arc::clone(&completions)], dispatch)?;
        consumer.attach(py)?;
        let wire = Wire::start(shared, completions, ConnectionParams::new(limits, &self.settings.network, None))?;
        Ok(Running { plugin, origin, consumer, wire })
    }

    async fn ask(&self, request: Request<Full<Bytes>>, client: SocketAddr) -> PyResult<Py<PyAny>> {
        let (place, future) = Python::attach(|py| -> PyResult<_> {
            let consumer = self.running.with(|running| running.as_ref().map(|running| Arc::clone(&running.consumer)));
            let consumer = consumer.ok_or_else(closed)?;
            let future = consumer.event_loop(py).call_method0("create_future")?.unbind();
            let (open, waiting) = oneshot::channel();
            let place = self.waiting.enter(future.clone_ref(py), open);
            let (queue, serial, submissions) =
                (Arc::clone(&self.waiting), place.serial, Arc::clone(consumer.submissions()));
            let answer = Box::new(move |answer: Answer| {
                submissions.send(Box::new(move || Python::attach(|py| queue.settle(py, serial, answer))));
            });
            let ask = Ask { request, client, answer, waiting };
            self.running.with(|running| running.as_ref().map(|running| running.wire.ask(ask))).ok_or_else(closed)?;
            Ok((place, future))
        })?;
        let answer = await_python(future).await;
        drop(place);
        answer
    }

    async fn close(&self) -> PyResult<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let ended = self.end(&running.plugin).await;
        let interrupted = Python::attach(|py| {
            running.consumer.detach(py)?;
            py.detach(|| running.wire.end());
            self.waiting.abandon(py)?;
            // The loop may be one that goes on, so nothing that still waits may stay there.
            wait_for(py, running.consumer.cancel(py)?, self.settings.server.shutdown_timeout)
        })?;
        if let Some(interrupted) = interrupted {
            log_uncancelled_tasks(await_python(interrupted).await?)?;
        }
        self.release(running.origin.as_deref());
        ended
    }

    /// Lets go of the plugin's modules, so that the next start runs them again.
    fn release(&self, origin: Option<&FileModule>) {
        if let Some(origin) = origin {
            Python::attach(|py| release(py, &self.file, origin));
        }
    }

    /// Ends a plugin as the server does, but returns what it raises.
    async fn end(&self, plugin: &LoadedPlugin) -> PyResult<()> {
        let timeout = self.settings.server.shutdown_timeout;
        let terminated = terminate_instance(&plugin.instance, &plugin.scope, timeout).await;
        end_tasks(&plugin.scope, timeout).await?;
        terminated
    }
}

/// The place of a request among those that wait; leaving it closes the connection.
struct Place {
    waiting: Arc<Waiting>,
    serial: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Let go of outside of the lock, since that may run Python code.
        drop(self.waiting.asked.with(|asked| asked.remove(&self.serial)));
    }
}

impl Waiting {
    fn enter(self: &Arc<Self>, future: Py<PyAny>, open: oneshot::Sender<()>) -> Place {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let earlier = self.asked.with(|asked| asked.insert(serial, Asked { future, _open: open }));
        debug_assert!(earlier.is_none(), "each request has a number of its own");
        Place { waiting: Arc::clone(self), serial }
    }

    /// Keeps what handlers raise for [`Self::settle`].
    fn exception_hook(self: &Arc<Self>) -> ExceptionHook {
        let waiting = Arc::downgrade(self);
        Arc::new(move |py, id, error| {
            if let Some(waiting) = waiting.upgrade() {
                let (id, error) = (id.to_string(), error.value(py).clone().into_any().unbind());
                drop(waiting.raised.with(|raised| raised.insert(id, error)));
            }
        })
    }

    fn settle(&self, py: Python<'_>, serial: u64, answer: Answer) {
        let Some(asked) = self.asked.with(|asked| asked.remove(&serial)) else { return };
        let future = asked.future.bind(py);
        let resolved = match self.result(py, answer) {
            Ok(result) => future.call_method1("set_result", (result,)),
            Err(error) => future.call_method1("set_exception", (error,)),
        };
        if let Err(error) = resolved {
            // It was cancelled at this very moment.
            tracing::debug!("a response is not awaited any more: {error}");
        }
    }

    /// Hands bytes to what listens; none are the end.
    fn hear(&self, py: Python<'_>, serial: u64, bytes: &[u8]) {
        let listener = if bytes.is_empty() {
            self.listeners.with(|listeners| listeners.remove(&serial))
        } else {
            self.listeners.with_references(py, |listeners, references| {
                listeners.get(&serial).map(|listener| references.again(listener))
            })
        };
        if let Some(Err(error)) = listener.map(|listener| listener.call1(py, (PyBytes::new(py, bytes),))) {
            tracing::error!("bytes of a connection are lost: {error}");
        }
    }

    fn result(&self, py: Python<'_>, answer: Answer) -> PyResult<Py<PyAny>> {
        let answer = answer.map_err(|why| PyConnectionError::new_err(format!("the answer broke off: {why}")))?;
        let id = answer.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
        let raised = id.and_then(|id| self.raised.with(|raised| raised.remove(id)));
        let headers = MultiDict::of_headers(py, answer.headers())?;
        let body = PyBytes::new(py, answer.body());
        Ok((answer.status().as_u16(), headers, body, raised).into_pyobject(py)?.into_any().unbind())
    }

    /// Ends the wait of requests that will get no response.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        let left = self.asked.take();
        for asked in left.values() {
            let future = asked.future.bind(py);
            if !future.call_method0("done")?.is_truthy()? {
                future.call_method1("set_exception", (PyConnectionError::new_err("the client was closed"),))?;
            }
        }
        drop(self.raised.take());
        for listener in self.listeners.take().values() {
            listener.call1(py, (PyBytes::new(py, b""),))?;
        }
        Ok(())
    }
}
