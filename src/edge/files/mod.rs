//! Files, answered natively: the documents of `[paths]` or `[file_server]`, and files that plugins answer with.
//!
//! [`static_files`] finds what a path names and never leaves its folder; [`response`] turns an open file into an answer, with
//! the conditions and ranges of RFC 9110 ([`conditions`]); [`encoding`] chooses among precompressed siblings. Caveat:
//! everything here may wait for the disk and belongs on a blocking thread; only a long body is read later, piece by
//! piece, by [`FileBody`](crate::edge::http::file::FileBody).

pub(crate) mod conditions;
pub(crate) mod encoding;
pub(crate) mod open;
pub(crate) mod response;
pub(crate) mod static_files;
