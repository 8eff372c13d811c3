//! Files that are served without Python: static files of `[paths]` or `[file_server]`, and files that plugins answer
//! with.
//!
//! Runs on blocking threads of the I/O runtimes, since everything here may wait for the disk; only long bodies are
//! read later, piece by piece, by [`FileBody`](crate::edge::http::file::FileBody). [`static_files`] finds the file for
//! a path and never leaves its folder; [`response`] makes the answer from an open file, with the conditions and ranges
//! of RFC 9110 ([`conditions`]).

pub(crate) mod conditions;
pub(crate) mod open;
pub(crate) mod response;
pub(crate) mod static_files;
