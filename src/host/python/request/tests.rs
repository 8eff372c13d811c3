//! The request object, asked by Python code as a plugin asks it.

use std::ffi::CStr;
use std::net::{Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};

use super::*;
use crate::edge::http::request::{BodyData, Variables, classify};
use crate::edge::http::request_id::RequestId;
use crate::edge::http::service::Peer;
use crate::edge::http::trace::TraceContext;
use crate::edge::policy::address::Client;
use crate::edge::queue::request_data::KeyCheck;

/// A POST of `body` with these headers.
fn post(headers: &[(&'static str, &str)], body: &'static [u8]) -> RequestData {
    let pairs = headers.iter();
    RequestData {
        id: RequestId::fresh(),
        method: Method::POST,
        uri: Uri::from_static("/a%20b/c%0A?x=1+2&y=%C3%A9&x=3"),
        decoded_path: Some("/a b/c\n".to_owned()),
        query: Variables::from_query("x=1+2&y=%C3%A9&x=3"),
        headers: pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect(),
        version: Version::HTTP_11,
        trace: TraceContext::begin(&RequestId::fresh()),
        remote: Peer::Ip(SocketAddr::from(([10, 0, 0, 1], 5000))),
        local: SocketAddr::from(([127, 0, 0, 1], 9192)).into(),
        client: Client::Known([192, 0, 2, 7].into()),
        secure: false,
        key: KeyCheck::default(),
        is_tls: false,
        certificate: None,
        subpath: Some("c\n".to_owned()),
        body: Bytes::from_static(body),
        variables: BodyData::None,
        texts: Box::default(),
    }
}

/// Runs a snippet that finds the request as `request`, and `wait(awaitable)`.
fn run(data: RequestData, code: &CStr) {
    Python::initialize();
    Python::attach(|py| {
        let names = PyDict::new(py);
        names
            .set_item("request", Bound::new(py, Request::new(Box::new(data), std::sync::Weak::new())).unwrap())
            .unwrap();
        let prelude = c"
import asyncio

def wait(awaitable):
    async def main():
        return await awaitable
    return asyncio.run(main())

def error_of(awaitable):
    try:
        wait(awaitable)
    except Exception as error:
        return type(error).__name__
";
        py.run(prelude, Some(&names), None).unwrap();
        py.run(code, Some(&names), None).inspect_err(|error| error.display(py)).unwrap();
    });
}

#[test]
fn the_line_of_the_request_is_there_raw_and_decoded() {
    run(
        post(&[], b""),
        c"
assert request.method == 'POST' and request.path == '/a b/c\\n'
assert request.raw_path == request.path_qs == '/a%20b/c%0A?x=1+2&y=%C3%A9&x=3'
assert request.query_string == 'x=1 2&y=\\u00e9&x=3'
assert request.query.getall('x') == ['1 2', '3'] and request.query['y'] == '\\u00e9'
assert request.version == (1, 1) and request.version.major == request.version.minor == 1
assert request.match_info == {'tail': 'c\\n'}
",
    );
}

#[test]
fn without_a_tail_nothing_is_matched() {
    run(RequestData { subpath: None, ..post(&[], b"") }, c"assert request.match_info.get('tail') is None");
}

#[test]
fn headers_are_found_in_any_case_and_parsed_where_aiohttp_parses_them() {
    run(
        post(&[("content-type", "Text/Plain; charset=\"latin-1\""), ("host", "h:1"), ("content-length", "3")], b"abc"),
        c"
assert request.headers['CONTENT-type'] == 'Text/Plain; charset=\"latin-1\"'
assert request.content_type == request.type == 'text/plain' and request.charset == 'latin-1'
assert request.content_length == 3 and request.body_exists and request.can_read_body and request.has_body
assert request.host == 'h:1' and request.headers is request.headers
",
    );
}

#[test]
fn a_bare_request_has_the_defaults_of_aiohttp() {
    run(
        post(&[], b""),
        c"
assert request.content_type == request.type == 'application/octet-stream'
assert request.charset is request.content_length is None and not request.body_exists
assert request.host == '127.0.0.1' and request.cookies == {} and request.keep_alive
assert wait(request.read()) == b'' and wait(request.text()) == '' and error_of(request.json()) == 'JSONDecodeError'
assert len(wait(request.post())) == 0 and wait(request.release()) is None
",
    );
}

#[test]
fn remote_is_the_client_and_peername_the_socket() {
    run(
        post(&[], b""),
        c"
assert request.remote == '192.0.2.7'
transport = request.transport
assert transport.get_extra_info('peername') == ('10.0.0.1', 5000)
assert transport.get_extra_info('sockname') == ('127.0.0.1', 9192)
assert transport.get_extra_info('sslcontext') is None and transport.get_extra_info('x', default=5) == 5
assert not transport.is_closing() and request.scheme == 'http' and not request.secure
assert str(request.url) == 'http://127.0.0.1/a%20b/c%0A?x=1+2&y=%C3%A9&x=3'
",
    );
}

#[test]
fn an_encrypted_connection_over_ipv6_says_so() {
    let local = SocketAddr::from((Ipv6Addr::LOCALHOST, 443)).into();
    run(
        RequestData { secure: true, is_tls: true, local, ..post(&[], b"") },
        c"
assert request.secure and request.scheme == 'https' and request.transport.get_extra_info('sslcontext')
assert request.transport.get_extra_info('sockname') == ('::1', 443, 0, 0) and request.host == '[::1]'
",
    );
}

#[test]
fn cookies_of_all_headers_come_as_one_dict() {
    run(
        post(&[("cookie", "a=1; session_id=\"x y\""), ("cookie", "a=2")], b""),
        c"assert request.cookies == {'a': '2', 'session_id': 'x y'} and request.cookies is request.cookies",
    );
}

#[test]
fn the_body_can_be_read_again_and_again() {
    run(
        post(&[], b"{\"a\": [1, NaN]}"),
        c"
assert wait(request.read()) == b'{\"a\": [1, NaN]}' and wait(request.text()) == '{\"a\": [1, NaN]}'
assert wait(request.json())['a'][0] == 1 and wait(request.json(loads=len)) == 15
async def main():
    return await asyncio.gather(asyncio.create_task(request.read()), asyncio.wait_for(request.text(), 5))
assert asyncio.run(main())[1] == '{\"a\": [1, NaN]}'
",
    );
}

#[test]
fn the_declared_charset_decides_and_its_errors_come_at_the_await() {
    run(post(&[("content-type", "text/plain; charset=latin-1")], b"\xe9"), c"assert wait(request.text()) == '\\u00e9'");
    run(post(&[], b"\xe9"), c"assert error_of(request.text()) == error_of(request.json()) == 'UnicodeDecodeError'");
    run(post(&[("content-type", "a/b; charset=nope")], b"x"), c"assert error_of(request.text()) == 'LookupError'");
}

#[test]
fn a_form_gives_texts_and_files() {
    let body = b"--b\r\ncontent-disposition: form-data; name=t\r\n\r\n1\r\n\
        --b\r\ncontent-disposition: form-data; name=f; filename=x.txt\r\ncontent-type: text/plain\r\n\r\ncontent\r\n\
        --b\r\ncontent-disposition: form-data; name=t\r\n\r\n2\r\n--b--\r\n";
    let content_type = HeaderValue::from_static("multipart/form-data; boundary=b");
    let variables = classify(Some(&content_type), Bytes::from_static(body)).unwrap();
    run(
        RequestData { variables, ..post(&[], b"raw") },
        c"
form = wait(request.post())
assert form.getall('t') == ['1', '2'] and wait(request.post()) is form
upload = form['f']
assert (upload.name, upload.filename, upload.content_type) == ('f', 'x.txt', 'text/plain')
assert upload.file.read() == b'content' and upload.headers['content-type'] == 'text/plain'
assert 'content' not in repr(upload).replace('content_type', '')
",
    );
}

#[test]
fn connection_options_decide_about_keep_alive() {
    run(post(&[("connection", "x, Close")], b""), c"assert not request.keep_alive");
    let old = |headers| RequestData { version: Version::HTTP_10, ..post(headers, b"") };
    run(old(&[]), c"assert not request.keep_alive and request.version == (1, 0)");
    run(old(&[("connection", "Keep-Alive")]), c"assert request.keep_alive");
}

#[test]
fn plugins_may_store_items_in_a_request() {
    run(
        post(&[], b""),
        c"
assert request and 'x' not in request and request.get('x', 5) == 5 and len(request) == 0
request['x'] = None
assert 'x' in request and request['x'] is None and list(request) == ['x']
del request['x']
for use in (lambda: request['x'], lambda: request.__delitem__('x')):
    try:
        use()
    except KeyError as e:
        assert e.args == ('x',)
    else:
        raise AssertionError
",
    );
}

#[test]
fn its_text_holds_neither_query_nor_line_breaks() {
    run(post(&[("authorization", "Bearer k")], b"secret"), c"assert repr(request) == '<Request POST /a b/c\\\\n>'");
}

#[test]
fn it_can_be_hashed_and_weakly_referenced_and_is_freed_with_its_cycles() {
    run(
        post(&[], b""),
        c"
import gc, weakref
assert request == request and len({request, request}) == 1
gone = weakref.ref(request)
request['self'] = request
request.cookies['self'] = request
del request
gc.collect()
assert gone() is None
",
    );
}
