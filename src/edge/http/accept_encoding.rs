//! The content codings that a client takes, by its `Accept-Encoding`.
//!
//! Pure functions; nothing is compressed here. Caveat: a client that refuses what is not compressed (`identity;q=0`)
//! gets it nevertheless if there is no coding that it accepts, which RFC 9110 allows.

use http::HeaderValue;

/// A content coding of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// [`Self::name`] as a header's value.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// Those of the `offered` codings that the client prefers to what is not compressed, best first, by the lines of its
/// `Accept-Encoding`. Where its weights are equal, the order of the `offered` ones counts.
pub(crate) fn accepted<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, offered: [Coding; 3]) -> Vec<Coding> {
    let fields = lines.into_iter().filter_map(|value| value.to_str().ok());
    let wishes: Vec<_> = fields.flat_map(|field| field.split(',')).filter_map(wish).collect();
    let weight = |names: &[&str]| {
        let named = |name: &str| wishes.iter().find(|wish| wish.0.eq_ignore_ascii_case(name)).map(|wish| wish.1);
        names.iter().find_map(|name| named(name))
    };
    // What is as it is comes last, unless the client gives it a weight.
    let identity = weight(&["identity"]).unwrap_or(0);
    let mut accepted: Vec<_> = offered
        .into_iter()
        .filter_map(|coding| {
            let names: &[&str] = if coding == Coding::Gzip { &["gzip", "x-gzip", "*"] } else { &[coding.name(), "*"] };
            weight(names).map(|weight| (coding, weight))
        })
        .filter(|(_, weight)| *weight > 0 && *weight >= identity)
        .collect();
    accepted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    accepted.into_iter().map(|(coding, _)| coding).collect()
}

/// A coding and its weight in thousandths; `None` if it cannot be read.
fn wish(item: &str) -> Option<(&str, u16)> {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim();
    let quality = parameters.trim();
    if name.is_empty() {
        return None;
    }
    if quality.is_empty() {
        return Some((name, 1000));
    }
    let (key, number) = quality.split_once('=')?;
    if !key.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    if part.len() > 3 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{part:0<3}").parse::<u16>().ok()?;
    match (whole, thousandths) {
        ("0", _) => Some((name, thousandths)),
        ("1", 0) => Some((name, 1000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &'static str) -> Vec<&'static str> {
        let offered = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];
        accepted(&[HeaderValue::from_static(value)], offered).into_iter().map(Coding::name).collect()
    }

    #[test]
    fn the_order_is_that_of_the_weights_and_then_ours() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", &["br", "zstd", "gzip"][..]),
            ("gzip;q=1.0, br;q=0.5", &["gzip", "br"]),
            ("gzip;q=0.001", &["gzip"]),
            ("GZIP", &["gzip"]),
            ("x-gzip", &["gzip"]),
            ("*", &["br", "zstd", "gzip"]),
            ("*;q=0.5, br;q=0", &["zstd", "gzip"]),
            ("gzip ; Q=0.5 , br", &["br", "gzip"]),
            ("identity, gzip;q=0.5, br", &["br"]),
            ("identity;q=0.5, gzip", &["gzip"]),
            ("identity;q=0, gzip;q=0.1", &["gzip"]),
            ("*;q=0, zstd;q=0.2", &["zstd"]),
        ] {
            assert_eq!(names(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_refused_or_unreadable_is_not_taken() {
        for value in [
            "",
            "identity",
            "identity;q=0",
            "*;q=0",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=2",
            "gzip;q=x",
            "gzip;q=0.1234",
            ";",
            "gzip;x=1",
        ] {
            assert!(names(value).is_empty(), "{value}");
        }
        assert!(accepted(&[], [Coding::Brotli, Coding::Zstandard, Coding::Gzip]).is_empty());
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = ["gzip;q=0.5", "zstd"].map(HeaderValue::from_static);
        let accepted = accepted(&lines, [Coding::Gzip, Coding::Brotli, Coding::Zstandard]);
        assert_eq!(accepted, [Coding::Zstandard, Coding::Gzip]);
    }
}
