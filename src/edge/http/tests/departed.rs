//! The order of events when a client leaves: its request is dropped, by which a handler sees it, before the log says it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::task::{LocalSet, spawn_local};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::edge::http::connection::serve_connection;

/// Whether a request is there.
#[derive(Clone, Default)]
struct Presence(Arc<AtomicBool>);

/// A request as long as it is there.
struct Present(Presence);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::SeqCst);
    }
}

/// A service that never answers.
struct Never(Presence, Rc<Notify>);

impl Service for Never {
    fn call(
        self: Rc<Self>,
        _: Rc<ConnectInfo>,
        _: Request<Incoming>,
        _: HeaderFlags,
    ) -> ResponseFuture<impl Future<Output = Response<Body>> + 'static> {
        self.0.0.store(true, Ordering::SeqCst);
        let present = Present(self.0.clone());
        self.1.notify_one();
        Either::Right(async move {
            let _present = present;
            std::future::pending().await
        })
    }
}

/// Notes the lines of the log, each with whether the request was there when it was written.
struct Log(Presence, Arc<Mutex<Vec<(String, bool)>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.1.lock().unwrap().push((message.0, self.0.0.load(Ordering::SeqCst)));
    }
}

/// Sends `request`, and as soon as it has reached the service, `last`, and leaves; returns what is in the log then.
fn lines_of_a_departure(request: &[u8], last: &[u8]) -> Vec<(String, bool)> {
    let (presence, lines) = (Presence::default(), Arc::default());
    let log = tracing_subscriber::registry().with(Log(presence.clone(), Arc::clone(&lines)));
    let _logged = tracing::subscriber::set_default(log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        let entered = Rc::new(Notify::new());
        let service = Rc::new(Never(presence, Rc::clone(&entered)));
        let params = ConnectionParams { idle_time: TIMEOUT, http2: true, ..ConnectionParams::default() };
        let (_open, drain) = channel();
        let served = spawn_local(serve_connection(far, ConnectInfo::tcp(local, local, false), params, service, drain));
        near.write_all(request).await.unwrap();
        entered.notified().await;
        near.write_all(last).await.unwrap();
        drop(near);
        served.await.unwrap();
    });
    std::mem::take(&mut *lines.lock().unwrap())
}

#[test]
fn a_request_of_http_1_is_dropped_before_the_log_says_that_its_connection_has_ended() {
    let lines = lines_of_a_departure(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"");
    assert!(lines.contains(&("connection ended".to_owned(), false)), "{lines:?}");
}

#[test]
fn a_request_of_http_2_is_dropped_before_the_log_says_that_its_connection_has_ended() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    /// `GET http://x/`, complete.
    const HEADERS: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01x";
    /// A ping may not belong to a stream.
    const MISTAKE: &[u8] = b"\0\0\x08\x06\0\0\0\0\x01\0\0\0\0\0\0\0\0";
    let request = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS, HEADERS].concat();
    let lines = lines_of_a_departure(&request, MISTAKE);
    assert!(lines.contains(&("HTTP/2 connection ended".to_owned(), false)), "{lines:?}");
}
