//! What HTTP/1.1 promises about connections on which nothing goes wrong.

use std::io::Write;
use std::time::Duration;

use super::{Answer, Options, Server, ask, assert_closed};

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    for path in ["/a", "/b?c=d", "/e"] {
        let answer = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((200, path), (answer.status, answer.text()));
        assert!(!answer.head.contains("connection: close"));
    }
}

#[test]
fn a_connection_is_closed_when_the_client_says_so() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let answer = ask(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.head.contains("connection: close"));
    assert_closed(&mut stream);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let requests: Vec<_> = (0..40).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    stream.write_all(requests.concat().as_bytes()).unwrap();
    for number in 0..40 {
        assert_eq!(format!("/{number}"), Answer::read(&mut stream).unwrap().text());
    }
}

#[test]
fn http_1_0_is_answered_and_closed_and_needs_no_host() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let answer = ask(&mut stream, "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
    assert_closed(&mut stream);
}

#[test]
fn http_1_0_is_kept_alive_on_demand() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    for _ in 0..2 {
        let answer = ask(&mut stream, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(answer.head.contains("connection: keep-alive"), "{}", answer.head);
    }
}

#[test]
fn absolute_form_reaches_the_service_as_a_path() {
    let server = Server::start(Options::default());
    let answer = ask(&mut server.connect(), "GET http://x/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((200, "/a?b=c"), (answer.status, answer.text()));
}

#[test]
fn a_chunked_body_is_read() {
    let server = Server::start(Options::default());
    let request =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!("abcde", ask(&mut server.connect(), request).text());
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_it_sends() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!("HTTP/1.1 100 Continue\r\n\r\n", ask(&mut stream, head).head);
    assert_eq!("ok", ask(&mut stream, "ok").text());
}

#[test]
fn a_large_answer_reaches_a_slow_reader_whole() {
    let server = Server::start(Options::default());
    let answer = ask(&mut server.connect(), "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(8 << 20, answer.body.len());
}

#[test]
fn an_empty_refusal_of_the_service_goes_out_as_it_is() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let bare = "GET /bare HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        assert_eq!((404, 0), {
            let answer = ask(&mut stream, bare);
            (answer.status, answer.body.len())
        });
    }
    stream.write_all(format!("{bare}GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(404, Answer::read(&mut stream).unwrap().status);
    assert_eq!(200, Answer::read(&mut stream).unwrap().status);
    let closing = ask(&mut server.connect(), "GET /bare HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(404, closing.status);
}

#[test]
fn a_panic_ends_its_own_connection_only() {
    let server = Server::start(Options::default());
    let (mut bystander, mut victim) = (server.connect(), server.connect());
    ask(&mut bystander, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    victim.write_all(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_closed(&mut victim);
    assert_eq!(200, ask(&mut bystander, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start(Options { read_timeout: Duration::from_millis(50), ..Options::default() });
    let mut stream = server.connect();
    ask(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_closed(&mut stream);
}
