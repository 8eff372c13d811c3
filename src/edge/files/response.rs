//! Makes the answer from an open file: headers, the selected part, the body.
//!
//! Runs on blocking threads. Promise: static files and files of plugins go through the same function, so both support
//! the same conditions and ranges. Caveat: a short body is read at once and its file closed; for a longer one the file
//! stays open until the client has received it.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use headers::HeaderMapExt;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::conditions::{Selection, Validators, select};
use super::open::{Opened, open};
use crate::edge::http::file::{FileBody, PIECE, read};
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::observe::line::Level;
use crate::edge::observe::repeats::LineKind;

/// The parts of a request that decide how a file is sent.
#[derive(Clone, Debug)]
pub struct FileRequest {
    /// GET and HEAD know conditions, GET alone ranges.
    pub method: Method,
    /// The request's headers.
    pub headers: HeaderMap,
}

/// A file that a plugin answers with.
#[derive(Clone, Debug)]
pub struct FileReply {
    /// Where it is; the plugin may name any.
    pub path: PathBuf,
    /// The request.
    pub request: FileRequest,
    /// 200, under which conditions and ranges count, or another status, under which the whole file is sent.
    pub status: StatusCode,
    /// Headers that the plugin set; a content type among them replaces that of the file's name.
    pub headers: HeaderMap,
}

impl FileReply {
    /// Opens the file and answers with it. It may wait for the disk.
    ///
    /// # Errors
    /// [`Rejection`] when there is no such file, or no such part of it.
    pub fn respond(self) -> Result<Response<Body>, Rejection> {
        respond(open(&self.path)?, &self.request, self.status, self.headers)
    }
}

/// The answer with `opened`, `status` and `headers`; tags, dates and ranges are ours. It may wait for the disk.
///
/// # Errors
/// [`Rejection`] when the conditions fail, the range is behind the end, or the file cannot be read.
pub(crate) fn respond(
    opened: Opened,
    request: &FileRequest,
    status: StatusCode,
    headers: HeaderMap,
) -> Result<Response<Body>, Rejection> {
    let Opened { file, size, media_type, coding, etag, modified } = opened;
    let selection = if status == StatusCode::OK {
        select(&request.method, &request.headers, Validators { etag: &etag, modified, size })?
    } else {
        Selection::Whole
    };
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.typed_insert(etag);
    if let Some(modified) = modified {
        headers.typed_insert(modified);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    let range = match selection {
        Selection::NotModified => {
            for name in [CONTENT_TYPE, CONTENT_ENCODING, ACCEPT_RANGES] {
                headers.remove(name);
            }
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Selection::Whole => 0..size,
        Selection::Bytes(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            headers.insert(CONTENT_RANGE, HeaderValue::try_from(text).expect("digits are valid in a header"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            range
        }
    };
    let headers = response.headers_mut();
    headers.entry(CONTENT_TYPE).or_insert(media_type);
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, coding.header());
    }
    if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        *response.body_mut() = body(file, range, &request.method)?;
    }
    Ok(response)
}

/// The bytes of `range`: read now if they are one piece, later otherwise. hyper takes a body's length and nothing more
/// for HEAD.
fn body(mut file: File, range: Range<u64>, method: &Method) -> Result<Body, Rejection> {
    let length = range.end - range.start;
    let unreadable = |error: std::io::Error| {
        static UNREADABLE: LineKind = LineKind::new(Level::Error, "a file that is open cannot be read");
        if UNREADABLE.admits_any() {
            tracing::error!("a file that is open cannot be read: {error}");
        }
        Rejection::FileUnavailable
    };
    file.seek(SeekFrom::Start(range.start)).map_err(unreadable)?;
    if length > PIECE as u64 || *method == Method::HEAD {
        return Ok(Body::File(FileBody::new(file, length)));
    }
    let piece = read(&file, length).map_err(unreadable)?;
    // One that was cut since its size was read is another version by now.
    if piece.len() as u64 == length { Ok(Body::new(piece)) } else { Err(Rejection::FileUnavailable) }
}
