//! The place of a request in a trace, as W3C's Trace Context has it: continued from its client, or begun here.
//!
//! Pure functions, called on the I/O threads. Promise: a header that is none is passed over, and a trace begins; ids
//! that begin here cost a few instructions. Caveat: whether a span is recorded of a request is not decided here; a trace
//! that begins says that it is recorded, so that those who record by what their callers do record it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hexadecimal::{digits_of_u64, digits_of_u128, halves, whole};
use super::request_id::RequestId;

/// The header that carries it, both ways.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What others have to say of the trace.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of the header.
const LENGTH: usize = 55;

/// The flag that a trace is recorded.
const SAMPLED: u8 = 1;

/// A request in a trace; by default one without ids, which is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, in halves.
    trace: [u64; 2],
    /// The request itself, as those that it calls name it.
    pub span_id: u64,
    /// The flags, of which one has a meaning so far.
    pub flags: u8,
    /// The client's span; 0 if the trace begins here.
    pub parent_id: u64,
}

impl TraceContext {
    /// A trace that begins with the request `id`, and has the same id if that is the server's.
    pub(crate) fn begin(id: &RequestId) -> Self {
        let trace_id = if id.bits() == 0 { random() } else { id.bits() };
        // Of its trace it is the first span, so its id need not be another random number.
        Self { trace: halves(trace_id), span_id: half(trace_id), flags: SAMPLED, parent_id: 0 }
    }

    /// The trace that a request with these headers belongs to; it begins with the request `id` if there is none.
    pub(crate) fn from_headers(headers: &HeaderMap, id: &RequestId) -> Self {
        headers.get(TRACEPARENT).and_then(|value| Self::parse(value.as_bytes())).unwrap_or_else(|| Self::begin(id))
    }

    /// The next request of the trace that a header names.
    fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let [version, trace_id, parent, flags] = [&head[..2], &head[3..35], &head[36..52], &head[53..]];
        let has_dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        // Later versions may have more behind another dash.
        let is_known = match hex(version)? {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace_id, parent, flags) = (hex(trace_id)?, hex(parent)?, hex(flags)?);
        let flags = u8::try_from(flags).ok()? & SAMPLED;
        let parent_id = u64::try_from(parent).ok()?;
        let is_valid = has_dashes && is_known && trace_id != 0 && parent_id != 0;
        is_valid.then(|| Self { trace: halves(trace_id), span_id: half(random()), flags, parent_id })
    }

    /// The id of the trace.
    pub(crate) fn trace_id(&self) -> u128 {
        whole(self.trace)
    }

    /// Whether the client has begun the trace.
    pub(crate) fn is_continued(&self) -> bool {
        self.parent_id != 0
    }

    /// Whether the trace is recorded.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Says from now on that it is not recorded.
    pub(crate) fn leave_out(&mut self) {
        self.flags &= !SAMPLED;
    }

    /// A span of the same trace that no other has the id of.
    pub(crate) fn fresh_span_id() -> u64 {
        half(random())
    }

    /// The id of the trace, as 32 digits.
    pub(crate) fn trace_id_text(&self) -> String {
        format!("{:032x}", self.trace_id())
    }

    /// The header for what the request calls, and for its answer.
    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.digits()).expect("digits and dashes are valid in a header")
    }

    /// The same as text.
    pub(crate) fn text(&self) -> String {
        self.digits().into_iter().map(char::from).collect()
    }

    /// Not inlined, for the reason that [`digits_of_u128`] is not.
    #[inline(never)]
    fn digits(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&digits_of_u128(self.trace_id()));
        text[36..52].copy_from_slice(&digits_of_u64(self.span_id));
        // Of the flags, one has a meaning so far.
        text[54] = b'0' + (self.flags & SAMPLED);
        text
    }
}

/// A number of hexadecimal digits, which are in lower case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// A number that is not 0 and of which there is no other, as the ids of requests are.
fn random() -> u128 {
    RequestId::fresh().bits().max(1)
}

/// Half of a random number's bits, which is enough for the id of a span.
fn half(number: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "half of the bits")]
    let half = number as u64;
    half.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued_with_another_span() {
        let trace = TraceContext::parse(GIVEN.as_bytes()).unwrap();
        assert_eq!("4bf92f3577b34da6a3ce929d0e0e4736", trace.trace_id_text());
        assert_eq!(0x00f0_67aa_0ba9_02b7, trace.parent_id);
        assert_ne!(trace.parent_id, trace.span_id);
        assert_eq!(format!("00-{}-{:016x}-01", trace.trace_id_text(), trace.span_id), trace.text());
        assert_eq!(Some(0), TraceContext::parse(GIVEN.replace("-01", "-02").as_bytes()).map(|trace| trace.flags));
        let later = GIVEN.replacen("00", "cc", 1);
        assert!(TraceContext::parse(later.as_bytes()).is_some());
        assert!(TraceContext::parse(format!("{later}-more").as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_trace_is_passed_over() {
        for bad in [
            String::new(),
            GIVEN.to_uppercase(),
            GIVEN.replacen("00", "ff", 1),
            format!("{GIVEN}-more"),
            GIVEN.replacen("00", "cc", 1) + "more",
            GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GIVEN.replace('-', "_"),
            GIVEN[..54].to_owned(),
            GIVEN.replace('4', "g"),
        ] {
            assert_eq!(None, TraceContext::parse(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_trace_that_begins_has_the_id_of_its_request() {
        let id = RequestId::fresh();
        let trace = TraceContext::begin(&id);
        assert_eq!((id.as_str(), 1, false), (&*trace.trace_id_text(), trace.flags, trace.is_continued()));
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("chosen"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        let [one, two] = [(); 2].map(|()| TraceContext::from_headers(&headers, &RequestId::from_headers(&headers)));
        assert!(one.trace_id() != 0 && one.trace_id() != two.trace_id() && one.span_id != two.span_id);
        assert_eq!(one.header(), one.text());
    }
}
