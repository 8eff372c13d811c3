//! Numbers as Python writes them: `int.__repr__` and `float.__repr__`.
//!
//! A float of few decimals is written as the integer it is a fraction of; the digits of all others are those of the
//! crate `zmij`, which also lays them out as Python does. Caveat: below 1e-4 it does not, so what it gives there is
//! rearranged.

use super::cursor::{Cursor, behind, end_at};

/// The room that [`put_integer`] and [`put_float`] may write to, which is more than a number takes.
pub(super) const NUMBER_ROOM: usize = 32;

/// Appends `value` in decimal.
#[inline]
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) {
    let place = behind(out, NUMBER_ROOM);
    // SAFETY: there is room, and what lies before the end was written.
    unsafe {
        let end = put_integer(place, value);
        end_at(out, end);
    }
}

/// Appends `value` as `float.__repr__` shows it, with the names that JSON readers know for what is not finite:
/// `NaN`, `Infinity`, `-Infinity`.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    let place = behind(out, NUMBER_ROOM);
    // SAFETY: there is room, and what lies before the end was written.
    unsafe {
        let end = put_float(place, value);
        end_at(out, end);
    }
}

/// Writes `value` in decimal and gives the place behind it.
///
/// # Safety
/// [`NUMBER_ROOM`] bytes from `place` on must be free to write to.
#[inline]
pub(super) unsafe fn put_integer(mut place: Cursor, value: i64) -> Cursor {
    // SAFETY: a sign and 19 digits at most, of which the first eight bytes may be stored where only one belongs.
    unsafe {
        if value < 0 {
            place.write(b'-');
            place = place.add(1);
        }
        put_natural(place, value.unsigned_abs())
    }
}

/// Writes `value` as [`write_float`] tells and gives the place behind it.
///
/// # Safety
/// As for [`put_integer`].
#[inline]
pub(super) unsafe fn put_float(place: Cursor, value: f64) -> Cursor {
    /// As many decimals as are tried, as a factor.
    const SCALE: f64 = 1e4;
    // Up to fifteen digits: any two such decimals are different floats, so if this one is the float at hand, then it is
    // the only one that short, and the shortest is it without zeros at the end. Python, too, shows that one, and lays
    // out all from 1e-4 to 1e16 without an exponent.
    let scaled = value.abs() * SCALE;
    if scaled < 999_999_999_999_999.0 {
        // SAFETY: a number in the range of i64, and no NaN.
        let units = unsafe { (scaled + 0.5).to_int_unchecked::<i64>() };
        // The division rounds to the nearest, as reading the decimal would, since both operands are exact.
        #[expect(clippy::cast_precision_loss, clippy::float_cmp)] // below 2^53; and to be the same is the point
        if units as f64 / SCALE == value.abs() {
            // SAFETY: the caller vouches for the room; a sign, eleven digits, the point and four more fit in.
            return unsafe { put_fixed(place, value.is_sign_negative(), units.unsigned_abs()) };
        }
    }
    // SAFETY: the caller vouches for the room.
    unsafe { put_any_float(place, value) }
}

/// Writes ten-thousandths as a number with a point and one to four decimals.
///
/// # Safety
/// As for [`put_integer`]; `units` must be below 1e15.
#[inline]
unsafe fn put_fixed(mut place: Cursor, negative: bool, units: u64) -> Cursor {
    // SAFETY: up to seventeen bytes, of which the last eight may be stored where only three belong.
    unsafe {
        place.write(b'-');
        place = place.add(usize::from(negative));
        let place = put_natural(place, units / FOUR_DIGITS);
        let digits = four_digits(units % FOUR_DIGITS);
        let text = u64::from(b'.') | ((digits | ZEROS >> 32) << 8);
        place.cast::<u64>().write_unaligned(text.to_le());
        let decimals = (digits | 1).ilog2() / 8 + 1;
        place.add(1 + decimals as usize)
    }
}

/// Writes digits.
///
/// # Safety
/// As for [`put_integer`].
#[inline]
unsafe fn put_natural(place: Cursor, value: u64) -> Cursor {
    // SAFETY: the caller vouches for the room.
    unsafe {
        if value >= FOUR_DIGITS {
            return put_long(place, value);
        }
        let digits = four_digits(value);
        // The last digit stays even if it is a zero.
        let zeros = (digits | (1 << 24)).trailing_zeros() / 8;
        #[expect(clippy::cast_possible_truncation)] // four digits of a byte each
        place.cast::<u32>().write_unaligned((((digits | ZEROS) as u32) >> (8 * zeros)).to_le());
        place.add(4 - zeros as usize)
    }
}

/// Writes a value of any length.
///
/// # Safety
/// As for [`put_integer`].
#[inline(never)]
unsafe fn put_long(place: Cursor, value: u64) -> Cursor {
    let (high, low) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
    // SAFETY: each part is below 1e8, and at most three, of twenty digits together, are written.
    unsafe {
        match high {
            0 => put_leading(place, low),
            1..EIGHT_DIGITS => put_eight(put_leading(place, high), low),
            _ => put_eight(put_eight(put_leading(place, high / EIGHT_DIGITS), high % EIGHT_DIGITS), low),
        }
    }
}

/// Writes up to eight digits, without zeros before them.
///
/// # Safety
/// Eight bytes from `place` on must be free to write to, and `value` be below 1e8.
#[inline]
unsafe fn put_leading(place: Cursor, value: u64) -> Cursor {
    let digits = eight_digits(value);
    // The last digit stays even if it is a zero.
    let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
    // SAFETY: the caller vouches for the room.
    unsafe {
        place.cast::<u64>().write_unaligned(((digits | ZEROS) >> (8 * zeros)).to_le());
        place.add(8 - zeros as usize)
    }
}

/// Writes eight digits, zeros before them included.
///
/// # Safety
/// As for [`put_leading`].
#[inline]
unsafe fn put_eight(place: Cursor, value: u64) -> Cursor {
    // SAFETY: the caller vouches for the room.
    unsafe {
        place.cast::<u64>().write_unaligned((eight_digits(value) | ZEROS).to_le());
        place.add(8)
    }
}

/// What does not fit in four digits.
const FOUR_DIGITS: u64 = 10_000;
/// What does not fit in eight digits.
const EIGHT_DIGITS: u64 = 100_000_000;
/// Eight digits `0`.
const ZEROS: u64 = u64::MAX / 0xff * b'0' as u64;

/// The four digits of a value below 1e4, as [`eight_digits`].
#[inline]
const fn four_digits(value: u64) -> u64 {
    let pairs = (value / 100) | ((value % 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f;
    tens | ((pairs - 10 * tens) << 8)
}

/// The eight digits of a value below 1e8, the first in the lowest byte: halves, pairs and digits are split in all parts
/// of the word at once. The multiplications divide by 100 and by 10, exactly for what can occur.
#[inline]
const fn eight_digits(value: u64) -> u64 {
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - 10 * tens) << 8)
}

/// Writes a float of any kind.
///
/// # Safety
/// As for [`put_integer`].
#[inline(never)]
unsafe fn put_any_float(place: Cursor, value: f64) -> Cursor {
    // SAFETY: the caller vouches for the room, which the longest name does not fill either.
    unsafe {
        if value.abs() >= 1e-4 && value.is_finite() {
            put_digits(place, value)
        } else if value.is_nan() {
            put_bytes(place, b"NaN")
        } else if value.is_infinite() {
            put_bytes(place, if value > 0.0 { b"Infinity" } else { b"-Infinity" })
        } else {
            put_small(place, value)
        }
    }
}

/// Writes the text that the crate makes where it belongs: to copy what was stored a moment ago in parts of another size
/// takes longer than the digits themselves.
///
/// # Safety
/// As for [`put_integer`].
#[inline]
unsafe fn put_digits(place: Cursor, value: f64) -> Cursor {
    const { assert!(align_of::<zmij::Buffer>() == 1 && size_of::<zmij::Buffer>() <= NUMBER_ROOM) };
    // SAFETY: a `Buffer` may stand at any address, and the caller vouches for the room, which nothing else refers to.
    // What was written afterwards is the text in it, moved to the front if it should not begin there.
    unsafe {
        let buffer = place.cast::<zmij::Buffer>();
        buffer.write(zmij::Buffer::new());
        let text = (*buffer.as_ptr()).format_finite(value);
        let (start, length) = (text.as_ptr(), text.len());
        if start != place.as_ptr().cast_const() {
            std::ptr::copy(start, place.as_ptr(), length);
        }
        place.add(length)
    }
}

/// Writes a value nearer to zero than 1e-4, which Python writes with an exponent of at least two digits.
///
/// # Safety
/// As for [`put_integer`].
#[cold]
unsafe fn put_small(mut place: Cursor, value: f64) -> Cursor {
    let mut buffer = zmij::Buffer::new();
    let mut text = buffer.format_finite(value);
    // SAFETY: a sign, seventeen digits, a point and an exponent of up to five bytes fit in the room.
    unsafe {
        if let Some(magnitude) = text.strip_prefix('-') {
            place = put_bytes(place, b"-");
            text = magnitude;
        }
        if let Some((digits, exponent)) = text.split_once("e-") {
            place = put_bytes(place, digits.as_bytes());
            place = put_bytes(place, if exponent.len() < 2 { b"e-0" } else { b"e-" });
            return put_bytes(place, exponent.as_bytes());
        }
        // 0.0000ddd: the exponent follows from the number of zeros.
        let digits = text.trim_start_matches(['0', '.']);
        let (first, others) = digits.split_at(digits.len().min(1));
        place = put_bytes(place, first.as_bytes());
        if !others.is_empty() {
            place = put_bytes(place, b".");
            place = put_bytes(place, others.as_bytes());
        }
        place = put_bytes(place, b"e-0");
        put_integer(place, (text.len() - digits.len()).saturating_sub(1).cast_signed() as i64)
    }
}

/// # Safety
/// As many bytes from `place` on must be free to write to.
#[inline]
unsafe fn put_bytes(place: Cursor, bytes: &[u8]) -> Cursor {
    // SAFETY: the caller vouches for the room, which nothing else refers to.
    unsafe {
        place.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        place.add(bytes.len())
    }
}
