//! Parsers for the kinds of value that the server expects: port, switch, duration, size, addresses.
//!
//! Pure functions. Each takes the typed value of the file and returns the parsed one or a description of the error. An
//! untyped text is accepted where its meaning is clear (`port=9192`, `enabled=yes`). Caveat: only the keys of the
//! server's own sections are parsed like this; plugins get each value exactly as its type prefix makes it.

use super::places::PlaceSetting;
use super::value::{Value, is_space};
use nix::unistd::Group;
use std::path::PathBuf;
use std::time::Duration;

/// A value that does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidValue {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl InvalidValue {
    /// A misfit in words.
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

/// What a reader gives.
pub(crate) type ParseResult<T> = Result<T, InvalidValue>;

/// The event loop that plugins run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventLoop {
    /// Python's own.
    Asyncio,
    /// The one of the package `uvloop`, which has to be installed.
    Uvloop,
}

/// Whether the plugin files are watched for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchMode {
    /// Changes count at the next reload.
    Off,
    /// By the notifications of the system, and by reading everything where those do not come.
    On,
    /// By reading everything again and again.
    Poll,
}

impl WatchMode {
    /// The mode that a word stands for: that of a switch, or `poll`.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        if word.trim().eq_ignore_ascii_case("poll") {
            return Some(Self::Poll);
        }
        word_of_switch(word).map(|on| if on { Self::On } else { Self::Off })
    }
}

/// Which clients get to know what went wrong inside a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShowErrors {
    /// Those on this machine.
    Local,
    /// All.
    On,
    /// None.
    Off,
}

impl ShowErrors {
    /// Whether a client that is on this machine, or is not, gets to know it.
    pub(crate) fn shows_to(self, is_local: bool) -> bool {
        self == Self::On || self == Self::Local && is_local
    }
}

/// Longest duration: 30 days. Longer ones are misprints, and this keeps every sum with the clock in range.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// A whole number in `0..=max`, typed or as text.
fn whole(value: &Value, max: i128) -> Option<i128> {
    let number = match value {
        Value::Int(number) => *number,
        Value::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0..=max).contains(&number).then_some(number)
}

/// TCP port; 0 lets the system choose.
pub(crate) fn port(value: &Value) -> ParseResult<u16> {
    whole(value, u16::MAX.into())
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| InvalidValue::new("must be a number from 0 to 65535", "write for example port=9192"))
}

/// A number of things, at least one.
pub(crate) fn count(value: &Value) -> ParseResult<usize> {
    whole(value, i128::from(u32::MAX))
        .filter(|number| *number > 0)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| {
            InvalidValue::new("must be a whole number of at least 1", "write a number, or leave the key out")
        })
}

/// An event loop, by the name of the package that has it.
pub(crate) fn event_loop(value: &Value) -> ParseResult<EventLoop> {
    let word = if let Value::Text(text) = value { text.trim().to_lowercase() } else { String::new() };
    match word.as_str() {
        "asyncio" => Ok(EventLoop::Asyncio),
        "uvloop" => Ok(EventLoop::Uvloop),
        _ => Err(InvalidValue::new("must be asyncio or uvloop", "leave the key out for asyncio")),
    }
}

/// A switch: one of the words of [`word_of_switch`], whose `text` counts whatever `bool:` makes of it.
pub(crate) fn switch(value: &Value, text: &str) -> ParseResult<bool> {
    let word = match value {
        Value::Bool(_) | Value::Int(_) | Value::Text(_) => word_of_switch(text),
        Value::Float(_) | Value::List(_) => None,
    };
    word.ok_or_else(|| InvalidValue::new("must be on or off", "write bool:true or bool:false"))
}

/// A switch that can also be `poll`; as for [`switch`], `text` counts.
pub(crate) fn watch_mode(value: &Value, text: &str) -> ParseResult<WatchMode> {
    let word = match value {
        Value::Bool(_) | Value::Int(_) | Value::Text(_) => WatchMode::of_word(text),
        Value::Float(_) | Value::List(_) => None,
    };
    word.ok_or_else(|| InvalidValue::new("must be on, off or poll", "write watch=on, or leave the key out"))
}

/// Which clients see errors in full: `local`, or the word of a switch.
pub(crate) fn show_errors(value: &Value, text: &str) -> ParseResult<ShowErrors> {
    let word = match value {
        Value::Text(_) if text.trim().eq_ignore_ascii_case("local") => Some(ShowErrors::Local),
        Value::Bool(_) | Value::Int(_) | Value::Text(_) => {
            word_of_switch(text).map(|on| if on { ShowErrors::On } else { ShowErrors::Off })
        }
        Value::Float(_) | Value::List(_) => None,
    };
    word.ok_or_else(|| InvalidValue::new("must be local, on or off", "write show_errors=local, or leave the key out"))
}

/// The state of a switch that a word in any case stands for; an empty one is off. pluginserver accepted five words
/// after `bool:` and took all others for off, `True` and `yes` among them; a server configured like that must have TLS
/// on.
pub(crate) fn word_of_switch(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enable" | "enabled" => Some(true),
        "false" | "no" | "off" | "0" | "disable" | "disabled" | "" => Some(false),
        _ => None,
    }
}

/// What to do about a text that holds what looks like a comment, if it does.
pub(crate) fn comment_in(text: &str) -> Option<String> {
    let begins = |(at, sign): (usize, char)| matches!(sign, ';' | '#') && text[..at].ends_with(is_space);
    let (_, sign) = text.char_indices().find(|found| begins(*found))?;
    Some(format!("{sign} behind a value is part of it: put the comment on a line of its own"))
}

/// A duration: seconds, or a number with `ms`, `s`, `m` or `h`.
pub(crate) fn duration(value: &Value) -> ParseResult<Duration> {
    let wrong = || InvalidValue::new("must be a time above 0 and of at most 30 days", HOW_TO_WRITE_DURATIONS);
    any_duration(value).filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// A duration that may be zero.
pub(crate) fn delay(value: &Value) -> ParseResult<Duration> {
    any_duration(value).ok_or_else(|| InvalidValue::new("must be a time of at most 30 days", HOW_TO_WRITE_DURATIONS))
}

const HOW_TO_WRITE_DURATIONS: &str = "write seconds, or a number with ms, s, m or h";

fn any_duration(value: &Value) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "a number of seconds that large is refused anyway")]
    let seconds = match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => seconds(text.trim()),
        Value::Bool(_) | Value::List(_) => None,
    };
    let duration = Duration::try_from_secs_f64(seconds?).ok()?;
    (duration <= MAX_DURATION).then_some(duration)
}

fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// A size in bytes, or with `k`/`KiB` (1024) or `M`/`MiB` (1024²), of at least `min` bytes.
pub(crate) fn size(value: &Value, min: usize) -> ParseResult<usize> {
    let bytes = match value {
        Value::Text(text) => bytes(text.trim()),
        value => whole(value, i128::from(u32::MAX)).and_then(|number| usize::try_from(number).ok()),
    };
    bytes.filter(|bytes| *bytes >= min && u32::try_from(*bytes).is_ok()).ok_or_else(|| {
        let message = format!("must be a size from {min} bytes to 4 GiB");
        InvalidValue::new(message, "write bytes, or a whole number with KiB or MiB")
    })
}

fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" | "kib" => 1024,
        "m" | "mib" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// Parts `10 ms` into number and unit.
fn split_unit(text: &str) -> (&str, &str) {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    (number.trim_end(), &text[number.len()..])
}

/// What `none` stands for where a number of bytes or things is limited.
pub(crate) const UNLIMITED: usize = usize::MAX;

/// What `fit` reads; the word `none` stands for `none`.
pub(crate) fn or_none<T>(value: &Value, none: T, fit: impl FnOnce(&Value) -> ParseResult<T>) -> ParseResult<T> {
    if matches!(value, Value::Text(text) if text.trim().eq_ignore_ascii_case("none")) {
        return Ok(none);
    }
    fit(value)
        .map_err(|invalid| InvalidValue { remedy: format!("{}; none switches it off", invalid.remedy), ..invalid })
}

/// The path of a file or folder, as written.
pub(crate) fn path(value: &Value) -> ParseResult<PathBuf> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(PathBuf::from(text)),
        _ => Err(InvalidValue::new("must be a path", "write the path without a type prefix")),
    }
}

/// A path, or `none`.
pub(crate) fn place(value: &Value) -> ParseResult<PlaceSetting> {
    match path(value) {
        Ok(path) if path.as_os_str().eq_ignore_ascii_case("none") => Ok(PlaceSetting::Off),
        Ok(path) => Ok(PlaceSetting::At(path)),
        Err(invalid) => Err(InvalidValue { remedy: format!("{}, or none", invalid.remedy), ..invalid }),
    }
}

/// Words of a text, or the texts of a list: `a b` and `list:a b` are the same.
pub(crate) fn words(value: &Value) -> ParseResult<Vec<String>> {
    let invalid = || InvalidValue::new("must be text or a list of texts", "write for example list:one two");
    match value {
        Value::Text(text) => Ok(text.split(is_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()),
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) => Ok(text.clone()),
                _ => Err(invalid()),
            })
            .collect(),
        _ => Err(invalid()),
    }
}

/// The mode of a file, in octal with or without a zero in front.
pub(crate) fn mode(value: &Value) -> ParseResult<u32> {
    let digits = match value {
        Value::Text(text) => text.trim().to_owned(),
        // The same digits mean the same.
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    };
    let mode = u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o777 && !digits.starts_with('+'));
    mode.ok_or_else(|| InvalidValue::new("must be an octal mode from 0 to 0777", "write for example unix_mode=0660"))
}

/// The number of a group, by that or by its name.
pub(crate) fn group(value: &Value) -> ParseResult<u32> {
    let remedy = "write the name or the number of a group of this machine, which `getent group` lists";
    let name = match value {
        Value::Text(text) => text.trim().to_owned(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    };
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(&name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(InvalidValue::new(format!("there is no group {name:?}"), remedy)),
        Err(error) => Err(InvalidValue::new(format!("the group {name:?} cannot be looked up: {error}"), remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Value {
        Value::Text(t.into())
    }

    #[test]
    fn a_port_may_be_typed_or_plain() {
        assert_eq!(port(&Value::Int(80)), Ok(80));
        assert_eq!(port(&text(" 9192 ")), Ok(9192));
        for bad in [text("http"), Value::Int(65536), Value::Int(-1), Value::Float(80.0), text("")] {
            assert!(port(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_switch_takes_plain_words_in_any_case() {
        for on in ["TRUE", "yes", "On", "1", "enabled"] {
            assert_eq!(switch(&text(on), on), Ok(true));
        }
        for off in ["false", "NO", "off", "0", ""] {
            assert_eq!(switch(&text(off), off), Ok(false));
        }
        assert_eq!(switch(&Value::Int(1), "1"), Ok(true));
        assert!(switch(&text("maybe"), "maybe").is_err());
        assert!(switch(&Value::Float(1.0), "1").is_err());
    }

    #[test]
    fn the_word_behind_bool_counts_and_not_what_bool_makes_of_it() {
        for (word, on) in [("True", true), ("yes", true), ("ENABLED", true), ("off", false), ("No", false)] {
            assert_eq!(switch(&Value::Bool(false), word), Ok(on), "{word}");
        }
        for word in ["tru", "maybe", "true ; TLS"] {
            assert!(switch(&Value::Bool(false), word).is_err(), "{word}");
        }
    }

    #[test]
    fn what_looks_like_a_comment_is_found_behind_white_space_only() {
        for text in ["2MiB ; two", "2MiB\t# two", "x # y ; z"] {
            assert!(comment_in(text).is_some(), "{text}");
        }
        for text in ["a;b", "a#b", "; b", ""] {
            assert!(comment_in(text).is_none(), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        assert_eq!(duration(&Value::Int(3)), Ok(Duration::from_secs(3)));
        assert_eq!(duration(&Value::Float(0.5)), Ok(Duration::from_millis(500)));
        for (given, seconds) in [("1.5", 1.5), ("250ms", 0.25), ("2 s", 2.0), ("3m", 180.0), ("1h", 3600.0)] {
            assert_eq!(duration(&text(given)), Ok(Duration::from_secs_f64(seconds)), "{given}");
        }
        for bad in ["0", "-1", "nan", "inf", "1d", "", "s", "31000000"] {
            assert!(duration(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(size(&Value::Int(10), 1), Ok(10));
        for (given, bytes) in [("512", 512), ("64KiB", 65536), ("2 MiB", 2 << 20), ("8k", 8192), ("1M", 1 << 20)] {
            assert_eq!(size(&text(given), 1), Ok(bytes), "{given}");
        }
        for bad in ["0", "-5", "1.5k", "3GB", "", "99999999999999999999M"] {
            assert!(size(&text(bad), 1).is_err(), "{bad}");
        }
        assert!(size(&Value::Int(100), 8192).is_err());
    }

    #[test]
    fn a_mode_is_octal_however_it_is_written() {
        for (given, expected) in [(text("0660"), 0o660), (text("600"), 0o600), (Value::Int(666), 0o666)] {
            assert_eq!(mode(&given), Ok(expected), "{given:?}");
        }
        for bad in ["0888", "1777", "+660", "-1", "rw", ""] {
            assert!(mode(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_group_has_a_name_or_a_number() {
        assert_eq!((group(&text("root")), group(&text("12345")), group(&Value::Int(7))), (Ok(0), Ok(12345), Ok(7)));
        let refused = group(&text("no such group")).unwrap_err();
        assert_eq!("there is no group \"no such group\"", refused.message);
    }
}
