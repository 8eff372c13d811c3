//! The writer of values that are made of exactly the built-in types, which is nearly all that is ever written.
//!
//! No Python code can run in it, so nothing it looks at can change or go away: it works on borrowed pointers, knows
//! which keys it has met before, and recurses, to a bounded depth. At the first object that may need code to run, or
//! lies too deep, it stops: the containers it is inside of are then held and handed over, to be gone on with later.
//! Caveat: all of this is true only while the interpreter lock is held and none of its functions calls back.

use std::ops::Range;
use std::{ptr, slice};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::cursor::{Cursor, behind, end_at, end_of, offset_of};
use super::frame::{Entries, Frame};
use super::integer::machine_integer;
use super::keys::{Keys, TOKEN_ROOM};
use super::layout::{Ascii, ascii};
use super::number::{NUMBER_ROOM, put_float, put_integer};
use super::text::{BLOCK, STRING_ROOM, put_if_plain, write_bytes, write_wide};

/// How many containers inside each other are walked by recursion, which takes some hundred bytes of stack each.
const LEVELS: usize = 64;
const SEPARATOR: [u8; 2] = *b", ";
const COLON: [u8; 2] = *b": ";
/// What is left behind each value, for the separator or the bracket.
const ROOM_AFTER: usize = 8;
/// The room for a value that makes none itself: a number, a text shorter than a block, the bracket of a container.
const VALUE_ROOM: usize = ROOM_AFTER + if NUMBER_ROOM > SHORT_ROOM { NUMBER_ROOM } else { SHORT_ROOM };
const SHORT_ROOM: usize = BLOCK + STRING_ROOM;
/// The room for an item: a key that makes none itself, and a value.
const ROOM: usize = VALUE_ROOM + COLON.len() + if TOKEN_ROOM > SHORT_ROOM { TOKEN_ROOM } else { SHORT_ROOM };

/// What the writer stopped for.
pub(super) enum Suspend<'py> {
    /// An object it does not write, or not at this depth.
    Item(Bound<'py, PyAny>),
    /// An entry with a key that is not exactly a str, or is one that C code left unready.
    Entry(Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// A dict with entries beyond the size it had at first.
    KeysChanged,
    /// Something that `items()` gave and is no pair.
    NoPair,
}

/// How far the walk of a container got.
pub(super) enum Resume {
    Sequence {
        next: usize,
    },
    /// A list that `items()` of a dict subclass gave.
    Items {
        next: usize,
    },
    Dict(Entries),
}

/// Appends the value `object`, or as much of it as can be before the first object that the writer does not write. In
/// that case `open` gets the containers around it; it may hold `depth` in all.
///
/// # Safety
/// `object` must be alive.
#[inline]
pub(super) unsafe fn write<'py>(
    py: Python<'py>,
    out: &mut Vec<u8>,
    open: &mut Vec<Frame<'py>>,
    object: *mut ffi::PyObject,
    depth: usize,
) -> Option<Suspend<'py>> {
    let levels = depth.saturating_sub(open.len()).min(LEVELS);
    // SAFETY: the caller vouches for the object.
    unsafe { run(py, out, open, |writer, place| writer.value(place, object, levels)) }
}

/// Appends the rest of a container, its closing bracket included, and else does what [`write()`] does.
///
/// # Safety
/// `container` must be a live list, tuple or dict, and `rest` fit to that.
pub(super) unsafe fn write_rest<'py>(
    py: Python<'py>,
    out: &mut Vec<u8>,
    open: &mut Vec<Frame<'py>>,
    container: *mut ffi::PyObject,
    rest: Resume,
    depth: usize,
) -> Option<Suspend<'py>> {
    let levels = depth.saturating_sub(open.len()).min(LEVELS).saturating_sub(1);
    // SAFETY: the caller vouches for the container.
    unsafe {
        run(py, out, open, |writer, place| match rest {
            Resume::Sequence { next } => {
                let place = if next > 0 { separate(place) } else { place };
                writer.sequence(place, container, next, levels)
            }
            Resume::Items { next } => {
                let place = if next > 0 { separate(place) } else { place };
                writer.items(place, container, next, levels)
            }
            Resume::Dict(entries) => {
                let place = if entries.written > 0 { separate(place) } else { place };
                writer.dict(place, container, entries, levels)
            }
        })
    }
}

/// Lets `write` begin behind what is in `out`, and makes what it wrote count.
///
/// # Safety
/// `write` must do as told for [`Writer`].
#[inline]
unsafe fn run<'py, 'a>(
    py: Python<'py>,
    out: &'a mut Vec<u8>,
    open: &'a mut Vec<Frame<'py>>,
    write: impl FnOnce(&mut Writer<'py, 'a>, Cursor) -> Option<Cursor>,
) -> Option<Suspend<'py>> {
    let outside = open.len();
    let place = behind(out, ROOM);
    let mut writer = Writer { py, end: end_of(out), out, open, keys: Keys::new(), stop: None };
    if let Some(end) = write(&mut writer, place) {
        // SAFETY: the writer wrote all bytes up to there, and had made room for them.
        unsafe { end_at(writer.out, end) };
        return None;
    }
    // They were left innermost first.
    writer.open[outside..].reverse();
    writer.stop
}

/// Writes what stands between two items.
///
/// # Safety
/// [`ROOM_AFTER`] bytes from `place` on must be free to write to.
#[inline]
unsafe fn separate(place: Cursor) -> Cursor {
    // SAFETY: the callers have room for it.
    unsafe {
        place.cast().write(SEPARATOR);
        place.add(SEPARATOR.len())
    }
}

struct Writer<'py, 'a> {
    py: Python<'py>,
    out: &'a mut Vec<u8>,
    /// The end of the room behind `out`.
    end: Cursor,
    open: &'a mut Vec<Frame<'py>>,
    keys: Keys,
    stop: Option<Suspend<'py>>,
}

/// All are sound only for objects that are alive, and while no Python code runs from the making of the writer to its end.
/// Those that write need room from `place` on, as told for each, with all before it written, and give the place behind
/// what they wrote, with [`ROOM_AFTER`] left; or nothing once the writer has stopped, with all that is written counted in
/// `out`.
impl<'py> Writer<'py, '_> {
    /// Writes a value with at most `levels` containers inside each other; needs [`VALUE_ROOM`].
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[expect(clippy::inline_always)] // or each scalar costs a call
    #[inline(always)]
    unsafe fn value(&mut self, place: Cursor, object: *mut ffi::PyObject, levels: usize) -> Option<Cursor> {
        // SAFETY: the object is alive, and each access follows a check of the exact type. No scalar takes more than the
        // room there is.
        unsafe {
            let kind = ffi::Py_TYPE(object);
            if kind == &raw mut ffi::PyUnicode_Type {
                return self.text(place, object);
            }
            if kind == &raw mut ffi::PyLong_Type {
                return match machine_integer(object) {
                    Some(value) => Some(put_integer(place, value)),
                    None => self.stop_at(place, object),
                };
            }
            if kind == &raw mut ffi::PyFloat_Type {
                return Some(put_float(place, ffi::PyFloat_AS_DOUBLE(object)));
            }
            if object == ffi::Py_None() {
                place.cast::<[u8; 4]>().write(*b"null");
                return Some(place.add(4));
            }
            if object == ffi::Py_True() {
                place.cast::<[u8; 4]>().write(*b"true");
                return Some(place.add(4));
            }
            if object == ffi::Py_False() {
                place.cast::<[u8; 8]>().write(*b"false   ");
                return Some(place.add(5));
            }
            if levels == 0 {
                return self.stop_at(place, object);
            }
            if kind == &raw mut ffi::PyDict_Type {
                let size = (*object.cast::<ffi::PyDictObject>()).ma_used.cast_unsigned();
                place.write(b'{');
                self.dict(place.add(1), object, Entries { position: 0, written: 0, size }, levels - 1)
            } else if kind == &raw mut ffi::PyList_Type || kind == &raw mut ffi::PyTuple_Type {
                place.write(b'[');
                self.sequence(place.add(1), object, 0, levels - 1)
            } else {
                self.stop_at(place, object)
            }
        }
    }

    /// Writes a str; needs [`VALUE_ROOM`].
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[inline]
    unsafe fn text(&mut self, mut place: Cursor, text: *mut ffi::PyObject) -> Option<Cursor> {
        // SAFETY: a live str, for which there is room, or room is made.
        unsafe {
            if let Some(Ascii { data, length }) = ascii(text) {
                if length >= BLOCK {
                    place = self.with_room(place, length + STRING_ROOM + ROOM_AFTER);
                }
                return put_if_plain(place, data, length).or_else(|| self.escaped_text(place, data, length));
            }
            self.unusual_text(place, text)
        }
    }

    /// Writes a str of ASCII that needs escapes.
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[inline(never)]
    unsafe fn escaped_text(&mut self, place: Cursor, data: *const u8, length: usize) -> Option<Cursor> {
        // SAFETY: all up to `place` is written, and the caller took the bytes out of a live str.
        unsafe {
            end_at(self.out, place);
            write_bytes(self.out, slice::from_raw_parts(data, length));
        }
        Some(self.behind(ROOM))
    }

    /// Writes a str that is not ASCII.
    #[inline(never)]
    unsafe fn unusual_text(&mut self, place: Cursor, text: *mut ffi::PyObject) -> Option<Cursor> {
        // SAFETY: all up to `place` is written; a live str.
        unsafe {
            end_at(self.out, place);
            if !write_wide(self.out, text) {
                return self.stop_at(place, text);
            }
        }
        Some(self.behind(ROOM))
    }

    /// Writes the items of a list or tuple from `next` on, and the bracket.
    #[inline(never)]
    unsafe fn sequence(
        &mut self,
        mut place: Cursor,
        sequence: *mut ffi::PyObject,
        mut next: usize,
        levels: usize,
    ) -> Option<Cursor> {
        // SAFETY: a live list or tuple, of which neither the size nor the items change while no code runs. A separator
        // precedes the place if there was an item.
        unsafe {
            let size = ffi::Py_SIZE(sequence).cast_unsigned();
            let items: *const *mut ffi::PyObject = if ffi::PyList_Check(sequence) != 0 {
                (*sequence.cast::<ffi::PyListObject>()).ob_item
            } else {
                (&raw const (*sequence.cast::<ffi::PyTupleObject>()).ob_item).cast()
            };
            while next < size {
                place = self.with_room(place, ROOM);
                let item = *items.add(next);
                next += 1;
                let Some(end) = self.value(place, item, levels) else {
                    return self.hold_sequence(sequence, next);
                };
                place = separate(end);
            }
            Some(self.close(place, next > 0, b']'))
        }
    }

    /// Writes the entries of a dict after those that are written, and the bracket.
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[inline(never)]
    unsafe fn dict(
        &mut self,
        mut place: Cursor,
        dict: *mut ffi::PyObject,
        entries: Entries,
        levels: usize,
    ) -> Option<Cursor> {
        let Entries { mut position, mut written, size } = entries;
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a live dict and valid out-pointers; key and value are alive while no code runs. PyDict_Next bears a
        // dict that was changed before. A separator precedes the place if there was an entry.
        unsafe {
            while written < size && ffi::PyDict_Next(dict, &raw mut position, &raw mut key, &raw mut value) != 0 {
                place = self.with_room(place, ROOM);
                written += 1;
                match self.entry(place, key, value, written, levels) {
                    Ok(end) => place = separate(end),
                    Err(span) => return self.hold_dict(dict, Entries { position, written, size }, span),
                }
            }
            // A dict that swaps keys for others while code runs would keep us here for ever.
            if entries.written > 0
                && written == size
                && ffi::PyDict_Next(dict, &raw mut position, &raw mut key, &raw mut value) != 0
            {
                end_at(self.out, place);
                self.stop = Some(Suspend::KeysChanged);
                return self.hold_dict(dict, Entries { position, written, size }, 0..0);
            }
            Some(self.close(place, written > 0, b'}'))
        }
    }

    /// Writes the entries that `items()` gave, from `next` on, and the bracket.
    ///
    /// # Safety
    /// As told for all functions of the writer.
    unsafe fn items(
        &mut self,
        mut place: Cursor,
        items: *mut ffi::PyObject,
        mut next: usize,
        levels: usize,
    ) -> Option<Cursor> {
        // SAFETY: a live list, and as for `sequence`; each of its items that is looked into is a tuple of two.
        unsafe {
            while next < ffi::PyList_GET_SIZE(items).cast_unsigned() {
                place = self.with_room(place, ROOM);
                let pair = ffi::PyList_GET_ITEM(items, next.cast_signed());
                if ffi::PyTuple_Check(pair) == 0 || ffi::PyTuple_GET_SIZE(pair) != 2 {
                    end_at(self.out, place);
                    self.stop = Some(Suspend::NoPair);
                    return self.hold_items(items, next, 0..0);
                }
                next += 1;
                let [key, value] = [0, 1].map(|index| ffi::PyTuple_GET_ITEM(pair, index));
                match self.entry(place, key, value, next, levels) {
                    Ok(end) => place = separate(end),
                    Err(span) => return self.hold_items(items, next, span),
                }
            }
            Some(self.close(place, next > 0, b'}'))
        }
    }

    /// Writes a key and its value; needs [`ROOM`]. Once stopped, gives the place of the key in `out` if it is written.
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[expect(clippy::inline_always)] // or each entry costs a call
    #[inline(always)]
    unsafe fn entry(
        &mut self,
        place: Cursor,
        key: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
        index: usize,
        levels: usize,
    ) -> Result<Cursor, Range<usize>> {
        // SAFETY: both are alive; there is room, and what precedes `place` is written.
        unsafe {
            let start = offset_of(self.out, place);
            let Some(behind_key) = self.key(place, key, Keys::slot(index, levels)) else {
                let [key, value] = [key, value].map(|object| Bound::from_borrowed_ptr(self.py, object));
                self.stop = Some(Suspend::Entry(key, value));
                return Err(0..0);
            };
            let end = offset_of(self.out, behind_key) - COLON.len();
            self.value(behind_key, value, levels).ok_or(start..end)
        }
    }

    /// Writes a key and what follows it, if it is a ready str; needs [`ROOM`] and leaves [`VALUE_ROOM`].
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[inline]
    unsafe fn key(&mut self, place: Cursor, key: *mut ffi::PyObject, slot: usize) -> Option<Cursor> {
        // SAFETY: there is room.
        unsafe { self.keys.put(slot, place, key).or_else(|| self.new_key(place, key, slot)) }
    }

    /// Does what [`Self::key`] does for a key that is not known, and keeps it.
    #[inline]
    unsafe fn new_key(&mut self, mut place: Cursor, key: *mut ffi::PyObject, slot: usize) -> Option<Cursor> {
        // SAFETY: a live object, and a str where it is taken for one; room is made where there is less than it takes.
        unsafe {
            if ffi::PyUnicode_CheckExact(key) == 0 {
                end_at(self.out, place);
                return None;
            }
            let characters = ascii(key);
            if let Some(Ascii { data, length }) = characters {
                if length >= BLOCK {
                    place = self.with_room(place, length + STRING_ROOM + COLON.len() + VALUE_ROOM);
                }
                if let Some(end) = put_if_plain(place, data, length) {
                    end.cast().write(COLON);
                    let end = end.add(COLON.len());
                    self.keys.keep(slot, key, place, end);
                    return Some(end);
                }
            }
            let end = match characters {
                Some(Ascii { data, length }) => self.escaped_text(place, data, length),
                None => self.unusual_text(place, key),
            }?;
            end.cast().write(COLON);
            Some(end.add(COLON.len()))
        }
    }

    /// Puts a closing bracket in the place of the separator, if there is one.
    ///
    /// # Safety
    /// As told for all functions of the writer.
    #[inline]
    unsafe fn close(&mut self, place: Cursor, separated: bool, bracket: u8) -> Cursor {
        // SAFETY: the caller tells whether there is a separator; the room for it, or for the first item, is free.
        unsafe {
            let place = if separated { place.sub(SEPARATOR.len()) } else { place };
            place.write(bracket);
            self.with_room(place.add(1), ROOM_AFTER)
        }
    }

    /// The place itself, or where it went to have `room` bytes, which are no fewer than are asked for elsewhere.
    #[inline]
    unsafe fn with_room(&mut self, place: Cursor, room: usize) -> Cursor {
        if self.end.addr().get() - place.addr().get() < room {
            // SAFETY: the caller has written all up to there.
            unsafe { end_at(self.out, place) };
            return self.grow(room);
        }
        place
    }

    /// Makes room for at least as much as any item needs.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, room: usize) -> Cursor {
        self.behind(room + ROOM)
    }

    /// The place behind what is counted in `out`.
    fn behind(&mut self, room: usize) -> Cursor {
        let place = behind(self.out, room);
        self.end = end_of(self.out);
        place
    }

    /// # Safety
    /// As told for all functions of the writer.
    #[cold]
    unsafe fn stop_at(&mut self, place: Cursor, object: *mut ffi::PyObject) -> Option<Cursor> {
        // SAFETY: the caller has written all up to there, and the object is alive.
        unsafe {
            end_at(self.out, place);
            self.stop = Some(Suspend::Item(Bound::from_borrowed_ptr(self.py, object)));
        }
        None
    }

    #[cold]
    unsafe fn hold_sequence(&mut self, sequence: *mut ffi::PyObject, next: usize) -> Option<Cursor> {
        // SAFETY: a live list or tuple.
        let sequence: Bound<'py, PyAny> = unsafe { Bound::from_borrowed_ptr(self.py, sequence) };
        self.open.push(match sequence.cast_into::<PyList>() {
            Ok(list) => Frame::List { list, next },
            // SAFETY: it is one or the other.
            Err(error) => Frame::Tuple { tuple: unsafe { error.into_inner().cast_into_unchecked() }, next },
        });
        None
    }

    #[cold]
    unsafe fn hold_dict(&mut self, dict: *mut ffi::PyObject, entries: Entries, key: Range<usize>) -> Option<Cursor> {
        // SAFETY: a live dict.
        let dict = unsafe { Bound::from_borrowed_ptr(self.py, dict).cast_into_unchecked() };
        self.open.push(Frame::Dict { dict, entries, key });
        None
    }

    #[cold]
    unsafe fn hold_items(&mut self, items: *mut ffi::PyObject, next: usize, key: Range<usize>) -> Option<Cursor> {
        // SAFETY: a live list.
        let items = unsafe { Bound::from_borrowed_ptr(self.py, items).cast_into_unchecked() };
        self.open.push(Frame::Items { items, next, key });
        None
    }
}
