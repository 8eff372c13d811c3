//! Numbers as hexadecimal digits, as ids are written: each request has one in its response.
//!
//! Pure functions, called on any thread. Promise: eight digits take some fifteen instructions, without a table and
//! without a branch. Caveat: letters are in lower case.

/// The 32 digits of a number. Not inlined: who makes a header of them has them checked sixteen at a time, if they are in
/// memory then, and one by one if they are in registers.
#[inline(never)]
pub(crate) fn digits_of_u128(number: u128) -> [u8; 32] {
    let (mut digits, [high, low]) = ([0; 32], halves(number));
    digits[..16].copy_from_slice(&digits_of_u64(high));
    digits[16..].copy_from_slice(&digits_of_u64(low));
    digits
}

/// The 16 digits of a number.
#[inline]
pub(crate) fn digits_of_u64(number: u64) -> [u8; 16] {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    let [high, low] = [(number >> 32) as u32, number as u32];
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight_digits(high));
    digits[8..].copy_from_slice(&eight_digits(low));
    digits
}

/// The upper and the lower half of a number. What is allocated for each request keeps ids like this: an allocator has a
/// slower way for what is aligned to 16 bytes, as a `u128` is.
pub(crate) fn halves(number: u128) -> [u64; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    let halves = [(number >> 64) as u64, number as u64];
    halves
}

/// The digits of a quarter of an id, all of them at a time.
#[inline]
fn eight_digits(part: u32) -> [u8; 8] {
    /// In each byte.
    const ONE: u64 = 0x0101_0101_0101_0101;
    let number = u64::from(part);
    // Each half of a byte into a byte of its own.
    let wide = (number & 0xFFFF_0000) << 16 | number & 0xFFFF;
    let wide = (wide & 0xFF00_0000_FF00) << 8 | wide & 0xFF_0000_00FF;
    let wide = (wide & 0x00F0_00F0_00F0_00F0) << 4 | wide & 0x000F_000F_000F_000F;
    // 1 for those that are letters.
    let letters = (wide + 6 * ONE) >> 4 & ONE;
    (wide + u64::from(b'0') * ONE + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The number of which these are the halves.
pub(crate) fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_that_formatting_gives(number: u128, other: u64) {
            prop_assert_eq!(format!("{number:032x}").into_bytes(), digits_of_u128(number).to_vec());
            prop_assert_eq!(number, whole(halves(number)));
            prop_assert_eq!(format!("{other:016x}").into_bytes(), digits_of_u64(other).to_vec());
        }
    }
}
