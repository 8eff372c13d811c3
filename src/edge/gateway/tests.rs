//! The request flow with a backend of the tests: no interpreter, and no socket but for the I/O threads themselves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};

use super::service::AppService;
use super::state::{DescriptionPolicy, ServerState, Snapshot};
use super::threads::IoThreads;
use crate::edge::config::fields::ShowErrors;
use crate::edge::config::proxies::TrustedProxies;
use crate::edge::config::settings::limits::{BodyTimes, LimitSettings};
use crate::edge::config::settings::plugins::PluginSettings;
use crate::edge::config::settings::{Secret, UnixAccess};
use crate::edge::control::api::PluginAction;
use crate::edge::control::kept::KeptState;
use crate::edge::control::{DifferenceReport, ReloadReport, ReloadTarget};
use crate::edge::http::connection::serve_connection;
use crate::edge::http::drain;
use crate::edge::http::listener::bind;
use crate::edge::http::params::ConnectionParams;
use crate::edge::http::request::MethodSet;
use crate::edge::http::response::Body;
use crate::edge::http::service::ConnectInfo;
use crate::edge::observe::line::Level;
use crate::edge::observe::metrics::exposition::Format;
use crate::edge::policy::admission::{Entrance, Limit};
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::board::RequestNumber;
use crate::edge::queue::responder::{CompletionQueue, Outcome, QueuedRequest, Reply};
use crate::edge::routing::{Endpoint, RouteTable};

/// Bytes that a body may have.
const BODY_LIMIT: usize = 16;

/// Long enough for any step that is expected to happen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Stands for the host: what it does with a request depends on the plugin's id.
#[derive(Default)]
struct TestBackend {
    completions: Arc<CompletionQueue>,
    /// Requests for `keep`, which are never answered.
    kept: Mutex<Vec<QueuedRequest>>,
    /// Requests as text, in the order in which they came.
    seen: Mutex<Vec<String>>,
    /// Notified when requests have come.
    arrived: Notify,
    /// Requests whose handlers were to be cancelled.
    cancelled: Mutex<Vec<RequestNumber>>,
}

impl TestBackend {
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Backend for TestBackend {
    fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        for mut queued in requests.drain(..) {
            let request = &queued.request;
            let body = String::from_utf8_lossy(&request.body);
            let text = format!("{} {} {:?} {body}", request.method, queued.plugin, request.subpath);
            self.seen.lock().unwrap().push(text.clone());
            match &*queued.plugin {
                "keep" => self.kept.lock().unwrap().push(queued),
                "drop" => drop(queued),
                "cut" => queued.responder.start(),
                _ => queued.responder.complete(reply(text)),
            }
        }
        self.completions.flush();
        self.arrived.notify_one();
    }

    fn cancel(&self, requests: Vec<RequestNumber>) {
        self.cancelled.lock().unwrap().extend(requests);
    }

    fn reload(&self, target: ReloadTarget) -> oneshot::Receiver<ReloadReport> {
        let (reply, report) = oneshot::channel();
        if let ReloadTarget::One(plugin) = target {
            reply.send(ReloadReport::One { plugin, failed: Vec::new() }).unwrap();
        }
        report
    }

    fn change(&self, _: PluginAction, id: String) -> oneshot::Receiver<ReloadReport> {
        self.reload(ReloadTarget::One(id))
    }

    fn difference(&self) -> oneshot::Receiver<DifferenceReport> {
        oneshot::channel().1
    }

    fn collect_registry(&self, _: Format) -> oneshot::Receiver<String> {
        oneshot::channel().1
    }

    fn set_log_level(&self, _: Level) {}
}

fn reply(text: String) -> Outcome {
    let (headers, body) = (HeaderMap::new(), Body::from(text));
    let reply = Reply { status: StatusCode::OK, reason: None, content_type: None, headers, body };
    Outcome::Reply(Box::new(reply))
}

/// Plugins of all kinds; `guarded` wants the key `k`, `keep` takes one request at a time.
fn state() -> Arc<ServerState<TestBackend>> {
    let mut table = RouteTable::default();
    let settings = Arc::new(PluginSettings { body_size: BODY_LIMIT, ..PluginSettings::default() });
    for (id, limit, auth) in [
        ("echo", 9, AuthPolicy::Open),
        ("guarded", 9, AuthPolicy::key(&Secret::new("k"))),
        ("keep", 1, AuthPolicy::Open),
        ("drop", 9, AuthPolicy::Open),
        ("cut", 9, AuthPolicy::Open),
    ] {
        let auth = Arc::new(ArcSwap::from_pointee(auth));
        let endpoint =
            Endpoint::new(id, Entrance::new(Limit::new(limit)), MethodSet::DEFAULT, auth, Arc::clone(&settings))
                .unwrap();
        table.insert(Arc::new(endpoint)).unwrap();
    }
    let snapshot = Snapshot {
        connection: params(),
        table,
        static_files: None,
        keys: Arc::default(),
        control: AuthPolicy::Open,
        metrics: AuthPolicy::Open,
        challenge: false,
        wrong_keys: None,
        cors: None,
        hosts: None,
        page: true,
        config: Arc::default(),
        trusted_proxies: TrustedProxies { networks: Vec::new(), unix: false },
        general: settings,
        body_times: BodyTimes::default(),
        observers: None,
        added_headers: None,
        legacy_status: false,
        description: DescriptionPolicy::Public,
        show_errors: ShowErrors::Local,
        tls: None,
    };
    ServerState::new(snapshot, Arc::default(), &LimitSettings::default(), KeptState::default())
}

fn params() -> ConnectionParams {
    ConnectionParams { idle_time: TIMEOUT, ..ConnectionParams::default() }
}

/// A gateway on the current thread; to be used within [`run`].
struct Gateway {
    state: Arc<ServerState<TestBackend>>,
    service: Rc<AppService<TestBackend>>,
}

impl Gateway {
    fn start() -> Self {
        let state = state();
        let completions = Arc::clone(&state.backend.completions);
        let service = AppService::start(Arc::clone(&state), completions);
        Self { state, service }
    }

    /// Makes a request such as `GET /echo`; the other parts of its head and its body are in `more`.
    async fn ask(&self, head: &str, more: (&str, &'static str)) -> Response<Bytes> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        let peer = ConnectInfo::tcp(local, local, false);
        let (_open, drain) = drain::channel();
        spawn_local(serve_connection(far, peer, params(), Rc::clone(&self.service), drain));
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        spawn_local(connection);
        let (method, path) = head.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some((name, value)) = more.0.split_once(": ") {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from_static(more.1.as_bytes()));
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    async fn status(&self, head: &str, more: (&str, &'static str)) -> u16 {
        self.ask(head, more).await.status().as_u16()
    }
}

/// Runs a test with a gateway.
fn run(test: impl AsyncFnOnce(Gateway)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { test(Gateway::start()).await });
}

const PLAIN: (&str, &str) = ("", "");

#[test]
fn a_request_reaches_the_backend_and_its_outcome_the_client() {
    run(async |gateway| {
        let response = gateway.ask("POST /echo/a%20b?x=1", ("content-type: text/plain", "hello")).await;
        assert_eq!((200, &b"POST echo Some(\"a b\") hello"[..]), (response.status().as_u16(), &response.body()[..]));
    });
}

#[test]
fn each_stage_comes_before_the_next_and_a_refused_request_never_reaches_the_backend() {
    const LONG: &str = "longer than the limit allows";
    run(async |gateway| {
        for (expected, head, more) in [
            (400, "DELETE /guarded/%00", PLAIN),
            (404, "DELETE /nowhere", PLAIN),
            (204, "OPTIONS /guarded", PLAIN),
            (405, "DELETE /guarded", ("x-custom-auth: wrong", "")),
            (403, "POST /guarded", ("x-custom-auth: wrong", LONG)),
            (413, "POST /guarded", ("x-custom-auth: k", LONG)),
            (403, "POST /guarded", ("content-type: application/json", "{\"apikey\": 1}")),
        ] {
            assert_eq!(expected, gateway.status(head, more).await, "{head}");
        }
        assert!(gateway.state.backend.seen().is_empty());
        let key = ("content-type: application/json", "{\"apikey\":\"k\"}");
        assert_eq!(200, gateway.status("POST /guarded", key).await);
        assert_eq!(1, gateway.state.backend.seen().len());
    });
}

#[test]
fn a_full_plugin_refuses_and_others_serve() {
    run(async |gateway| {
        {
            let mut first = std::pin::pin!(gateway.ask("GET /keep", PLAIN));
            let waited = tokio::time::timeout(Duration::from_millis(50), &mut first).await;
            assert!(waited.is_err(), "nothing answers it");
            let refused = gateway.ask("GET /keep", PLAIN).await;
            assert_eq!((503, "1"), (refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()));
            assert_eq!(200, gateway.status("GET /echo", PLAIN).await);
            gateway.state.backend.kept.lock().unwrap().clear();
            assert_eq!(503, first.await.status());
        }
        assert_eq!(200, gateway.status("GET /echo", PLAIN).await);
    });
}

#[test]
fn a_request_that_the_backend_drops_is_answered_by_how_far_it_came() {
    run(async |gateway| {
        assert_eq!(503, gateway.status("GET /drop", PLAIN).await);
        assert_eq!(500, gateway.status("GET /cut", PLAIN).await);
    });
}

#[test]
fn the_server_answers_for_itself_and_leaves_reloads_to_the_backend() {
    run(async |gateway| {
        assert_eq!(200, gateway.status("GET /-/healthy", PLAIN).await);
        assert_eq!(503, gateway.status("GET /-/ready", PLAIN).await);
        gateway.state.set_ready(true);
        assert_eq!(200, gateway.status("GET /-/ready", PLAIN).await);
        assert_eq!(200, gateway.status("GET /plugins", PLAIN).await);
        let reloaded = gateway.ask("POST /reload/echo", PLAIN).await;
        assert_eq!(&b"{\"reloaded\": \"echo\", \"success\": true}"[..], &reloaded.body()[..]);
        assert_eq!(503, gateway.status("POST /reload/all", PLAIN).await, "a report that does not come means a stop");
        assert!(gateway.state.backend.seen().is_empty());
    });
}

/// I/O threads with a listening socket, and a connection whose request for `/keep` has reached the backend.
fn threads(state: &Arc<ServerState<TestBackend>>) -> (IoThreads, TcpStream) {
    let listeners = bind(&[SocketAddr::from(([127, 0, 0, 1], 0)).into()], UnixAccess::default()).unwrap();
    let queues = [Arc::clone(&state.backend.completions)];
    let ended: Arc<dyn Fn() + Send + Sync> = Arc::new(|| ());
    let threads = IoThreads::start(&listeners, None, &queues, state, &ended).unwrap();
    let mut client = TcpStream::connect(listeners[0].address().ip().unwrap()).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.write_all(b"GET /keep HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(state.backend.arrived.notified());
    (threads, client)
}

#[test]
fn an_outcome_that_is_there_is_sent_before_the_threads_are_joined() {
    let state = state();
    let (threads, mut client) = threads(&state);
    let kept = state.backend.kept.lock().unwrap().pop().expect("a request that waits");
    kept.responder.complete(reply("at last".to_owned()));
    state.backend.completions.flush();
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(threads.join(TIMEOUT));
    assert!(reader.join().unwrap().ends_with("\r\n\r\nat last"));
}

#[test]
fn a_request_that_nothing_answers_does_not_hold_up_the_end_of_the_threads() {
    let state = state();
    let (threads, mut client) = threads(&state);
    let began = Instant::now();
    assert!(threads.join(TIMEOUT));
    assert!(began.elapsed() < TIMEOUT / 2);
    assert_eq!(0, client.read(&mut [0]).unwrap_or(0));
}
