//! Files, answered natively: the documents of `[paths]` or `[file_server]`, and files that plugins answer with.
//!
//! [`documents`] finds what a path names and never leaves its folder; [`answer`] turns an open file into an answer, with
//! the conditions and ranges of RFC 9110 ([`conditions`]); [`encoding`] chooses among precompressed siblings. Caveat:
//! everything here may wait for the disk and belongs on a blocking thread; only a long body is read later, piece by
//! piece, by [`FileBody`](crate::edge::http::file::FileBody).

pub(crate) mod answer;
pub(crate) mod conditions;
pub(crate) mod documents;
pub(crate) mod encoding;
pub(crate) mod open;
