//! A name for each request, the same in the log and in every answer with a status of 400 or more.
//!
//! A client may choose it by `X-Request-Id`, so that one name follows a request through several servers. Caveat: ids
//! are unique, not secret.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue};

use crate::http::rescue::X_REQUEST_ID;

const MAX_LENGTH: usize = 128;

/// The id of one request: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone)]
pub struct RequestId {
    /// What a fresh id is the spelling of.
    bits: [u64; 2],
    /// Spelled when somebody asks, which most requests end without.
    text: OnceLock<Box<str>>,
}

impl RequestId {
    /// The client's own id when it sent a valid one, else a fresh one.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        headers.get(X_REQUEST_ID).and_then(Self::from_header).unwrap_or_else(Self::fresh)
    }

    /// 128 random bits as 32 hex digits.
    pub fn fresh() -> Self {
        // A keyed hash of a counter: as random as its key, which each thread has from the system, and no call to it.
        thread_local! {
            static KEY: RandomState = RandomState::new();
            static COUNT: Cell<u64> = const { Cell::new(0) };
        }
        let count = COUNT.replace(COUNT.get().wrapping_add(1));
        let bits = KEY.with(|key| [key.hash_one((count, 0_u8)), key.hash_one((count, 1_u8))]);
        Self { bits, text: OnceLock::new() }
    }

    fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let is_valid = (1..=MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        is_valid.then(|| Self { bits: [0; 2], text: OnceLock::from(Box::from(text)) })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.text.get_or_init(|| format!("{:016x}{:016x}", self.bits[0], self.bits[1]).into_boxed_str())
    }

    /// The id as a header's value.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(self).expect("an id holds letters, digits, '.', '_' and '-' only")
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
