//! `MultiDict`: a read-only mapping in which a key may have several values: query, form and headers.
//!
//! Runs on the Python thread. It behaves as the multidict package does for aiohttp: `[]`, `get` and `dict(md)` give the
//! first value, `getall` all of them; `len`, `values` and `items` count each pair, iteration and `keys` name each key
//! once. If a plugin has imported that package, `isinstance` accepts it as that package's own. Caveat: case is ignored
//! for ASCII letters only, which is all that header names have.

use std::cmp::Ordering;

use http::HeaderMap;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyType};

use super::fallback::Fallback;
use super::headers::{RequestHeaders, canonical_name, value_text};
use crate::edge::http::request::Variables;
use crate::host::bridge::aiohttp::imported;
use crate::host::bridge::locked::made_once;

/// A key and one of its values.
pub(crate) type Pair = (Py<PyString>, Py<PyAny>);

/// The text of a key. Keys are made from Rust text, so the empty stand-in for one with lone surrogates never shows.
fn text<'a>(py: Python<'_>, key: &'a Py<PyString>) -> &'a str {
    key.to_str(py).unwrap_or_default()
}

fn compare(one: &str, other: &str, ignore_case: bool) -> Ordering {
    if ignore_case {
        let [one, other] = [one, other].map(|key| key.bytes().map(|byte| byte.to_ascii_lowercase()));
        return one.cmp(other);
    }
    one.cmp(other)
}

/// A read-only mapping of `str` keys, each with one or more values.
#[pyclass(frozen, mapping, weakref, module = "plugincore")]
pub struct MultiDict {
    pairs: Vec<Pair>,
    /// The positions of the pairs, sorted by key and then by position: a client chooses how many pairs there are, so
    /// no result may take time that grows with their square.
    sorted: Vec<usize>,
    ignore_case: bool,
}

impl MultiDict {
    /// A mapping of these pairs, in this order, whose look-ups regard case.
    ///
    /// # Errors
    /// `MemoryError`, or whatever makes Python unable to create an object.
    pub fn new(py: Python<'_>, pairs: Vec<Pair>) -> PyResult<Py<Self>> {
        Self::create(py, pairs, false)
    }

    /// A mapping of texts, such as the variables of a query.
    ///
    /// # Errors
    /// As for [`MultiDict::new`].
    pub fn of_texts(py: Python<'_>, pairs: &Variables) -> PyResult<Py<Self>> {
        let pair = |(key, value): (&str, &str)| {
            (PyString::new(py, key).unbind(), PyString::new(py, value).into_any().unbind())
        };
        Self::create(py, pairs.iter().map(pair).collect(), false)
    }

    /// A mapping of headers: names in canonical case, look-ups in any.
    ///
    /// # Errors
    /// As for [`MultiDict::new`].
    pub fn of_headers(py: Python<'_>, headers: &HeaderMap) -> PyResult<Py<Self>> {
        let pair = |(name, value): (&http::HeaderName, _)| {
            Ok((canonical_name(py, name.as_str()).unbind(), value_text(py, value)?.into_any().unbind()))
        };
        Self::create(py, headers.iter().map(pair).collect::<PyResult<_>>()?, true)
    }

    fn create(py: Python<'_>, pairs: Vec<Pair>, ignore_case: bool) -> PyResult<Py<Self>> {
        static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
        made_once(py, &REGISTERED, || {
            let mapping = py.import("collections.abc")?.getattr("Mapping")?;
            mapping.call_method1("register", (py.get_type::<Self>(),)).map(drop)
        })?;
        let mut sorted: Vec<usize> = (0..pairs.len()).collect();
        sorted.sort_by(|&one, &other| compare(text(py, &pairs[one].0), text(py, &pairs[other].0), ignore_case));
        Py::new(py, Self { pairs, sorted, ignore_case })
    }

    fn compare(&self, py: Python<'_>, position: usize, name: &str) -> Ordering {
        compare(text(py, &self.pairs[position].0), name, self.ignore_case)
    }

    /// The values of `key` in order. A key that is not text, or no proper text, has none.
    fn values_of<'a, 'py: 'a>(&'a self, key: &Bound<'py, PyAny>) -> impl Iterator<Item = &'a Bound<'py, PyAny>> {
        let py = key.py();
        let name = key.cast::<PyString>().ok().and_then(|key| key.to_str().ok());
        let positions = name.map_or(&[][..], |name| {
            let start = self.sorted.partition_point(|&at| self.compare(py, at, name).is_lt());
            let found = &self.sorted[start..];
            &found[..found.partition_point(|&at| self.compare(py, at, name).is_eq())]
        });
        positions.iter().map(move |&at| self.pairs[at].1.bind(py))
    }

    /// The keys, each once, in the order of their first appearance.
    fn distinct_keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let same = |&one: &usize, &other: &usize| self.compare(py, one, text(py, &self.pairs[other].0)).is_eq();
        let groups = self.sorted.chunk_by(same);
        let mut firsts: Vec<usize> = groups.map(|group| group[0]).collect();
        firsts.sort_unstable();
        PyList::new(py, firsts.into_iter().map(|at| &self.pairs[at].0))
    }
}

#[pymethods]
impl MultiDict {
    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.getone(key, Fallback::Absent)
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> bool {
        self.values_of(key).next().is_some()
    }

    fn __len__(&self) -> usize {
        self.pairs.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.distinct_keys(py)?.try_iter().map(Bound::into_any)
    }

    fn __eq__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Option<bool>> {
        let py = other.py();
        if let Ok(other) = other.cast::<Self>() {
            let other = other.get();
            if self.pairs.len() != other.pairs.len() {
                return Ok(Some(false));
            }
            let ignore_case = self.ignore_case || other.ignore_case;
            for ((key, value), (other_key, other_value)) in self.pairs.iter().zip(&other.pairs) {
                let same_key = compare(text(py, key), text(py, other_key), ignore_case).is_eq();
                if !same_key || !value.bind(py).eq(other_value)? {
                    return Ok(Some(false));
                }
            }
            return Ok(Some(true));
        }
        let Ok(other) = other.cast::<PyMapping>() else {
            return Ok(None);
        };
        if other.len()? != self.pairs.len() {
            return Ok(Some(false));
        }
        for pair in other.items()? {
            let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair.extract()?;
            let Some(own) = self.values_of(&key).next() else {
                return Ok(Some(false));
            };
            if !own.eq(value)? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let pair = |(key, value): &Pair| PyResult::Ok(format!("{}: {}", key.bind(py).repr()?, value.bind(py).repr()?));
        let pairs = self.pairs.iter().map(pair).collect::<PyResult<Vec<_>>>()?;
        Ok(format!("<MultiDict({})>", pairs.join(", ")))
    }

    /// Return the key's first value, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(&self, key: &Bound<'py, PyAny>, default: Option<Bound<'py, PyAny>>) -> Option<Bound<'py, PyAny>> {
        self.values_of(key).next().cloned().or(default)
    }

    /// Return the key's first value; without one return `default`, or raise `KeyError`.
    #[pyo3(signature = (key, default = Fallback::Absent))]
    fn getone<'py>(&self, key: &Bound<'py, PyAny>, default: Fallback<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.values_of(key).next().cloned().map_or_else(|| default.or_key_error(key), Ok)
    }

    /// Return the list of the key's values; without any return `default`, or raise `KeyError`.
    #[pyo3(signature = (key, default = Fallback::Absent))]
    fn getall<'py>(&self, key: &Bound<'py, PyAny>, default: Fallback<'py>) -> PyResult<Bound<'py, PyAny>> {
        let values: Vec<_> = self.values_of(key).collect();
        if values.is_empty() { default.or_key_error(key) } else { Ok(PyList::new(key.py(), values)?.into_any()) }
    }

    /// Return a view of the keys, each once.
    fn keys<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static KEYS_VIEW: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        let view = made_once(py, &KEYS_VIEW, || {
            Ok(py.import("collections.abc")?.getattr("KeysView")?.cast_into::<PyType>()?.unbind())
        })?;
        view.bind(py).call1((slf,))
    }

    /// Return the list of all values.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.pairs.iter().map(|(_, value)| value))
    }

    /// Return the list of all (key, value) pairs.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.pairs.iter().map(|(key, value)| (key, value)))
    }

    /// Return a `dict` of the lists of all values.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let lists = PyDict::new(py);
        for key in self.distinct_keys(py)? {
            lists.set_item(&key, self.getall(&key, Fallback::Absent)?)?;
        }
        Ok(lists)
    }

    /// Return a `dict` of the first values, free to be changed; one of headers ignores case, too.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let copy = if self.ignore_case { Bound::new(py, RequestHeaders)?.into_super() } else { PyDict::new(py) };
        for key in self.distinct_keys(py)? {
            copy.set_item(&key, self.__getitem__(&key)?)?;
        }
        Ok(copy)
    }

    /// The class that `isinstance` goes by: the multidict package's own where that has been imported.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        let py = slf.py();
        let name = if slf.get().ignore_case { intern!(py, "CIMultiDictProxy") } else { intern!(py, "MultiDictProxy") };
        let theirs = imported(intern!(py, "multidict")).and_then(|module| module.getattr(name).ok());
        theirs.unwrap_or_else(|| slf.get_type().into_any())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.pairs.iter().try_for_each(|(_, value)| visit.call(value))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Runs a snippet that finds a query `a=1&b=2&a=3` as `md` and some headers as `headers`.
    fn run(code: &std::ffi::CStr) {
        Python::initialize();
        Python::attach(|py| {
            let texts = Variables::from_query("a=1&b=2&a=3");
            let mut headers = HeaderMap::new();
            headers.append("x-many", HeaderValue::from_static("first"));
            headers.append("x-many", HeaderValue::from_static("last"));
            headers.append("etag", HeaderValue::from_static("e"));
            let names = PyDict::new(py);
            names.set_item("md", MultiDict::of_texts(py, &texts).unwrap()).unwrap();
            names.set_item("headers", MultiDict::of_headers(py, &headers).unwrap()).unwrap();
            names.set_item("twin", MultiDict::of_texts(py, &texts).unwrap()).unwrap();
            py.run(code, Some(&names), None).inspect_err(|error| error.display(py)).unwrap();
        });
    }

    #[test]
    fn single_look_ups_give_the_first_value() {
        run(c"
assert md['a'] == md.get('a') == md.getone('a') == '1'
assert md.get('no') is None and md.get('no', default=5) == md.getone('no', 5) == 5
assert md.getone('no', None) is None
");
    }

    #[test]
    fn all_values_of_a_key_keep_their_order() {
        run(c"assert md.getall('a') == ['1', '3'] and md.getall('no', default=[]) == []");
    }

    #[test]
    fn a_missing_key_is_a_key_error_that_names_it() {
        run(c"
for look_up in (lambda: md['no'], lambda: md.getone('no'), lambda: md.getall('no')):
    try:
        look_up()
    except KeyError as e:
        assert e.args == ('no',)
    else:
        raise AssertionError
");
    }

    #[test]
    fn keys_that_are_no_proper_text_are_simply_absent() {
        run(c"assert 5 not in md and '\\udc80' not in md and 'A' not in md and 'a' in md");
    }

    #[test]
    fn iteration_names_each_key_once_and_items_hold_every_pair() {
        run(c"
assert len(md) == 3 and list(md) == list(md.keys()) == ['a', 'b']
assert md.keys() >= {'a', 'b'} and 'c' not in md.keys()
assert md.items() == [('a', '1'), ('b', '2'), ('a', '3')] and md.values() == ['1', '2', '3']
");
    }

    #[test]
    fn it_turns_into_a_dict_in_every_way_python_has() {
        run(c"
d = {}
d.update(md)
assert d == dict(md) == {**md} == dict(**md) == md.copy() == {'a': '1', 'b': '2'}
");
    }

    #[test]
    fn all_values_turn_into_lists() {
        run(c"assert md.to_dict() == {'a': ['1', '3'], 'b': ['2']} and headers.to_dict()['ETag'] == ['e']");
    }

    #[test]
    fn a_copy_of_headers_ignores_case_and_can_be_changed() {
        run(c"
copy = headers.copy()
del copy['ETAG']
assert isinstance(copy, dict) and copy == {'X-Many': 'first'} and copy['x-many'] == 'first'
");
    }

    #[test]
    fn it_is_a_mapping_that_cannot_be_changed_or_hashed() {
        run(c"
import collections.abc
assert isinstance(md, collections.abc.Mapping)
for change in (lambda: md.__setitem__('a', 1), lambda: hash(md)):
    try:
        change()
    except (TypeError, AttributeError):
        continue
    raise AssertionError
match md:
    case {'b': '2'}:
        pass
    case _:
        raise AssertionError
");
    }

    #[test]
    fn equality_regards_order_and_repetition() {
        run(c"
assert md == twin and not md != twin
assert md != {'a': '1', 'b': '2'} and md != headers and md != 5
");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        run(c"
assert headers['X-MANY'] == 'first' and headers.getall('x-many') == ['first', 'last']
assert list(headers) == ['X-Many', 'ETag'] and 'etag' in headers and 'etag' in headers.keys()
assert dict(headers) == {'X-Many': 'first', 'ETag': 'e'}
");
    }

    #[test]
    fn very_many_pairs_are_no_burden() {
        Python::initialize();
        Python::attach(|py| {
            let names: Vec<_> = (0..100_000).map(|number| format!("k{}", number % 50_000)).collect();
            let texts = Variables::from_query(&names.join("&"));
            let mapping = MultiDict::of_texts(py, &texts).unwrap();
            let copy = mapping.get().copy(py).unwrap();
            assert_eq!((mapping.get().__len__(), copy.len()), (100_000, 50_000));
        });
    }

    #[test]
    fn its_text_shows_the_pairs() {
        run(c"assert repr(md) == \"<MultiDict('a': '1', 'b': '2', 'a': '3')>\"");
    }
}
