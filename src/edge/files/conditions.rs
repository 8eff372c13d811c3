//! Evaluates a request's conditions and range against the current version of a file (RFC 9110, 13 and 14).
//!
//! Pure functions. Promise: the order is that of section 13.2.2, so a range matters only if the file is to be sent at
//! all, and `If-Range` keeps parts of two versions from being joined. Caveat: for several ranges the whole file is
//! sent, unless only one of them lies within it; conditions and ranges that cannot be parsed are ignored, as the RFC
//! requires.

use std::ops::Range;

use headers::{ETag, Header, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince, LastModified};
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use http_range_header::{SyntacticallyCorrectRange as Spec, parse_range_header};

use crate::edge::http::rescue::Rejection;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// 200: everything.
    Whole,
    /// 206: these bytes, at least one.
    Bytes(Range<u64>),
    /// 304: the client has it.
    NotModified,
}

/// A version of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    /// Its tag.
    pub etag: &'a ETag,
    /// Its date, if it has one.
    pub modified: Option<LastModified>,
    /// Its bytes.
    pub size: u64,
}

/// What a request with this `method` and these `headers` gets of `version`.
///
/// # Errors
/// [`Rejection::PreconditionFailed`] and [`Rejection::RangeNotSatisfiable`].
pub(crate) fn select(method: &Method, headers: &HeaderMap, validators: Validators<'_>) -> Result<Selection, Rejection> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    if !reads {
        return Ok(Selection::Whole);
    }
    let modified = validators.modified.map(std::time::SystemTime::from);
    if let Some(wanted) = headers.typed_get::<IfMatch>() {
        if !wanted.precondition_passes(validators.etag) {
            return Err(Rejection::PreconditionFailed);
        }
    } else if let (Some(since), Some(modified)) = (headers.typed_get::<IfUnmodifiedSince>(), modified)
        && !since.precondition_passes(modified)
    {
        return Err(Rejection::PreconditionFailed);
    }
    if let Some(known) = headers.typed_get::<IfNoneMatch>() {
        if !known.precondition_passes(validators.etag) {
            return Ok(Selection::NotModified);
        }
    } else if let (Some(since), Some(modified)) = (headers.typed_get::<IfModifiedSince>(), modified)
        && !since.is_modified(modified)
    {
        return Ok(Selection::NotModified);
    }
    match headers.get(RANGE) {
        Some(range) if *method == Method::GET && is_current(headers.get(IF_RANGE), validators) => {
            within(range, validators.size)
        }
        _ => Ok(Selection::Whole),
    }
}

/// Whether a range may be answered from this version: `If-Range` has to name exactly it.
fn is_current(if_range: Option<&HeaderValue>, validators: Validators<'_>) -> bool {
    let Some(value) = if_range else { return true };
    let same = |header: Option<HeaderValue>| header.is_some_and(|own| own == value);
    same(encoded(validators.etag)) || same(validators.modified.as_ref().and_then(encoded))
}

/// A header's value as it is sent.
pub(super) fn encoded(header: &impl Header) -> Option<HeaderValue> {
    let mut values = Vec::with_capacity(1);
    header.encode(&mut values);
    values.pop()
}

fn within(range: &HeaderValue, size: u64) -> Result<Selection, Rejection> {
    let Some(request) = range.to_str().ok().and_then(|text| parse_range_header(text).ok()) else {
        return Ok(Selection::Whole);
    };
    if size == 0 {
        // No range of nothing can be expressed, and there is nothing to save.
        return Ok(Selection::Whole);
    }
    let mut within = request.into_ranges().into_iter().filter_map(|spec| {
        let range = match spec {
            Spec::FromStart(first) => first..size,
            Spec::FromLast(last) => size.saturating_sub(last)..size,
            Spec::Indexed(first, last) => first..last.saturating_add(1).min(size),
        };
        (!range.is_empty()).then_some(range)
    });
    match (within.next(), within.next()) {
        (None, _) => Err(Rejection::RangeNotSatisfiable { size }),
        (Some(range), None) => Ok(Selection::Bytes(range)),
        (Some(_), Some(_)) => Ok(Selection::Whole),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const DATE: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";

    fn ask(method: &Method, lines: &[(&'static str, &str)]) -> Result<Selection, u16> {
        let headers: HeaderMap =
            lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect();
        let etag: ETag = "\"v1\"".parse().unwrap();
        let modified = Some((UNIX_EPOCH + Duration::from_secs(1_000_000_000)).into());
        select(method, &headers, Validators { etag: &etag, modified, size: 10 })
            .map_err(|rejection| rejection.status(false).as_u16())
    }

    fn get(lines: &[(&'static str, &str)]) -> Result<Selection, u16> {
        ask(&Method::GET, lines)
    }

    #[test]
    fn each_condition_alone_decides() {
        for (name, value, expected) in [
            ("if-match", "\"v1\"", Ok(Selection::Whole)),
            ("if-match", "\"v0\", \"v1\"", Ok(Selection::Whole)),
            ("if-match", "*", Ok(Selection::Whole)),
            ("if-match", "\"v0\"", Err(412)),
            ("if-match", "W/\"v1\"", Err(412)),
            ("if-none-match", "\"v1\"", Ok(Selection::NotModified)),
            ("if-none-match", "W/\"v1\"", Ok(Selection::NotModified)),
            ("if-none-match", "\"v0\", \"v1\"", Ok(Selection::NotModified)),
            ("if-none-match", "*", Ok(Selection::NotModified)),
            ("if-none-match", "\"v0\"", Ok(Selection::Whole)),
            ("if-modified-since", BEFORE, Ok(Selection::Whole)),
            ("if-modified-since", DATE, Ok(Selection::NotModified)),
            ("if-modified-since", AFTER, Ok(Selection::NotModified)),
            ("if-modified-since", "yesterday", Ok(Selection::Whole)),
            ("if-unmodified-since", BEFORE, Err(412)),
            ("if-unmodified-since", DATE, Ok(Selection::Whole)),
        ] {
            assert_eq!(get(&[(name, value)]), expected, "{name}: {value}");
            assert_eq!(ask(&Method::HEAD, &[(name, value)]), expected, "HEAD {name}: {value}");
            assert_eq!(ask(&Method::POST, &[(name, value)]), Ok(Selection::Whole), "POST {name}: {value}");
        }
    }

    #[test]
    fn a_tag_counts_more_than_a_date_and_a_412_more_than_a_304() {
        assert_eq!(get(&[("if-none-match", "\"v0\""), ("if-modified-since", AFTER)]), Ok(Selection::Whole));
        assert_eq!(get(&[("if-match", "\"v1\""), ("if-unmodified-since", BEFORE)]), Ok(Selection::Whole));
        assert_eq!(get(&[("if-match", "\"v0\""), ("if-none-match", "\"v1\"")]), Err(412));
        assert_eq!(get(&[("if-none-match", "\"v1\""), ("range", "bytes=99-")]), Ok(Selection::NotModified));
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        for (range, expected) in [
            ("bytes=0-0", Ok(Selection::Bytes(0..1))),
            ("Bytes=2-4", Ok(Selection::Bytes(2..5))),
            ("bytes=8-100", Ok(Selection::Bytes(8..10))),
            ("bytes=8-99999999999999999999999", Ok(Selection::Bytes(8..10))),
            ("bytes=9-", Ok(Selection::Bytes(9..10))),
            ("bytes=-3", Ok(Selection::Bytes(7..10))),
            ("bytes=-100", Ok(Selection::Bytes(0..10))),
            ("bytes=10-", Err(416)),
            ("bytes=10-12", Err(416)),
            ("bytes=-0", Err(416)),
            ("bytes=0-1,99-", Ok(Selection::Bytes(0..2))),
            ("bytes=0-1,4-5", Ok(Selection::Whole)),
            ("bytes=98-,99-", Err(416)),
        ] {
            assert_eq!(get(&[("range", range)]), expected, "{range}");
            assert_eq!(ask(&Method::HEAD, &[("range", range)]), Ok(Selection::Whole), "HEAD {range}");
        }
    }

    #[test]
    fn a_range_that_cannot_be_read_is_passed_over() {
        for range in ["", "bytes", "bytes=", "bytes=a-b", "bytes=4-2", "lines=0-1", "bytes=--1", "bytes=+1-2", "0-1"] {
            assert_eq!(get(&[("range", range)]), Ok(Selection::Whole), "{range}");
        }
        assert_eq!(get(&[("range", &format!("bytes={}", "0-0,".repeat(500)))]), Ok(Selection::Whole));
    }

    #[test]
    fn if_range_has_to_name_exactly_this_version() {
        for (value, expected) in [
            ("\"v1\"", Selection::Bytes(0..1)),
            (DATE, Selection::Bytes(0..1)),
            ("W/\"v1\"", Selection::Whole),
            ("\"v0\"", Selection::Whole),
            (BEFORE, Selection::Whole),
            (AFTER, Selection::Whole),
            ("nonsense", Selection::Whole),
        ] {
            assert_eq!(get(&[("range", "bytes=0-0"), ("if-range", value)]), Ok(expected), "{value}");
        }
        assert_eq!(get(&[("range", "bytes=99-"), ("if-range", "\"v0\"")]), Ok(Selection::Whole));
    }

    #[test]
    fn of_an_empty_file_the_whole_is_sent() {
        assert_eq!(within(&HeaderValue::from_static("bytes=0-"), 0), Ok(Selection::Whole));
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_end(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", size in 1_u64..) {
            if let Ok(Selection::Bytes(range)) = within(&HeaderValue::from_str(&text).unwrap(), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
