//! The writer of values that are made of exactly the built-in types, which is nearly all that is ever written.
//!
//! Runs on the Python thread. It runs no Python code, so nothing that it looks at can change or go away: it borrows
//! objects without counting references, remembers which keys it has met before, and recurses, to a bounded depth. At
//! the first object that may need code to run, or lies too deep, it stops: the containers it is inside of are then held
//! and handed over as frames, for the walk to resume later. Caveat: this is true only as long as no function here calls
//! Python or drops a reference; the types of `borrowed` offer no way to.

use std::ops::Range;

use pyo3::prelude::*;

use super::borrowed::{Ascii, Constant, Dict, List, Object, Sequence, Str};
use super::cursor::{AFTER_VALUE, Buffer, Cursor, SLOTS, TOKEN_ROOM, Tokens, with_buffer};
use super::frame::{Entries, Frame};
use super::number::{NUMBER_ROOM, put_float, put_integer};
use super::text::{SHORT_TEXT_ROOM, finish_latin1, put_text, write_string};

/// How many containers inside each other are walked by recursion, which takes some hundred bytes of stack each.
const LEVELS: usize = 64;
/// The keys of containers inside each other get slots at this distance.
const STRIDE: usize = 8;
const SEPARATOR: [u8; 2] = *b", ";
const COLON: [u8; 2] = *b": ";
/// The room for a value that makes none itself: a number, a text shorter than a block, the bracket of a container.
const VALUE_ROOM: usize = larger(NUMBER_ROOM, 1 + SHORT_TEXT_ROOM + AFTER_VALUE);
/// The room for an item: a key that makes none itself, and a value.
const ITEM_ROOM: usize = larger(TOKEN_ROOM, 1 + SHORT_TEXT_ROOM + COLON.len()) + VALUE_ROOM;

/// The place of a value.
type ValueCursor<'id> = Cursor<'id, VALUE_ROOM>;
/// The place of an item of a container.
type ItemCursor<'id> = Cursor<'id, ITEM_ROOM>;
/// The place behind an opening bracket or a separator, where there is room for a closing bracket.
type BetweenCursor<'id> = Cursor<'id, 1>;
/// The place behind a value.
type EndCursor<'id> = Cursor<'id, AFTER_VALUE>;

const fn larger(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// Why the writer stopped.
pub(super) enum Suspend<'py> {
    /// An object it does not write, or not at this depth.
    Item(Bound<'py, PyAny>),
    /// An entry with a key that is not exactly a str, or is one that C code left unready.
    Entry(Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// A dict with entries beyond the size it had at first.
    KeysChanged,
    /// Something that `items()` gave and is not a pair.
    NotAPair,
}

/// Appends `value`, or as much of it as can be before the first object that the writer does not write. In that case
/// `frames` gets the containers around it; it may hold `depth` in all.
#[inline]
pub(super) fn write<'py>(
    out: &mut Vec<u8>,
    frames: &mut Vec<Frame<'py>>,
    value: &Bound<'py, PyAny>,
    depth: usize,
) -> Option<Suspend<'py>> {
    let levels = depth.saturating_sub(frames.len()).min(LEVELS);
    run(out, frames, value, |writer, cursor, value| writer.value(cursor.limit(), value, levels))
}

/// Appends the rest of a container, its closing bracket included, and else does what [`write()`] does.
pub(super) fn resume<'py>(
    out: &mut Vec<u8>,
    frames: &mut Vec<Frame<'py>>,
    frame: &Frame<'py>,
    depth: usize,
) -> Option<Suspend<'py>> {
    let levels = depth.saturating_sub(frames.len()).min(LEVELS).saturating_sub(1);
    let (container, next) = match frame {
        Frame::List { list, next } => (list.as_any(), *next),
        Frame::Tuple { tuple, next } => (tuple.as_any(), *next),
        Frame::Dict { dict, entries, .. } => (dict.as_any(), entries.written),
        Frame::Items { items, next, .. } => (items.as_any(), *next),
    };
    run(out, frames, container, |writer, cursor, container| {
        let cursor = if next > 0 { separate(cursor) } else { cursor.limit() };
        match frame {
            Frame::Dict { entries, .. } => writer.dict(cursor, container.as_dict()?, *entries, levels),
            Frame::Items { .. } => writer.items(cursor, container.as_list()?, next, levels),
            Frame::List { .. } | Frame::Tuple { .. } => writer.sequence(cursor, container.as_sequence()?, next, levels),
        }
    })
}

/// Lets `write` append to `out`.
#[inline]
fn run<'py>(
    out: &mut Vec<u8>,
    frames: &mut Vec<Frame<'py>>,
    object: &Bound<'py, PyAny>,
    write: impl for<'id, 'a> FnOnce(&mut Writer<'id, 'py, '_>, ItemCursor<'id>, Object<'a, 'py>) -> Option<EndCursor<'id>>,
) -> Option<Suspend<'py>> {
    let outside = frames.len();
    // SAFETY: a writer calls nothing of Python but `PyDict_Next` and PyLong_AsLongLongAndOverflow, for an int, which
    // run no Python code, and only makes references; those that it pushes to `frames` or puts into `suspend`, which is
    // empty at first, replace none.
    let object = unsafe { Object::borrow(object) };
    with_buffer(out, |buffer, cursor| {
        let mut writer = Writer { buffer, frames, keys: Tokens::new(), suspend: None };
        if let Some(end) = write(&mut writer, cursor, object) {
            writer.buffer.finish(end);
            return None;
        }
        // They were left innermost first.
        writer.frames[outside..].reverse();
        writer.suspend
    })
}

/// Writes what stands between two items.
#[inline]
fn separate<const ROOM: usize, const LEFT: usize>(cursor: Cursor<'_, ROOM>) -> Cursor<'_, LEFT> {
    cursor.put(SEPARATOR, SEPARATOR.len())
}

struct Writer<'id, 'py, 'out> {
    buffer: Buffer<'id, 'out>,
    frames: &'out mut Vec<Frame<'py>>,
    /// Keys with all that stands between them and the value: `"name": `. Rows of one kind have the same key objects in
    /// the same order, so a key is looked for by its position alone.
    keys: Tokens,
    suspend: Option<Suspend<'py>>,
}

/// Those that write take the cursor and give it back behind what they wrote; or nothing once the writer has stopped,
/// with all that is written counted in the buffer.
impl<'id, 'py> Writer<'id, 'py, '_> {
    /// Writes a value with at most `levels` containers inside each other.
    #[expect(clippy::inline_always)] // or each scalar costs a call
    #[inline(always)]
    fn value(&mut self, cursor: ValueCursor<'id>, object: Object<'_, 'py>, levels: usize) -> Option<EndCursor<'id>> {
        if let Some(text) = object.as_str() {
            return self.text(cursor, object, text);
        }
        if let Some(int) = object.as_int() {
            return match int.to_i64() {
                Some(value) => Some(put_integer(cursor.limit(), value)),
                None => self.suspend_at(cursor, object),
            };
        }
        if let Some(value) = object.as_float() {
            return Some(put_float(cursor.limit(), value));
        }
        match object.as_constant() {
            Some(Constant::None) => return Some(cursor.put(*b"null", 4)),
            Some(Constant::True) => return Some(cursor.put(*b"true", 4)),
            Some(Constant::False) => return Some(cursor.put(*b"false   ", 5)),
            None => {}
        }
        if levels == 0 {
            return self.suspend_at(cursor, object);
        }
        if let Some(dict) = object.as_dict() {
            let entries = Entries { position: 0, written: 0, size: dict.size() };
            self.dict(cursor.put_byte(b'{'), dict, entries, levels - 1)
        } else if let Some(sequence) = object.as_sequence() {
            self.sequence(cursor.put_byte(b'['), sequence, 0, levels - 1)
        } else {
            self.suspend_at(cursor, object)
        }
    }

    /// Writes a str.
    #[inline]
    fn text(
        &mut self,
        cursor: ValueCursor<'id>,
        object: Object<'_, 'py>,
        text: Str<'_, 'py>,
    ) -> Option<EndCursor<'id>> {
        let Some(ascii) = text.ascii() else {
            return match self.unusual_text(cursor.limit(), text) {
                Ok(cursor) => Some(cursor.limit()),
                Err(cursor) => self.suspend_at(cursor, object),
            };
        };
        let cursor: Cursor<'id, { VALUE_ROOM - 1 }> = cursor.put_byte(b'"');
        match put_text(&mut self.buffer, cursor, ascii) {
            Ok(cursor) => Some(cursor),
            Err(cursor) => Some(self.escaped_text(cursor, ascii).limit()),
        }
    }

    /// Writes a str of ASCII that needs escapes, whose opening quote is written.
    #[inline(never)]
    fn escaped_text(&mut self, cursor: EndCursor<'id>, text: Ascii<'_>) -> ItemCursor<'id> {
        self.buffer.append(cursor, |out| finish_latin1(out, text.bytes()))
    }

    /// Writes a str that is not ASCII, unless it is not ready.
    #[inline(never)]
    fn unusual_text(
        &mut self,
        cursor: ValueCursor<'id>,
        text: Str<'_, 'py>,
    ) -> Result<ItemCursor<'id>, ValueCursor<'id>> {
        match text.units() {
            Some(units) => Ok(self.buffer.append(cursor, |out| write_string(out, units))),
            None => Err(cursor),
        }
    }

    /// Writes the items of a list or tuple from `next` on, and the bracket.
    #[inline(never)]
    fn sequence(
        &mut self,
        mut cursor: BetweenCursor<'id>,
        sequence: Sequence<'_, 'py>,
        mut next: usize,
        levels: usize,
    ) -> Option<EndCursor<'id>> {
        let items = sequence.items();
        while let Some(item) = items.get(next) {
            let place: ItemCursor<'id> = self.buffer.reserve(cursor);
            next += 1;
            let Some(end) = self.value(place.limit(), *item, levels) else {
                return self.hold_sequence(sequence, next);
            };
            cursor = separate(end);
        }
        Some(self.close(cursor, next > 0, b']'))
    }

    /// Writes the entries of a dict after those that are written, and the bracket.
    #[inline(never)]
    fn dict(
        &mut self,
        mut cursor: BetweenCursor<'id>,
        dict: Dict<'_, 'py>,
        entries: Entries,
        levels: usize,
    ) -> Option<EndCursor<'id>> {
        let Entries { mut position, mut written, size } = entries;
        while written < size
            && let Some((key, value)) = dict.next(&mut position)
        {
            written += 1;
            let place = self.buffer.reserve(cursor);
            match self.entry(place, key, value, written, levels) {
                Ok(end) => cursor = separate(end),
                Err(span) => return self.hold_dict(dict, Entries { position, written, size }, span),
            }
        }
        // A dict that swaps keys for others while code runs would keep us here for ever.
        if entries.written > 0 && written == size && dict.next(&mut position).is_some() {
            self.buffer.finish(cursor);
            self.suspend = Some(Suspend::KeysChanged);
            return self.hold_dict(dict, Entries { position, written, size }, 0..0);
        }
        Some(self.close(cursor, written > 0, b'}'))
    }

    /// Writes the entries that `items()` gave, from `next` on, and the bracket.
    fn items(
        &mut self,
        mut cursor: BetweenCursor<'id>,
        list: List<'_, 'py>,
        mut next: usize,
        levels: usize,
    ) -> Option<EndCursor<'id>> {
        while let Some(item) = list.items().get(next) {
            let Some([key, value]) = item.as_pair() else {
                self.buffer.finish(cursor);
                self.suspend = Some(Suspend::NotAPair);
                return self.hold_items(list, next, 0..0);
            };
            next += 1;
            let place = self.buffer.reserve(cursor);
            match self.entry(place, key, value, next, levels) {
                Ok(end) => cursor = separate(end),
                Err(span) => return self.hold_items(list, next, span),
            }
        }
        Some(self.close(cursor, next > 0, b'}'))
    }

    /// Writes a key and its value. Once stopped, gives the span of the key in the buffer if it is written.
    #[expect(clippy::inline_always)] // or each entry costs a call
    #[inline(always)]
    fn entry(
        &mut self,
        cursor: ItemCursor<'id>,
        key: Object<'_, 'py>,
        value: Object<'_, 'py>,
        index: usize,
        levels: usize,
    ) -> Result<EndCursor<'id>, Range<usize>> {
        let start = self.buffer.offset(&cursor);
        let slot = index.wrapping_add(levels.wrapping_mul(STRIDE)) % SLOTS;
        let behind_key = match self.keys.put(slot, key.address(), cursor) {
            Ok(cursor) => cursor,
            Err(cursor) => match self.new_key(cursor, key, slot) {
                Ok(cursor) => cursor,
                Err(cursor) => {
                    self.buffer.finish(cursor);
                    self.suspend = Some(Suspend::Entry(key.hold(), value.hold()));
                    return Err(0..0);
                }
            },
        };
        let end = self.buffer.offset(&behind_key) - COLON.len();
        self.value(behind_key, value, levels).ok_or(start..end)
    }

    /// Writes a key that is not known, with what follows it, and keeps it; gives the cursor back if it is not a ready
    /// str.
    #[inline]
    fn new_key(
        &mut self,
        cursor: ItemCursor<'id>,
        key: Object<'_, 'py>,
        slot: usize,
    ) -> Result<ValueCursor<'id>, ValueCursor<'id>> {
        const QUOTED_ROOM: usize = ITEM_ROOM - 1;
        const COLON_ROOM: usize = COLON.len() + VALUE_ROOM;
        let Some(text) = key.as_str() else { return Err(cursor.limit()) };
        let Some(ascii) = text.ascii() else {
            let cursor = self.unusual_text(cursor.limit(), text)?;
            return Ok(cursor.put(COLON, COLON.len()));
        };
        let start = self.buffer.offset(&cursor);
        let cursor: Cursor<'id, QUOTED_ROOM> = cursor.put_byte(b'"');
        match put_text::<_, COLON_ROOM>(&mut self.buffer, cursor, ascii) {
            Ok(cursor) => {
                let cursor = cursor.put(COLON, COLON.len());
                self.keys.keep(slot, key.address(), &self.buffer, start, &cursor);
                Ok(cursor)
            }
            Err(cursor) => Ok(self.escaped_text(cursor.limit(), ascii).put(COLON, COLON.len())),
        }
    }

    /// Puts a closing bracket in the place of the separator, if there is one.
    #[inline]
    fn close(&mut self, cursor: BetweenCursor<'id>, separated: bool, bracket: u8) -> EndCursor<'id> {
        let cursor = if separated { self.buffer.back(cursor, SEPARATOR.len()) } else { cursor };
        let cursor: Cursor<'id, 0> = cursor.put_byte(bracket);
        self.buffer.reserve(cursor)
    }

    #[cold]
    fn suspend_at<const ROOM: usize>(
        &mut self,
        cursor: Cursor<'id, ROOM>,
        object: Object<'_, 'py>,
    ) -> Option<EndCursor<'id>> {
        self.buffer.finish(cursor);
        self.suspend = Some(Suspend::Item(object.hold()));
        None
    }

    #[cold]
    fn hold_sequence(&mut self, sequence: Sequence<'_, 'py>, next: usize) -> Option<EndCursor<'id>> {
        self.frames.push(match sequence {
            Sequence::List(list) => Frame::List { list: list.hold(), next },
            Sequence::Tuple(tuple) => Frame::Tuple { tuple: tuple.hold(), next },
        });
        None
    }

    #[cold]
    fn hold_dict(&mut self, dict: Dict<'_, 'py>, entries: Entries, key: Range<usize>) -> Option<EndCursor<'id>> {
        self.frames.push(Frame::Dict { dict: dict.hold(), entries, key });
        None
    }

    #[cold]
    fn hold_items(&mut self, items: List<'_, 'py>, next: usize, key: Range<usize>) -> Option<EndCursor<'id>> {
        self.frames.push(Frame::Items { items: items.hold(), next, key });
        None
    }
}
