//! The I/O thread of `plugincore.testing`: real HTTP over connections within the process.
//!
//! Runs on a thread of its own, which never attaches to the interpreter, like all I/O threads. Promise: a request
//! passes hyper, the native stages and the bridge as in the server; only the socket is missing. Caveat: each request
//! has a connection of its own, and a response is collected whole before it is handed back, a streamed one too.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::edge::gateway::service::AppService;
use crate::edge::gateway::state::ServerState;
use crate::edge::http::connection::serve_connection;
use crate::edge::http::drain;
use crate::edge::http::params::ConnectionParams;
use crate::edge::http::service::ConnectInfo;
use crate::edge::queue::backend::Backend;
use crate::edge::queue::responder::CompletionQueue;

/// Bytes that a connection holds in each direction before the writer waits.
const BUFFER: usize = 64 * 1024;

/// An answer with its whole body, or why there is none.
pub(crate) type Answer = Result<Response<Bytes>, String>;

/// A request to make.
pub(crate) struct Ask {
    /// The request.
    pub request: Request<Full<Bytes>>,
    /// Who makes it.
    pub client: SocketAddr,
    /// Told the answer, on the I/O thread.
    pub answer: Box<dyn FnOnce(Answer) + Send>,
    /// Ends when the caller does not wait any more: the connection is then closed.
    pub waiting: oneshot::Receiver<()>,
}

/// A connection to open.
pub(crate) struct Connect {
    /// Who opens it.
    pub client: SocketAddr,
    /// What the client sends; its end closes the connection.
    pub outgoing: mpsc::UnboundedReceiver<Bytes>,
    /// Takes what comes, on the I/O thread; nothing at the end.
    pub received: Box<dyn Fn(Bytes) + Send>,
}

/// What the thread is given to do.
enum Work {
    Ask(Box<Ask>),
    Connect(Connect),
}

/// The thread, and the way to it.
pub(crate) struct Wire {
    work: mpsc::UnboundedSender<Work>,
    thread: JoinHandle<()>,
}

impl Wire {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn start<B: Backend>(
        shared: Arc<ServerState<B>>,
        completions: Arc<CompletionQueue>,
        params: ConnectionParams,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (work, given) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("plugincore-rehearsal".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, serve(shared, completions, params, given));
        })?;
        Ok(Self { work, thread })
    }

    /// Makes a request. After the end of the thread its `answer` is dropped.
    pub(crate) fn ask(&self, ask: Ask) {
        // The thread ends only with this very object, so it is there.
        let _ = self.work.send(Work::Ask(Box::new(ask)));
    }

    /// Opens a connection. After the end of the thread it ends without a word.
    pub(crate) fn connect(&self, connect: Connect) {
        // As above.
        let _ = self.work.send(Work::Connect(connect));
    }

    /// Closes the connections and waits for the thread; to be called without the interpreter.
    pub(crate) fn end(self) {
        drop(self.work);
        // A panic in it was reported by the panic hook.
        let _ = self.thread.join();
    }
}

async fn serve<B: Backend>(
    shared: Arc<ServerState<B>>,
    completions: Arc<CompletionQueue>,
    params: ConnectionParams,
    mut given: mpsc::UnboundedReceiver<Work>,
) {
    let service = AppService::start(shared, completions);
    let (_open, drain) = drain::channel();
    while let Some(work) = given.recv().await {
        let (near, far) = tokio::io::duplex(BUFFER);
        let client = match &work {
            Work::Ask(ask) => ask.client,
            Work::Connect(connect) => connect.client,
        };
        let local = SocketAddr::from(([127, 0, 0, 1], crate::edge::config::settings::DEFAULT_PORT));
        let peer = ConnectInfo::tcp(client, local, false);
        spawn_local(serve_connection(far, peer, params.clone(), Rc::clone(&service), drain.clone()));
        spawn_local(async move {
            match work {
                Work::Ask(ask) => {
                    let Ask { request, answer, mut waiting, .. } = *ask;
                    tokio::select! {
                        given = responder(near, request) => answer(given.map_err(|error| description(&*error))),
                        // Nothing is ever sent: the other end has been dropped, and with it the connection's near end.
                        _ = &mut waiting => {}
                    }
                }
                Work::Connect(Connect { outgoing, received, .. }) => {
                    exchange(near, outgoing, &*received).await;
                    received(Bytes::new());
                }
            }
        });
    }
}

/// Carries bytes in both directions until either ends.
async fn exchange(near: DuplexStream, mut outgoing: mpsc::UnboundedReceiver<Bytes>, received: &dyn Fn(Bytes)) {
    let (mut reader, mut writer) = tokio::io::split(near);
    let receive = async {
        let mut buffer = BytesMut::new();
        while reader.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            received(buffer.split().freeze());
        }
    };
    let send = async {
        while let Some(bytes) = outgoing.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    // Each on its own, since a server may read no more before it is rid of what it writes.
    tokio::select! {
        () = receive => {}
        () = send => {}
    }
}

async fn responder(near: DuplexStream, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Box<dyn Error>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await?;
    let talk = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        Ok::<_, hyper::Error>(Response::from_parts(parts, body.collect().await?.to_bytes()))
    };
    tokio::pin!(talk, connection);
    let early = tokio::select! {
        biased;
        answer = &mut talk => return Ok(answer?),
        ended = &mut connection => ended,
    };
    // The server may close behind a whole answer.
    let answer = talk.await;
    early?;
    Ok(answer?)
}

/// An error with its causes, since hyper's own text is general.
fn description(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", description(cause)))
}

/// The request as HTTP clients send it: with a `Host`, unless it has one.
pub(crate) fn with_host(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("plugincore.test"));
    request
}
