//! How connections end when the server stops.

use std::io::Write;
use std::time::Duration;

use super::super::drain::DrainKind;
use super::{Answer, Options, Server, ask, assert_closed};

const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn idle_connections_are_closed_and_busy_ones_finish_their_request() {
    let server = Server::start(Options::default());
    let (mut fresh, mut idle, mut busy) = (server.connect(), server.connect(), server.connect());
    ask(&mut idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    busy.write_all(WAIT).unwrap();
    server.wait_until_entered();
    server.trigger.start(DrainKind::STOP);
    assert_closed(&mut fresh);
    assert_closed(&mut idle);
    assert!(!server.thread.is_finished());
    server.release.notify_one();
    let answer = Answer::read(&mut busy).unwrap();
    assert_eq!("waited", answer.text());
    assert!(answer.head.contains("\r\nconnection: close\r\n"), "{}", answer.head);
    assert_closed(&mut busy);
    server.thread.join().unwrap();
}

#[test]
fn an_idle_connection_may_make_one_more_request_when_the_drain_starts() {
    let server = Server::start(Options::default());
    let mut streams = [server.connect(), server.connect()];
    for stream in &mut streams {
        ask(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    server.trigger.start(DrainKind { idle_grace: Duration::from_secs(60), has_successor: false });
    for (mut stream, path) in streams.into_iter().zip(["/", "/wait"]) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        if path == "/wait" {
            server.wait_until_entered();
            server.release.notify_one();
        }
        let answer = Answer::read(&mut stream).unwrap();
        assert!(answer.head.contains("\r\nconnection: close\r\n"), "{}", answer.head);
        assert_closed(&mut stream);
    }
    server.thread.join().unwrap();
}

#[test]
fn half_a_head_holds_up_the_end_for_moments_alone() {
    let server = Server::start(Options::default());
    let (mut first, mut later) = (server.connect(), server.connect());
    ask(&mut later, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    for stream in [&mut first, &mut later] {
        stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    }
    let began = std::time::Instant::now();
    server.stop();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "only the time-out of a head ended it: {took:?}");
}

#[test]
fn a_draining_server_accepts_no_connection() {
    let server = Server::start(Options::default());
    let address = server.address;
    server.stop();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_does_not_read_cannot_hold_up_the_end() {
    let server = Server::start(Options { read_timeout: Duration::from_millis(50), ..Options::default() });
    let mut stream = server.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Its first bytes are there, so it is being written.
    assert_eq!(1, stream.peek(&mut [0]).unwrap());
    server.stop();
}
