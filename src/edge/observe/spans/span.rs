//! A span, as it is recorded.
//!
//! Plain data. Caveat: it has ended when it is made, so that nothing has to be kept of one that has not.

use std::borrow::Cow;
use std::time::SystemTime;

/// Something that has taken time.
#[derive(Debug)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "only a collector reads it"))]
pub(crate) struct Span {
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// The span itself.
    pub id: u64,
    /// What it is a part of, unless the trace begins with it.
    pub parent: Option<Parent>,
    /// What kind it is.
    pub kind: SpanKind,
    /// What is done, in few different words.
    pub name: Cow<'static, str>,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did; may be empty.
    pub error: Option<String>,
}

impl Default for Span {
    fn default() -> Self {
        let (trace_id, id, parent, kind, name, attributes, error) = Default::default();
        let time = SystemTime::UNIX_EPOCH;
        Self { trace_id, id, parent, kind, name, begun: time, ended: time, attributes, error }
    }
}

/// What a span is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// A span of this server.
    Local(u64),
    /// A span of the client.
    Remote(u64),
}

/// What kind a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// Within the server.
    #[default]
    Internal,
    /// A request of a client.
    Server,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}
