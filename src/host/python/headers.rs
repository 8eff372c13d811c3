//! `data['request_headers']`: a real `dict` whose look-ups ignore case, and the one place that spells header names.
//!
//! Runs on the Python thread. Every text key is stored in canonical case (`X-Custom-Auth`), so a look-up spells its key
//! the same way and needs no search. Caveat: C code that writes into a `dict` directly bypasses that rule; `dict`
//! methods do not.

use http::{HeaderMap, HeaderValue};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::fallback::Fallback;

/// Header names by their usual spelling: the common ones, so that their `str` objects are shared, and those that the
/// rule "a capital after each hyphen" would misspell.
const WELL_KNOWN: &[&str] = &[
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Accept-Ranges",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Location",
    "Content-MD5",
    "Content-Range",
    "Content-Type",
    "Cookie",
    "DNT",
    "Date",
    "ETag",
    "Expect",
    "Forwarded",
    "From",
    "HTTP2-Settings",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Origin",
    "Pragma",
    "Priority",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "Sec-CH-UA",
    "Sec-CH-UA-Mobile",
    "Sec-CH-UA-Platform",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "Sec-Fetch-User",
    "Sec-GPC",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
    "X-Custom-Auth",
    "X-DNS-Prefetch-Control",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-ID",
    "X-Requested-With",
    "X-UA-Compatible",
    "X-XSS-Protection",
];

/// The `str` of a header name in canonical case, whatever the case of `name`; shared when the name is well known.
pub(crate) fn canonical_name<'py>(py: Python<'py>, name: &str) -> Bound<'py, PyString> {
    /// Spellings of one length, each with its `str` object.
    type Bucket = Vec<(&'static str, Py<PyString>)>;
    /// The buckets by length: a name is compared with the few that are as long as it.
    static BY_LENGTH: PyOnceLock<Vec<Bucket>> = PyOnceLock::new();
    let by_length = BY_LENGTH.get_or_init(py, || {
        let mut buckets: Vec<Bucket> = Vec::new();
        for &spelling in WELL_KNOWN {
            if buckets.len() <= spelling.len() {
                buckets.resize_with(spelling.len() + 1, Vec::new);
            }
            buckets[spelling.len()].push((spelling, PyString::intern(py, spelling).unbind()));
        }
        buckets
    });
    by_length
        .get(name.len())
        .and_then(|bucket| bucket.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(name)))
        .map_or_else(|| PyString::new(py, &capitalised(name)), |(_, object)| object.bind(py).clone())
}

fn capitalised(name: &str) -> String {
    let mut first = true;
    name.chars()
        .map(|letter| {
            let letter = if first { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            first = letter == '-';
            letter
        })
        .collect()
}

/// The `str` of a header value: UTF-8, other bytes as lone surrogates, as aiohttp decodes them.
///
/// # Errors
/// `MemoryError` only; every byte string has a surrogate-escaped form.
pub(crate) fn value_text<'py>(py: Python<'py>, value: &HeaderValue) -> PyResult<Bound<'py, PyString>> {
    if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
        return Ok(PyString::new(py, text));
    }
    let bytes = PyBytes::new(py, value.as_bytes());
    PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(c"surrogateescape"))
}

/// The headers of a request: a `dict` of `str` whose keys may be given in any case.
///
/// Of a header that came several times the first value stays, the one that authentication looks at too;
/// `request.headers` has them all.
///
/// >>> from plugincore import RequestHeaders
/// >>> headers = RequestHeaders({"x-custom-auth": "sesame"})
/// >>> headers.get("X-Custom-Auth"), "X-CUSTOM-AUTH" in headers, isinstance(headers, dict)
/// ('sesame', True, True)
#[pyclass(extends = PyDict, mapping, module = "plugincore")]
pub struct RequestHeaders;

impl RequestHeaders {
    /// Builds the dict that a plugin gets as `data['request_headers']`.
    ///
    /// # Errors
    /// `MemoryError`, or whatever makes Python unable to create a `dict`.
    #[expect(clippy::new_ret_no_self, reason = "callers need the dict that it is, not the class")]
    pub fn new<'py>(py: Python<'py>, headers: &HeaderMap) -> PyResult<Bound<'py, PyDict>> {
        let dict = Bound::new(py, Self)?.into_super();
        fill(&dict, headers)?;
        Ok(dict)
    }

    /// The same out of a dict that holds it already.
    pub(super) fn copy_of<'py>(template: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        let dict = Bound::new(template.py(), Self)?.into_super();
        dict.update(template.as_mapping())?;
        Ok(dict)
    }

    /// The key under which the dict stores `key`. Keys that are no proper text are what they are.
    fn stored<'py>(key: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
        match key.cast::<PyString>().map(|text| text.to_str()) {
            Ok(Ok(name)) => canonical_name(key.py(), name).into_any(),
            _ => key.clone(),
        }
    }

    fn find<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match slf.as_super().get_item(key)? {
            Some(value) => Ok(Some(value)),
            None => slf.as_super().get_item(Self::stored(key)),
        }
    }
}

/// Sets the first value of each header.
fn fill(dict: &Bound<'_, PyDict>, headers: &HeaderMap) -> PyResult<()> {
    let py = dict.py();
    let mut last = None;
    // The values of a header follow each other.
    for (name, value) in headers {
        if last != Some(name) {
            dict.set_item(canonical_name(py, name.as_str()), value_text(py, value)?)?;
            last = Some(name);
        }
    }
    Ok(())
}

#[pymethods]
impl RequestHeaders {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn __new__(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __init__(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        Self::update(slf, args, kwargs)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::find(slf, key)?.ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __setitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        slf.as_super().set_item(Self::stored(key), value)
    }

    fn __delitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::pop(slf, key, Fallback::Absent).map(drop)
    }

    fn __contains__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<bool> {
        Ok(Self::find(slf, key)?.is_some())
    }

    fn __ior__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::update(slf, &PyTuple::new(slf.py(), [other])?, None)
    }

    /// Return the header's value, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(Self::find(slf, key)?.or(default))
    }

    /// Remove the header and return its value; without one return `default`, or raise `KeyError`.
    #[pyo3(signature = (key, default = Fallback::Absent))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Fallback<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let stored = Self::stored(key);
        match slf.as_super().get_item(&stored)? {
            Some(value) => slf.as_super().del_item(stored).map(|()| value),
            None => default.or_key_error(key),
        }
    }

    /// Return the header's value, after setting it to `default` when there is none.
    #[pyo3(signature = (key, default = None))]
    fn setdefault<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let stored = Self::stored(key);
        slf.as_super().set_default(&stored, default)?;
        Self::__getitem__(slf, &stored)
    }

    /// Set headers from a mapping, from pairs and from keywords, as `dict.update` does.
    #[pyo3(signature = (*args, **kwargs))]
    fn update(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let plain = PyDict::new(slf.py());
        plain.call_method("update", args, kwargs)?;
        for (key, value) in plain {
            slf.as_super().set_item(Self::stored(&key), value)?;
        }
        Ok(())
    }

    /// Return a copy whose look-ups ignore case, too.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let copy = Bound::new(slf.py(), Self)?;
        copy.as_super().update(slf.as_super().as_mapping())?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::header::{AUTHORIZATION, CONTENT_TYPE};

    use super::*;

    /// Runs a snippet that finds the headers as `h`.
    fn run(code: &std::ffi::CStr) {
        Python::initialize();
        Python::attach(|py| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer k"));
            headers.append(HeaderName::from_static("x-many"), HeaderValue::from_static("first"));
            headers.append(HeaderName::from_static("x-many"), HeaderValue::from_static("last"));
            headers.insert(HeaderName::from_static("x-bytes"), HeaderValue::from_bytes(b"\xc3\xa9 \xff").unwrap());
            let names = PyDict::new(py);
            names.set_item("h", RequestHeaders::new(py, &headers).unwrap()).unwrap();
            py.run(code, Some(&names), None).inspect_err(|error| error.display(py)).unwrap();
        });
    }

    #[test]
    fn names_get_their_usual_spelling() {
        Python::initialize();
        Python::attach(|py| {
            for (sent, expected) in [
                ("content-type", "Content-Type"),
                ("etag", "ETag"),
                ("www-authenticate", "WWW-Authenticate"),
                ("sec-websocket-key", "Sec-WebSocket-Key"),
                ("te", "TE"),
                ("x-my-own", "X-My-Own"),
                ("X-MY-OWN", "X-My-Own"),
                ("", ""),
            ] {
                assert_eq!(canonical_name(py, sent).to_str().unwrap(), expected);
            }
            assert!(canonical_name(py, "host").is(canonical_name(py, "HOST")), "well-known names are shared");
        });
    }

    #[test]
    fn it_is_a_dict_to_all_who_ask() {
        run(c"
import json
assert isinstance(h, dict) and len(h) == 4
assert list(h) == ['Content-Type', 'Authorization', 'X-Many', 'X-Bytes']
assert json.loads(json.dumps(h)) == dict(h) == h
assert type(dict(h)) is dict and dict(**h) == {**h} == h
");
    }

    #[test]
    fn look_ups_ignore_case() {
        run(c"
for key in ('Content-Type', 'content-type', 'CONTENT-TYPE'):
    assert h[key] == h.get(key) == 'text/plain' and key in h
assert h.get('no') is None and h.get('no', 5) == 5 and 'no' not in h and 5 not in h
try:
    h['no']
except KeyError as e:
    assert e.args == ('no',)
else:
    raise AssertionError
");
    }

    #[test]
    fn the_first_of_repeated_values_stays() {
        run(c"assert h['x-many'] == 'first'");
    }

    #[test]
    fn bytes_that_are_no_utf8_survive_as_surrogates() {
        run(c"assert h['x-bytes'] == '\\u00e9 \\udcff'");
    }

    #[test]
    fn setting_a_header_in_another_case_replaces_it() {
        run(c"
h['content-type'] = 'a/b'
assert h['Content-Type'] == 'a/b' and len(h) == 4
h['x-new'] = '1'
assert list(h)[-1] == 'X-New'
h.update({'X-NEW': '2'}, content_type=3)
h |= {'x-new': '4'}
assert h['X-New'] == '4' and h['Content_type'] == 3 and len(h) == 6
assert h.setdefault('x-new', 'no') == '4' and h.setdefault('y', 'yes') == h['Y'] == 'yes'
");
    }

    #[test]
    fn headers_are_removed_in_any_case() {
        run(c"
assert h.pop('content-type') == 'text/plain'
del h['AUTHORIZATION']
assert list(h) == ['X-Many', 'X-Bytes']
assert h.pop('no', None) is None
for remove in (lambda: h.pop('no'), lambda: h.__delitem__('no')):
    try:
        remove()
    except KeyError:
        continue
    raise AssertionError
");
    }

    #[test]
    fn copies_keep_their_manners() {
        run(c"
import copy, gc
for twin in (h.copy(), copy.copy(h), copy.deepcopy(h), type(h)(h), type(h)([('authorization', 'Bearer k')])):
    assert type(twin) is type(h) and twin['AUTHORIZATION'] == 'Bearer k'
    twin['authorization'] = None
assert h['Authorization'] == 'Bearer k'
h['self'] = h
del h, twin
gc.collect()
");
    }
}
