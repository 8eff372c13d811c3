//! The line of a request, in its format.
//!
//! Pure functions, called on the I/O threads. Promise: whatever a client sends, a line has one line feed, at its end,
//! and a value cannot end the quotes around it. Caveat: as text, a value that a request does not have is `-`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Version};
use jiff::Timestamp;

use super::entry::{AccessEntry, Answered};
use super::redaction;
use crate::edge::config::settings::access_log::{AccessFormat, Field, Piece};
use crate::edge::observe::line::{push_escaped, push_json_text, push_member};
use crate::edge::observe::repeats::Requester;
use crate::edge::observe::timestamp::{push_common, push_rfc3339};

/// Room that is kept for the next line.
const KEPT: usize = 4096;

thread_local! {
    /// Where this thread makes lines.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `make` with an empty line of this thread.
pub(super) fn with_line<T>(make: impl FnOnce(&mut String) -> T) -> T {
    LINE.with_borrow_mut(|line| {
        line.clear();
        let result = make(line);
        line.shrink_to(KEPT);
        result
    })
}

/// The value of a field.
enum Value<'a> {
    /// Made by the server, without anything that would have to be escaped.
    Safe(&'a str),
    /// As a client has sent it, or as an ini file or a plugin has it.
    Text(Cow<'a, str>),
    Number(u64),
    Seconds(Duration),
    Time(Timestamp),
    TimeCommon(Timestamp),
    Client(Requester),
    Id(&'a AccessEntry),
    Trace(u128),
}

fn value<'a>(field: Field, entry: &'a AccessEntry, answered: &'a Answered) -> Option<Value<'a>> {
    let (head, times) = (entry.head.as_ref(), answered.plugin_times);
    let text_of = |value: &'a HeaderValue| String::from_utf8_lossy(value.as_bytes());
    let query = |entry: &'a AccessEntry| entry.head.as_ref()?.uri.query().map(redaction::query);
    Some(match field {
        Field::Time => Value::Time(begun(entry)),
        Field::TimeCommon => Value::TimeCommon(begun(entry)),
        Field::Client => Value::Client(entry.client),
        Field::Method => Value::Text(head?.method.as_str().into()),
        Field::Path => Value::Text(head?.uri.path().into()),
        Field::Query => Value::Text(query(entry)?),
        Field::Target => Value::Text(match query(entry) {
            Some(query) => format!("{}?{query}", head?.uri.path()).into(),
            None => head?.uri.path().into(),
        }),
        Field::Version => Value::Safe(version(head?.version)),
        Field::Scheme => Value::Safe(if entry.secure { "https" } else { "http" }),
        Field::Host => Value::Text(text_of(head?.host.as_ref()?)),
        Field::Status => Value::Number(answered.status.as_u16().into()),
        Field::Reason => Value::Safe(answered.refusal?.name()),
        Field::Bytes => Value::Number(answered.bytes),
        Field::Plugin => Value::Text((&**entry.plugin.get()?).into()),
        Field::Key => Value::Text((&**entry.key.get()?).into()),
        Field::Queue => Value::Seconds(times?.queue),
        Field::Handler => Value::Seconds(times?.handler),
        Field::Total => Value::Seconds(answered.total),
        Field::RequestId => Value::Id(entry),
        Field::TraceId => Value::Trace(entry.trace.trace_id()),
        Field::Referer => Value::Text(match text_of(head?.referer.as_ref()?) {
            Cow::Borrowed(referer) => redaction::url(referer),
            Cow::Owned(referer) => redaction::url(&referer).into_owned().into(),
        }),
        Field::UserAgent => Value::Text(text_of(head?.user_agent.as_ref()?)),
    })
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// When the request came.
fn begun(entry: &AccessEntry) -> Timestamp {
    let begun = SystemTime::now().checked_sub(entry.begun.elapsed());
    begun.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Appends a value that needs no escapes, or passes a text on.
fn push(line: &mut String, value: Value<'_>, push_text: impl FnOnce(&mut String, &str)) {
    const FAILS_NOT: &str = "writing to a String does not fail";
    match value {
        Value::Safe(text) => line.push_str(text),
        Value::Text(text) => push_text(line, &text),
        Value::Number(number) => write!(line, "{number}").expect(FAILS_NOT),
        Value::Seconds(time) => write!(line, "{}.{:06}", time.as_secs(), time.subsec_micros()).expect(FAILS_NOT),
        Value::Time(time) => push_rfc3339(line, time),
        Value::TimeCommon(time) => push_common(line, time),
        Value::Client(Requester::Address(address)) => write!(line, "{address}").expect(FAILS_NOT),
        Value::Client(Requester::Unix) => line.push_str("unix"),
        Value::Client(Requester::Unknown) => line.push_str("unknown"),
        Value::Id(entry) => line.push_str(&entry.id),
        Value::Trace(id) => write!(line, "{id:032x}").expect(FAILS_NOT),
    }
}

/// Appends the line that a template stands for, without its end.
pub(super) fn push_template(line: &mut String, pieces: &[Piece], entry: &AccessEntry, answered: &Answered) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => push_escaped(line, text),
            Piece::Field(field) => match value(*field, entry, answered) {
                Some(value) => push(line, value, push_quoted),
                None => line.push('-'),
            },
        }
    }
}

/// Appends a text that may stand between quotes, as httpd has it.
fn push_quoted(line: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return line.push_str(text);
    }
    push_escaped(line, &text.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t"));
}

/// Appends an object of JSON, without the end of the line.
pub(super) fn push_json(line: &mut String, entry: &AccessEntry, answered: &Answered) {
    let fields = Field::ALL.iter().filter(|(field, _)| !matches!(field, Field::TimeCommon | Field::Target));
    for (field, name) in fields {
        let Some(value) = value(*field, entry, answered) else { continue };
        push_member(line, name);
        let is_number = matches!(value, Value::Number(_) | Value::Seconds(_));
        match value {
            Value::Text(text) => push_json_text(line, &text),
            value if is_number => push(line, value, push_json_text),
            value => {
                line.push('"');
                push(line, value, push_json_text);
                line.push('"');
            }
        }
    }
    line.replace_range(..1, "{");
    line.push('}');
}

/// Appends a message of the journal, without the end of its last line: the line as its text, and some fields by which
/// messages can be found.
pub(super) fn push_journal(line: &mut String, format: &AccessFormat, entry: &AccessEntry, answered: &Answered) {
    let mut text = String::new();
    match format {
        AccessFormat::Json => push_json(&mut text, entry, answered),
        AccessFormat::Template(pieces) => push_template(&mut text, pieces, entry, answered),
    }
    let priority = if answered.status.is_server_error() { '4' } else { '6' };
    line.push_str("PRIORITY=");
    line.push(priority);
    line.push_str("\nSYSLOG_IDENTIFIER=");
    line.push_str(env!("CARGO_PKG_NAME"));
    for (name, field) in [
        ("PLUGINCORE_REQUEST_ID", Field::RequestId),
        ("PLUGINCORE_PLUGIN", Field::Plugin),
        ("PLUGINCORE_STATUS", Field::Status),
    ] {
        if let Some(value) = value(field, entry, answered) {
            line.push('\n');
            line.push_str(name);
            line.push('=');
            push(line, value, push_quoted);
        }
    }
    line.push_str("\nMESSAGE=");
    line.push_str(&text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, Method, StatusCode, Uri};

    use super::*;
    use crate::edge::http::access_log::entry::Head;
    use crate::edge::http::request_id::RequestId;
    use crate::edge::http::trace::TraceContext;
    use crate::edge::observe::metrics::thread::PluginTimes;

    fn line(format: &str, target: &str, headers: &[(&'static str, &[u8])]) -> String {
        let format = AccessFormat::named(format).unwrap();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect();
        let (uri, client) = (Uri::try_from(target).unwrap(), Requester::Address("192.0.2.7".parse().unwrap()));
        let head = Head::new(Some(&format), (&Method::GET, &uri, Version::HTTP_11), &headers);
        let entry = AccessEntry::new((RequestId::fresh(), TraceContext::default()), (client, true), Some(head));
        entry.key.set(Arc::from("ada")).unwrap();
        let (queue, handler) = (Duration::from_micros(1), Duration::from_millis(1500));
        let answered = Answered {
            status: StatusCode::OK,
            refusal: None,
            plugin_times: Some(PluginTimes { queue, handler }),
            bytes: 5,
            total: Duration::from_secs(2),
        };
        let mut line = String::new();
        match &format {
            AccessFormat::Json => push_json(&mut line, &entry, &answered),
            AccessFormat::Template(pieces) => push_template(&mut line, pieces, &entry, &answered),
        }
        line
    }

    #[test]
    fn a_value_cannot_end_its_quotes_or_the_line() {
        let agent = ("user-agent", &b"a\" 200 1\t\\ \xff"[..]);
        let shown = line("\"{user_agent}\" {referer} {plugin} {target}", "/a?apikey=k&b=1", &[agent]);
        assert_eq!("\"a\\\" 200 1\\t\\\\ \u{fffd}\" - - /a?apikey=***&b=1", shown);
        let json = line("json", "/a?apikey=k&b=1", &[agent]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!("a\" 200 1\t\\ \u{fffd}", value["user_agent"]);
        assert_eq!("apikey=***&b=1", value["query"]);
        assert!(value["referer"].is_null() && value["reason"].is_null() && value["target"].is_null());
    }

    #[test]
    fn the_common_format_is_that_of_httpd() {
        let common = line("common", "/a", &[]);
        let (before, after) = (common.split_once(" [").unwrap().0, common.split_once("] ").unwrap().1);
        assert_eq!(("192.0.2.7 - ada", "\"GET /a HTTP/1.1\" 200 5"), (before, after));
        let referer = [("referer", &b"http://x/?token=t"[..]), ("user-agent", b"curl")];
        let combined = line("combined", "/a", &referer);
        assert!(combined.ends_with(" 200 5 \"http://x/?token=***\" \"curl\""), "{combined}");
    }

    #[test]
    fn times_are_seconds_to_the_microsecond() {
        assert_eq!("0.000001 1.500000 2.000000 https", line("{queue} {handler} {total} {scheme}", "/", &[]));
        let value: serde_json::Value = serde_json::from_str(&line("json", "/", &[])).unwrap();
        assert_eq!((Some(1.5), Some(200)), (value["handler"].as_f64(), value["status"].as_u64()));
    }
}
