//! `data['request_headers']` for clients that send the same headers repeatedly, as most do over one connection.
//!
//! Runs on the Python thread. Promise: a handler gets a dict of its own, equal to one made from the headers anew; it is
//! copied from an earlier one in one step instead of some steps a header. Caveat: the headers last sent from each of a
//! few hundred ports stay in memory, credentials among them, until others replace them.

use http::{HeaderMap, HeaderName};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::headers::RequestHeaders;
use crate::host::bridge::locked::Locked;

/// Templates kept; a connection finds its own by the client's port.
const PLACES: usize = 256;
/// Most bytes of names and values that are kept of one request.
const MAX_BYTES: usize = 4096;

/// Dicts made of the headers of recent requests.
pub struct HeaderCache(Locked<Box<[Option<Template>]>>);

/// Headers as they were sent, and what was made of them.
struct Template {
    headers: Vec<(HeaderName, Box<[u8]>)>,
    dict: Py<PyDict>,
}

impl Template {
    /// A copy of `headers` and of the dict made of them, since what is sent shares memory with what is read.
    fn of(headers: &HeaderMap, dict: &Bound<'_, PyDict>) -> PyResult<Self> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), Box::from(value.as_bytes()))).collect();
        let copy = PyDict::new(dict.py());
        copy.update(dict.as_mapping())?;
        Ok(Self { headers, dict: copy.unbind() })
    }

    fn is_of(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.iter();
        self.headers.len() == headers.len()
            && self.headers.iter().all(|(name, value)| {
                sent.next().is_some_and(|(other, bytes)| name == other && **value == *bytes.as_bytes())
            })
    }
}

impl Default for HeaderCache {
    fn default() -> Self {
        Self(Locked::new(std::iter::repeat_with(|| None).take(PLACES).collect()))
    }
}

impl HeaderCache {
    /// The dict for `headers` that came from the client's `port`.
    ///
    /// # Errors
    /// `MemoryError`, or whatever makes Python unable to create a `dict`.
    pub fn dict<'py>(&self, py: Python<'py>, headers: &HeaderMap, port: u16) -> PyResult<Bound<'py, PyDict>> {
        let place = usize::from(port) % PLACES;
        let known = self.0.with_references(py, |templates, references| {
            let template = templates[place].as_ref().filter(|template| template.is_of(headers));
            template.map(|template| references.again(&template.dict))
        });
        if let Some(template) = known {
            return RequestHeaders::copy_of(template.bind(py));
        }
        let dict = RequestHeaders::new(py, headers)?;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let template = if bytes <= MAX_BYTES { Some(Template::of(headers, &dict)?) } else { None };
        drop(self.0.with(|templates| std::mem::replace(&mut templates[place], template)));
        Ok(dict)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT, AUTHORIZATION, HOST};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn each_request_has_a_dict_of_its_own_and_of_its_own_headers() {
        Python::initialize();
        Python::attach(|py| {
            let templates = HeaderCache::default();
            let first = headers(&[(HOST, "a"), (ACCEPT, "x"), (ACCEPT, "y"), (AUTHORIZATION, "Bearer one")]);
            let others = [
                headers(&[(HOST, "a"), (ACCEPT, "x"), (ACCEPT, "y"), (AUTHORIZATION, "Bearer two")]),
                headers(&[(HOST, "a"), (ACCEPT, "x"), (ACCEPT, "y")]),
                headers(&[(HOST, "a"), (ACCEPT, "x"), (AUTHORIZATION, "Bearer one")]),
                headers(&[(ACCEPT, "a"), (HOST, "x"), (AUTHORIZATION, "Bearer one")]),
                HeaderMap::new(),
            ];
            for other in others {
                for sent in [&first, &first, &other, &other, &first] {
                    // The second port shares its place with the first.
                    for port in [7, 7, 7 + 256] {
                        let (dict, anew) = (templates.dict(py, sent, port), RequestHeaders::new(py, sent).unwrap());
                        let dict = dict.unwrap();
                        assert!(dict.eq(&anew).unwrap(), "{dict:?} is not {anew:?}");
                        assert!(dict.get_type().is(anew.get_type()));
                        dict.call_method1("__setitem__", ("host", "changed")).unwrap();
                    }
                }
            }
        });
    }

    #[test]
    fn headers_that_take_much_room_are_not_kept() {
        Python::initialize();
        Python::attach(|py| {
            let templates = HeaderCache::default();
            let mut large = HeaderMap::new();
            large.insert(HOST, HeaderValue::from_str(&"x".repeat(MAX_BYTES)).unwrap());
            assert_eq!(templates.dict(py, &large, 1).unwrap().len(), 1);
            assert!(templates.0.with(|templates| templates.iter().all(Option::is_none)));
        });
    }
}
