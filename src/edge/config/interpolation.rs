//! Resolves `${…}` in values, then converts them: an [`Ini`] becomes a [`ResolvedConfig`].
//!
//! Pure functions, called on the Python thread. `${key}` is a key of the same section, `${section:key}` one of another
//! section, `${ENV:NAME}` an environment variable (empty if it is not set), `$$` a dollar sign. References are
//! resolved before conversion, so `int:${a:n}` works; a value that consists of a single reference has the type of the
//! value that it refers to. Caveat: as in pluginserver, `${ENV:…}` is replaced first, so the variable may contain a
//! type prefix, and its dollar signs are interpreted.

use super::diagnostic::{Diagnostic, SourceLocation};
use super::fields::comment_in;
use super::ini::{self, Entry, Ini};
use super::resolved::{Item, ResolvedConfig, Section};
use super::schema::nearest;
use super::value::{ConversionError, Kind, Value, convert, is_space, list_body, split_prefix, typed, words};
use std::collections::HashMap;
use std::rc::Rc;

/// References nested deeper than this are refused; a file made by hand stays far below.
const DEPTH_LIMIT: usize = 64;

/// Resolves and types every value; `variable` looks an environment variable up. Errors are in the document.
pub(crate) fn resolve(ini: &Ini, variable: impl Fn(&str) -> Option<String>) -> ResolvedConfig {
    let mut resolver =
        Resolver { ini, variable: &variable, states: HashMap::new(), chain: Vec::new(), errors: Vec::new() };
    let sections = ini.sections.iter().map(|section| resolver.section(section)).collect();
    ResolvedConfig { path: ini.path.clone(), sections, errors: resolver.errors, ..ResolvedConfig::default() }
}

/// Part of a text.
#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Text(&'t str),
    Reference { section: Option<&'t str>, key: String },
}

/// A piece with its reference followed.
enum Part {
    Text(String),
    Value(Rc<Resolved>),
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Value(resolved) => &resolved.text,
        }
    }
}

/// A value and the text it was made from, without type prefixes.
#[derive(Clone)]
struct Resolved {
    value: Value,
    text: String,
    /// Environment variables that gave nothing.
    missing: Vec<String>,
}

impl Resolved {
    fn new(value: Value, text: String) -> Self {
        Self { value, text, missing: Vec::new() }
    }
}

/// Why a value could not be made.
enum Failure {
    /// An error in the value itself.
    Here { message: String, remedy: String },
    /// An error in a value that it refers to, which is reported there.
    Elsewhere,
}

impl Failure {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Here { message: message.into(), remedy: remedy.into() }
    }

    /// The same, with the variables that probably brought it about.
    fn because_of(self, missing: &[String]) -> Self {
        match self {
            Self::Here { message, remedy } if !missing.is_empty() => {
                Self::Here { message: format!("{message}; {}", missing.join(", ")), remedy }
            }
            failure => failure,
        }
    }
}

/// What is known of an entry.
enum State {
    Active,
    Done(Option<Rc<Resolved>>),
}

/// (section, key)
type Name<'i> = (&'i str, &'i str);

struct Resolver<'i> {
    ini: &'i Ini,
    variable: &'i dyn Fn(&str) -> Option<String>,
    states: HashMap<Name<'i>, State>,
    /// Entries being resolved, outermost first.
    chain: Vec<Name<'i>>,
    errors: Vec<Diagnostic>,
}

impl<'i> Resolver<'i> {
    fn section(&mut self, section: &'i ini::Section) -> Section {
        let items = section.entries.iter().map(|entry| {
            let resolved = self.entry(&section.name, entry);
            Item {
                key: entry.key.clone(),
                text: resolved.as_ref().map(|r| r.text.clone()).unwrap_or_default(),
                missing: resolved.as_ref().map(|r| r.missing.clone()).unwrap_or_default(),
                value: resolved.map(|r| r.value.clone()),
                location: self.ini.location(entry),
                inherited: entry.inherited,
            }
        });
        let items = items.collect();
        let location = match section.entries.iter().find_map(|entry| entry.replaced_by.clone()) {
            Some(replaced_by) if section.line == 0 => replaced_by,
            _ => SourceLocation::at(&self.ini.path, section.line),
        };
        Section { name: section.name.clone(), location, items }
    }

    /// Resolves one entry, once; its error is noted here.
    fn entry(&mut self, section: &'i str, entry: &'i Entry) -> Option<Rc<Resolved>> {
        let name = (section, entry.key.as_str());
        if let Some(State::Done(resolved)) = self.states.get(&name) {
            return resolved.clone();
        }
        self.states.insert(name, State::Active);
        self.chain.push(name);
        let outcome = self.evaluate(section, entry);
        self.chain.pop();
        let resolved = match outcome {
            Ok(resolved) => Some(Rc::new(resolved)),
            Err(Failure::Elsewhere) => None,
            Err(Failure::Here { message, remedy }) => {
                let error = Diagnostic::error(self.ini.location(entry), message).remedy(remedy);
                self.errors.push(error.in_section(section).at_key(&entry.key));
                None
            }
        };
        self.states.insert(name, State::Done(resolved.clone()));
        resolved
    }

    fn evaluate(&mut self, section: &'i str, entry: &'i Entry) -> Result<Resolved, Failure> {
        let mut missing = Vec::new();
        let text = if entry.replaced_by.is_some() {
            entry.text.clone()
        } else {
            self.with_environment(&entry.text, &mut missing)
        };
        let (kind, body) = split_prefix(&text);
        let body = if kind == Some(Kind::List) { list_body(body) } else { body };
        let pieces = if entry.replaced_by.is_some() { vec![Piece::Text(body)] } else { parse(body, kind)? };
        let parts = pieces.into_iter().map(|piece| self.follow(section, piece)).collect::<Result<Vec<_>, _>>()?;
        for part in &parts {
            if let Part::Value(resolved) = part {
                missing.extend_from_slice(&resolved.missing);
            }
        }
        let resolved = match (kind, parts.as_slice()) {
            (None, [Part::Value(resolved)]) => Ok(Resolved::clone(resolved)),
            (Some(Kind::List), _) => list(parts),
            _ => scalar(kind, joined(&parts)),
        };
        match resolved {
            Ok(resolved) => Ok(Resolved { missing, ..resolved }),
            Err(failure) => Err(failure.because_of(&missing)),
        }
    }

    /// Replaces `${ENV:NAME}`, and notes in `gaps` which variables gave nothing; what a variable holds is not searched
    /// for further variables.
    fn with_environment(&self, text: &str, missing: &mut Vec<String>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${ENV:") {
            match after.split_once('}') {
                Some((name, tail)) if !name.is_empty() => {
                    out.push_str(before);
                    match (self.variable)(name) {
                        Some(text) if !text.is_empty() => out.push_str(&text),
                        Some(_) => missing.push(format!("the environment variable {name} is empty")),
                        None => missing.push(format!("the environment variable {name} is not set")),
                    }
                    rest = tail;
                }
                _ => break,
            }
        }
        out + rest
    }

    fn follow(&mut self, here: &'i str, piece: Piece<'_>) -> Result<Part, Failure> {
        let (section, key) = match piece {
            Piece::Text(text) => return Ok(Part::Text(text.to_owned())),
            Piece::Reference { section, key } => (section, key),
        };
        let (section, entry) = self.find(here, section, &key)?;
        let name = (section, entry.key.as_str());
        if matches!(self.states.get(&name), Some(State::Active)) {
            let start = self.chain.iter().position(|n| *n == name).unwrap_or_default();
            let way: Vec<_> = self.chain[start..].iter().chain([&name]).map(|(s, k)| format!("{s}:{k}")).collect();
            return Err(Failure::new(
                format!("refers to itself: {}", way.join(" -> ")),
                "give one of them a text of its own",
            ));
        }
        if self.chain.len() >= DEPTH_LIMIT {
            return Err(Failure::new(
                format!("references nest deeper than {DEPTH_LIMIT}"),
                "refer to the value itself",
            ));
        }
        self.entry(section, entry).map(Part::Value).ok_or(Failure::Elsewhere)
    }

    /// Finds what a reference means; `None` for the section is the section it stands in.
    fn find(&self, here: &'i str, section: Option<&str>, key: &str) -> Result<(&'i str, &'i Entry), Failure> {
        let ini = self.ini;
        let wanted = section.unwrap_or(here);
        let sections = ini.sections.iter().map(|section| (section.name.as_str(), &section.entries));
        let Some((name, entries)) = sections.chain([("DEFAULT", &ini.defaults)]).find(|(name, _)| *name == wanted)
        else {
            let known = ini.sections.iter().map(|section| section.name.as_str());
            let remedy = nearest(wanted, known, 3).map_or("write $$ for a plain dollar".into(), |near| {
                format!("is [{near}] meant? Section names are case-sensitive")
            });
            return Err(Failure::new(
                format!("refers to ${{{wanted}:{key}}}, but there is no section [{wanted}]"),
                remedy,
            ));
        };
        let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
            let known = entries.iter().map(|entry| entry.key.as_str());
            let remedy = nearest(key, known, 3)
                .map_or("add the key, or write $$ for a plain dollar".into(), |near| format!("is {near} meant?"));
            return Err(Failure::new(format!("refers to {key}, which [{wanted}] does not have"), remedy));
        };
        Ok((name, entry))
    }
}

/// Splits a text into plain parts and references; keys are lower-cased as `configparser` does.
///
/// After a type prefix a dollar that begins nothing is just a dollar: pluginserver looked at none there.
fn parse(text: &str, kind: Option<Kind>) -> Result<Vec<Piece<'_>>, Failure> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        if let Some(after) = dollar.strip_prefix("$$") {
            pieces.push(Piece::Text("$"));
            rest = after;
        } else if let Some((path, after)) = dollar.strip_prefix("${").and_then(|open| open.split_once('}')) {
            pieces.push(reference(path)?);
            rest = after;
        } else if kind.is_some() {
            pieces.push(Piece::Text("$"));
            rest = &dollar[1..];
        } else {
            return Err(Failure::new(
                "a $ is not followed by $ or by {name}",
                "write $$ for a plain dollar, ${key} or ${section:key} for a reference",
            ));
        }
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

fn reference(path: &str) -> Result<Piece<'_>, Failure> {
    let (section, key) = path.split_once(':').map_or((None, path), |(section, key)| (Some(section), key));
    if key.is_empty() || key.contains(':') {
        let remedy = "write ${key}, ${section:key} or ${ENV:NAME}";
        return Err(Failure::new("a reference needs a name and at most one colon", remedy));
    }
    Ok(Piece::Reference { section, key: key.to_lowercase() })
}

fn joined(parts: &[Part]) -> String {
    parts.iter().map(Part::text).collect()
}

fn scalar(kind: Option<Kind>, text: String) -> Result<Resolved, Failure> {
    match kind {
        None => Ok(Resolved::new(Value::Text(text.clone()), text)),
        Some(kind) => {
            let value = convert(kind, &text).map_err(|error| match comment_in(&text) {
                Some(hint) => Failure::new(error.to_string(), hint),
                None => unconvertible(error),
            })?;
            Ok(Resolved::new(value, text.trim_matches(is_space).to_owned()))
        }
    }
}

fn unconvertible(error: ConversionError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

/// Builds a list. An item that is nothing but a reference keeps its type; one to a list or to a text of several words
/// gives all of them.
fn list(parts: Vec<Part>) -> Result<Resolved, Failure> {
    let mut values = Vec::new();
    let mut texts = Vec::new();
    for token in tokens(parts) {
        match token.as_slice() {
            [Part::Value(resolved)] if !matches!(resolved.value, Value::Text(_)) => {
                texts.push(resolved.text.clone());
                match &resolved.value {
                    Value::List(items) => values.extend_from_slice(items),
                    value => values.push(value.clone()),
                }
            }
            token => {
                let text = joined(token);
                if text == "&" {
                    break;
                }
                for word in words(&text) {
                    values.push(typed(word).map_err(unconvertible)?);
                    texts.push(split_prefix(word).1.to_owned());
                }
            }
        }
    }
    Ok(Resolved::new(Value::List(values), texts.join(" ")))
}

/// Splits at the white space of the plain parts.
fn tokens(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut tokens = Vec::new();
    let mut token = Vec::new();
    for part in parts {
        let Part::Text(text) = part else {
            token.push(part);
            continue;
        };
        for (at, word) in text.split(is_space).enumerate() {
            if at > 0 {
                tokens.push(std::mem::take(&mut token));
            }
            if !word.is_empty() {
                token.push(Part::Text(word.to_owned()));
            }
        }
    }
    tokens.push(token);
    tokens.retain(|token| !token.is_empty());
    tokens
}

#[cfg(test)]
mod tests;
