//! The variables of a query or of a form body, in the order sent.
//!
//! Pure functions. As in pluginserver's URL parser, `+` and `%xx` are decoded, empty values and names without a value
//! are kept, `;` is not a separator, invalid escapes stay as they are, and bytes that are not UTF-8 become U+FFFD.
//! Repeated names are all kept for `request.query`; a look-up of a single name returns the first.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::charset::Charset;

/// `(name, value)` pairs in the order sent, repeated names included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Reads the query part of a request target (what follows `?`, still escaped).
    pub fn from_query(query: &str) -> Self {
        Self::from_form(query.as_bytes())
    }

    /// Reads an `application/x-www-form-urlencoded` text in UTF-8.
    pub fn from_form(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    /// The same for another charset, which then also holds inside the escapes.
    pub(super) fn from_form_in(charset: Charset, form: &[u8]) -> Self {
        let decode = |text: &[u8]| {
            let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
            charset.decode_lossy(&Cow::from(percent_decode(&spaced))).into_owned()
        };
        let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            (decode(&pair[..end]), decode(pair.get(end + 1..).unwrap_or_default()))
        });
        Self(pairs.collect())
    }

    /// The first value sent under `name`, possibly empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All pairs in the order sent.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        Variables::from_query(query).0
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn all_values_are_kept_in_order_and_the_first_wins_a_look_up() {
        let variables = Variables::from_query("a=1&b=2&a=3");
        assert_eq!(variables.0, [pair("a", "1"), pair("b", "2"), pair("a", "3")]);
        assert_eq!(variables.get("a"), Some("1"));
    }

    #[test]
    fn empty_values_and_bare_words_are_kept() {
        assert_eq!(pairs("a=&b&&c=1"), [pair("a", ""), pair("b", ""), pair("c", "1")]);
    }

    #[test]
    fn plus_and_escapes_are_decoded_and_a_semicolon_is_no_separator() {
        assert_eq!(pairs("a=x+y%2B;c=%C3%A9&%61=1"), [pair("a", "x y+;c=é"), pair("a", "1")]);
    }

    #[test]
    fn broken_escapes_stay_and_invalid_utf8_is_replaced() {
        assert_eq!(pairs("a=%zz&b=%2&c=%ff"), [pair("a", "%zz"), pair("b", "%2"), pair("c", "\u{fffd}")]);
    }

    #[test]
    fn a_charset_holds_inside_the_escapes_too() {
        let latin1 = Charset::from_label("iso-8859-1").unwrap();
        let variables = Variables::from_form_in(latin1, b"a=%E9+\xe8&&b");
        assert_eq!(variables.0, [pair("a", "é è"), pair("b", "")]);
    }
}
