//! The `Date` header, for answers that hyper does not send.
//!
//! Runs on the I/O threads. Promise: the text is made once a second for each thread and shared until then.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    /// The second and its text.
    static NOW: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// The current date as the value of `Date`.
pub(super) fn date() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(known, text)| {
        if *known != second || text.is_empty() {
            let fresh = HeaderValue::try_from(httpdate::fmt_http_date(now));
            *text = fresh.expect("a date consists of visible ASCII and blanks");
            *known = second;
        }
        text.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_clock() {
        let before = SystemTime::now();
        let date = httpdate::parse_http_date(date().to_str().unwrap()).unwrap();
        let age = before.duration_since(date).unwrap_or_default();
        assert!(age.as_secs() <= 1, "{age:?}");
    }
}
