//! The body of an answer (complete, streamed, from a file or compressed), and the server's own JSON in the spelling of
//! `json.dumps`.
//!
//! Runs on the I/O threads. Clients of pluginserver compare texts, so separators are `", "` and `": "`, and all
//! characters but printable ASCII are escaped. Caveat: floats are spelled as Rust does, which differs from Python for
//! exponents (`1e16` for `1e+16`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::ser::Formatter;

use super::access_log::entry::Answered;
use super::compressed::Compressed;
use super::file::FileBody;
use super::observed::ObservedRequest;
use super::pipe::{Broken, Reader};
use super::streamed::Streamed;
use crate::edge::observe::metrics::slots::Slot;
use crate::edge::observe::metrics::thread;

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of its bytes; `None` once they have been taken.
    Whole(Option<Bytes>),
    /// Bytes as they come.
    Streamed(Streamed),
    /// Bytes of a file.
    File(FileBody),
    /// One of the others, compressed as it is sent.
    Compressed(Box<Compressed>),
    /// One of the others, whose request is observed until it ends.
    Observed(Box<ObservedBody>),
}

impl Body {
    /// A body whose bytes are all there.
    pub fn new(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// A body that comes out of `reader`; `length` is how many bytes will come, if that is known: it becomes
    /// `Content-Length`, chunks are used otherwise.
    pub fn streamed(reader: Reader, length: Option<u64>) -> Self {
        Self::Streamed(Streamed::new(reader, length))
    }

    /// How many bytes it has, if that is known; else they are counted in `slot` as they are sent.
    pub(crate) fn count_for(&mut self, slot: Slot) -> u64 {
        if let Some(length) = http_body::Body::size_hint(self).exact() {
            return length;
        }
        match self {
            Self::Streamed(streamed) => streamed.slot = Some(slot),
            Self::Compressed(body) => body.slot = Some(slot),
            Self::Whole(_) | Self::File(_) | Self::Observed(_) => {}
        }
        0
    }

    /// Has the end of `request` noted: at once if all bytes are there, else when the body ends.
    pub(crate) fn observe(&mut self, request: Arc<ObservedRequest>, answered: Answered) {
        match self {
            Self::Whole(_) => request.end(&answered),
            other => {
                let (body, answered) = (std::mem::take(other), Answered { bytes: 0, ..answered });
                *other = Self::Observed(Box::new(ObservedBody { body, request, answered }));
            }
        }
    }

    /// True if there is nothing in it, and nothing to come.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(None)
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::new(bytes.into())
    }
}

/// A body, and the request that it answers, which is noted when the last piece has been handed over, or when the body
/// is dropped because its client has left.
#[derive(Debug)]
pub struct ObservedBody {
    body: Body,
    request: Arc<ObservedRequest>,
    answered: Answered,
}

impl ObservedBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = http_body::Body::poll_frame(Pin::new(&mut self.body), cx);
        if let Poll::Ready(Some(Ok(frame))) = &next {
            self.answered.bytes += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        }
        next
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        self.request.end_now(&self.answered);
    }
}

/// A piece of a body, which is counted in `slot`.
fn frame(slot: Option<Slot>, piece: Bytes) -> Frame<Bytes> {
    if let Some(slot) = slot {
        thread::current().note_body(slot, piece.len());
    }
    Frame::data(piece)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => {
                let slot = streamed.slot;
                streamed.poll_next(cx).map(|next| next.map(|piece| piece.map(|piece| frame(slot, piece))))
            }
            Self::File(file) => file.poll_next(cx).map(|next| next.map(|piece| piece.map(Frame::data))),
            Self::Compressed(body) => {
                let slot = body.slot;
                body.poll_next(cx).map(|next| next.map(|piece| piece.map(|piece| frame(slot, piece))))
            }
            Self::Observed(observed) => observed.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Compressed(body) => body.has_ended(),
            Self::Observed(observed) => observed.body.is_end_stream(),
            other => other.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed(streamed) => streamed.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::File(file) => SizeHint::with_exact(file.left()),
            Self::Compressed(_) => SizeHint::default(),
            Self::Observed(observed) => observed.body.size_hint(),
        }
    }
}

/// `Content-Type` of every JSON answer, as pluginserver sent it.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// `value` as JSON in the spelling of `json.dumps`.
///
/// # Errors
/// When JSON cannot express it, such as a map whose keys are not texts.
pub(crate) fn to_json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut text = Vec::with_capacity(128);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PythonSpelling))?;
    Ok(Bytes::from(text))
}

/// A response with a body that is JSON already.
pub(crate) fn json_text(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The separators and escapes of `json.dumps` with its defaults.
struct PythonSpelling;

impl Formatter for PythonSpelling {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
            let (plain, odd) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = odd.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    /// The body; it is all there, so nothing waits.
    pub(crate) fn bytes(response: Response<Body>) -> Bytes {
        use futures_util::FutureExt;
        response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes()
    }

    /// The same as text.
    pub(crate) fn text(response: Response<Body>) -> String {
        String::from_utf8(bytes(response).to_vec()).unwrap()
    }

    #[test]
    fn separators_and_escapes_are_those_of_json_dumps() {
        let value = json!({"b": [1, 2.5, null, true], "a": {}, "é\u{7f}😀": "\u{1}\n\"\\/\u{8}"});
        assert_eq!(
            to_json(&value).unwrap(),
            r#"{"b": [1, 2.5, null, true], "a": {}, "\u00e9\u007f\ud83d\ude00": "\u0001\n\"\\/\b"}"#
        );
    }

    #[test]
    fn the_content_type_and_status_are_set() {
        let response = json_text(StatusCode::NOT_FOUND, Bytes::from_static(b"{}"));
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
    }
}
