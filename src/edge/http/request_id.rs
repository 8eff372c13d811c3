//! A name for each request, the same in the log and in every answer with a status of 400 or more.
//!
//! Made on the I/O threads. A client may choose it by `X-Request-Id`, so that one name follows a request through
//! several servers. Caveat: ids are unique, not secret.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hexadecimal::{digits_of_u128, halves, whole};

/// The header that carries the id, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LENGTH: usize = 128;

/// The id of one request: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone)]
pub struct RequestId {
    /// The halves of the number that a fresh id spells.
    bits: [u64; 2],
    /// Made when it is first used, which for most requests is never.
    text: OnceLock<Box<str>>,
}

impl RequestId {
    /// The client's own id when it sent a valid one, else a fresh one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        headers.get(X_REQUEST_ID).and_then(Self::from_header).unwrap_or_else(Self::fresh)
    }

    /// 128 bits as 32 hex digits.
    pub fn fresh() -> Self {
        /// Odd, so that the state takes each of its values once before it repeats one.
        const STEP: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
        thread_local! {
            /// Begins, on each thread, with a random number of the system.
            static STATE: Cell<u128> = {
                let key = RandomState::new();
                Cell::new(u128::from(key.hash_one(0_u8)) << 64 | u128::from(key.hash_one(1_u8)))
            };
        }
        let state = STATE.with(|state| state.replace(state.get().wrapping_add(STEP)));
        // Two states never have the same bits: each of these steps can be undone.
        let mixed = (state ^ state >> 67).wrapping_mul(STEP);
        Self { bits: halves(mixed ^ mixed >> 64), text: OnceLock::new() }
    }

    fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let is_valid = (1..=MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        is_valid.then(|| Self { bits: [0; 2], text: OnceLock::from(Box::from(text)) })
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.text.get_or_init(|| self.digits().iter().copied().map(char::from).collect())
    }

    /// The number that a fresh id spells; 0 for one that the client has chosen.
    pub(crate) fn bits(&self) -> u128 {
        whole(self.bits)
    }

    /// The id, if the client has chosen it.
    pub(crate) fn chosen(&self) -> Option<&str> {
        if self.bits == [0; 2] { self.text.get().map(|text| &**text) } else { None }
    }

    /// The id as a header's value.
    pub(crate) fn header(&self) -> HeaderValue {
        let value = match self.text.get() {
            Some(text) => HeaderValue::from_str(text),
            None => HeaderValue::from_bytes(&self.digits()),
        };
        value.expect("an id holds letters, digits, '.', '_' and '-' only")
    }

    fn digits(&self) -> [u8; 32] {
        digits_of_u128(self.bits())
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn inbound(value: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        RequestId::from_headers(&headers)
    }

    #[test]
    fn a_fresh_id_is_32_hex_digits_and_never_repeats() {
        let ids: HashSet<_> = (0..1000).map(|_| RequestId::fresh().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    #[test]
    fn threads_do_not_share_ids() {
        let make = || (0..100).map(|_| RequestId::fresh().to_string()).collect::<HashSet<_>>();
        let other = std::thread::spawn(make).join().unwrap();
        assert!(make().is_disjoint(&other));
    }

    #[test]
    fn a_valid_id_of_the_client_is_kept() {
        assert_eq!(inbound("A-1.b_2").as_str(), "A-1.b_2");
        assert_eq!(inbound(&"a".repeat(128)).len(), 128);
        assert_eq!(inbound("A-1.b_2").header(), "A-1.b_2");
    }

    #[test]
    fn an_invalid_id_of_the_client_is_replaced() {
        for value in ["", "a b", "a\"b", "é", "a/b", &"a".repeat(129)] {
            assert_ne!(inbound(value).as_str(), value);
            assert_eq!(inbound(value).len(), 32);
        }
        assert_eq!(RequestId::from_headers(&HeaderMap::new()).len(), 32);
    }
}
