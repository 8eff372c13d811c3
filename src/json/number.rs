//! Numbers as Python writes them: `int.__repr__` and `float.__repr__`. Pure functions.
//!
//! A float of few decimals is written as the integer it is a fraction of; the digits of all others are those of the
//! crate `zmij`, which also lays them out as Python does. Caveat: below 1e-4 it does not, so its output for these
//! values is rearranged.

use super::cursor::{AFTER_VALUE, Cursor, append};

/// The room that [`put_integer`] and [`put_float`] need, which is more than a number takes.
pub(super) const NUMBER_ROOM: usize = 1 + NATURAL_ROOM;
/// The room for twenty digits in words of eight.
const NATURAL_ROOM: usize = 3 * 8 + FRACTION_ROOM;
/// The room for a point and decimals.
const FRACTION_ROOM: usize = 8 + AFTER_VALUE;

/// Appends `value` in decimal.
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) {
    append(out, |cursor| put_integer(cursor, value));
}

/// Appends `value` as `float.__repr__` shows it, with the names that JSON readers know for values that are not finite:
/// `NaN`, `Infinity`, `-Infinity`.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    append(out, |cursor| put_float(cursor, value));
}

/// Writes `value` in decimal.
#[inline]
pub(super) fn put_integer(cursor: Cursor<'_, NUMBER_ROOM>, value: i64) -> Cursor<'_, AFTER_VALUE> {
    let cursor = if value < 0 { cursor.put_byte(b'-') } else { cursor.limit() };
    put_natural(cursor, value.unsigned_abs()).limit()
}

/// Writes `value` as [`write_float`] does.
#[inline]
pub(super) fn put_float(cursor: Cursor<'_, NUMBER_ROOM>, value: f64) -> Cursor<'_, AFTER_VALUE> {
    /// As many decimals as are tried, as a factor.
    const SCALE: f64 = 1e4;
    /// Between this and twice this a float has no fraction, so that adding it rounds to an integer, which then stands
    /// in the lower bits.
    const ROUNDING: f64 = 4_503_599_627_370_496.0; // 2 to the power of 52
    // Up to fifteen digits: any two such decimals are different floats, so if this one is the float at hand, then it is
    // the only one that short, and the shortest is it without zeros at the end. Python, too, shows that one, and lays
    // out all from 1e-4 to 1e16 without an exponent.
    let scaled = value.abs() * SCALE;
    if scaled < 999_999_999_999_999.0 {
        let shifted = scaled + ROUNDING;
        // The division rounds to the nearest, as reading the decimal would, since both operands are exact.
        #[expect(clippy::float_cmp)] // to be the same is the point
        if (shifted - ROUNDING) / SCALE == value.abs() {
            return put_fixed(cursor, value.is_sign_negative(), shifted.to_bits() - ROUNDING.to_bits());
        }
    }
    put_any_float(cursor, value)
}

/// Writes ten-thousandths, fewer than 1e15, as a number with a point and one to four decimals.
#[inline]
fn put_fixed(cursor: Cursor<'_, NUMBER_ROOM>, negative: bool, units: u64) -> Cursor<'_, AFTER_VALUE> {
    let cursor = put_natural(cursor.put([b'-'], usize::from(negative)), units / FOUR_DIGITS);
    let digits = four_digits(units % FOUR_DIGITS);
    let text = u64::from(b'.') | ((digits | ZEROS >> 32) << 8);
    let decimals = (digits | 1).ilog2() / 8 + 1;
    cursor.put(text.to_le_bytes(), 1 + decimals as usize)
}

/// Writes the digits of `value`.
#[inline]
fn put_natural(cursor: Cursor<'_, NATURAL_ROOM>, value: u64) -> Cursor<'_, FRACTION_ROOM> {
    if value >= FOUR_DIGITS {
        return put_long(cursor, value);
    }
    let digits = four_digits(value);
    // The last digit stays even if it is a zero.
    let zeros = (digits | (1 << 24)).trailing_zeros() / 8;
    cursor.put(((digits | ZEROS >> 32) >> (8 * zeros)).to_le_bytes(), 4 - zeros as usize)
}

/// Writes the digits of a value of any length.
#[inline(never)]
fn put_long(cursor: Cursor<'_, NATURAL_ROOM>, value: u64) -> Cursor<'_, FRACTION_ROOM> {
    const ROOM_FOR_EIGHT: usize = 8 + FRACTION_ROOM;
    const ROOM_FOR_SIXTEEN: usize = 8 + ROOM_FOR_EIGHT;
    let (high, low) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
    match high {
        0 => put_leading(cursor, low),
        1..EIGHT_DIGITS => put_eight::<ROOM_FOR_EIGHT, _>(put_leading(cursor, high), low),
        _ => {
            let cursor = put_leading::<_, ROOM_FOR_SIXTEEN>(cursor, high / EIGHT_DIGITS);
            put_eight::<ROOM_FOR_EIGHT, _>(put_eight(cursor, high % EIGHT_DIGITS), low)
        }
    }
}

/// Writes up to eight digits, without zeros before them.
#[inline]
fn put_leading<const ROOM: usize, const LEFT: usize>(cursor: Cursor<'_, ROOM>, value: u64) -> Cursor<'_, LEFT> {
    let digits = eight_digits(value);
    // The last digit stays even if it is a zero.
    let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
    cursor.put(((digits | ZEROS) >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize)
}

/// Writes eight digits, zeros before them included.
#[inline]
fn put_eight<const ROOM: usize, const LEFT: usize>(cursor: Cursor<'_, ROOM>, value: u64) -> Cursor<'_, LEFT> {
    cursor.put((eight_digits(value) | ZEROS).to_le_bytes(), 8)
}

/// The first number that does not fit in four digits.
const FOUR_DIGITS: u64 = 10_000;
/// The first number that does not fit in eight digits.
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
#[inline(never)]
fn put_any_float(cursor: Cursor<'_, NUMBER_ROOM>, value: f64) -> Cursor<'_, AFTER_VALUE> {
    if value.abs() >= 1e-4 && value.is_finite() {
        cursor.put_finite(value)
    } else if value.is_nan() {
        cursor.put(*b"NaN", 3)
    } else if value.is_infinite() {
        if value > 0.0 { cursor.put(*b"Infinity", 8) } else { cursor.put(*b"-Infinity", 9) }
    } else {
        put_small(cursor, value)
    }
}

/// Writes a value nearer to zero than 1e-4, which Python writes with an exponent of at least two digits.
#[cold]
fn put_small(cursor: Cursor<'_, NUMBER_ROOM>, value: f64) -> Cursor<'_, AFTER_VALUE> {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (sign, magnitude) = text.split_at(usize::from(text.starts_with('-')));
    let mut number = ShortText { bytes: [0; 24], length: 0 };
    number.push(sign);
    if let Some((digits, exponent)) = magnitude.split_once("e-") {
        number.push(digits);
        number.push(if exponent.len() < 2 { "e-0" } else { "e-" });
        number.push(exponent);
    } else {
        // 0.0000ddd, which has as many zeros as the exponent says.
        let digits = magnitude.trim_start_matches(['0', '.']);
        let (first, others) = digits.split_at(digits.len().min(1));
        number.push(first);
        if !others.is_empty() {
            number.push(".");
            number.push(others);
        }
        number.push("e-05");
    }
    cursor.put(number.bytes, number.length)
}

/// A sign, seventeen digits, a point and an exponent of up to five bytes.
struct ShortText {
    bytes: [u8; 24],
    length: usize,
}

impl ShortText {
    fn push(&mut self, part: &str) {
        let end = self.length + part.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part.as_bytes());
            self.length = end;
        }
    }
}
