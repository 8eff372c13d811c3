//! `request.query_string`: the query as people read it.
//!
//! Runs on the Python thread. Caveat: it is for showing and logging; once decoded it cannot always be parsed again, so
//! variables are taken from `request.query`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes a raw query as aiohttp does: `+` is a space, escapes are resolved unless they hide a separator
/// (`+`, `=`, `&`, `;`) or are no UTF-8.
pub(crate) fn decode(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(letter) = rest.chars().next() {
        let escapes = escaped_run(rest);
        if escapes.is_empty() {
            text.push(if letter == '+' { ' ' } else { letter });
            rest = &rest[letter.len_utf8()..];
        } else {
            decode_run(escapes, &mut text);
            rest = &rest[escapes.len()..];
        }
    }
    text
}

/// The `%xx%xx…` that `text` begins with.
fn escaped_run(text: &str) -> &str {
    let is_escape = |triple: &&[u8]| triple[0] == b'%' && triple[1..].iter().all(u8::is_ascii_hexdigit);
    let escapes = text.as_bytes().chunks_exact(3).take_while(is_escape).count();
    &text[..escapes * 3]
}

fn decode_run(escapes: &str, text: &mut String) {
    let bytes: Cow<'_, [u8]> = percent_decode_str(escapes).into();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '+' | '=' | '&' | ';' => text.push_str(&escapes[at * 3..at * 3 + 3].to_ascii_uppercase()),
                _ => text.push(letter),
            }
            at += letter.len_utf8();
        }
        text.push_str(&escapes[at * 3..(at + chunk.invalid().len()) * 3]);
        at += chunk.invalid().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_letters_are_decoded() {
        assert_eq!(decode("a=1+2%20&b=%C3%A9"), "a=1 2 &b=é");
        assert_eq!(decode("a=%23%3F%2f%25&b=é"), "a=#?/%&b=é");
    }

    #[test]
    fn escaped_separators_stay_escaped() {
        assert_eq!(decode("a=%2B1&b=%26%3D%3b"), "a=%2B1&b=%26%3D%3B");
    }

    #[test]
    fn what_cannot_be_decoded_stays_as_it_is() {
        for raw in ["%", "%zz", "a=%E9x%zz", "x=%f0%9f%98"] {
            assert_eq!(decode(raw), raw);
        }
        assert_eq!(decode("a=%ff%C3%A9"), "a=%ffé");
        assert_eq!(decode("x=%C3%28"), "x=%C3(");
    }
}
