//! The rows of the benchmark on hyper alone, without Python and without policies: what the transport itself costs.
//!
//! `bare PORT [CERTIFICATE KEY]` serves 127.0.0.1 on one thread, as plugincore's I/O thread does. Caveat: it is no
//! server to be used; it trusts its client.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

const KEY: &str = "a-key-of-the-benchmark";
const ORIGIN: &str = "https://app.example.org";

struct Desk {
    rows: Value,
}

impl Desk {
    fn new() -> Self {
        let rows = (0..1000).map(|n| {
            json!({"id": n, "name": format!("sensor number {n}"), "value": f64::from(n) * 1.25, "active": n % 2 == 0,
                   "tags": ["indoor", "floor"]})
        });
        Self { rows: json!({"rows": rows.collect::<Vec<_>>()}) }
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let small = json!({"message": "hello", "number": 42});
        if request.method() == Method::OPTIONS {
            return Ok(preflight());
        }
        Ok(match request.uri().path() {
            "/arguments" => {
                let query: HashMap<_, _> =
                    form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
                let headers: HashMap<_, _> = request.headers().iter().collect();
                let trace = headers.get(&HeaderName::from_static("x-trace")).and_then(|value| value.to_str().ok());
                json_answer(200, &json!({"city": query.get("city"), "trace": trace, "headers": headers.len()}))
            }
            "/echo" => {
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                let value: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                json_answer(200, &json!({"items": value["items"]}))
            }
            "/big" => json_answer(200, &self.rows),
            "/wait" => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                json_answer(200, &small)
            }
            "/guarded" if request.headers().get("x-custom-auth").is_none_or(|key| key != KEY) => {
                json_answer(403, &json!({"error": "unauthorized"}))
            }
            "/length" => {
                let variables = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).count();
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                json_answer(200, &json!({"bytes": body.unwrap_or_default().len(), "variables": variables}))
            }
            _ => json_answer(200, &small),
        })
    }
}

fn json_answer(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    for (name, value) in [
        ("access-control-allow-origin", ORIGIN),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", "CONTENT-TYPE"),
        ("access-control-max-age", "3600"),
        ("vary", "Origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn converse<I: AsyncRead + AsyncWrite + Unpin>(io: I, desk: Rc<Desk>) {
    let service = service_fn(move |request| Rc::clone(&desk).answer(request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    // A client that goes away is no event here.
    let _ = http.serve_connection(TokioIo::new(io), service).await;
}

fn tls(certificate: &str, key: &str) -> Result<tokio_rustls::TlsAcceptor, Box<dyn std::error::Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let port: u16 = arguments.first().ok_or("usage: bare PORT [CERTIFICATE KEY]")?.parse()?;
    let acceptor = match &arguments[1..] {
        [certificate, key] => Some(tls(certificate, key)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let desk = Rc::new(Desk::new());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (desk, acceptor) = (Rc::clone(&desk), acceptor.clone());
            tokio::task::spawn_local(async move {
                match acceptor {
                    None => converse(stream, desk).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            converse(stream, desk).await;
                        }
                    }
                }
            });
        }
    })
}
