//! The media type of errors by RFC 9457, and whether a client takes it.
//!
//! Pure functions, called on the I/O threads. Caveat: a range such as `*/*` does not count, since most clients send it.

use http::HeaderValue;

/// `Content-Type` of a problem.
pub(crate) const PROBLEM: HeaderValue = HeaderValue::from_static(NAME);

const NAME: &str = "application/problem+json";

/// True if `accept`, a value of `Accept`, names the type of problems.
pub(crate) fn accepts_problem(accept: &HeaderValue) -> bool {
    // Most values are shorter.
    accept.len() >= NAME.len() && accept.to_str().is_ok_and(|accept| accept.split(',').any(names_problem))
}

fn names_problem(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_named = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(NAME));
    is_named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_problems_only_if_it_names_their_type() {
        let takes = |accept: &'static str| accepts_problem(&HeaderValue::from_static(accept));
        assert!(takes("application/problem+json"));
        assert!(takes("application/json, Application/Problem+JSON;q=0.5"));
        assert!(!takes("*/*") && !takes("text/html, application/json;q=0.9, */*;q=0.8"));
        assert!(!takes("application/problem+json; q=0") && !takes("application/problem+jsons"));
    }
}
