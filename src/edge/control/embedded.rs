//! Files for browsers that are a part of the executable.
//!
//! Called on the I/O threads. Promise: nothing in a file depends on the server or on the client; each is compressed
//! once, when it is first requested, or was compressed when it was built in. Caveat: headers about security are the
//! caller's, since they differ.

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use sha2::{Digest, Sha256};

use crate::edge::http::accept_encoding::{Coding, accepted};
use crate::edge::http::entity_tag;
use crate::edge::http::response::Body;

/// The media type of pages.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// The media type of scripts.
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
/// The media type of style sheets.
pub(super) const STYLE: &str = "text/css; charset=utf-8";

/// What files are compressed by, if the client takes it.
const OFFERED: [Coding; 3] = [Coding::Gzip; 3];

/// A file with its media type.
pub(super) struct File {
    name: &'static str,
    content_type: &'static str,
    content: Content,
    prepared: OnceLock<Prepared>,
}

enum Content {
    Text(&'static [u8]),
    /// Compressed, since it is large.
    Gzip(&'static [u8]),
}

/// What is made of a file once.
struct Prepared {
    tag: HeaderValue,
    gzip: Bytes,
}

impl File {
    /// A file that is built in as it is.
    pub(super) const fn new(name: &'static str, content_type: &'static str, text: &'static [u8]) -> Self {
        Self { name, content_type, content: Content::Text(text), prepared: OnceLock::new() }
    }

    /// A file that is built in compressed by gzip.
    pub(super) const fn compressed(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, content_type, content: Content::Gzip(bytes), prepared: OnceLock::new() }
    }

    /// Its size as it is sent compressed.
    #[cfg(test)]
    pub(super) fn packed_size(&self) -> usize {
        self.prepared().gzip.len()
    }

    fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let (bytes, gzip) = match self.content {
                Content::Text(text) => (text, compress(text)),
                Content::Gzip(bytes) => (bytes, Bytes::from_static(bytes)),
            };
            let digest = Sha256::digest(bytes);
            let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let tag = HeaderValue::try_from(format!("W/\"{number:016x}\"")).expect("digits are valid in a header");
            Prepared { tag, gzip }
        })
    }

    /// The file as a client with these `headers` gets it; a browser that has it gets a 304.
    fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let Prepared { tag, gzip } = self.prepared();
        let is_compressed = accepted(headers.get_all(ACCEPT_ENCODING), OFFERED).contains(&Coding::Gzip);
        let bytes = match self.content {
            _ if is_compressed => gzip.clone(),
            Content::Text(text) => Bytes::from_static(text),
            Content::Gzip(bytes) => decompress(bytes),
        };
        let mut response = Response::new(Body::new(bytes));
        let own = response.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        own.insert(ETAG, tag.clone());
        own.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if self.content_type != HTML {
            // A browser may keep it, but asks each time whether it is still the same.
            own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if is_compressed {
            own.insert(CONTENT_ENCODING, Coding::Gzip.header());
        }
        if headers.get(IF_NONE_MATCH).is_some_and(|known| entity_tag::is_known(&response, known)) {
            entity_tag::leave_out(&mut response);
        }
        response
    }
}

/// The one of `files` called `name`, as a client with these `headers` gets it.
pub(super) fn find(files: &[File], name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    files.iter().find(|file| file.name == name).map(|file| file.respond(headers))
}

fn compress(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(text).and_then(|()| encoder.finish());
    Bytes::from(written.expect("a vector takes all that is written"))
}

fn decompress(bytes: &[u8]) -> Bytes {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).expect("the file was compressed by gzip, which a test checks");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::response::tests::bytes;

    const TEXT: &[u8] = b"a text that is a text that is a text that is a text";

    #[test]
    fn a_file_is_sent_compressed_to_clients_that_take_it_whichever_way_it_is_built_in() {
        let packed: &'static [u8] = compress(TEXT).to_vec().leak();
        for file in [File::new("a", SCRIPT, TEXT), File::compressed("a", SCRIPT, packed)] {
            let files = [file];
            let plain = find(&files, "a", &HeaderMap::new()).unwrap();
            assert!(!plain.headers().contains_key(CONTENT_ENCODING));
            let known = HeaderMap::from_iter([(IF_NONE_MATCH, plain.headers()[ETAG].clone())]);
            assert_eq!(bytes(plain), TEXT);
            let gzip = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"))]);
            let sent = find(&files, "a", &gzip).unwrap();
            assert_eq!("gzip", sent.headers()[CONTENT_ENCODING]);
            assert_eq!(bytes(sent), packed);
            let again = find(&files, "a", &known).unwrap();
            assert!(again.status() == 304 && again.body().is_empty());
            assert!(find(&files, "b", &gzip).is_none());
        }
    }
}
