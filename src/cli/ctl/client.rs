//! One HTTP request over a Unix socket.
//!
//! Runs on the main thread, and blocks. Promise: whatever the other side sends or does not send, this ends within the
//! time-out if there is one. Caveat: no more of HTTP than the server's own answers need: the body ends with the
//! connection.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest answer, which thousands of plugins with tracebacks do not reach.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// An answer of the server.
pub(in crate::cli) struct Answer {
    /// The status.
    pub(in crate::cli) status: u16,
    /// The body.
    pub(in crate::cli) body: String,
}

/// Why there is no answer.
pub(super) enum CallError {
    /// Nobody listens.
    NoServer,
    /// Something else, in words.
    Failed(String),
}

/// Makes a request to the server that listens at the first of `sockets` where one does.
pub(super) fn call(
    sockets: &[PathBuf],
    method: &str,
    path: &str,
    timeout: Option<Duration>,
) -> Result<Answer, CallError> {
    let mut denied = None;
    for socket in sockets {
        match connect(socket) {
            Ok(stream) => return ask(stream, method, path, timeout).map_err(|error| failed(socket, &error)),
            Err(error) if is_absent(&error) => {}
            Err(error) => denied = denied.or(Some(failed(socket, &error))),
        }
    }
    Err(denied.unwrap_or(CallError::NoServer))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(socket)
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), ConnectionRefused | NotFound | NotADirectory)
}

fn failed(socket: &Path, error: &io::Error) -> CallError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; ask as the server's user or as root",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "; it may still be loading its plugins, or it hangs",
        io::ErrorKind::InvalidInput => "; the path of a socket has at most 107 bytes",
        _ => "",
    };
    let reason = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the server does not answer".to_owned(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            "the server ended the connection without an answer".to_owned()
        }
        _ => error.to_string(),
    };
    CallError::Failed(format!("{}: {reason}{remedy}", socket.display()))
}

fn ask(mut stream: UnixStream, method: &str, path: &str, timeout: Option<Duration>) -> io::Result<Answer> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    stream.set_write_timeout(timeout)?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if received.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    parse(&received).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Takes an answer apart.
fn parse(received: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_and_a_part_of_one_is_none() {
        let answer = parse(b"HTTP/1.1 403 Forbidden\r\na: b\r\n\r\n{}").unwrap();
        assert_eq!((403, "{}"), (answer.status, &*answer.body));
        for part in ["", "HTTP/1.1 200 OK\r\n", "nonsense\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(part.as_bytes()).is_none(), "{part}");
        }
    }
}
