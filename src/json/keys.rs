//! The keys that were just written, so that records which share them need not have them escaped anew.
//!
//! Rows of one kind have the same key objects in the same order, so a key is looked for by where it stands alone.
//! Caveat: keys are told apart by their addresses, so this is to be forgotten before any Python code can run.

use std::mem::MaybeUninit;
use std::ptr;

use pyo3::ffi;

use super::cursor::Cursor;

/// The room that a key's token is copied into.
pub(super) const TOKEN_ROOM: usize = 32;
/// How many keys are known at a time: one for each bit of `filled`.
const SLOTS: usize = u32::BITS as usize;
/// Containers inside each other get slots at this distance.
const STRIDE: usize = 8;

/// Tokens, which are keys with all that stands between them and the value: `"name": `.
pub(super) struct Keys {
    filled: u32,
    objects: [MaybeUninit<*mut ffi::PyObject>; SLOTS],
    lengths: [MaybeUninit<u8>; SLOTS],
    tokens: [MaybeUninit<Token>; SLOTS],
}

type Token = [u8; TOKEN_ROOM];

impl Keys {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            filled: 0,
            objects: [MaybeUninit::uninit(); SLOTS],
            lengths: [MaybeUninit::uninit(); SLOTS],
            tokens: [MaybeUninit::uninit(); SLOTS],
        }
    }

    /// The slot of the key at `index` in a dict at `level`.
    #[inline]
    pub(super) const fn slot(index: usize, level: usize) -> usize {
        index.wrapping_add(level.wrapping_mul(STRIDE)) % SLOTS
    }

    /// Writes the token of `key` if it is the one in `slot`, and gives the place behind it.
    ///
    /// # Safety
    /// [`TOKEN_ROOM`] bytes from `place` on must be free to write to.
    #[inline]
    pub(super) unsafe fn put(&self, slot: usize, place: Cursor, key: *mut ffi::PyObject) -> Option<Cursor> {
        let slot = slot % SLOTS;
        // SAFETY: what is marked as filled has been written by `keep`, and the caller vouches for the room.
        unsafe {
            if self.filled & (1 << slot) == 0 || self.objects[slot].assume_init() != key {
                return None;
            }
            place.cast::<MaybeUninit<Token>>().write(self.tokens[slot]);
            Some(place.add(usize::from(self.lengths[slot].assume_init())))
        }
    }

    /// Keeps the token of `key`, which reaches from `start` to `end`, unless it is too long.
    ///
    /// # Safety
    /// Both must be places in the same buffer, and [`TOKEN_ROOM`] bytes from `start` on belong to it.
    #[inline]
    pub(super) unsafe fn keep(&mut self, slot: usize, key: *mut ffi::PyObject, start: Cursor, end: Cursor) {
        let slot = slot % SLOTS;
        // SAFETY: the caller vouches for the places. The bytes behind the token need not have been written, which
        // `MaybeUninit` allows for.
        unsafe {
            let length = end.offset_from_unsigned(start);
            if length > TOKEN_ROOM {
                return;
            }
            self.filled |= 1 << slot;
            self.objects[slot].write(key);
            #[expect(clippy::cast_possible_truncation)] // TOKEN_ROOM at most
            self.lengths[slot].write(length as u8);
            ptr::copy_nonoverlapping(start.as_ptr().cast(), self.tokens[slot].as_mut_ptr(), 1);
        }
    }
}
