//! What clients get that break the rules, or the limits.

use std::io::Write;
use std::time::Duration;

use super::{Answer, BODY_LIMIT, Options, Server, ask, assert_closed};

/// Sends bytes on a new connection, expects a JSON refusal and the end of the connection.
fn refused(server: &Server, sent: &[u8]) -> (u16, String) {
    let mut stream = server.connect();
    // A server that has answered may stop reading at any time.
    let _ = stream.write_all(sent);
    let answer = Answer::read(&mut stream).expect("an answer");
    assert_closed(&mut stream);
    (answer.status, answer.last_error())
}

#[test]
fn garbage_is_a_400_that_says_so() {
    let server = Server::start(Options::default());
    for garbage in
        ["nonsense\r\n\r\n", "G\u{7f}T / HTTP/1.1\r\n\r\n", "GET / HTTP/x.1\r\n\r\n", "\x16\x03\x01\x02\0\x01"]
    {
        let (status, error) = refused(&server, garbage.as_bytes());
        assert_eq!(400, status, "{garbage:?}");
        assert!(error.starts_with("malformed request: "), "{error}");
    }
    let broken_header = refused(&server, b"GET / HTTP/1.1\r\nno colon\r\n\r\n");
    assert_eq!((400, "malformed request: invalid HTTP header parsed".to_owned()), broken_header);
    assert_eq!(400, refused(&server, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: no\r\n\r\n").0);
}

#[test]
fn http_2_is_a_505_where_it_is_switched_off() {
    let server = Server::start(Options { http2: false, ..Options::default() });
    let (status, error) = refused(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!((505, "HTTP/2 is not spoken here: use HTTP/1.1"), (status, &*error));
}

#[test]
fn garbage_after_a_good_request_is_refused_after_its_answer() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    assert_eq!("/a", ask(&mut stream, "GET /a HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n").text());
    let refusal = Answer::read(&mut stream).unwrap();
    assert_eq!(400, refusal.status);
    refusal.last_error();
    assert_closed(&mut stream);
}

#[test]
fn garbage_behind_an_answer_too_large_for_one_write_is_refused_after_it() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n").unwrap();
    assert_eq!(8 << 20, Answer::read(&mut stream).unwrap().body.len());
    Answer::read(&mut stream).unwrap().last_error();
    assert_closed(&mut stream);
}

#[test]
fn a_request_names_one_host() {
    let server = Server::start(Options::default());
    let wanted = (400, "malformed request: it must have one Host header".to_owned());
    assert_eq!(wanted, refused(&server, b"GET / HTTP/1.1\r\n\r\n"));
    assert_eq!(wanted, refused(&server, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"));
}

#[test]
fn a_refusal_has_the_request_id_of_a_client_that_sent_one() {
    let server = Server::start(Options::default());
    let refusal = ask(&mut server.connect(), "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-1\r\nExpect: tea\r\n\r\n");
    assert_eq!(417, refusal.status);
    assert!(refusal.head.contains("\r\nx-request-id: r-1\r\n"), "{}", refusal.head);
}

#[test]
fn a_head_of_the_limit_is_accepted_and_one_byte_more_is_a_431() {
    let limit = 64 * 1024;
    let server = Server::start(Options { head_limit: limit, ..Options::default() });
    let head = |size: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n";
        frame.replace("A: ", &format!("A: {}", "a".repeat(size - frame.len())))
    };
    assert_eq!(200, ask(&mut server.connect(), &head(limit)).status);
    let (status, error) = refused(&server, head(limit + 1).as_bytes());
    assert_eq!((431, "request line and headers are larger than 65536 bytes or over 100 headers"), (status, &*error));
}

#[test]
fn a_small_head_limit_holds_too() {
    let server = Server::start(Options { head_limit: 1000, ..Options::default() });
    assert_eq!(414, refused(&server, format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1000)).as_bytes()).0);
    assert_eq!(431, refused(&server, format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(1000)).as_bytes()).0);
}

#[test]
fn an_endless_head_is_a_431_that_the_sender_gets_to_read() {
    let server = Server::start(Options::default());
    let endless = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &vec![b'a'; 4 << 20]].concat();
    let mut stream = server.connect();
    stream.write_all(&endless).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(431, Answer::read(&mut stream).unwrap().status);
    assert_closed(&mut stream);
}

#[test]
fn a_hundred_headers_are_accepted_and_one_more_is_a_431() {
    let server = Server::start(Options::default());
    let head = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert_eq!(200, ask(&mut server.connect(), &head(100)).status);
    let mut stream = server.connect();
    assert_eq!(431, ask(&mut stream, &head(101)).status);
}

#[test]
fn a_head_that_is_not_finished_in_time_is_a_408() {
    let server = Server::start(Options { read_timeout: Duration::from_millis(50), ..Options::default() });
    let mut stream = server.connect();
    let answer = ask(&mut stream, "GET / HTTP/1.1\r\nHo");
    assert_eq!((408, "request line and headers took too long to arrive"), (answer.status, &*answer.last_error()));
    assert_closed(&mut stream);
}

#[test]
fn a_body_announced_too_large_is_refused_before_it_is_sent() {
    let server = Server::start(Options::default());
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", BODY_LIMIT + 1);
    assert_eq!(413, ask(&mut server.connect(), &format!("{head}\r\n")).status);
    assert_eq!(413, ask(&mut server.connect(), &format!("{head}Expect: 100-continue\r\n\r\n")).status);
}

#[test]
fn a_chunked_body_is_refused_when_it_grows_too_large() {
    let server = Server::start(Options::default());
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(200, ask(&mut server.connect(), &format!("{head}10\r\n0123456789abcdef\r\n0\r\n\r\n")).status);
    let answer = ask(&mut server.connect(), &format!("{head}11\r\n0123456789abcdefg\r\n"));
    assert_eq!((413, "request body is larger than 16 bytes"), (answer.status, answer.text()));
}

#[test]
fn a_client_that_goes_on_sending_gets_to_read_its_refusal() {
    let server = Server::start(Options::default());
    for path in ["/echo", "/forbidden"] {
        let mut stream = server.connect();
        let size = 8 << 20;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; size]).unwrap();
        assert!([403, 413].contains(&Answer::read(&mut stream).unwrap().status));
        assert_closed(&mut stream);
    }
}

#[test]
fn a_body_that_stalls_or_breaks_is_told_apart() {
    let server = Server::start(Options::default());
    let stalled = ask(&mut server.connect(), "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
    assert_eq!("the request body did not arrive in time", stalled.text());
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        "request body is not valid chunked encoding",
        ask(&mut server.connect(), &format!("{head}zz\r\n")).text()
    );
}
