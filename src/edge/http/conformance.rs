//! Checks a parsed request head against the rules of RFC 9110 and RFC 9112 that hyper does not enforce.
//!
//! Pure functions, called on the I/O threads. Promise: a request that passes has at most one host, in its `Host`
//! header, and its target is a path or the asterisk of `OPTIONS *`. Rules that can be checked only in the bytes (a
//! fragment, the extensions of a chunk) are checked by [`framing`](super::framing).

use std::net::Ipv6Addr;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, EXPECT, HOST, IF_NONE_MATCH, ORIGIN, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;

use super::accept_encoding::Coding;
use super::compression;
use super::problem::accepts_problem;
use super::request_id::X_REQUEST_ID;
use super::response::Body;
use super::trace::TRACEPARENT;

/// By which proxies pass on the client's address.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// By which they pass on whether the client used TLS.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// By which they pass on the host that the client asked for.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// By which some pass on the client's address, and no other.
pub(crate) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether a header is one by which proxies pass on what they know of the client.
fn is_of_proxy(name: &HeaderName) -> bool {
    matches!(name.as_str(), "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-real-ip" | "forwarded")
}

/// Why a request is not served; the connection closes behind the answer, except for [`Violation::WebSocketVersion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// No `Host`, or more than one.
    #[error("malformed request: it must have one Host header")]
    HostCount,
    /// By HTTP/2, a `Host` that is not the `:authority`.
    #[error("malformed request: its Host header is not its :authority")]
    TwoHosts,
    /// A `Host` that is no host with perhaps a port.
    #[error("malformed request: its Host header is not a host name or address, with or without a port")]
    Host,
    /// A target that is none, or none for this method.
    #[error("malformed request: {0}")]
    Target(&'static str),
    /// CONNECT, by which proxies are made to open a tunnel.
    #[error("CONNECT is not implemented: this server is no proxy")]
    Connect,
    /// `chunked` twice: where the body ends is unclear.
    #[error("malformed request: its Transfer-Encoding has chunked twice")]
    ChunkedTwice,
    /// A transfer coding other than `chunked`.
    #[error("a Transfer-Encoding other than chunked is not implemented")]
    Coding,
    /// An `Expect` other than `100-continue`.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// A target that is longer than is allowed.
    #[error("the request target is too long")]
    TargetSize,
    /// Two places in traces.
    #[error("malformed request: it must have one traceparent header at most")]
    TwoTraces,
    /// The handshake of a web socket of another version.
    #[error("web sockets are spoken in version 13 only")]
    WebSocketVersion,
}

/// Checks a request that came over a connection that is `secure` or not. A whole URL as target becomes its path, with
/// its host in the `Host` header, over which it wins. `known` is kept for the connection.
///
/// # Errors
///
/// The [`Violation`] with which it is to be answered.
pub(crate) fn check<B: http_body::Body>(
    request: &mut Request<B>,
    secure: bool,
    known: &mut KnownHeaders,
) -> Result<HeaderFlags, Violation> {
    let is_old = request.version() < Version::HTTP_11;
    let fields = Fields::of(request.headers());
    fields.check_host(is_old, &mut known.host)?;
    if fields.has_more_traces {
        return Err(Violation::TwoTraces);
    }
    let flags = HeaderFlags { coding: fields.coding(request.headers(), known), ..fields.flags };
    let (expects, upgrades) = (fields.expects, fields.upgrades);
    check_target(request, secure)?;
    let has_coding = || request.version() <= Version::HTTP_11 && request.body().size_hint().exact().is_none();
    if !request.body().is_end_stream() && has_coding() {
        check_coding(request.headers())?;
    }
    if is_old {
        // Neither means anything there.
        request.headers_mut().remove(UPGRADE);
        return Ok(flags);
    }
    if expects {
        check_expectation(request.headers())?;
    }
    if upgrades {
        check_upgrade(request)?;
    }
    Ok(flags)
}

/// Checks that path and query have at most `max` bytes.
///
/// # Errors
///
/// [`Violation::TargetSize`].
pub(crate) fn check_target_size<B>(request: &Request<B>, max: usize) -> Result<(), Violation> {
    let size = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if size > max { Err(Violation::TargetSize) } else { Ok(()) }
}

/// What requests of a connection had last, since most have the same: it is judged only when it changes.
#[derive(Debug, Default)]
pub(crate) struct KnownHeaders {
    /// A right `Host`.
    host: Vec<u8>,
    /// An `Accept-Encoding`, on one line.
    accept_encoding: Vec<u8>,
    /// What it comes to.
    coding: Option<Coding>,
}

/// Longest `Accept-Encoding` that is kept, in bytes: browsers send some thirty.
const MAX_KNOWN_CODINGS: usize = 128;

/// Whether a request has the headers that are asked for at each request and that most do not have. They are found in
/// the pass over the headers that is made anyway, since to look each up takes longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a header is there or not")]
pub(crate) struct HeaderFlags {
    /// `X-Request-Id`.
    pub request_id: bool,
    /// One by which proxies pass on what they know of the client.
    pub forwarded: bool,
    /// `Origin`.
    pub origin: bool,
    /// `traceparent`.
    pub trace: bool,
    /// `If-None-Match`.
    pub if_none_match: bool,
    /// The coding that its `Accept-Encoding` prefers, if it does.
    pub coding: Option<Coding>,
    /// `Accept` with the type of problems of RFC 9457.
    pub problem: bool,
}

/// What a client of HTTP/1.0 needs of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OldClient {
    /// True if it has requested that the connection stay open.
    wants_more: bool,
}

impl OldClient {
    /// The client of a request of HTTP/1.0.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        if request.version() >= Version::HTTP_11 {
            return None;
        }
        let has = |option: &[u8]| list(request.headers(), &CONNECTION).any(|given| given.eq_ignore_ascii_case(option));
        Some(Self { wants_more: has(b"keep-alive") && !has(b"close") })
    }

    /// Makes the connection close behind an answer, and the answer say so, if the client does not ask for more or will
    /// find the end of the answer only by that: it knows no chunks.
    pub(crate) fn adapt(self, response: &mut Response<Body>) {
        if self.wants_more
            && response.body().size_hint().exact().is_some()
            && !response.headers().contains_key(CONNECTION)
        {
            return;
        }
        // hyper then adds no `keep-alive`.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What there is of the headers that are checked; found in one pass, since to look each up takes longer.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "a header is there or not")]
struct Fields<'a> {
    host: Option<&'a HeaderValue>,
    has_more_hosts: bool,
    accept_encoding: Option<&'a HeaderValue>,
    has_more_codings: bool,
    has_more_traces: bool,
    expects: bool,
    upgrades: bool,
    flags: HeaderFlags,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                fields.has_more_hosts = fields.host.replace(value).is_some();
            } else if *name == EXPECT {
                fields.expects = true;
            } else if *name == UPGRADE {
                fields.upgrades = true;
            } else if *name == ORIGIN {
                fields.flags.origin = true;
            } else if *name == ACCEPT_ENCODING {
                fields.has_more_codings = fields.accept_encoding.replace(value).is_some();
            } else if *name == IF_NONE_MATCH {
                fields.flags.if_none_match = true;
            } else if *name == ACCEPT {
                fields.flags.problem |= accepts_problem(value);
            } else if *name == TRACEPARENT {
                fields.has_more_traces = std::mem::replace(&mut fields.flags.trace, true);
            } else if *name == X_REQUEST_ID {
                fields.flags.request_id = true;
            } else if is_of_proxy(name) {
                fields.flags.forwarded = true;
            }
        }
        fields
    }

    fn coding(&self, headers: &HeaderMap, known: &mut KnownHeaders) -> Option<Coding> {
        let line = self.accept_encoding?;
        if self.has_more_codings || line.len() > MAX_KNOWN_CODINGS {
            return compression::preferred(headers.get_all(ACCEPT_ENCODING));
        }
        if *line != *known.accept_encoding {
            known.coding = compression::preferred([line]);
            known.accept_encoding.clear();
            known.accept_encoding.extend_from_slice(line.as_bytes());
        }
        known.coding
    }

    fn check_host(&self, is_old: bool, known: &mut Vec<u8>) -> Result<(), Violation> {
        match self.host {
            None if is_old => Ok(()),
            // It is empty if the client does not know it.
            Some(host) if !self.has_more_hosts && (host.is_empty() || *host == **known) => Ok(()),
            Some(host) if !self.has_more_hosts && is_host(host.as_bytes()) => {
                known.clear();
                known.extend_from_slice(host.as_bytes());
                Ok(())
            }
            Some(_) if !self.has_more_hosts => Err(Violation::Host),
            _ => Err(Violation::HostCount),
        }
    }
}

fn check_target<B>(request: &mut Request<B>, secure: bool) -> Result<(), Violation> {
    let (uri, method) = (request.uri(), request.method());
    match (uri.scheme(), uri.authority()) {
        (None, None) if method == Method::CONNECT => {
            Err(Violation::Target("the target of CONNECT is a host and a port"))
        }
        (None, None) if uri.path() == "*" && method != Method::OPTIONS => {
            Err(Violation::Target("only OPTIONS may ask for *"))
        }
        (None, None) if !uri.path().starts_with('/') && uri.path() != "*" => {
            Err(Violation::Target("its target does not begin with a slash"))
        }
        (None, None) => Ok(()),
        (None, Some(_)) if method == Method::CONNECT => Err(Violation::Connect),
        (None, Some(_)) => Err(Violation::Target("its target does not begin with a slash")),
        (Some(scheme), authority) => {
            if method == Method::CONNECT {
                return Err(Violation::Target("the target of CONNECT is a host and a port"));
            }
            if scheme.as_str() != if secure { "https" } else { "http" } {
                return Err(Violation::Target("the scheme of its target is not the one that this port serves"));
            }
            let host = authority.map(Authority::as_str).filter(|host| is_host(host.as_bytes()));
            let host = host.ok_or(Violation::Target("its target does not name a host, or a user with it"))?;
            let host = HeaderValue::from_str(host).map_err(|_| Violation::Host)?;
            let path = uri.path_and_query().cloned();
            request.headers_mut().insert(HOST, host);
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            Ok(())
        }
    }
}

/// Only called for bodies that hyper treats as chunked, which they are if that is the last coding.
fn check_coding(headers: &HeaderMap) -> Result<(), Violation> {
    let (mut all, mut chunked) = (0, 0);
    for coding in list(headers, &TRANSFER_ENCODING) {
        all += 1;
        chunked += usize::from(coding.eq_ignore_ascii_case(b"chunked"));
    }
    match (all, chunked) {
        (1, 1) => Ok(()),
        (_, 2..) => Err(Violation::ChunkedTwice),
        _ => Err(Violation::Coding),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Violation> {
    let mut expectations = headers.get_all(EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Violation::Expectation),
    }
}

/// An offer of a web socket that cannot be one is ignored, as every offer may be, so that plugins see an ordinary
/// request; another version is refused with the name of the right one, as RFC 6455, 4.2.2 has it.
fn check_upgrade<B>(request: &mut Request<B>) -> Result<(), Violation> {
    if !list(request.headers(), &UPGRADE).any(|offer| offer.eq_ignore_ascii_case(b"websocket")) {
        return Ok(());
    }
    if request.method() != Method::GET {
        request.headers_mut().remove(UPGRADE);
        return Ok(());
    }
    match request.headers().get(SEC_WEBSOCKET_VERSION) {
        Some(version) if version != "13" => Err(Violation::WebSocketVersion),
        _ => Ok(()),
    }
}

/// The elements of a list, over all lines of that name; empty ones do not count (RFC 9110, 5.6.1).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let elements = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// `uri-host [ ":" port ]` with a host that is not empty and a port that there can be.
pub(crate) fn is_host(text: &[u8]) -> bool {
    // Nearly all have only such bytes.
    let (name, rest) = text.split_at(text.iter().take_while(|&&byte| NAME_BYTES[usize::from(byte)]).count());
    match rest {
        [] => !name.is_empty(),
        [b':', port @ ..] => !name.is_empty() && is_port(port),
        _ => is_rare_host(text),
    }
}

/// The same for a host with an escape or in brackets.
fn is_rare_host(text: &[u8]) -> bool {
    let is_literal_form = text.first() == Some(&b'[');
    let end = text.iter().position(|&byte| byte == if is_literal_form { b']' } else { b':' });
    let (is_good, behind) = match end {
        Some(end) if is_literal_form => (is_literal(&text[1..end]), &text[end + 1..]),
        None if is_literal_form => return false,
        end => {
            let (name, behind) = text.split_at(end.unwrap_or(text.len()));
            (is_name(name), behind)
        }
    };
    is_good && (behind.is_empty() || behind.strip_prefix(b":").is_some_and(is_port))
}

/// Digits that are a port; none at all is the scheme's own.
fn is_port(text: &[u8]) -> bool {
    // Kept small enough not to overflow, however many zeros come first.
    let number = text.iter().try_fold(0_u32, |number, byte| {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        (digit < 10).then(|| (number * 10 + digit).min(1 << 16))
    });
    number.is_some_and(|number| number < 1 << 16)
}

/// `reg-name`, IPv4 addresses included, but not the empty one.
fn is_name(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        match rest {
            [] => return !text.is_empty(),
            [b'%', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = behind,
            [byte, behind @ ..] if is_name_byte(*byte) => rest = behind,
            _ => return false,
        }
    }
}

/// `unreserved` and `sub-delims`.
const NAME_BYTES: [bool; 256] = {
    let (mut table, marks, mut byte) = ([false; 256], b"-._~!$&'()*+,;=", 0_u8);
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};

fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[usize::from(byte)]
}

/// What may stand in brackets: `IPv6address` or `IPvFuture`.
fn is_literal(text: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = text {
        let Some(point) = rest.iter().position(|&byte| byte == b'.') else { return false };
        let (version, address) = (&rest[..point], &rest[point + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| is_name_byte(byte) || byte == b':');
    }
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}
