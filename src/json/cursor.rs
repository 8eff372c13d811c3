//! A buffer to append to without a check for each byte: room is made once for a whole item, and the type of a
//! [`Cursor`] counts at compile time how much of it is left.
//!
//! Pure functions on memory. All of them are sound whatever their callers do, for three reasons: a cursor belongs to
//! one buffer, because the two share a lifetime that nothing else has; there is one cursor at a time, because it cannot
//! be copied; and whatever may move the bytes takes the cursor and gives a new one. Caveat: what was written counts
//! only when [`Buffer::finish`] gets the cursor back.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::block::{BLOCK, Block};

/// What every writer of a value leaves free behind it, for the separator or the bracket.
pub(super) const AFTER_VALUE: usize = 8;

/// A lifetime that only equals itself, so that it can stand for one buffer.
type Brand<'id> = PhantomData<fn(&'id ()) -> &'id ()>;

/// Where the next byte of the buffer `'id` goes.
///
/// Invariants: it lies in the buffer's allocation, which has `ROOM` bytes or more from here on, and every byte before
/// it has been written.
#[repr(transparent)]
pub(super) struct Cursor<'id, const ROOM: usize> {
    next: NonNull<u8>,
    buffer: Brand<'id>,
}

/// A vector that is appended to through a cursor.
pub(super) struct Buffer<'id, 'out> {
    out: &'out mut Vec<u8>,
    /// The address of the end of the allocation.
    end: usize,
    brand: Brand<'id>,
}

impl<'id, const ROOM: usize> Cursor<'id, ROOM> {
    /// Passes `length` bytes.
    ///
    /// # Safety
    /// `length + LEFT` must be at most the room, and the bytes that are passed be written.
    #[inline]
    unsafe fn advance<const LEFT: usize>(self, length: usize) -> Cursor<'id, LEFT> {
        // SAFETY: the room belongs to the allocation.
        Cursor { next: unsafe { self.next.add(length) }, buffer: PhantomData }
    }

    /// The same place, with a part of the room.
    #[inline]
    pub(super) fn limit<const LEFT: usize>(self) -> Cursor<'id, LEFT> {
        const { assert!(ROOM >= LEFT) };
        Cursor { next: self.next, buffer: PhantomData }
    }

    /// Writes the first `length` of `bytes`, or all of them if there are no more.
    #[inline]
    pub(super) fn put<const N: usize, const LEFT: usize>(self, bytes: [u8; N], length: usize) -> Cursor<'id, LEFT> {
        const { assert!(ROOM >= N + LEFT) };
        // SAFETY: there is room for all of `bytes`, and no more than these are passed.
        unsafe {
            self.next.cast().write(bytes);
            self.advance(length.min(N))
        }
    }

    /// Writes one byte.
    #[inline]
    pub(super) fn put_byte<const LEFT: usize>(self, byte: u8) -> Cursor<'id, LEFT> {
        self.put([byte], 1)
    }

    /// Writes the first `length` of `bytes`, or all of them if there are no more, and `last`.
    #[inline]
    pub(super) fn put_and<const N: usize, const LEFT: usize>(
        self,
        bytes: [u8; N],
        length: usize,
        last: u8,
    ) -> Cursor<'id, LEFT> {
        const { assert!(ROOM >= N + 1 + LEFT) };
        let length = length.min(N);
        // SAFETY: there is room for all of `bytes` and one more, and no more than these are passed.
        unsafe {
            self.next.cast().write(bytes);
            self.next.add(length).write(last);
            self.advance(length + 1)
        }
    }

    /// Writes the `length` bytes, 8 to 16, that begin with `head` and end with `tail`, and `last`.
    #[inline]
    pub(super) fn put_ends_and<const LEFT: usize>(
        self,
        head: [u8; 8],
        tail: [u8; 8],
        length: usize,
        last: u8,
    ) -> Cursor<'id, LEFT> {
        const { assert!(ROOM >= 16 + 1 + LEFT) };
        let length = length.clamp(8, 16);
        // SAFETY: there is room for the sixteen bytes that both have together and one more, and all that are passed are
        // written: `tail` begins before the end of `head` or at it.
        unsafe {
            self.next.cast().write(head);
            self.next.add(length - 8).cast().write(tail);
            self.next.add(length).write(last);
            self.advance(length + 1)
        }
    }

    /// Writes a finite float as the crate `zmij` lays it out, where it belongs: to copy what was stored a moment ago in
    /// parts of another size takes longer than the digits themselves.
    #[inline]
    pub(super) fn put_finite<const LEFT: usize>(self, value: f64) -> Cursor<'id, LEFT> {
        const { assert!(align_of::<zmij::Buffer>() == 1 && ROOM >= size_of::<zmij::Buffer>() + LEFT) };
        // SAFETY: a `Buffer` may stand at any address and fits into the room, which nothing else refers to. The text is
        // inside it; it is moved to the front in case it should not begin there, and is all that is passed.
        unsafe {
            let buffer = self.next.cast::<zmij::Buffer>();
            buffer.write(zmij::Buffer::new());
            let text = (*buffer.as_ptr()).format_finite(value);
            let (start, length) = (text.as_ptr(), text.len());
            if start != self.next.as_ptr().cast_const() {
                ptr::copy(start, self.next.as_ptr(), length);
            }
            self.advance(length)
        }
    }
}

/// Appends to `out` what `write` writes into `ROOM` bytes.
#[inline]
pub(super) fn append<const ROOM: usize, const LEFT: usize>(
    out: &mut Vec<u8>,
    write: impl for<'id> FnOnce(Cursor<'id, ROOM>) -> Cursor<'id, LEFT>,
) {
    with_buffer(out, |mut buffer, cursor| buffer.finish(write(cursor)));
}

/// Calls `write` with `out` as a buffer and with its cursor.
#[inline]
pub(super) fn with_buffer<'out, const ROOM: usize, R>(
    out: &'out mut Vec<u8>,
    write: impl for<'id> FnOnce(Buffer<'id, 'out>, Cursor<'id, ROOM>) -> R,
) -> R {
    let mut buffer = Buffer { out, end: 0, brand: PhantomData };
    let cursor = buffer.begin(ROOM);
    write(buffer, cursor)
}

impl<'id> Buffer<'id, '_> {
    /// Makes room for `room` bytes behind those that count, which is to be `ROOM` at least.
    fn begin<const ROOM: usize>(&mut self, room: usize) -> Cursor<'id, ROOM> {
        self.out.reserve(room.max(ROOM));
        self.end = self.out.as_ptr().addr() + self.out.capacity();
        // SAFETY: a vector's pointer is never null, its length lies within what it has allocated, and the bytes before
        // it have been written.
        let next = unsafe { NonNull::new_unchecked(self.out.as_mut_ptr()).add(self.out.len()) };
        Cursor { next, buffer: PhantomData }
    }

    /// How many bytes lie before the cursor.
    #[inline]
    pub(super) fn offset<const ROOM: usize>(&self, cursor: &Cursor<'id, ROOM>) -> usize {
        cursor.next.addr().get() - self.out.as_ptr().addr()
    }

    /// Lets all bytes before the cursor count.
    #[inline]
    pub(super) fn finish<const ROOM: usize>(&mut self, cursor: Cursor<'id, ROOM>) {
        let length = self.offset(&cursor);
        // SAFETY: the cursor lies in the allocation of `out`, and all before it has been written.
        unsafe { self.out.set_len(length) };
    }

    /// Lets `write` append to the vector itself.
    #[inline]
    pub(super) fn append<const HAVE: usize, const ROOM: usize>(
        &mut self,
        cursor: Cursor<'id, HAVE>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Cursor<'id, ROOM> {
        self.finish(cursor);
        write(self.out);
        self.begin(ROOM)
    }

    /// Makes room for `ROOM` bytes.
    #[inline]
    pub(super) fn reserve<const HAVE: usize, const ROOM: usize>(
        &mut self,
        cursor: Cursor<'id, HAVE>,
    ) -> Cursor<'id, ROOM> {
        self.reserve_more(cursor, 0)
    }

    /// Makes room for `ROOM` and `more` bytes.
    #[inline]
    fn reserve_more<const HAVE: usize, const ROOM: usize>(
        &mut self,
        cursor: Cursor<'id, HAVE>,
        more: usize,
    ) -> Cursor<'id, ROOM> {
        if self.end - cursor.next.addr().get() < ROOM + more {
            self.finish(cursor);
            return self.grow(ROOM + more);
        }
        Cursor { next: cursor.next, buffer: PhantomData }
    }

    /// Makes more room than is needed now, so that this is rare.
    #[cold]
    #[inline(never)]
    fn grow<const ROOM: usize>(&mut self, room: usize) -> Cursor<'id, ROOM> {
        self.begin(room + 2 * BLOCK)
    }

    /// Goes back by `length` bytes, or to the beginning if there are fewer.
    #[inline]
    pub(super) fn back<const ROOM: usize>(&self, cursor: Cursor<'id, ROOM>, length: usize) -> Cursor<'id, ROOM> {
        let length = length.min(self.offset(&cursor));
        // SAFETY: as many bytes of the same allocation lie before the cursor.
        Cursor { next: unsafe { cursor.next.sub(length) }, buffer: PhantomData }
    }

    /// Writes `bytes`, a block of them at least, and `last`, unless `is_wanted` rejects one of the blocks; then the
    /// cursor comes back as the error.
    #[inline]
    pub(super) fn put_blocks_and<const HAVE: usize, const LEFT: usize>(
        &mut self,
        cursor: Cursor<'id, HAVE>,
        bytes: &[u8],
        last: u8,
        is_wanted: impl Fn(Block) -> bool,
    ) -> Result<Cursor<'id, LEFT>, Cursor<'id, LEFT>> {
        let cursor: Cursor<'id, LEFT> = self.reserve_more(cursor, bytes.len() + 1);
        let Some(end) = bytes.len().checked_sub(BLOCK) else { return Err(cursor) };
        let mut at = 0;
        // SAFETY: `bytes` has `end + BLOCK` bytes and the room one more; the blocks from 0 to `end` are read and
        // written. With the one at `end` and `last` all that are passed are written.
        unsafe {
            let (from, to) = (bytes.as_ptr(), cursor.next);
            while at < end {
                let block = from.add(at).cast::<Block>().read();
                if !is_wanted(block) {
                    return Err(cursor);
                }
                to.add(at).cast::<Block>().write(block);
                at += BLOCK;
            }
            let block = from.add(end).cast::<Block>().read();
            if !is_wanted(block) {
                return Err(cursor);
            }
            to.add(end).cast::<Block>().write(block);
            to.add(bytes.len()).write(last);
            Ok(cursor.advance(bytes.len() + 1))
        }
    }
}

/// The most bytes of a [`Tokens`] entry.
pub(super) const TOKEN_ROOM: usize = 32;
/// How many entries [`Tokens`] has: one for each bit of `filled`.
pub(super) const SLOTS: usize = u32::BITS as usize;

/// Short texts that were written before, each under an address, to be written again by one copy.
pub(super) struct Tokens {
    /// A bit for each slot that has been written in all three arrays.
    filled: u32,
    addresses: [MaybeUninit<usize>; SLOTS],
    lengths: [MaybeUninit<u8>; SLOTS],
    texts: [MaybeUninit<Token>; SLOTS],
}

/// Of these bytes only as many have been written as the length says.
type Token = [MaybeUninit<u8>; TOKEN_ROOM];

impl Tokens {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            filled: 0,
            addresses: [MaybeUninit::uninit(); SLOTS],
            lengths: [MaybeUninit::uninit(); SLOTS],
            texts: [MaybeUninit::uninit(); SLOTS],
        }
    }

    /// Writes the text in `slot` if it is there under `address`; else the cursor comes back as the error.
    #[inline]
    pub(super) fn put<'id, const ROOM: usize, const LEFT: usize>(
        &self,
        slot: usize,
        address: usize,
        cursor: Cursor<'id, ROOM>,
    ) -> Result<Cursor<'id, LEFT>, Cursor<'id, ROOM>> {
        const { assert!(ROOM >= TOKEN_ROOM + LEFT) };
        let slot = slot % SLOTS;
        // SAFETY: what is marked as filled has been written by `keep`. There is room for a token; as many of its bytes
        // as are passed have been written, and that is no more than it has.
        unsafe {
            if self.filled & (1 << slot) == 0 || self.addresses[slot].assume_init() != address {
                return Err(cursor);
            }
            cursor.next.cast().write(self.texts[slot]);
            Ok(cursor.advance(usize::from(self.lengths[slot].assume_init())))
        }
    }

    /// Keeps the bytes from `start` to the cursor under `address`, unless they are too many.
    #[inline]
    pub(super) fn keep<'id, const ROOM: usize>(
        &mut self,
        slot: usize,
        address: usize,
        buffer: &Buffer<'id, '_>,
        start: usize,
        cursor: &Cursor<'id, ROOM>,
    ) {
        const { assert!(ROOM >= TOKEN_ROOM) };
        let slot = slot % SLOTS;
        let Some(length) = buffer.offset(cursor).checked_sub(start).filter(|length| *length <= TOKEN_ROOM) else {
            return;
        };
        self.filled |= 1 << slot;
        self.addresses[slot].write(address);
        #[expect(clippy::cast_possible_truncation)] // TOKEN_ROOM at most
        self.lengths[slot].write(length as u8);
        // SAFETY: `length` bytes lie before the cursor, all of them written, and `TOKEN_ROOM` behind it, so that a
        // whole token can be copied; those of its bytes that have not been written may be so.
        unsafe { self.texts[slot].write(cursor.next.sub(length).cast::<Token>().read()) };
    }
}
