//! Compresses one body, in pieces.
//!
//! Runs on the I/O threads, so the levels are cheap ones. Promise: what is written before [`Encoder::flush`] can be
//! decoded from what [`Encoder::take`] gives after it. Caveat: while its body is
//! sent, an encoder takes memory: 0.3 MiB for gzip, 0.6 for zstd, 1.4 for brotli.

use std::fmt;
use std::io::Write;
use std::mem;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::edge::http::accept_encoding::Coding;

/// Of gzip's nine levels: with zlib-rs, the next one takes half as long again for a few per cent.
const GZIP_LEVEL: u32 = 2;

/// Of brotli's eleven.
const BROTLI_LEVEL: u32 = 2;

/// The window of brotli, as a power of two: more takes more memory, and long texts gain little.
const BROTLI_WINDOW: u32 = 18;

/// Of zstd's 22.
const ZSTD_LEVEL: i32 = 1;

/// The window of zstd, as a power of two.
const ZSTD_WINDOW: u32 = 18;

/// Bytes that brotli gathers before it writes.
const BROTLI_BUFFER: usize = 4096;

/// What compresses a body, with the compressed bytes that have not been taken.
pub(in crate::edge::http) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstandard(zstd::Encoder<'static, Vec<u8>>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// An encoder for a body that has this many bytes, if that is known. `None` if there is no memory.
    pub(in crate::edge::http) fn new(coding: Coding, length: Option<u64>) -> Option<Self> {
        Some(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_LEVEL, BROTLI_WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstandard => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                // Its tables then have the right size; more or less than that would be an error.
                encoder.set_pledged_src_size(length).ok()?;
                Self::Zstandard(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstandard(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstandard(encoder) => encoder.get_mut(),
        }
    }

    /// All of a body at once.
    pub(in crate::edge::http) fn encode(mut self, bytes: &[u8]) -> Option<Bytes> {
        self.write(bytes)?;
        self.finish()
    }

    /// Compresses `bytes`. `None` if that fails, which it does only without memory, or if there are more than were
    /// announced.
    pub(in crate::edge::http) fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.writer().write_all(bytes).ok()
    }

    /// Has all that was written be decodable.
    pub(in crate::edge::http) fn flush(&mut self) -> Option<()> {
        self.writer().flush().ok()
    }

    /// Compressed bytes that can be taken.
    pub(in crate::edge::http) fn written(&mut self) -> usize {
        self.output().len()
    }

    /// Takes the compressed bytes that there are.
    pub(in crate::edge::http) fn take(&mut self) -> Bytes {
        Bytes::from(mem::take(self.output()))
    }

    /// Ends the body; returns what is left of it.
    pub(in crate::edge::http) fn finish(self) -> Option<Bytes> {
        let rest = match self {
            Self::Gzip(encoder) => encoder.finish().ok()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstandard(encoder) => encoder.finish().ok()?,
        };
        Some(Bytes::from(rest))
    }
}
