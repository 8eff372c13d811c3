//! The `Cookie` header, read as aiohttp reads it.
//!
//! Runs on the Python thread. Caveat: a name without a value counts as empty, and a piece that is not a cookie is
//! skipped rather than refused, since browsers and proxies send both.

/// The cookies of one header value: (name, value) in order, quotes and their escapes removed.
pub(crate) fn parse(header: &str) -> Vec<(&str, String)> {
    let mut cookies = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let (name, tail) = rest.split_at(rest.find(['=', ';']).unwrap_or(rest.len()));
        let (value, after) = tail.strip_prefix('=').map_or(("", tail), |value| split_value(value.trim_start()));
        let name = name.trim();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) {
            cookies.push((name, unquote(value.trim_end())));
        }
        rest = after.strip_prefix(';').unwrap_or(after);
    }
    cookies
}

/// A value and what follows it, from the `;` on. A `;` inside quotes is part of the value; a quote that is never
/// closed is an ordinary letter.
fn split_value(text: &str) -> (&str, &str) {
    let past_quotes = text.strip_prefix('"').and_then(past_closing_quote).map_or(0, |end| end + 1);
    text.split_at(text[past_quotes..].find(';').map_or(text.len(), |end| past_quotes + end))
}

/// The position after the quote that closes `text`.
fn past_closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    let closing = text.find(|letter| {
        let closes = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        closes
    })?;
    Some(closing + 1)
}

/// A value without its quotes: `\054` is the letter of that octal number, `\"` the letter itself.
fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(backslash) = rest.find('\\') {
        text.push_str(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let octal = rest.get(..3).filter(|digits| digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')));
        if let Some(code) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            text.push(char::from(code));
            rest = &rest[3..];
        } else if let Some(letter) = rest.chars().next() {
            text.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts what a header holds.
    fn holds(header: &str, expected: &[(&str, &str)]) {
        let cookies = parse(header);
        let cookies: Vec<_> = cookies.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(cookies, expected, "{header}");
    }

    #[test]
    fn cookies_are_separated_by_semicolons() {
        holds("a=1; b=2;c=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
        holds("a= 1 ;b=;c", &[("a", "1"), ("b", ""), ("c", "")]);
        holds("a=b=c", &[("a", "b=c")]);
    }

    #[test]
    fn quotes_are_removed_and_their_escapes_resolved() {
        holds(r#"a="q w"; b="x\"y\054z""#, &[("a", "q w"), ("b", "x\"y,z")]);
        holds(r#"a="x;y"; b=1"#, &[("a", "x;y"), ("b", "1")]);
    }

    #[test]
    fn an_unclosed_quote_is_part_of_the_value() {
        holds(r#"a="un;c=2"#, &[("a", "\"un"), ("c", "2")]);
        holds(r#"a=""#, &[("a", "\"")]);
    }

    #[test]
    fn pieces_that_are_no_cookies_are_skipped() {
        holds("", &[]);
        holds("=x; ;y=1", &[("y", "1")]);
        holds(r#"b; c="1;2""#, &[("b", ""), ("c", "1;2")]);
        holds("a,b=1; \u{e4}=2; c\\d=3; e=4", &[("e", "4")]);
    }
}
