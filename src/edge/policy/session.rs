//! Browsers that have logged in with a key: each has an opaque token in a cookie that scripts cannot read.
//!
//! Written and read on the I/O threads. Promise: of a token only its digest is kept; a session ends after [`LIFETIME`],
//! by logging out, and with its key, because that is looked up again at each request. Caveat: a new process knows no
//! sessions, so browsers log in again.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use rustls::crypto::ring;

use crate::edge::config::keys::KeyDigest;
use crate::edge::config::socket_address::SocketAddress;

/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Sessions at one time; the oldest one ends for one too many.
const MOST: usize = 256;

/// The sessions of the server.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<VecDeque<Session>>);

#[derive(Debug)]
struct Session {
    token: KeyDigest,
    key: KeyDigest,
    begun: Instant,
}

impl Sessions {
    /// The sessions that have not ended by their age, oldest first.
    fn lock(&self, now: Instant) -> MutexGuard<'_, VecDeque<Session>> {
        // Only whole sessions go in and out, so a thread that panicked left nothing half done.
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.front().is_some_and(|oldest| now.duration_since(oldest.begun) >= LIFETIME) {
            sessions.pop_front();
        }
        sessions
    }

    /// Begins a session for a key; returns its token, or nothing if the system has no random numbers.
    pub(crate) fn open(&self, key: KeyDigest) -> Option<String> {
        self.open_at(key, Instant::now())
    }

    fn open_at(&self, key: KeyDigest, begun: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        ring::default_provider().secure_random.fill(&mut bytes).ok()?;
        let token = bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let mut sessions = self.lock(begun);
        while sessions.len() >= MOST {
            sessions.pop_front();
        }
        sessions.push_back(Session { token: KeyDigest::of(token.as_bytes()), key, begun });
        Some(token)
    }

    /// The key with which the session of this token began, if it has not ended.
    pub(crate) fn key(&self, token: &[u8]) -> Option<KeyDigest> {
        self.key_at(token, Instant::now())
    }

    fn key_at(&self, token: &[u8], now: Instant) -> Option<KeyDigest> {
        let token = KeyDigest::of(token);
        self.lock(now).iter().find(|session| session.token == token).map(|session| session.key)
    }

    /// Ends the session of this token, if there is one.
    pub(crate) fn close(&self, token: &[u8]) {
        let token = KeyDigest::of(token);
        self.lock(Instant::now()).retain(|session| session.token != token);
    }
}

/// The name of the cookie. Browsers do not tell the ports of a host apart, so two servers need two names.
fn cookie_name(local: &SocketAddress) -> String {
    match local {
        SocketAddress::Ip(address) => format!("plugincore_{}", address.port()),
        SocketAddress::Unix(_) => "plugincore".to_owned(),
    }
}

/// The token that a browser sends to the server at `local`.
pub(crate) fn token<'a>(headers: &'a HeaderMap, local: &SocketAddress) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).peekable();
    lines.peek()?;
    let name = cookie_name(local);
    let cookies = lines.flat_map(|line| line.split(|&byte| byte == b';')).map(<[u8]>::trim_ascii);
    let mut tokens = cookies.filter_map(|cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    tokens.next().filter(|token| !token.is_empty())
}

/// `Set-Cookie` that has a browser keep `token`, or forget what it has if that is empty.
pub(crate) fn cookie(token: &str, local: &SocketAddress, secure: bool) -> HeaderValue {
    let (name, secure) = (cookie_name(local), if secure { "; Secure" } else { "" });
    let lasts = if token.is_empty() { 0 } else { LIFETIME.as_secs() };
    let text = format!("{name}={token}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).expect("names and hexadecimal digits are valid in a header")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn digest() -> KeyDigest {
        KeyDigest::of(b"k")
    }

    #[test]
    fn a_session_lasts_for_its_time_and_no_longer() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let token = sessions.open_at(digest(), begun).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(Some(digest()), sessions.key_at(token.as_bytes(), begun + (LIFETIME.saturating_sub(second))));
        assert_eq!(None, sessions.key_at(token.as_bytes(), begun + LIFETIME));
    }

    #[test]
    fn a_session_that_was_closed_is_gone_and_the_others_stay() {
        let sessions = Sessions::default();
        let [one, other] = [(); 2].map(|()| sessions.open(digest()).unwrap());
        assert_ne!(one, other);
        sessions.close(one.as_bytes());
        assert_eq!((None, Some(digest())), (sessions.key(one.as_bytes()), sessions.key(other.as_bytes())));
        assert_eq!(None, sessions.key(b""));
    }

    #[test]
    fn the_oldest_session_ends_for_one_too_many() {
        let sessions = Sessions::default();
        let tokens: Vec<_> = (0..=MOST).map(|_| sessions.open(digest()).unwrap()).collect();
        assert_eq!(None, sessions.key(tokens[0].as_bytes()));
        assert!(tokens[1..].iter().all(|token| sessions.key(token.as_bytes()).is_some()));
    }

    #[test]
    fn the_token_is_that_of_the_server_at_this_port() {
        let local = SocketAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 9192)));
        for (line, found) in [
            ("plugincore_9192=a", Some("a")),
            ("x=1; plugincore_9193=b; plugincore_9192=a", Some("a")),
            ("xplugincore_9192=a", None),
            ("plugincore_9192=", None),
            ("plugincore_91=a", None),
        ] {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(line).unwrap())]);
            assert_eq!(found.map(str::as_bytes), token(&headers, &local), "{line}");
        }
        assert_eq!(
            "plugincore_9192=a; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure",
            cookie("a", &local, true)
        );
        assert_eq!("plugincore_9192=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", cookie("", &local, false));
    }
}
