//! The edge as clients see it: a served thread on one side of a loopback socket, blocking sockets on the other.

mod connection;
mod departed;
mod drain;
mod refusal;
mod secure;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::Either;
use http::{Request, Response, header};
use rustls::ServerConfig;
use tokio::sync::Notify;

use super::body;
use super::conformance::HeaderFlags;
use super::connection::serve;
use super::connection_count::{ConnectionCount, Gate};
use super::drain::{DrainKind, Trigger, channel};
use super::incoming::Incoming;
use super::listener::bind;
use super::params::ConnectionParams;
use super::response::Body;
use super::service::{ConnectInfo, ResponseFuture, Service};
use crate::edge::config::settings::UnixAccess;
use crate::edge::config::settings::limits::{BodyTimes, LimitSettings};

/// How long a body may pause.
const BODY_TIMES: BodyTimes = BodyTimes { idle: Some(Duration::from_millis(100)), whole: None, min_rate: None };

/// Bytes that `/echo` accepts.
const BODY_LIMIT: usize = 16;

/// Long enough for any step that is expected to happen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a test may decide about the server.
struct Options {
    head_limit: usize,
    read_timeout: Duration,
    tls: Option<Arc<ServerConfig>>,
    http2: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { head_limit: 64 * 1024, read_timeout: TIMEOUT, tls: None, http2: true }
    }
}

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    trigger: Trigger,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(options: Options) -> Self {
        let (trigger, drain) = channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = bind(&[address.into()], UnixAccess::default()).unwrap().remove(0);
        let address = socket.address().ip().unwrap();
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let tls = Arc::new(ArcSwapOption::new(options.tls));
        let params = ConnectionParams {
            head_limit: options.head_limit,
            head_time: options.read_timeout,
            idle_time: options.read_timeout,
            send_idle_time: options.read_timeout,
            handshake_timeout: options.read_timeout,
            http2: options.http2,
            ..ConnectionParams::default()
        };
        let thread = std::thread::spawn({
            let (entered, release, tls) = (Arc::clone(&entered), Arc::clone(&release), Arc::clone(&tls));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                tokio::task::LocalSet::new().block_on(&runtime, async {
                    let listener = tokio::net::TcpListener::from_std(socket.share().unwrap().socket.into()).unwrap();
                    serve(
                        listener,
                        Box::new(move || tls.load_full()),
                        Box::new(move || params.clone()),
                        Gate { count: ConnectionCount::new(&LimitSettings::default()), is_trusted: Box::new(|_| true) },
                        Rc::new(Desk { entered, release }),
                        drain,
                        std::future::pending(),
                    )
                    .await;
                });
            }
        });
        Self { address, trigger, entered, release, tls, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Waits until a request has reached `/wait`.
    fn wait_until_entered(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.entered.notified());
    }

    /// Drains and waits until every connection has ended.
    fn stop(self) {
        self.trigger.start(DrainKind::STOP);
        self.thread.join().unwrap();
    }
}

/// The service behind the tests.
struct Desk {
    entered: Arc<Notify>,
    release: Arc<Notify>,
}

impl Service for Desk {
    fn call(
        self: Rc<Self>,
        connect_info: Rc<ConnectInfo>,
        request: Request<Incoming>,
        _: HeaderFlags,
    ) -> ResponseFuture<impl Future<Output = Response<Body>> + 'static> {
        Either::Right(async move {
            let path = request.uri().path().to_owned();
            match path.as_str() {
                "/echo" => match body::read(request.into_body(), &[], BODY_LIMIT, BODY_TIMES).await {
                    Ok(bytes) => Response::new(Body::new(bytes)),
                    Err(error) => refusal(413, error.to_string()),
                },
                "/forbidden" => {
                    body::discard(request.into_body());
                    refusal(403, "no".to_owned())
                }
                "/bare" => Response::builder().status(404).body(Body::default()).unwrap(),
                "/big" => Response::new(Body::from(vec![b'x'; 8 << 20])),
                "/panic" => panic!("on purpose"),
                "/wait" => {
                    self.entered.notify_one();
                    self.release.notified().await;
                    Response::new(Body::from("waited"))
                }
                "/peer" => Response::new(Body::from(format!("{connect_info:?}"))),
                _ => Response::new(Body::from(request.uri().to_string())),
            }
        })
    }
}

fn refusal(status: u16, text: String) -> Response<Body> {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain");
    builder.header(header::CONNECTION, "close").body(Body::from(text)).unwrap()
}

/// An answer as read from the wire.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// Status line and headers.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// Reads one answer of a known length; `None` when the server closes instead.
    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                assert!(head.is_empty(), "cut short: {}", String::from_utf8_lossy(&head));
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        Some(Self { status, head, body })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `error` of a JSON answer with a request id, after which the connection is to close.
    fn last_error(&self) -> String {
        let id = self.head.split("\r\nx-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        assert!(id.is_some_and(|id| id.len() == 32), "{}", self.head);
        assert!(self.head.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"), "{}", self.head);
        assert!(self.head.contains("\r\nconnection: close\r\n"), "{}", self.head);
        assert!(self.head.contains("\r\ndate: "), "{}", self.head);
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        value["error"].as_str().unwrap().to_owned()
    }
}

/// Sends one request and reads its answer.
fn ask(stream: &mut (impl Read + Write), request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(stream).expect("an answer")
}

/// Asserts that the server has closed the connection in good order.
fn assert_closed(stream: &mut impl Read) {
    assert_eq!(0, stream.read(&mut [0]).unwrap());
}
