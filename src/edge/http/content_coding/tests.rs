//! What is decoded, in pieces of any size, and what is refused.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use proptest::prelude::*;

use super::decoder::MAX_MEMBERS;
use super::*;

const TEXT: &[u8] = b"a text, a text, a text, and another text";
const LIMIT: usize = 1 << 20;

fn decoded(codings: &[ContentCoding], input: &[u8], piece: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = BodyDecoder::new(codings, LIMIT).unwrap();
    let mut text = Vec::new();
    for mut piece in input.chunks(piece) {
        let mut output = [0; 7];
        while let Some(written) = decoder.decode(&mut piece, &mut output)? {
            text.extend_from_slice(&output[..written]);
        }
        assert!(piece.is_empty());
    }
    decoder.finish().map(|()| text)
}

fn encoded(coding: ContentCoding, text: &[u8]) -> Vec<u8> {
    match coding {
        ContentCoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        ContentCoding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        ContentCoding::Brotli => {
            let mut whole = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut whole, 4096, 5, 22);
            encoder.write_all(text).unwrap();
            drop(encoder);
            whole
        }
        ContentCoding::Zstandard => zstd::encode_all(text, 3).unwrap(),
    }
}

const ALL: [ContentCoding; 4] =
    [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstandard];

#[test]
fn each_coding_is_decoded_in_pieces_of_any_size() {
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(TEXT).unwrap();
    let bare = bare.finish().unwrap();
    for piece in [1, 3, 1000] {
        for coding in ALL {
            assert_eq!(decoded(&[coding], &encoded(coding, TEXT), piece).unwrap(), TEXT, "{coding:?}");
        }
        assert_eq!(decoded(&[ContentCoding::Deflate], &bare, piece).unwrap(), TEXT);
    }
}

#[test]
fn codings_in_a_row_are_undone_from_the_last_to_the_first() {
    let large: Vec<u8> = (0..100_000_u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
    for text in [TEXT, &large] {
        for first in ALL {
            for second in ALL {
                for third in ALL {
                    let body = encoded(third, &encoded(second, &encoded(first, text)));
                    for piece in [1, 1000, 1_000_000] {
                        if piece > 1 || text.len() < 100 {
                            let seen = decoded(&[first, second, third], &body, piece).unwrap();
                            assert!(seen == text, "{first:?}, {second:?}, {third:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn members_in_a_row_are_one_body_where_the_coding_has_them() {
    for coding in [ContentCoding::Gzip, ContentCoding::Zstandard] {
        let of = |text| encoded(coding, text);
        for piece in [1, 1000] {
            let members = [of(b"a"), of(b""), of(b"b")].concat();
            assert_eq!(decoded(&[coding], &members, piece).unwrap(), b"ab", "{coding:?}");
            assert_eq!(decoded(&[coding], &of(b"").repeat(MAX_MEMBERS), piece).unwrap(), b"");
            let too_many = of(b"").repeat(MAX_MEMBERS + 1);
            assert_eq!(decoded(&[coding], &too_many, piece), Err(DecodeError::Undecodable));
        }
    }
    let brotli = encoded(ContentCoding::Brotli, b"a").repeat(2);
    assert_eq!(decoded(&[ContentCoding::Brotli], &brotli, 1000), Err(DecodeError::Undecodable));
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &encoded(ContentCoding::Zstandard, b"a")];
    for piece in [1, 1000] {
        assert_eq!(decoded(&[ContentCoding::Zstandard], &skippable.concat(), piece).unwrap(), b"a");
    }
}

#[test]
fn what_is_broken_or_cut_short_is_an_error() {
    for coding in ALL {
        let whole = encoded(coding, TEXT);
        for cut in 1..whole.len() {
            assert_eq!(decoded(&[coding], &whole[..cut], 1000), Err(DecodeError::Undecodable), "{coding:?} {cut}");
        }
        assert_eq!(decoded(&[coding], &[&whole[..], b"more"].concat(), 1000), Err(DecodeError::Undecodable));
        assert_eq!(decoded(&[coding], b"{\"a\": 1}", 1000), Err(DecodeError::Undecodable), "{coding:?}");
        assert_eq!(decoded(&[coding], b"", 1000).unwrap(), b"");
    }
    let mut broken = encoded(ContentCoding::Gzip, TEXT);
    broken[20] ^= 0x55;
    assert_eq!(decoded(&[ContentCoding::Gzip], &broken, 1000), Err(DecodeError::Undecodable));
    // Cut short between two codings.
    let inner = encoded(ContentCoding::Zstandard, TEXT);
    let outer = encoded(ContentCoding::Brotli, &inner[..inner.len() - 1]);
    let codings = [ContentCoding::Zstandard, ContentCoding::Brotli];
    assert_eq!(decoded(&codings, &outer, 1000), Err(DecodeError::Undecodable));
}

#[test]
fn a_window_that_needs_too_much_memory_is_refused() {
    let with_window = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(TEXT).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = [ContentCoding::Zstandard];
    assert_eq!(decoded(&zstd, &with_window(23), 1000).unwrap(), TEXT);
    assert_eq!(decoded(&zstd, &with_window(24), 1000), Err(DecodeError::Undecodable));
    let mut large = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        lgwin: 26,
        large_window: true,
        ..brotli::enc::BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(&mut &TEXT[..], &mut large, &parameters).unwrap();
    assert_eq!(decoded(&[ContentCoding::Brotli], &large, 1000), Err(DecodeError::Undecodable));
}

#[test]
fn what_is_between_two_codings_is_limited() {
    // The name of a file in the head of gzip, which nothing is decoded from.
    let name = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &vec![b'x'; 2 * LIMIT]].concat();
    for outer in [ContentCoding::Brotli, ContentCoding::Zstandard] {
        let body = encoded(outer, &name);
        assert!(body.len() < 1000);
        assert_eq!(decoded(&[ContentCoding::Gzip, outer], &body, 1000), Err(DecodeError::TooLarge));
    }
}

#[test]
fn codings_are_known_by_their_names_in_any_case() {
    let of = |values: &[&'static str]| {
        let lines = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
        ContentCoding::from_headers(&lines.collect())
    };
    let [gzip, deflate, brotli, zstandard] = ALL;
    assert_eq!(of(&["GZip"]), Ok(vec![gzip]));
    assert_eq!(of(&["x-gzip"]), Ok(vec![gzip]));
    assert_eq!(of(&["deflate, BR"]), Ok(vec![deflate, brotli]));
    assert_eq!(of(&["gzip", "identity,", "Zstd"]), Ok(vec![gzip, zstandard]));
    for none in [&[][..], &["identity"], &[""]] {
        assert_eq!(of(none), Ok(vec![]), "{none:?}");
    }
    for other in [&["compress"][..], &["gzip, aws-chunked"], &["gzip gzip"], &["br, br", "br, br"]] {
        assert_eq!(of(other), Err(UnsupportedCoding), "{other:?}");
    }
    assert_eq!(ContentCoding::ACCEPTED, "gzip, deflate, br, zstd");
}

proptest! {
    #[test]
    fn a_body_in_which_bytes_have_changed_ends_in_a_text_or_an_error(
        coding in 0..4_usize, changes in proptest::collection::vec((0..200_usize, any::<u8>()), 1..4),
    ) {
        let mut body = encoded(ALL[coding], &TEXT.repeat(20));
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        for piece in [1, 1000] {
            let _ = decoded(&[ALL[coding]], &body, piece);
        }
    }

    #[test]
    fn any_bytes_end_in_a_text_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), codings in proptest::collection::vec(0..4_usize, 1..4),
    ) {
        let codings: Vec<_> = codings.into_iter().map(|number| ALL[number]).collect();
        for piece in [1, 1000] {
            let _ = decoded(&codings, &bytes, piece);
        }
    }
}
