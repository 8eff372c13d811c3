//! Numbers as Python writes them: `int.__repr__` and `float.__repr__`.
//!
//! Caveat: the digits of a float come from Rust's own shortest formatting, which is several times quicker than
//! CPython's; the rare values where "shortest" leaves a choice are left to CPython.

use std::ffi::CStr;
use std::io::Write as _;

use pyo3::{PyErr, PyResult, Python, ffi};

/// Appends `value` in decimal.
#[inline]
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) {
    // The 19 digits of the largest magnitude and a sign.
    let mut buffer = [0_u8; 20];
    let mut start = buffer.len();
    let mut magnitude = value.unsigned_abs();
    loop {
        start -= 1;
        // A remainder below 10 fits.
        buffer[start] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if value < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    out.extend_from_slice(&buffer[start..]);
}

/// Appends `value` as `float.__repr__` shows it, with the names that JSON readers know for what is not finite:
/// `NaN`, `Infinity`, `-Infinity`. Fails only when memory runs out.
pub(super) fn write_float(py: Python<'_>, out: &mut Vec<u8>, value: f64) -> PyResult<()> {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else if let Some(decimal) = Decimal::of_few_places(value).or_else(|| Decimal::shortest(value)) {
        decimal.write(out);
    } else {
        // SAFETY: 'r' takes precision 0; the result is null or a NUL-terminated string that is ours to free.
        unsafe {
            let text =
                ffi::PyOS_double_to_string(value, b'r'.cast_signed(), 0, ffi::Py_DTSF_ADD_DOT_0, std::ptr::null_mut());
            if text.is_null() {
                return Err(PyErr::fetch(py));
            }
            out.extend_from_slice(CStr::from_ptr(text).to_bytes());
            ffi::PyMem_Free(text.cast());
        }
    }
    Ok(())
}

/// A finite float as the digits `d1 d2 d3 ...` of `0.d1d2d3... * 10^point`.
struct Decimal {
    negative: bool,
    digits: [u8; 17],
    length: usize,
    point: i32,
}

impl Decimal {
    /// The digits of a value such as 12.5 or 0.001, which most floats in real answers are, by arithmetic alone.
    ///
    /// `scaled` and the power of ten are exact, so their quotient is what the decimal of these digits reads back as;
    /// and no two decimals of up to 15 digits read back as the same float, so these are the shortest digits.
    fn of_few_places(value: f64) -> Option<Self> {
        const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
        let magnitude = value.abs();
        for (places, power) in (0..).zip(POWERS) {
            let scaled = (magnitude * power).round_ties_even();
            if scaled >= 1e15 {
                return None;
            }
            // Equality is meant: anything else would read back as another float.
            #[allow(clippy::float_cmp)]
            if scaled / power == magnitude {
                // Below 1e15 and whole.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                return Some(Self::of_integer(scaled as u64, places, value.is_sign_negative()));
            }
        }
        None
    }

    /// `integer * 10^-places`, for an integer below 1e15.
    fn of_integer(mut integer: u64, places: i32, negative: bool) -> Self {
        let mut decimal = Self { negative, digits: [b'0'; 17], length: 1, point: 1 - places };
        let mut power = 10;
        while power <= integer {
            decimal.length += 1;
            decimal.point += 1;
            power *= 10;
        }
        for digit in decimal.digits[..decimal.length].iter_mut().rev() {
            *digit = b'0' + (integer % 10) as u8;
            integer /= 10;
        }
        decimal
    }

    /// The shortest digits that read back as `value`, or None where it is not certain that CPython picks the same.
    ///
    /// Both sides take the shortest digits that read back, and of these the nearest to the value. Up to 15 digits only
    /// one choice exists for a normal float. With more, the choice is still unique unless the exact value lies halfway
    /// between two candidates (CPython then rounds to even, Rust up), which needs an exact expansion of just one digit
    /// more than the result, or the value is a power of two, whose neighbours are not equally far.
    fn shortest(value: f64) -> Option<Self> {
        const SURE_DIGITS: usize = f64::DIGITS as usize;
        const LONGEST_TIE: i64 = 19;
        if !value.is_normal() && value != 0.0 {
            return None;
        }
        let mut buffer = [0_u8; 32];
        let mut free = &mut buffer[..];
        write!(free, "{:e}", value.abs()).ok()?;
        let unused = free.len();
        let text = &buffer[..buffer.len() - unused];
        let (mantissa, exponent) = text.split_at(text.iter().position(|&byte| byte == b'e')?);
        let exponent: i32 = std::str::from_utf8(&exponent[1..]).ok()?.parse().ok()?;
        let mut decimal =
            Self { negative: value.is_sign_negative(), digits: [b'0'; 17], length: 0, point: exponent + 1 };
        for &digit in mantissa.iter().filter(|&&byte| byte != b'.') {
            *decimal.digits.get_mut(decimal.length)? = digit;
            decimal.length += 1;
        }
        if decimal.length > SURE_DIGITS {
            let bits = value.to_bits();
            let fraction = bits & ((1 << 52) - 1);
            let binary_exponent = (bits >> 52 & 0x7ff).cast_signed() - 1075;
            // The number of binary, and so of decimal, places after the point; an integer has none and cannot tie.
            let places = -(binary_exponent + i64::from(fraction.trailing_zeros().min(52)));
            let may_tie = places > 0 && places + i64::from(decimal.point) <= LONGEST_TIE;
            if fraction == 0 || may_tie {
                return None;
            }
        }
        Some(decimal)
    }

    /// Lays the digits out as `repr` does: an exponent below 1e-4 and from 1e16 on, and always a sign of being a float.
    fn write(&self, out: &mut Vec<u8>) {
        const ZEROS: &[u8; 16] = b"0000000000000000";
        let digits = &self.digits[..self.length];
        if self.negative {
            out.push(b'-');
        }
        match usize::try_from(self.point) {
            Ok(point @ 1..=16) => {
                let (whole, fraction) = digits.split_at(point.min(digits.len()));
                out.extend_from_slice(whole);
                out.extend_from_slice(&ZEROS[..point - whole.len()]);
                out.push(b'.');
                out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
            }
            _ if (-3..=0).contains(&self.point) => {
                out.extend_from_slice(b"0.");
                out.extend_from_slice(&ZEROS[..self.point.unsigned_abs() as usize]);
                out.extend_from_slice(digits);
            }
            _ => {
                out.push(digits[0]);
                if digits.len() > 1 {
                    out.push(b'.');
                    out.extend_from_slice(&digits[1..]);
                }
                let exponent = self.point - 1;
                out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
                if exponent.abs() < 10 {
                    out.push(b'0');
                }
                write_integer(out, i64::from(exponent.abs()));
            }
        }
    }
}
