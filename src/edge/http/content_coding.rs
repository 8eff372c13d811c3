//! Compressed request bodies: which codings are decoded, and how, piece by piece.
//!
//! Runs on the I/O threads. `gzip` and `deflate` are decoded, `deflate` also without the zlib header that many clients
//! omit, as aiohttp does; several members in a row form one body. Caveat: bodies with any other coding, or with
//! several, are passed on unchanged, except for `br` and `zstd`, which are refused because aiohttp never shows those
//! undecoded.

use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// Members in a row that a body may have; each costs a new decoder, however small it is.
const MAX_MEMBERS: usize = 1024;

/// A content coding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951.
    Deflate,
}

/// A content coding whose bodies can be neither decoded nor passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnsupportedCoding;

/// Bytes that are not valid in their content coding, or end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

impl ContentCoding {
    /// The coding that `headers` declare; `None` if the body is to be taken as it comes.
    ///
    /// # Errors
    ///
    /// For a coding that is not supported.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, UnsupportedCoding> {
        let mut declared = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(coding), None) = (declared.next(), declared.next()) else { return Ok(None) };
        let coding = coding.as_bytes().trim_ascii();
        let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
        if is(b"gzip") {
            Ok(Some(Self::Gzip))
        } else if is(b"deflate") {
            Ok(Some(Self::Deflate))
        } else if is(b"br") || is(b"zstd") {
            Err(UnsupportedCoding)
        } else {
            Ok(None)
        }
    }
}

/// Decodes one body.
pub(super) struct Decoder {
    coding: ContentCoding,
    /// What decodes the member that has begun.
    member: Option<Decompress>,
    members: usize,
}

impl Decoder {
    pub(super) fn new(coding: ContentCoding) -> Self {
        Self { coding, member: None, members: 0 }
    }

    /// Takes bytes off the front of `input` and writes what they stand for to `output`; returns how much that is.
    ///
    /// To be called until `input` is empty and `output` was not filled.
    pub(super) fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize, Undecodable> {
        let mut member = match self.member.take() {
            Some(begun) => begun,
            None => match input.first() {
                Some(&first) => self.begin_member(first)?,
                None => return Ok(0),
            },
        };
        let (read, written) = (member.total_in(), member.total_out());
        let status = member.decompress(input, output, FlushDecompress::None).map_err(|_| Undecodable)?;
        let (read, written) = (member.total_in() - read, member.total_out() - written);
        let progress = |count: u64| usize::try_from(count).map_err(|_| Undecodable);
        *input = input.get(progress(read)?..).unwrap_or_default();
        if status != Status::StreamEnd {
            if read == 0 && written == 0 && !input.is_empty() {
                return Err(Undecodable);
            }
            self.member = Some(member);
        }
        progress(written)
    }

    fn begin_member(&mut self, first: u8) -> Result<Decompress, Undecodable> {
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(Undecodable);
        }
        Ok(match self.coding {
            ContentCoding::Gzip => Decompress::new_gzip(15),
            // The header begins with the number of the method, which is 8.
            ContentCoding::Deflate => Decompress::new(first & 0xf == 8),
        })
    }

    /// An error if the body must not end here.
    pub(super) fn finish(self) -> Result<(), Undecodable> {
        if self.member.is_none() { Ok(()) } else { Err(Undecodable) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn decoded(coding: ContentCoding, input: &[u8], piece: usize) -> Result<Vec<u8>, Undecodable> {
        let mut decoder = Decoder::new(coding);
        let mut text = Vec::new();
        for mut piece in input.chunks(piece) {
            loop {
                let mut output = [0; 7];
                let written = decoder.decode(&mut piece, &mut output)?;
                text.extend_from_slice(&output[..written]);
                if piece.is_empty() && written < output.len() {
                    break;
                }
            }
        }
        decoder.finish().map(|()| text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    const TEXT: &[u8] = b"a text, a text, a text, and another text";

    #[test]
    fn each_form_is_decoded_in_pieces_of_any_size() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(TEXT).unwrap();
        let (zlib, bare) = (zlib.finish().unwrap(), bare.finish().unwrap());
        for piece in [1, 3, 1000] {
            assert_eq!(decoded(ContentCoding::Gzip, &gzip(TEXT), piece).unwrap(), TEXT);
            assert_eq!(decoded(ContentCoding::Deflate, &zlib, piece).unwrap(), TEXT);
            assert_eq!(decoded(ContentCoding::Deflate, &bare, piece).unwrap(), TEXT);
        }
    }

    #[test]
    fn members_in_a_row_are_one_body() {
        for piece in [1, 1000] {
            let members = [gzip(b"a"), gzip(b""), gzip(b"b")].concat();
            assert_eq!(decoded(ContentCoding::Gzip, &members, piece).unwrap(), b"ab");
            assert_eq!(decoded(ContentCoding::Gzip, &gzip(b"").repeat(MAX_MEMBERS), piece).unwrap(), b"");
            assert_eq!(decoded(ContentCoding::Gzip, &gzip(b"").repeat(MAX_MEMBERS + 1), piece), Err(Undecodable));
        }
    }

    #[test]
    fn what_is_broken_or_cut_short_is_an_error() {
        let whole = gzip(TEXT);
        for cut in 1..whole.len() {
            assert_eq!(decoded(ContentCoding::Gzip, &whole[..cut], 1000), Err(Undecodable), "{cut}");
        }
        let mut broken = whole.clone();
        broken[20] ^= 0x55;
        assert_eq!(decoded(ContentCoding::Gzip, &broken, 1000), Err(Undecodable));
        assert_eq!(decoded(ContentCoding::Gzip, &[&whole[..], b"more"].concat(), 1000), Err(Undecodable));
        assert_eq!(decoded(ContentCoding::Deflate, b"{\"a\": 1}", 1000), Err(Undecodable));
        assert_eq!(decoded(ContentCoding::Gzip, b"", 1000).unwrap(), b"");
    }

    #[test]
    fn only_one_known_coding_is_decoded() {
        let of = |values: &[&'static str]| {
            let lines = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
            ContentCoding::from_headers(&lines.collect())
        };
        assert_eq!(of(&["GZip"]), Ok(Some(ContentCoding::Gzip)));
        assert_eq!(of(&["deflate"]), Ok(Some(ContentCoding::Deflate)));
        for other in [&[][..], &["identity"], &["gzip, gzip"], &["gzip", "gzip"], &["compress"], &[""]] {
            assert_eq!(of(other), Ok(None), "{other:?}");
        }
        assert_eq!((of(&["br"]), of(&["ZSTD"])), (Err(UnsupportedCoding), Err(UnsupportedCoding)));
    }
}
