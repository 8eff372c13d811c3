//! Places in the room behind a buffer's bytes, for writers that make room once and then store without asking.
//!
//! Caveat: what is stored there counts only once [`end_at`] was told how far it goes.

use std::ptr::NonNull;

/// Where the next byte goes.
pub(super) type Cursor = NonNull<u8>;

/// The place behind the bytes of `out`, with at least `room` bytes to write to.
#[inline]
pub(super) fn behind(out: &mut Vec<u8>, room: usize) -> Cursor {
    out.reserve(room);
    // SAFETY: a vector's pointer is never null, and its length lies within what it has allocated.
    unsafe { NonNull::new_unchecked(out.as_mut_ptr()).add(out.len()) }
}

/// How many bytes lie before `place`.
///
/// # Safety
/// `place` must stem from [`behind`] for `out`, which must not have grown since.
#[inline]
pub(super) unsafe fn offset_of(out: &[u8], place: Cursor) -> usize {
    // SAFETY: both point into the allocation of `out`, and places are behind its start.
    unsafe { place.as_ptr().cast_const().offset_from_unsigned(out.as_ptr()) }
}

/// Lets all bytes before `place` count.
///
/// # Safety
/// As for [`offset_of`]; and all bytes from the end of `out` to `place` must have been written.
#[inline]
pub(super) unsafe fn end_at(out: &mut Vec<u8>, place: Cursor) {
    // SAFETY: places lie within the capacity, and the caller has written the bytes.
    unsafe {
        let length = offset_of(out, place);
        out.set_len(length);
    }
}

/// Where the room behind `out` ends.
#[inline]
pub(super) fn end_of(out: &mut Vec<u8>) -> Cursor {
    // SAFETY: a vector's pointer is never null, and its capacity is what it has allocated.
    unsafe { NonNull::new_unchecked(out.as_mut_ptr()).add(out.capacity()) }
}
