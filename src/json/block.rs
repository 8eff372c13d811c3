//! Sixteen bytes of a text at a time: which of them need an escape, which end a string. Pure functions.

/// Bytes that are looked at in one step.
pub(super) const BLOCK: usize = 16;
/// The bytes of one step.
pub(super) type Block = [u8; BLOCK];

/// Whether `json.dumps` escapes the byte.
#[inline]
pub(super) const fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte > b'~' || byte == b'"' || byte == b'\\'
}

/// Whether the byte ends the part of a JSON string that stands for itself.
#[inline]
pub(super) const fn ends_plain(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// The index of the first byte that needs an escape.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn first_escape(block: Block) -> Option<usize> {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86-64; a block is as large as a vector, of which every pattern of bits is one.
    let escapes = unsafe {
        let block = std::mem::transmute::<Block, __m128i>(block);
        let equals = |byte: u8| _mm_cmpeq_epi8(block, _mm_set1_epi8(byte.cast_signed()));
        // Bytes are signed here: those that are not ASCII are below zero.
        let unprintable = _mm_or_si128(_mm_cmplt_epi8(block, _mm_set1_epi8(b' '.cast_signed())), equals(0x7f));
        _mm_movemask_epi8(_mm_or_si128(unprintable, _mm_or_si128(equals(b'"'), equals(b'\\'))))
    };
    (escapes != 0).then(|| escapes.trailing_zeros() as usize)
}

/// The index of the first byte that needs an escape.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn first_escape(block: Block) -> Option<usize> {
    let (words, _) = block.as_chunks::<8>();
    let [low, high] = [words[0], words[1]].map(|word| escape_bits(u64::from_le_bytes(word)));
    let escapes = u128::from(high) << 64 | u128::from(low);
    (escapes != 0).then(|| escapes.trailing_zeros() as usize / 8)
}

/// Sets the top bit of the first byte (from the low end) that needs an escape. Bytes after it may be flagged wrongly,
/// as a subtraction borrows from its neighbour; bytes before it never are.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
const fn escape_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    const fn zero_bytes(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    let delete = zero_bytes(word ^ (ONES * 0x7f));
    (below_space | quote | backslash | delete | word) & TOPS
}

/// A bit for each byte that ends the plain part of a string, and a bit for each that is not ASCII.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn plain_ends_and_wide(block: Block) -> (u32, u32) {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86-64; a block is as large as a vector, of which every pattern of bits is one.
    unsafe {
        let block = std::mem::transmute::<Block, __m128i>(block);
        let equals = |byte: u8| _mm_cmpeq_epi8(block, _mm_set1_epi8(byte.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        let ends = _mm_or_si128(control, _mm_or_si128(equals(b'"'), equals(b'\\')));
        (_mm_movemask_epi8(ends).cast_unsigned(), _mm_movemask_epi8(block).cast_unsigned())
    }
}

/// A bit for each byte that ends the plain part of a string, and a bit for each that is not ASCII.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn plain_ends_and_wide(block: Block) -> (u32, u32) {
    let bits = |is: fn(u8) -> bool| block.iter().rev().fold(0, |bits, &byte| bits << 1 | u32::from(is(byte)));
    (bits(ends_plain), bits(|byte| !byte.is_ascii()))
}
