//! Numbers as Python writes them: `int.__repr__` and `float.__repr__`.
//!
//! The digits of a float are those of the crate `zmij`, which also lays them out as Python does. Caveat: below 1e-4 it
//! does not, so what it gives there is rearranged.

/// Appends `value` in decimal.
#[inline]
pub(super) fn write_integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `value` as `float.__repr__` shows it, with the names that JSON readers know for what is not finite:
/// `NaN`, `Infinity`, `-Infinity`.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.abs() >= 1e-4 && value.is_finite() || value == 0.0 {
        append_digits(out, value);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        write_small(out, value);
    }
}

/// Appends the text that the crate makes, which it writes where it belongs: to copy what was stored a moment ago in
/// parts of another size takes longer than the digits themselves.
#[inline]
fn append_digits(out: &mut Vec<u8>, value: f64) {
    const { assert!(align_of::<zmij::Buffer>() == 1) };
    out.reserve(size_of::<zmij::Buffer>());
    // SAFETY: a `Buffer` may stand at any address, and there is room for one behind what is in use, which nothing else
    // refers to. What counts as in use afterwards is the text in it, moved to the front if it should not begin there.
    unsafe {
        let end = out.as_mut_ptr().add(out.len());
        let buffer = end.cast::<zmij::Buffer>();
        buffer.write(zmij::Buffer::new());
        let text = (*buffer).format_finite(value);
        let (start, length) = (text.as_ptr(), text.len());
        if start != end.cast_const() {
            std::ptr::copy(start, end, length);
        }
        out.set_len(out.len() + length);
    }
}

/// Appends a value nearer to zero than 1e-4, which Python writes with an exponent of at least two digits.
#[cold]
fn write_small(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let mut text = buffer.format_finite(value);
    if let Some(magnitude) = text.strip_prefix('-') {
        out.push(b'-');
        text = magnitude;
    }
    if let Some((digits, exponent)) = text.split_once("e-") {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(if exponent.len() < 2 { b"e-0" } else { b"e-" });
        out.extend_from_slice(exponent.as_bytes());
        return;
    }
    // 0.0000ddd: the exponent follows from the number of zeros.
    let digits = text.trim_start_matches(['0', '.']);
    let (first, others) = digits.split_at(digits.len().min(1));
    out.extend_from_slice(first.as_bytes());
    if !others.is_empty() {
        out.push(b'.');
        out.extend_from_slice(others.as_bytes());
    }
    out.extend_from_slice(b"e-0");
    write_integer(out, (text.len() - digits.len()).saturating_sub(1).cast_signed() as i64);
}
