//! What the Python thread does for a request besides JSON: objects for its arguments, the call, a step of a coroutine.
//!
//! `cargo bench --bench call`. Caveat: the parts are measured one by one and warm; what a whole request costs is
//! measured on a running server.

use std::ffi::CStr;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Weak;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use plugincore::measured::{
    BodyData, Client, HeaderCache, KeyCheck, Peer, Request, RequestData, RequestHeaders, RequestId, TraceContext,
    Variables, invoke, step,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// Handlers as plugins write them.
const HANDLERS: &CStr = c"
class Plugin:
    def plain(self, **data): return data
    async def coroutine(self, **data): return data
plugin = Plugin()
";

/// The headers of a browser, or some of them.
const HEADERS: [(&str, &str); 8] = [
    ("host", "example.org"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br"),
    ("connection", "keep-alive"),
    ("x-custom-auth", "0123456789abcdef"),
    ("x-trace", "a-header-that-is-not-well-known"),
];

fn headers() -> HeaderMap {
    HEADERS.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn request() -> RequestData {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    RequestData {
        id: RequestId::fresh(),
        method: Method::GET,
        uri: Uri::from_static("/plugin?a=1&b=two"),
        decoded_path: None,
        query: Variables::from_query("a=1&b=two"),
        headers: headers(),
        version: Version::HTTP_11,
        remote: Peer::Ip(SocketAddr::new(address, 40000)),
        local: SocketAddr::new(address, 9000).into(),
        client: Client::Known(address),
        secure: false,
        key: KeyCheck::default(),
        is_tls: false,
        certificate: None,
        subpath: None,
        body: Bytes::new(),
        variables: BodyData::None,
        texts: Box::default(),
        trace: TraceContext::default(),
    }
}

fn arguments(criterion: &mut Criterion) {
    Python::initialize();
    Python::attach(|py| {
        let headers = headers();
        let mut group = criterion.benchmark_group("arguments");
        group.bench_function("eight headers", |bencher| {
            bencher.iter(|| black_box(RequestHeaders::new(py, &headers).expect("there is memory")));
        });
        let templates = HeaderCache::default();
        group.bench_function("eight headers that came before", |bencher| {
            bencher.iter(|| black_box(templates.dict(py, &headers, 40000).expect("there is memory")));
        });
        group.bench_function("request object", |bencher| {
            bencher.iter_batched(
                || Box::new(request()),
                |data| black_box(Py::new(py, Request::new(data, Weak::new())).expect("there is memory")),
                criterion::BatchSize::SmallInput,
            );
        });
    });
}

fn calls(criterion: &mut Criterion) {
    Python::initialize();
    Python::attach(|py| {
        let names = PyDict::new(py);
        py.run(HANDLERS, Some(&names), None).expect("the handlers can be made");
        let plugin = names.get_item("plugin").ok().flatten().expect("it has just been made");
        let data = PyDict::new(py);
        for name in ["log", "request_headers", "request", "a", "b", "subpath", "client_ip"] {
            data.set_item(name, py.None()).expect("there is memory");
        }
        let mut group = criterion.benchmark_group("call");
        let keys =
            PyTuple::new(py, ["log", "request_headers", "request", "subpath", "client_ip"]).expect("there is memory");
        let (method, none) = (PyString::intern(py, "plain"), py.None().into_bound(py));
        group.bench_function("plain, without variables", |bencher| {
            bencher.iter(|| {
                black_box(invoke::call_method(&plugin, &method, &keys, [&none; 5])).expect("it raises nothing")
            });
        });
        for name in ["plain", "coroutine"] {
            let handler = plugin.getattr(name).expect("the plugin has it");
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let result = handler.call((), Some(&data)).expect("it raises nothing");
                    if let Ok(Some(coroutine)) = step::awaitable(&result) {
                        black_box(step::send(&coroutine, py.None().bind(py)).is_ok());
                    }
                    black_box(result)
                });
            });
        }
    });
}

criterion_group!(benches, arguments, calls);
criterion_main!(benches);
