//! `[cors]`: which scripts of other origins may read answers, and what of them.
//!
//! Pure functions, called on the Python thread. Promise: an origin that no browser sends is warned of. Caveat: names of
//! headers are checked, their use is not.

use std::time::Duration;

use http::HeaderName;

use super::SectionReader;
use crate::edge::config::fields::{self, InvalidValue, ParseResult};
use crate::edge::config::settings::cors::CorsSettings;
use crate::edge::config::value::Value;

/// Browsers keep no answer longer than a day.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The settings of `[cors]`, if it is enabled.
pub(super) fn cors(cors: &mut SectionReader<'_>) -> Option<CorsSettings> {
    if !cors.switch("enabled", false) {
        return None;
    }
    if cors.item("origin_url").is_none() {
        cors.warn("origin_url", "is missing, so no origin is allowed", "write origin_url=list:https://app.example");
    }
    let default = CorsSettings::default();
    Some(CorsSettings {
        origins: origins(cors),
        allow_headers: cors.read("allow_headers", default.allow_headers, |value| headers(value, true)),
        expose_headers: cors.read("expose_headers", default.expose_headers, |value| headers(value, false)),
        max_age: cors.read("max_age", default.max_age, max_age),
        credentials: cors.switch("credentials", default.credentials),
    })
}

/// `origin_url` of a section.
pub(super) fn origins(section: &mut SectionReader<'_>) -> Vec<String> {
    let origins = section.read("origin_url", Vec::new(), fields::words);
    for origin in &origins {
        if origin == "*" {
            section.warn(
                "origin_url",
                "* allows every origin, but never with credentials",
                "list the origins that need them",
            );
        } else if origin != "null" && (!origin.contains("://") || origin.ends_with('/')) {
            let message = format!("{origin:?} is no origin and will match none");
            section.warn(
                "origin_url",
                message,
                "write scheme://host or scheme://host:port, without a slash at the end",
            );
        }
    }
    origins
}

/// Names of headers, or `*` if that may be.
fn headers(value: &Value, any: bool) -> ParseResult<Vec<String>> {
    let words = fields::words(value)?;
    let is_name =
        |word: &String| (any && word == "*") || HeaderName::from_bytes(word.as_bytes()).is_ok_and(|_| word != "*");
    if words.iter().all(is_name) {
        return Ok(words);
    }
    Err(InvalidValue::new("must be names of headers", "write for example list:Content-Type X-Requested-With"))
}

/// A time that browsers may keep an answer.
fn max_age(value: &Value) -> ParseResult<Duration> {
    let wrong = || InvalidValue::new("must be a time of at most 24 hours", "write seconds, or a number with s, m or h");
    fields::delay(value).ok().filter(|age| *age <= MAX_AGE).ok_or_else(wrong)
}
