//! Which representation of its answer a request of a plugin gets: with a tag, compressed, or none because the client
//! has it already.
//!
//! Runs on the I/O threads. What a tag is made of and what can be compressed is decided in [`entity_tag`] and
//! [`compression`]. Promise: the tag of a 304 is the one of the 200 that the client has. Caveat: made only for requests
//! that ask for one of these.

use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue, Response};

use crate::edge::http::response::Body;
use crate::edge::http::{compression, entity_tag};

/// The representations that a client asks for.
pub(super) struct Representations {
    /// What the client takes of codings.
    accept_encoding: Option<HeaderValue>,
    /// The tags that the client knows.
    if_none_match: Option<HeaderValue>,
    /// Whether JSON gets a tag.
    tags: bool,
}

impl Representations {
    /// What these `headers` of a request ask for, of a plugin whose JSON gets a tag or not.
    pub(super) fn of(headers: &HeaderMap, tags: bool) -> Self {
        let if_none_match = compression::joined(headers, &IF_NONE_MATCH);
        Self { accept_encoding: compression::accept_encoding(headers), if_none_match, tags }
    }

    /// Stage: what a plugin answers gets a tag and is compressed, or left out if the client has it.
    pub(super) fn choose(&self, response: &mut Response<Body>, compresses: bool) {
        if self.tags {
            entity_tag::add(response);
        }
        let coding = if compresses { compression::negotiate(response, self.accept_encoding.as_ref()) } else { None };
        if let Some(known) = &self.if_none_match {
            if self.tags && entity_tag::is_known(response, known) {
                return entity_tag::leave_out(response);
            }
            if compresses {
                entity_tag::weaken_as_known(response, known);
            }
        }
        if let Some(coding) = coding {
            compression::compress(response, coding);
        }
    }
}
