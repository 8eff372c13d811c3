//! Typed values: the result of the prefixes `int:`, `float:`, `bool:` and `list:`.
//!
//! Pure functions. The conversions accept what Python's `int()` and `float()` accept of ASCII texts, since existing
//! files were written for those. Caveat: whole numbers must fit into 128 bits; a larger one is an error.

use serde::Serialize;

/// One value of the configuration; serialises to the plain Python (or JSON) value it stands for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// Text without a type prefix.
    Text(String),
    /// `int:`
    Int(i128),
    /// `float:`
    Float(f64),
    /// `bool:`
    Bool(bool),
    /// `list:`, items typed one by one; a list inside a list is possible (`list:a list:b`).
    List(Vec<Value>),
}

/// Type prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `int:`
    Int,
    /// `float:`
    Float,
    /// `bool:`
    Bool,
    /// `list:`
    List,
}

/// A text that its type prefix does not fit. It does not repeat the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConversionError {
    /// After `int:`.
    #[error("what follows int: is not a whole number of at most 38 digits")]
    Int,
    /// After `float:`.
    #[error("what follows float: is not a number")]
    Float,
}

impl ConversionError {
    /// What the reader can do.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Int => "write for example int:42, or leave the prefix out for text",
            Self::Float => "write for example float:3.14, or leave the prefix out for text",
        }
    }
}

/// Parts a text from its type prefix; the words are matched to the letter.
pub(crate) fn split_prefix(text: &str) -> (Option<Kind>, &str) {
    let kinds = [("int:", Kind::Int), ("float:", Kind::Float), ("bool:", Kind::Bool), ("list:", Kind::List)];
    kinds
        .into_iter()
        .find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|rest| (Some(kind), rest)))
        .unwrap_or((None, text))
}

/// Converts a text that may carry a type prefix.
pub(crate) fn typed(text: &str) -> Result<Value, ConversionError> {
    match split_prefix(text) {
        (Some(kind), rest) => convert(kind, rest),
        (None, text) => Ok(Value::Text(text.to_owned())),
    }
}

/// Converts a text whose prefix was taken off.
pub(crate) fn convert(kind: Kind, text: &str) -> Result<Value, ConversionError> {
    let text = text.trim_start_matches(is_space);
    match kind {
        Kind::Int => int(text).map(Value::Int).ok_or(ConversionError::Int),
        Kind::Float => float(text).map(Value::Float).ok_or(ConversionError::Float),
        Kind::Bool => Ok(Value::Bool(matches!(text, "true" | "enabled" | "on" | "1" | "enable"))),
        Kind::List => words(list_body(text)).map(typed).collect::<Result<_, _>>().map(Value::List),
    }
}

/// The part of a list's text that holds its words: pluginserver took `list:list:a b` for `list:a b`.
pub(crate) fn list_body(text: &str) -> &str {
    let text = text.trim_start_matches(is_space);
    text.strip_prefix("list:").unwrap_or(text)
}

/// Words of a list, up to a lone `&`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty()).take_while(|word| *word != "&")
}

/// White space as Python's `str` has it, which counts four separators that Unicode's property leaves out.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `int()` on an ASCII text.
fn int(text: &str) -> Option<i128> {
    without_underscores(text.trim_matches(is_space))?.parse().ok()
}

/// `float()` on an ASCII text; `inf`, `nan` and exponents included.
fn float(text: &str) -> Option<f64> {
    without_underscores(text.trim_matches(is_space))?.parse().ok()
}

/// Takes out underscores, which may stand between digits only.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let well_placed = |(at, _): (usize, &str)| at > 0 && digit(at - 1) && digit(at + 1);
    text.match_indices('_').all(well_placed).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Value {
        Value::Text(t.into())
    }

    #[test]
    fn ints_are_read_as_python_does() {
        for (given, expected) in
            [("int:42", 42), ("int: 42 ", 42), ("int:-7", -7), ("int:+1_000", 1000), ("int:007", 7)]
        {
            assert_eq!(typed(given), Ok(Value::Int(expected)), "{given}");
        }
        for bad in ["int:", "int:4.2", "int:_1", "int:1_", "int:1__0", "int:0x10", "int:- 1", "int:true"] {
            assert_eq!(typed(bad), Err(ConversionError::Int), "{bad}");
        }
    }

    #[test]
    fn an_int_beyond_64_bits_stays_exact() {
        assert_eq!(typed("int:18446744073709551617"), Ok(Value::Int(18_446_744_073_709_551_617)));
    }

    #[test]
    fn floats_are_read_as_python_does() {
        for (given, expected) in [
            ("float:2.75", 2.75),
            ("float:1_0.5", 10.5),
            ("float: 1e3", 1000.0),
            ("float:.5", 0.5),
            ("float:5.", 5.0),
            ("float:-Infinity", f64::NEG_INFINITY),
            ("float:1e999", f64::INFINITY),
        ] {
            assert_eq!(typed(given), Ok(Value::Float(expected)), "{given}");
        }
        assert!(matches!(typed("float:NaN"), Ok(Value::Float(f)) if f.is_nan()));
        for bad in ["float:", "float:.", "float:1_.0", "float:in_f", "float:0x1p3", "float:x"] {
            assert_eq!(typed(bad), Err(ConversionError::Float), "{bad}");
        }
    }

    #[test]
    fn bool_is_true_for_five_words_only() {
        for word in ["true", "enabled", "on", "1", "enable"] {
            assert_eq!(typed(&format!("bool:{word}")), Ok(Value::Bool(true)));
        }
        for word in ["True", "yes", "false", "", "2", "on off"] {
            assert_eq!(typed(&format!("bool:{word}")), Ok(Value::Bool(false)));
        }
    }

    #[test]
    fn a_list_types_its_items_and_ends_at_a_lone_ampersand() {
        let list = typed("list:a int:4\n bool:on x&y & rest");
        assert_eq!(list, Ok(Value::List(vec![text("a"), Value::Int(4), Value::Bool(true), text("x&y")])));
        assert_eq!(typed("list:"), Ok(Value::List(vec![])));
        assert_eq!(typed("list:x list:a"), Ok(Value::List(vec![text("x"), Value::List(vec![text("a")])])));
        assert_eq!(typed("list:list:a b"), Ok(Value::List(vec![text("a"), text("b")])));
        assert_eq!(typed("list:a int:x"), Err(ConversionError::Int));
    }

    #[test]
    fn prefixes_are_matched_to_the_letter() {
        assert_eq!(typed("Int:4"), Ok(text("Int:4")));
        assert_eq!(typed(" int:4"), Ok(text(" int:4")));
    }
}
