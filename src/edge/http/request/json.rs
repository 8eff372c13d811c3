//! The two properties of a JSON body that the server itself needs: whether it is an object, and one key of it.
//!
//! Pure functions that build nothing but the one text; NaN and Infinity are accepted, as in Python. Caveat: a body
//! that is nested deeper than 200 levels counts as invalid here.

use jiter::{Jiter, JiterResult, Peek};

/// Whether `body` is one valid JSON object in UTF-8 (without byte order mark).
pub(crate) fn is_json_object(body: &[u8]) -> bool {
    begins_like_object(body) && std::str::from_utf8(body).is_ok() && last_value(body, None).is_ok()
}

/// The value of the last top-level `key` of a JSON object, when it is a text. `None` for anything else: no such key,
/// another type (which could never equal a key), no object, invalid JSON.
pub(crate) fn json_key(body: &[u8], key: &str) -> Option<String> {
    if !begins_like_object(body) || std::str::from_utf8(body).is_err() {
        return None;
    }
    last_value(body, Some(key)).ok().flatten()
}

/// Whether the first byte that is not JSON white space opens an object: cheap, and enough to rule most bodies out.
pub(super) fn begins_like_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b'{')
}

/// Walks the whole object, so that an error after the key still counts.
fn last_value(body: &[u8], wanted: Option<&str>) -> JiterResult<Option<String>> {
    let mut json = Jiter::new(body).with_allow_inf_nan();
    let mut found = None;
    let mut is_wanted = json.next_object()?.map(|key| Some(key) == wanted);
    while let Some(wanted_here) = is_wanted {
        let peek = json.peek()?;
        if !wanted_here {
            json.known_skip(peek)?;
        } else if peek == Peek::String {
            found = Some(json.known_str()?.to_owned());
        } else {
            json.known_skip(peek)?;
            found = None;
        }
        is_wanted = json.next_key()?.map(|key| Some(key) == wanted);
    }
    json.finish()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_repeated_keys_counts() {
        assert_eq!(json_key(br#"{"apikey": "a", "x": [1, {"apikey": "n"}], "apikey": "b"}"#, "apikey").unwrap(), "b");
        assert_eq!(json_key(br#"{"apikey": "a", "apikey": 5}"#, "apikey"), None);
    }

    #[test]
    fn escapes_in_key_and_value_are_read() {
        assert_eq!(json_key(br#" {"api\u006bey": "a\u00e9\"b"} "#, "apikey").unwrap(), "aé\"b");
    }

    #[test]
    fn a_value_that_is_no_text_never_is_a_key() {
        for body in [r#"{"k": 5}"#, r#"{"k": null}"#, r#"{"k": ["a"]}"#, r#"{"k": NaN}"#, r#"{"x": {"k": "a"}}"#] {
            assert_eq!(json_key(body.as_bytes(), "k"), None, "{body}");
        }
    }

    #[test]
    fn nothing_is_taken_from_what_is_not_one_valid_object() {
        for body in [r#"{"k": "a""#, r#"{"k": "a"} x"#, r#"["k", "a"]"#, r#""k""#, "", r#"{"k": "a",}"#, "\u{feff}{}"] {
            assert_eq!(json_key(body.as_bytes(), "k"), None, "{body}");
            assert!(!is_json_object(body.as_bytes()), "{body}");
        }
        assert!(!is_json_object(b"{\"k\": \"\xff\"}"));
    }

    #[test]
    fn nan_and_infinity_are_accepted() {
        assert!(is_json_object(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": 123456789012345678901234567890}"#));
        assert_eq!(json_key(br#"{"a": NaN, "k": "v"}"#, "k").unwrap(), "v");
    }
}
