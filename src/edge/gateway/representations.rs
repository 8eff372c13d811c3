//! Which representation of its answer a request of a plugin gets that asks for one: with a tag, or none because the
//! client has it already; and compressed.
//!
//! Runs on the I/O threads. What a tag is made of and what can be compressed is decided in [`entity_tag`] and
//! [`compression`]. Promise: the tag of a 304 is the one of the 200 that the client has. Caveat: made only for requests
//! for which tags count.

use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue, Response};

use crate::edge::http::accept_encoding::Coding;
use crate::edge::http::response::Body;
use crate::edge::http::{compression, entity_tag};

/// Which codings a response may have.
#[derive(Clone, Copy)]
pub(super) enum Compression {
    /// None: the plugin does not want it.
    Never,
    /// What the client prefers, if that is a coding.
    Preferred(Option<Coding>),
}

impl Compression {
    /// Stage: compresses `response`, and says what it varies by.
    pub(super) fn apply(self, response: &mut Response<Body>) {
        if let Some(coding) = self.negotiate(response) {
            compression::compress(response, coding);
        }
    }

    fn negotiate(self, response: &mut Response<Body>) -> Option<Coding> {
        match self {
            Self::Never => None,
            Self::Preferred(coding) => compression::negotiate(response, coding),
        }
    }
}

/// What a request says, and its plugin wants, of tags.
pub(super) struct Tags {
    /// Those that the client knows.
    if_none_match: Option<HeaderValue>,
    /// Whether JSON gets one.
    adds: bool,
}

impl Tags {
    /// What these `headers` of a request say, to a plugin whose JSON gets a tag or not.
    pub(super) fn of(headers: &HeaderMap, adds: bool) -> Self {
        Self { if_none_match: joined(headers), adds }
    }

    /// Stage: what a plugin answers gets a tag and is compressed, or left out if the client has it.
    pub(super) fn apply(&self, response: &mut Response<Body>, compression: Compression) {
        if self.adds {
            entity_tag::add(response);
        }
        let coding = compression.negotiate(response);
        if let Some(known) = &self.if_none_match {
            if self.adds && entity_tag::is_known(response, known) {
                return entity_tag::leave_out(response);
            }
            if matches!(compression, Compression::Preferred(_)) {
                entity_tag::weaken_as_known(response, known);
            }
        }
        if let Some(coding) = coding {
            compression::compress(response, coding);
        }
    }
}

/// All lines of `If-None-Match`, as one.
fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(IF_NONE_MATCH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(line), None) => Some(line.clone()),
        _ => {
            let lines = headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
            HeaderValue::from_bytes(&lines.collect::<Vec<_>>().join(&b", "[..])).ok()
        }
    }
}
