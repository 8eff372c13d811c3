//! `[access_log]`, ready to use: where the lines go, and what is in them.
//!
//! Plain data. Promise: the fields of a line stand in one list, [`Field::ALL`], which `docs/logging.md` is compared
//! with. Caveat: whether the file can be written is checked when the settings are read, and may have changed since.

use std::path::PathBuf;
use std::time::Duration;

use crate::edge::config::diagnostic::{ConfigErrors, Diagnostic, SourceLocation};

/// The access log, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogSettings {
    /// Where the lines go.
    pub destination: Destination,
    /// What a line is.
    pub format: AccessFormat,
    /// Of how many requests one is logged; 1 for all.
    pub sample: u32,
    /// Requests that take longer are always logged.
    pub slow: Duration,
    /// Where the destination stands in the ini file.
    pub location: SourceLocation,
}

impl AccessLogSettings {
    /// An error of the destination.
    pub(crate) fn error(&self, message: impl Into<String>) -> ConfigErrors {
        let error = Diagnostic::error(self.location.clone(), message);
        ConfigErrors::from(error.in_section("access_log").at_key(self.destination.key()))
    }
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To a file.
    File(PathBuf),
    /// To standard output.
    StandardOutput,
    /// To the journal, by its socket.
    Journal(PathBuf),
}

impl Destination {
    /// The key that names it.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::StandardOutput => "stdout",
            Self::Journal(_) => "journald",
        }
    }
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessFormat {
    /// An object of JSON with all fields that the request has.
    Json,
    /// Texts and fields in turn.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// The value of a field.
    Field(Field),
}

/// The Common Log Format of Apache httpd.
const COMMON: &str = "{client} - {key} [{time_common}] \"{method} {target} {version}\" {status} {bytes}";

/// What httpd calls the combined format has these behind it.
const COMBINED: &str = " \"{referer}\" \"{user_agent}\"";

impl AccessFormat {
    /// The format that a word or a template stands for.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub(crate) fn named(text: &str) -> Result<Self, (String, String)> {
        match text.trim() {
            "json" => Ok(Self::Json),
            "common" => template(COMMON).map(Self::Template),
            "combined" => template(&format!("{COMMON}{COMBINED}")).map(Self::Template),
            text if text.contains('{') && !text.contains(['\n', '\r']) => template(text).map(Self::Template),
            text if text.contains('{') => {
                Err(("is a template of more than one line".to_owned(), "write it on one line".to_owned()))
            }
            _ => Err((
                "must be common, combined, json or a template".to_owned(),
                "write for example format={method} {path} {status}".to_owned(),
            )),
        }
    }

    /// Whether a line may have the value of `field`.
    pub(crate) fn has(&self, field: Field) -> bool {
        match self {
            Self::Json => true,
            Self::Template(pieces) => pieces.contains(&Piece::Field(field)),
        }
    }
}

/// The pieces of a template: fields stand in braces, and two braces for one.
fn template(text: &str) -> Result<Vec<Piece>, (String, String)> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    let how_to = || "write {{ for a brace, and the name of a field between braces".to_owned();
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let closed = if brace == "{" { after.split_once('}') } else { None };
        let (name, after) = closed.ok_or_else(|| (format!("has a {brace} alone"), how_to()))?;
        let field = Field::named(name).ok_or_else(|| {
            let names: Vec<_> = Field::ALL.iter().map(|(_, name)| *name).collect();
            (format!("has no field {{{name}}}"), format!("fields are {}", names.join(", ")))
        })?;
        pieces.extend(Some(std::mem::take(&mut literal)).filter(|literal| !literal.is_empty()).map(Piece::Text));
        pieces.push(Piece::Field(field));
        rest = after;
    }
    literal.push_str(rest);
    pieces.extend(Some(literal).filter(|literal| !literal.is_empty()).map(Piece::Text));
    Ok(pieces)
}

macro_rules! fields {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// What a line can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Field {
            $(#[doc = $meaning] $variant,)*
        }

        impl Field {
            /// All of them and their names, in the order in which JSON has them.
            pub(crate) const ALL: &[(Self, &str)] = &[$((Self::$variant, $name)),*];
        }
    };
}

fields! {
    Time "time" "When the request came, as RFC 3339 has it, in local time.";
    TimeCommon "time_common" "The same as the Common Log Format has it; not in JSON.";
    Client "client" "The client's address.";
    Method "method" "The method.";
    Path "path" "The path as the client sent it.";
    Query "query" "What follows the question mark, keys redacted.";
    Target "target" "Path and query; not in JSON.";
    Version "version" "The version of HTTP, such as `HTTP/1.1`.";
    Scheme "scheme" "`http` or `https`.";
    Host "host" "The host that the client asked for.";
    Status "status" "The status.";
    Reason "reason" "Why the request was refused, if it was.";
    Bytes "bytes" "Bytes of the body that were sent.";
    Plugin "plugin" "The plugin's id.";
    Key "key" "The name of the key.";
    Queue "queue" "Seconds until the handler was called.";
    Handler "handler" "Seconds until the handler answered or began to.";
    Total "total" "Seconds until the last byte was handed over.";
    RequestId "request_id" "The id of the request.";
    TraceId "trace_id" "The id of the trace.";
    Referer "referer" "The page that links here, keys redacted.";
    UserAgent "user_agent" "The program that asks.";
}

impl Field {
    /// The field of that name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(field, _)| *field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        match AccessFormat::named(text).unwrap() {
            AccessFormat::Template(pieces) => pieces,
            AccessFormat::Json => Vec::new(),
        }
    }

    #[test]
    fn a_template_is_texts_and_fields_in_turn() {
        let expected = [
            Piece::Field(Field::Method),
            Piece::Text(" {x} ".into()),
            Piece::Field(Field::Status),
            Piece::Text(";".into()),
        ];
        assert_eq!(expected.as_slice(), pieces(" {method} {{x}} {status}; "));
        assert!(AccessFormat::named("combined").unwrap().has(Field::UserAgent));
        assert!(!AccessFormat::named("common").unwrap().has(Field::UserAgent));
    }

    #[test]
    fn a_format_that_is_none_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("commmon", "must be common, combined, json or a template"),
            ("{method} {colour}", "has no field {colour}"),
            ("{method", "has a { alone"),
            ("{method} }", "has a } alone"),
            ("{method}\n{path}", "is a template of more than one line"),
        ] {
            assert_eq!(Err(expected.to_owned()), AccessFormat::named(text).map_err(|(message, _)| message), "{text}");
        }
    }

    #[test]
    fn the_documentation_has_the_same_fields_in_the_same_order() {
        let page = include_str!("../../../../docs/logging.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `{")?.split_once("}`")).map(|(name, _)| name);
        let names: Vec<_> = Field::ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!(names, rows.collect::<Vec<_>>());
    }
}
