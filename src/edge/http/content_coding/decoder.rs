//! Undoes one content coding, in steps whose input and output are bounded.
//!
//! Runs on the I/O threads. Several members in a row form one body, as gzip and zstd define it; `deflate` is decoded
//! also without the zlib header that many clients omit, as aiohttp does. Memory: brotli keeps at most the 16 MiB of its
//! largest window, zstd 8 MiB, gzip 32 KiB, and of these only what has been decoded is ever touched.

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstandard, Operation};

/// Members in a row that a body may have; each costs a new decoder, however small it is.
pub(super) const MAX_MEMBERS: usize = 1024;

/// The largest window of zstd, as a power of two: the 8 MiB up to which RFC 9659 lets senders go.
const WINDOW_LOG: u32 = 23;

/// A content coding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with windows of at most 8 MiB, as RFC 9659 has it.
    Zstandard,
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// Bytes that are not valid in their content coding, or end too early.
    Undecodable,
    /// More bytes between two codings than a body may have.
    TooLarge,
}

/// Undoes one coding of a body.
pub(super) struct Decoder {
    coding: ContentCoding,
    /// What decodes the member that has begun.
    member: Option<Member>,
    members: usize,
    /// Whether nothing can be written before there is more input.
    is_drained: bool,
}

/// Decodes from the first byte of a member to its last.
enum Member {
    Flate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstandard(Zstandard<'static>),
}

/// What a member has done in one step.
struct Step {
    read: usize,
    written: usize,
    has_ended: bool,
}

impl Decoder {
    pub(super) fn new(coding: ContentCoding) -> Self {
        Self { coding, member: None, members: 0, is_drained: true }
    }

    /// As [`BodyDecoder::decode`](super::BodyDecoder::decode), for this coding alone.
    pub(super) fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Option<usize>, DecodeError> {
        if input.is_empty() && self.is_drained {
            return Ok(None);
        }
        let mut member = match self.member.take() {
            Some(begun) => begun,
            None => match input.first() {
                Some(&first) => self.begin_member(first)?,
                None => return Ok(None),
            },
        };
        let step = member.step(input, output)?;
        if !step.has_ended {
            if step.read == 0 && step.written == 0 && !input.is_empty() {
                return Err(DecodeError::Undecodable);
            }
            self.member = Some(member);
        }
        *input = input.get(step.read..).unwrap_or_default();
        self.is_drained = step.has_ended || step.written < output.len();
        Ok(Some(step.written))
    }

    fn begin_member(&mut self, first: u8) -> Result<Member, DecodeError> {
        // There is no such thing as several members of brotli.
        let most = if self.coding == ContentCoding::Brotli { 1 } else { MAX_MEMBERS };
        if self.members >= most {
            return Err(DecodeError::Undecodable);
        }
        self.members += 1;
        Ok(match self.coding {
            ContentCoding::Gzip => Member::Flate(Decompress::new_gzip(15)),
            // The header begins with the number of the method, which is 8.
            ContentCoding::Deflate => Member::Flate(Decompress::new(first & 0xf == 8)),
            ContentCoding::Brotli => {
                let alloc = StandardAlloc::default;
                // Strict: without the windows of up to 1 GiB that are no part of RFC 7932.
                Member::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            ContentCoding::Zstandard => {
                let mut decoder = Zstandard::new().map_err(|_| DecodeError::Undecodable)?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|_| DecodeError::Undecodable)?;
                Member::Zstandard(decoder)
            }
        })
    }

    /// Whether the body may end here: not within a member.
    pub(super) fn may_end(&self) -> bool {
        self.member.is_none()
    }
}

impl Member {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        match self {
            Self::Flate(member) => {
                let (read, written) = (member.total_in(), member.total_out());
                let status = member.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| DecodeError::Undecodable)?;
                let progress = |count: u64| usize::try_from(count).map_err(|_| DecodeError::Undecodable);
                let (read, written) = (progress(member.total_in() - read)?, progress(member.total_out() - written)?);
                Ok(Step { read, written, has_ended: status == Status::StreamEnd })
            }
            Self::Brotli(state) => {
                let (mut input_left, mut read, mut output_left, mut written) = (input.len(), 0, output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut input_left,
                    &mut read,
                    input,
                    &mut output_left,
                    &mut written,
                    output,
                    &mut 0,
                    state,
                );
                let has_ended = match result {
                    BrotliResult::ResultSuccess => true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => false,
                    BrotliResult::ResultFailure => return Err(DecodeError::Undecodable),
                };
                Ok(Step { read, written, has_ended })
            }
            Self::Zstandard(decoder) => {
                let status = decoder.run_on_buffers(input, output).map_err(|_| DecodeError::Undecodable)?;
                let (read, written) = (status.bytes_read, status.bytes_written);
                Ok(Step { read, written, has_ended: status.remaining == 0 })
            }
        }
    }
}
