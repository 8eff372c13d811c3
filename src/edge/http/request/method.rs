//! The set of methods that a route answers, in one byte.
//!
//! Plain data. OPTIONS is in every set, since the server itself answers it.

use std::fmt;

use http::{HeaderValue, Method};

/// A set of the methods that a route may answer. OPTIONS is always in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u8);

/// Bit order = the order in `Allow`.
const METHODS: [(&str, Method); 7] = [
    ("GET", Method::GET),
    ("HEAD", Method::HEAD),
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("DELETE", Method::DELETE),
    ("PATCH", Method::PATCH),
    ("OPTIONS", Method::OPTIONS),
];
const OPTIONS: u8 = 1 << 6;

impl MethodSet {
    /// Only OPTIONS.
    pub const EMPTY: Self = Self(OPTIONS);
    /// GET and HEAD.
    pub const READ_ONLY: Self = Self(0b11 | OPTIONS);
    /// GET, HEAD and POST: what pluginserver routed to plugins and to its utilities.
    pub const DEFAULT: Self = Self(0b111 | OPTIONS);
    /// POST alone.
    pub const POST: Self = Self(0b100 | OPTIONS);
    /// GET and POST: for endpoints that act, which a HEAD must not do.
    pub const ACTING: Self = Self(0b101 | OPTIONS);

    /// Every method that a route can have.
    pub const ALL: Self = Self(0b111_1111);

    /// The set with `method` added; unknown methods are left out, since no route can answer them.
    #[must_use]
    pub fn with(self, method: &Method) -> Self {
        Self(self.0 | bit(method))
    }

    /// Whether `method` is in the set.
    pub fn contains(self, method: &Method) -> bool {
        self.0 & bit(method) != 0
    }

    /// The names of the methods in the set.
    pub fn names(self) -> Vec<&'static str> {
        METHODS.iter().filter(|(_, method)| self.contains(method)).map(|(name, _)| *name).collect()
    }

    /// The set as the value of an `Allow` header, such as `GET, HEAD, POST, OPTIONS`.
    pub fn allow(self) -> HeaderValue {
        if self == Self::DEFAULT {
            return HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
        }
        HeaderValue::from_str(&self.to_string()).expect("method names and commas are valid in a header")
    }
}

impl Default for MethodSet {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, method) in &METHODS {
            if self.contains(method) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MethodSet({self})")
    }
}

fn bit(method: &Method) -> u8 {
    METHODS.iter().position(|(_, known)| known == method).map_or(0, |index| 1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_get_head_post_and_options() {
        let set = MethodSet::default();
        assert!([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS].iter().all(|m| set.contains(m)));
        assert!(!set.contains(&Method::PUT));
        assert_eq!(set.allow(), set.to_string().as_str());
    }

    #[test]
    fn allow_lists_what_was_added_and_always_options() {
        let set = MethodSet::EMPTY.with(&Method::DELETE).with(&Method::GET);
        assert_eq!(set.allow(), "GET, DELETE, OPTIONS");
    }

    #[test]
    fn an_unknown_method_is_in_no_set() {
        let odd = Method::from_bytes(b"BREW").unwrap();
        assert!(!MethodSet::DEFAULT.with(&odd).contains(&odd));
    }
}
