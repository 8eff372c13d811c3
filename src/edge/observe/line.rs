//! The format of a log record: its level, its time, the two formats of pluginserver, and JSON.
//!
//! Pure functions. Promise: the only line feed of a finished line is at its end, since control characters in names and
//! texts are escaped; for a person, texts have further lines, which are indented, so that none looks like a record.
//! Caveat: a backslash is not doubled, so `\n` in a line may stand for a line feed or for those two
//! characters.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};

use super::timestamp;

/// How grave a record is. `Critical` and `Exception` weigh the same and differ in name only, as in pluginserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Details, for finding faults.
    Debug,
    /// Normal operation.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// The service as a whole is in danger.
    Critical,
    /// An exception was caught and reported.
    Exception,
}

impl Level {
    /// All levels, lowest first.
    pub(crate) const ALL: [Self; 6] =
        [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical, Self::Exception];

    /// The level of that name in any case; `warning` means `WARN`.
    #[must_use]
    pub(crate) fn named(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("warning") {
            return Some(Self::Warn);
        }
        Self::ALL.into_iter().find(|level| text.eq_ignore_ascii_case(level.name()))
    }

    /// Like [`Level::named`], but an unknown word means `INFO`: a misspelt level in a plugin must neither silence the
    /// server nor stop it.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Self {
        Self::named(text).unwrap_or(Self::Info)
    }

    /// The word that stands in the line.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
            Self::Exception => "EXCEPTION",
        }
    }

    /// The weight compared with a threshold: 10 to 50, the scale of Python's `logging`.
    #[must_use]
    pub(crate) const fn severity(self) -> u8 {
        match self {
            Self::Debug => 10,
            Self::Info => 20,
            Self::Warn => 30,
            Self::Error => 40,
            Self::Critical | Self::Exception => 50,
        }
    }

    /// What the word and the further lines of a record look like on a terminal.
    fn style(self) -> Style {
        let color = match self {
            Self::Debug => return Style::new().dimmed(),
            Self::Info => return Style::new(),
            Self::Warn => AnsiColor::Yellow,
            Self::Error | Self::Critical | Self::Exception => AnsiColor::Red,
        };
        Style::new().fg_color(Some(color.into()))
    }

    /// The syslog priority that journald reads from the `<N>` prefix.
    #[must_use]
    pub(crate) const fn priority(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Info => 6,
            Self::Warn => 4,
            Self::Error => 3,
            Self::Critical | Self::Exception => 2,
        }
    }
}

/// What stands behind the text of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue {
    /// A text.
    Text(String),
    /// A number or a truth value, or another value as JSON.
    Json(String),
}

/// A record that is to become a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// How grave it is.
    pub level: Level,
    /// The log's name.
    pub name: &'a str,
    /// What has happened.
    pub message: &'a str,
    /// Names and values that belong to it.
    pub fields: &'a [(Cow<'a, str>, FieldValue)],
    /// The same, where only JSON has them: as text they are a part of the message.
    pub details: &'a [(&'a str, Cow<'a, str>)],
    /// The traceback of an exception.
    pub exception: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// A record that is a message and nothing else.
    pub(crate) fn new(level: Level, name: &'a str, message: &'a str) -> Self {
        Self { level, name, message, fields: &[], details: &[], exception: None }
    }

    /// The line for files and terminals: `YYYY-mm-dd HH:MM:SS,mmm - name - LEVEL - text`, `time` in the local zone.
    #[must_use]
    pub(crate) fn dated(&self, time: Timestamp) -> String {
        if is_json() {
            return self.json(time);
        }
        let mut line = String::with_capacity(self.message.len() + self.name.len() + 48);
        push_local_time(&mut line, time);
        line.push_str(" - ");
        push_escaped(&mut line, self.name);
        line.push_str(" - ");
        line.push_str(self.level.name());
        line.push_str(" - ");
        self.push_text(&mut line);
        line
    }

    /// The lines for a terminal: the same, but that the lines of a text or a traceback are lines, too, behind an indent.
    #[must_use]
    pub(crate) fn for_a_person(&self, time: Timestamp, is_colored: bool) -> String {
        if is_json() {
            return self.json(time);
        }
        let style = if is_colored { self.level.style() } else { Style::new() };
        let mut line = String::with_capacity(self.message.len() + self.name.len() + 64);
        push_local_time(&mut line, time);
        line.push_str(" - ");
        push_escaped(&mut line, self.name);
        write!(line, " - {style}{}{style:#} - ", self.level.name()).expect("writing to a String does not fail");
        for (number, text) in self.text().lines().enumerate() {
            if number == 0 {
                push_escaped(&mut line, text);
            } else {
                line.push_str("\n    ");
                let at = line.len();
                push_escaped(&mut line, text);
                if at < line.len() && is_colored {
                    line.insert_str(at, &style.render().to_string());
                    line.push_str(&style.render_reset().to_string());
                }
            }
        }
        line.push('\n');
        line
    }

    /// The line for a pipe, which is taken to lead to a journal that dates it: `<priority> - LEVEL - name - text`. JSON
    /// has its `time` all the same.
    #[must_use]
    pub(crate) fn prioritised(&self, time: Timestamp) -> String {
        if is_json() {
            return self.json(time);
        }
        let mut line = String::with_capacity(self.message.len() + self.name.len() + 32);
        line.push('<');
        line.push(char::from(b'0' + self.level.priority()));
        line.push_str("> - ");
        line.push_str(self.level.name());
        line.push_str(" - ");
        push_escaped(&mut line, self.name);
        line.push_str(" - ");
        self.push_text(&mut line);
        line
    }

    /// Appends message, fields and traceback, and the line feed.
    fn push_text(&self, line: &mut String) {
        push_escaped(line, self.message);
        self.push_fields(line);
        if let Some(exception) = self.exception {
            push_escaped(line, "\n");
            push_escaped(line, exception);
        }
        line.push('\n');
    }

    /// The message with all that belongs to it, as it is.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        if self.fields.is_empty() && self.exception.is_none() {
            return Cow::Borrowed(self.message);
        }
        let mut text = self.message.to_owned();
        self.push_fields(&mut text);
        if let Some(exception) = self.exception {
            text.push('\n');
            text.push_str(exception);
        }
        Cow::Owned(text)
    }

    fn push_fields(&self, line: &mut String) {
        for (name, value) in self.fields {
            line.push(' ');
            push_escaped(line, name);
            line.push('=');
            match value {
                FieldValue::Text(text) if is_plain(text) => line.push_str(text),
                FieldValue::Text(text) => push_escaped(line, &format!("{text:?}")),
                FieldValue::Json(text) => push_escaped(line, text),
            }
        }
    }

    /// The line as an object of JSON.
    fn json(&self, time: Timestamp) -> String {
        let mut line = String::with_capacity(self.message.len() + self.name.len() + 96);
        line.push_str("{\"time\":\"");
        timestamp::push_rfc3339(&mut line, time);
        line.push_str("\",\"level\":\"");
        line.push_str(self.level.name());
        line.push_str("\",\"logger\":");
        push_json_text(&mut line, self.name);
        line.push_str(",\"message\":");
        push_json_text(&mut line, self.message);
        for (name, value) in self.details {
            push_member(&mut line, name);
            push_json_text(&mut line, value);
        }
        for (name, value) in self.fields {
            push_member(&mut line, name);
            match value {
                FieldValue::Text(text) => push_json_text(&mut line, text),
                FieldValue::Json(text) => push_json_escaped(&mut line, text),
            }
        }
        if let Some(exception) = self.exception {
            push_member(&mut line, "exception");
            push_json_text(&mut line, exception);
        }
        line.push_str("}\n");
        line
    }
}

/// Whether a text is read as one value without quotes around it.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !text.is_empty() && text.bytes().all(is_plain)
}

/// Whether records are written as JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether records are written as JSON.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Has all records written as JSON, or as text, from now on.
pub(crate) fn set_json(json: bool) {
    IS_JSON.store(json, Ordering::Relaxed);
}

/// Appends a comma, and the name of a member of an object with the colon behind it.
pub(crate) fn push_member(line: &mut String, name: &str) {
    line.push(',');
    push_json_text(line, name);
    line.push(':');
}

/// Appends `text` as a string of JSON, in its quotes.
pub(crate) fn push_json_text(line: &mut String, text: &str) {
    line.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        push_json_escaped(line, &rest[..at]);
        line.push('\\');
        line.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    push_json_escaped(line, rest);
    line.push('"');
}

/// Appends what may be within a string of JSON, with the same characters escaped that [`push_escaped`] escapes.
fn push_json_escaped(line: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return line.push_str(text);
    }
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => push_code(line, "\\u", 4, character),
            _ if character.is_control() => push_code(line, "\\u", 4, character),
            _ => line.push(character),
        }
    }
}

/// Appends `text` with everything escaped that could end a line, move a terminal's cursor or reorder what is read:
/// control characters other than the tab, the Unicode line and paragraph separators, and the bidirectional overrides.
pub(crate) fn push_escaped(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push('\t'),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => push_code(line, "\\u", 4, character),
            _ if character.is_control() => push_code(line, "\\x", 2, character),
            _ => line.push(character),
        }
    }
}

/// Appends a character's number in lower-case hexadecimal, as Python's `repr` shows it.
fn push_code(line: &mut String, prefix: &str, width: usize, character: char) {
    write!(line, "{prefix}{:0width$x}", u32::from(character)).expect("writing to a String does not fail");
}

thread_local! {
    /// The last second formatted on this thread and its text: finding the zone's offset costs more than the rest of a
    /// line.
    static LAST_SECOND: Cell<Option<(i64, [u8; 19])>> = const { Cell::new(None) };
}

/// Appends `YYYY-mm-dd HH:MM:SS,mmm` in the local zone.
fn push_local_time(line: &mut String, time: Timestamp) {
    let second = time.as_second();
    match LAST_SECOND.get() {
        Some((cached, text)) if cached == second => line.extend(text.map(char::from)),
        _ => {
            let text = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
            // A year of five digits has no room here and is merely not remembered.
            if let Ok(fixed) = <[u8; 19]>::try_from(text.as_bytes()) {
                LAST_SECOND.set(Some((second, fixed)));
            }
            line.push_str(&text);
        }
    }
    write!(line, ",{:03}", time.subsec_millisecond()).expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prioritised(level: Level, name: &str, text: &str) -> String {
        Record::new(level, name, text).prioritised(Timestamp::UNIX_EPOCH)
    }

    fn dated(time: Timestamp, level: Level, name: &str, text: &str) -> String {
        Record::new(level, name, text).dated(time)
    }

    fn escaped(text: &str) -> String {
        let mut line = String::new();
        push_escaped(&mut line, text);
        line
    }

    #[test]
    fn a_level_is_read_in_any_case_and_an_unknown_one_is_info() {
        assert_eq!(Level::Debug, Level::parse("debug"));
        assert_eq!(Level::Exception, Level::parse("Exception"));
        assert_eq!(Level::Warn, Level::parse("Warning"));
        assert_eq!(Level::Info, Level::parse("loud"));
        assert_eq!(Level::Info, Level::parse(""));
    }

    #[test]
    fn severities_and_priorities_are_those_of_pluginserver() {
        assert_eq!([10, 20, 30, 40, 50, 50], Level::ALL.map(Level::severity));
        assert_eq!([7, 6, 4, 3, 2, 2], Level::ALL.map(Level::priority));
    }

    #[test]
    fn a_piped_line_opens_with_its_priority() {
        assert_eq!("<4> - WARN - shop - low stock\n", prioritised(Level::Warn, "shop", "low stock"));
    }

    #[test]
    fn a_dated_line_opens_with_local_time_to_the_millisecond() {
        let local = jiff::civil::date(2025, 5, 6).at(7, 8, 9, 12_345_678).to_zoned(TimeZone::system()).unwrap();
        let line = dated(local.timestamp(), Level::Info, "shop", "open");
        assert_eq!("2025-05-06 07:08:09,012 - shop - INFO - open\n", line);
    }

    #[test]
    fn the_remembered_second_is_not_used_for_another_one() {
        let local = jiff::civil::date(2025, 5, 6).at(7, 8, 9, 0).to_zoned(TimeZone::system()).unwrap().timestamp();
        let times =
            [0, 999, 1000, 0].map(|ms| dated(local + jiff::SignedDuration::from_millis(ms), Level::Info, "n", "t"));
        let seconds = times.map(|line| line[17..23].to_owned());
        assert_eq!(["09,000", "09,999", "10,000", "09,000"], seconds.each_ref().map(String::as_str));
    }

    #[test]
    fn no_text_or_name_can_begin_a_second_line() {
        let line = prioritised(Level::Info, "a\nb", "x\r\n<2> - CRITICAL - root - forged");
        assert_eq!("<6> - INFO - a\\nb - x\\r\\n<2> - CRITICAL - root - forged\n", line);
    }

    #[test]
    fn terminal_sequences_and_unicode_line_ends_are_escaped() {
        assert_eq!("\\x1b[2J\\x00\\x7f", escaped("\x1b[2J\0\x7f"));
        assert_eq!("\\x85\\u2028\\u2029\\u202e\\u2066", escaped("\u{85}\u{2028}\u{2029}\u{202e}\u{2066}"));
    }

    #[test]
    fn tabs_and_ordinary_letters_stay() {
        assert_eq!("a\tb — größer \u{1f600} \\", escaped("a\tb — größer \u{1f600} \\"));
    }

    #[test]
    fn fields_follow_the_message_and_the_traceback_follows_them() {
        let text = |text: &str| FieldValue::Text(text.into());
        let fields = [
            ("item".into(), FieldValue::Json("3".into())),
            ("to".into(), text("Ada")),
            ("why".into(), text("a \"b\"\n")),
            ("empty".into(), text("")),
        ];
        let details = [("request_id", "r1".into())];
        let record = Record {
            fields: &fields,
            details: &details,
            exception: Some("a\nb"),
            ..Record::new(Level::Info, "n", "m")
        };
        let shown = "<6> - INFO - n - m item=3 to=Ada why=\"a \\\"b\\\"\\n\" empty=\"\"\\na\\nb\n";
        assert_eq!(shown, record.prioritised(Timestamp::UNIX_EPOCH));
        let json = record.json(Timestamp::UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            ("m", "n", "INFO"),
            (as_text(&value, "message"), as_text(&value, "logger"), as_text(&value, "level"))
        );
        assert_eq!(("r1", "a \"b\"\n"), (as_text(&value, "request_id"), as_text(&value, "why")));
        assert_eq!((3, "a\nb"), (value["item"].as_i64().unwrap(), as_text(&value, "exception")));
    }

    fn as_text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
        value[name].as_str().unwrap()
    }

    #[test]
    fn a_string_of_json_is_on_one_line_whatever_its_text_is() {
        let text = "\"\\\n\r\t\0\u{7f}\u{85}\u{2028}\u{202e}ü\u{1f600}";
        let mut line = String::new();
        push_json_text(&mut line, text);
        assert!(!line.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{line}");
        assert_eq!(text, serde_json::from_str::<String>(&line).unwrap());
    }
}
