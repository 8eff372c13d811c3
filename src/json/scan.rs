//! The tokens of a JSON text, with the grammar of `json.loads`: NaN and the infinities are numbers, the halves of
//! surrogate pairs may stand alone, control characters in strings are errors.
//!
//! Nothing here knows of Python. Caveat: a string is known to be UTF-8 once it has been read, not before, so a body
//! need not be checked as a whole.

use std::fmt;

use super::block::{BLOCK, ends_plain, plain_ends_and_wide};

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    expected: &'static str,
    line: usize,
    column: usize,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected {} at line {} column {}", self.expected, self.line, self.column)
    }
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Bytes that are ASCII, which only this module can claim.
#[derive(Clone, Copy)]
pub(super) struct AsciiBytes<'a>(&'a [u8]);

impl<'a> AsciiBytes<'a> {
    pub(crate) const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The characters of a string, without quotes and escapes.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    Ascii(AsciiBytes<'a>),
    Unicode(&'a str),
    /// UTF-8 but for lone surrogates, which are encoded as if they were characters.
    Surrogates(&'a [u8]),
}

/// A number as it can be represented.
pub(super) enum Number<'a> {
    Small(i64),
    /// The sign and digits of an int that may need more bits.
    Big(&'a [u8]),
    Float(f64),
}

/// A place in a JSON text.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    place: usize,
    /// The last string with escapes.
    unescaped: Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, place: 0, unescaped: Vec::new() }
    }

    /// The next byte that is no white space; it is not passed. Zero, which is in no JSON text, stands for the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        loop {
            match self.text.get(self.place) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.place += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Passes the byte that was peeked at.
    #[inline]
    pub(crate) fn pass(&mut self) {
        self.place += 1;
    }

    /// Passes a comma, or `bracket`, which ends what the comma would go on with; says whether it was that.
    #[inline]
    pub(crate) fn is_over(&mut self, bracket: u8) -> Result<bool> {
        let over = match self.peek() {
            b',' => false,
            byte if byte == bracket => true,
            _ => return Err(self.error(if bracket == b']' { "`,` or `]`" } else { "`,` or `}`" })),
        };
        self.pass();
        Ok(over)
    }

    /// Whether `word` begins here.
    pub(crate) fn is_next(&self, word: &str) -> bool {
        self.text[self.place..].starts_with(word.as_bytes())
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.place == self.text.len()
    }

    /// Passes `word`.
    pub(crate) fn word(&mut self, word: &str) -> Result<()> {
        if self.is_next(word) {
            self.place += word.len();
            return Ok(());
        }
        Err(self.error("value"))
    }

    /// The error that something else than `expected` stands here.
    #[cold]
    pub(crate) fn error(&self, expected: &'static str) -> SyntaxError {
        let before = &self.text[..self.place.min(self.text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let line = before.split(|&byte| byte == b'\n').count();
        SyntaxError { expected, line, column: 1 + before.len() - line_start }
    }

    /// Reads the string whose opening quote is next if it is ASCII and has no escapes, as most are; else reads nothing.
    #[inline]
    pub(crate) fn plain_string(&mut self) -> Option<AsciiBytes<'a>> {
        let start = self.place + 1;
        let (end, ascii) = plain_end(self.text, start);
        if !ascii || self.text.get(end) != Some(&b'"') {
            return None;
        }
        self.place = end + 1;
        self.text.get(start..end).map(AsciiBytes)
    }

    /// Reads the string whose opening quote is next.
    pub(crate) fn string(&mut self) -> Result<Text<'_>> {
        let start = self.place + 1;
        let end = plain_end(self.text, start).0;
        if self.text.get(end) != Some(&b'"') {
            return self.escaped_string(start, end);
        }
        self.place = end + 1;
        self.unicode(&self.text[start..end], start).map(Text::Unicode)
    }

    /// Reads the rest of a string that begins at `start` and is free of escapes up to `end`.
    fn escaped_string(&mut self, start: usize, end: usize) -> Result<Text<'_>> {
        let (mut start, mut end) = (start, end);
        let mut lone_surrogates = false;
        self.unescaped.clear();
        loop {
            let part = &self.text[start..end];
            // Checked here, since what escapes add need not be UTF-8.
            self.unicode(part, start)?;
            self.unescaped.extend_from_slice(part);
            self.place = end;
            // One escape is often followed by another.
            while self.text.get(self.place) == Some(&b'\\') {
                lone_surrogates |= self.escape()?;
            }
            start = self.place;
            end = plain_end(self.text, start).0;
            if start == end {
                break;
            }
        }
        if self.text.get(end) != Some(&b'"') {
            return Err(self.error("closing quote"));
        }
        self.place += 1;
        if self.unescaped.is_ascii() {
            return Ok(Text::Ascii(AsciiBytes(&self.unescaped)));
        }
        match std::str::from_utf8(&self.unescaped) {
            Ok(text) if !lone_surrogates => Ok(Text::Unicode(text)),
            _ => Ok(Text::Surrogates(&self.unescaped)),
        }
    }

    fn unicode<'b>(&mut self, bytes: &'b [u8], start: usize) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|error| {
            self.place = start + error.valid_up_to();
            self.error("UTF-8")
        })
    }

    /// Passes an escape and adds what it stands for; says whether that is half of a surrogate pair without the other.
    fn escape(&mut self) -> Result<bool> {
        let plain = match self.text.get(self.place + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("escape")),
        };
        self.unescaped.push(plain);
        self.place += 2;
        Ok(false)
    }

    fn unicode_escape(&mut self) -> Result<bool> {
        let Some(unit) = self.unit(self.place) else {
            return Err(self.error("four hexadecimal digits"));
        };
        self.place += 6;
        let mut point = u32::from(unit);
        if let 0xd800..0xdc00 = point
            && let Some(low @ 0xdc00..0xe000) = self.unit(self.place)
        {
            self.place += 6;
            point = 0x1_0000 + ((point - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        }
        if let Some(character) = char::from_u32(point) {
            // To append a size that is known here and cut it is quicker than to append what is not.
            let mut bytes = [0; 4];
            let unused = 4 - character.encode_utf8(&mut bytes).len();
            self.unescaped.extend_from_slice(&bytes);
            self.unescaped.truncate(self.unescaped.len() - unused);
            return Ok(false);
        }
        // The three bytes that UTF-8 would have for it.
        let [high, low] = unit.to_be_bytes();
        self.unescaped.extend_from_slice(&[0xe0 | high >> 4, 0x80 | (high & 0xf) << 2 | low >> 6, 0x80 | low & 0x3f]);
        Ok(true)
    }

    /// The number of the escape `\uXXXX` at `place`, if there is one.
    fn unit(&self, place: usize) -> Option<u16> {
        let digits = self.text.get(place..place + 6)?.strip_prefix(b"\\u")?;
        let value = digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))?;
        u16::try_from(value).ok()
    }

    /// Reads the number that begins here with a sign or a digit.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number<'a>> {
        /// So many digits always fit.
        const SURE_DIGITS: usize = 18;
        let start = self.place;
        let negative = self.text.get(start) == Some(&b'-');
        self.place += usize::from(negative);
        let first = self.place;
        let mut magnitude = 0;
        self.digits(&mut magnitude)?;
        let count = self.place - first;
        if count > 1 && self.text[first] == b'0' {
            self.place = first + 1;
            return Err(self.error("no digit after a leading zero"));
        }
        if let Some(b'.' | b'e' | b'E') = self.text.get(self.place) {
            return self.float(start, negative, magnitude, count);
        }
        if count > SURE_DIGITS {
            return Ok(Number::Big(&self.text[start..self.place]));
        }
        let magnitude = magnitude.cast_signed();
        Ok(Number::Small(if negative { -magnitude } else { magnitude }))
    }

    /// Reads the rest of a number after its `count` first digits.
    fn float(&mut self, start: usize, negative: bool, magnitude: u64, count: usize) -> Result<Number<'a>> {
        /// The powers of ten that a float can be exactly.
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
            1e19, 1e20, 1e21, 1e22,
        ];
        let mut magnitude = magnitude;
        let mut places = 0;
        if self.text.get(self.place) == Some(&b'.') {
            self.place += 1;
            let first = self.place;
            self.digits(&mut magnitude)?;
            places = self.place - first;
        }
        let mut exponent = false;
        if let Some(b'e' | b'E') = self.text.get(self.place) {
            exponent = true;
            self.place += 1;
            self.place += usize::from(matches!(self.text.get(self.place), Some(b'+' | b'-')));
            self.digits(&mut 0)?;
        }
        // The quotient of two exact floats is the nearest one to the number that is written.
        let exact = magnitude <= 1 << 53 && count + places <= 19;
        if let (true, false, Some(power)) = (exact, exponent, POWERS.get(places)) {
            // It is exact up to 2^53.
            #[allow(clippy::cast_precision_loss)]
            let value = magnitude as f64 / power;
            return Ok(Number::Float(if negative { -value } else { value }));
        }
        let text = &self.text[start..self.place];
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Number::Float)
            .ok_or_else(|| self.error("number"))
    }

    /// Passes one or more digits and appends them to `number`, which is of use only if they fit.
    #[inline]
    fn digits(&mut self, number: &mut u64) -> Result<()> {
        let (mut value, mut place) = (*number, self.place);
        while let Some(&digit @ b'0'..=b'9') = self.text.get(place) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            place += 1;
        }
        if place == self.place {
            return Err(self.error("digit"));
        }
        (*number, self.place) = (value, place);
        Ok(())
    }
}

/// The place of the next quote, backslash or control character from `start` on, or the end; and whether all before it
/// is ASCII.
#[inline]
fn plain_end(text: &[u8], start: usize) -> (usize, bool) {
    let mut place = start;
    let mut ascii = true;
    while let Some(block) = text.get(place..).and_then(|rest| rest.first_chunk()) {
        let (ends, wide) = plain_ends_and_wide(*block);
        if ends != 0 {
            let length = ends.trailing_zeros();
            return (place + length as usize, ascii && wide & ((1 << length) - 1) == 0);
        }
        ascii &= wide == 0;
        place += BLOCK;
    }
    while let Some(&byte) = text.get(place)
        && !ends_plain(byte)
    {
        ascii &= byte.is_ascii();
        place += 1;
    }
    (place, ascii)
}
