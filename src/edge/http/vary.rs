//! `Vary`: by what the response to the same request may differ.
//!
//! Pure functions, called on the I/O threads. Promise: what a response varies by already is kept, and all of it is on
//! one line, since some caches look at no more than one.

use http::header::VARY;
use http::{HeaderMap, HeaderValue};

/// Adds the `name` of a request header, unless the response varies by it already.
pub(crate) fn add(response: &mut HeaderMap, name: HeaderValue) {
    let has = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        names.any(|one| one == b"*" || one.eq_ignore_ascii_case(name.as_bytes()))
    };
    // Not by an entry, which makes room for one more header even where none is added; nor by a look-up, which takes
    // longer than to pass over the few headers of a response.
    let mut varies = false;
    for (header, value) in &*response {
        if *header == VARY {
            // Nearly always it is what the server itself has added.
            if *value == name || has(value) {
                return;
            }
            varies = true;
        }
    }
    if !varies {
        response.append(VARY, name);
        return;
    }
    let lines = response.get_all(VARY).iter().chain([&name]).map(HeaderValue::as_bytes);
    let joined = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b", "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(joined) => drop(response.insert(VARY, joined)),
        Err(_) => drop(response.append(VARY, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &[&'static str]) -> Vec<String> {
        let mut response: HeaderMap = lines.iter().map(|line| (VARY, HeaderValue::from_static(line))).collect();
        add(&mut response, HeaderValue::from_static("Origin"));
        response.get_all(VARY).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_name_is_added_once_and_to_the_same_line() {
        assert_eq!(with(&[]), ["Origin"]);
        assert_eq!(with(&["Accept"]), ["Accept, Origin"]);
        assert_eq!(with(&["Accept", "Cookie"]), ["Accept, Cookie, Origin"]);
        assert_eq!(with(&[""]), ["Origin"]);
        for there in ["origin", "Accept,ORIGIN , Cookie", "*"] {
            assert_eq!(with(&[there]), [there]);
        }
    }
}
