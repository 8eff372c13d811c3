//! Compressed request bodies: which codings they have, and how these are undone, piece by piece.
//!
//! Runs on the I/O threads. `gzip`, `deflate`, `br` and `zstd` are decoded, also several in a row, as
//! `Content-Encoding` lists them. Promise: what is between two codings is limited like the body itself, so that no
//! small body costs more memory or time than a large one. Caveat: a body with any other coding is refused, while
//! aiohttp shows it undecoded.

mod decoder;

use std::ops::Range;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use decoder::Decoder;
pub(crate) use decoder::{ContentCoding, DecodeError};

/// Codings that one body may have.
pub(crate) const MAX_CODINGS: usize = 3;

/// Bytes that are kept between two codings.
const BETWEEN: usize = 32 * 1024;

/// A content coding that is not decoded, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnsupportedCoding;

impl ContentCoding {
    /// `Accept-Encoding` of the answer that refuses another one.
    pub(crate) const ACCEPTED: &str = "gzip, deflate, br, zstd";

    fn named(name: &[u8]) -> Option<Self> {
        let is = |one: &str| name.eq_ignore_ascii_case(one.as_bytes());
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else if is("br") {
            Some(Self::Brotli)
        } else if is("zstd") {
            Some(Self::Zstandard)
        } else {
            None
        }
    }

    /// The codings that `headers` declare, in the order in which they were applied; none if the body is to be taken as
    /// it comes.
    ///
    /// # Errors
    ///
    /// For a coding that is not supported, and for more than [`MAX_CODINGS`].
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Vec<Self>, UnsupportedCoding> {
        let mut codings = Vec::new();
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        let names = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
        for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")) {
            codings.push(Self::named(name).filter(|_| codings.len() < MAX_CODINGS).ok_or(UnsupportedCoding)?);
        }
        Ok(codings)
    }
}

/// Undoes all codings of one body.
pub(crate) struct BodyDecoder {
    /// What undoes the coding that was applied first; it comes last.
    last: Decoder,
    /// The others, each with what it has decoded; what was applied last comes first.
    earlier: Vec<Stage>,
    limit: usize,
}

/// Undoes a coding under which there is another.
struct Stage {
    decoder: Decoder,
    decoded: Box<[u8]>,
    /// The bytes of `decoded` that the next one has not taken.
    left: Range<usize>,
    total: usize,
}

impl BodyDecoder {
    /// For a body with these `codings`, of which between two of them there may be `limit` bytes; `None` if there are
    /// no codings.
    pub(crate) fn new(codings: &[ContentCoding], limit: usize) -> Option<Self> {
        let (first, others) = codings.split_first()?;
        let stage = |coding: &ContentCoding| Stage {
            decoder: Decoder::new(*coding),
            decoded: vec![0; BETWEEN].into_boxed_slice(),
            left: 0..0,
            total: 0,
        };
        Some(Self { last: Decoder::new(*first), earlier: others.iter().rev().map(stage).collect(), limit })
    }

    /// Takes bytes off the front of `input` and writes what they stand for to `output`; returns how much that is, which
    /// may be nothing.
    ///
    /// To be called until it returns `None`, which it does when `input` is empty and nothing is left to be written.
    pub(crate) fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Option<usize>, DecodeError> {
        pull(&mut self.earlier, &mut self.last, self.limit, input, output)
    }

    /// An error if the body must not end here.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        let mut decoders = self.earlier.iter().map(|stage| &stage.decoder).chain([&self.last]);
        if decoders.all(Decoder::may_end) { Ok(()) } else { Err(DecodeError::Undecodable) }
    }
}

/// One step: `decoder` decodes what the last of the `earlier` has for it, or that one gets more.
fn pull(
    earlier: &mut [Stage],
    decoder: &mut Decoder,
    limit: usize,
    input: &mut &[u8],
    output: &mut [u8],
) -> Result<Option<usize>, DecodeError> {
    let Some((source, earlier)) = earlier.split_last_mut() else { return decoder.decode(input, output) };
    let mut left = &source.decoded[source.left.clone()];
    let written = decoder.decode(&mut left, output)?;
    source.left.start = source.left.end - left.len();
    if written.is_some() {
        return Ok(written);
    }
    let Some(more) = pull(earlier, &mut source.decoder, limit, input, &mut source.decoded)? else { return Ok(None) };
    source.left = 0..more;
    source.total += more;
    if source.total > limit { Err(DecodeError::TooLarge) } else { Ok(Some(0)) }
}

#[cfg(test)]
mod tests;
