//! A method called by keywords alone, without a dict to hold them.
//!
//! Runs on the Python thread. Promise: for the method it is the same as `object.method(**keywords)`; its own `**data`
//! is the only dict that is made. Caveat: the names must differ from each other, which is not checked.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// Most keywords of a call.
const MOST: usize = 6;

/// Calls `object.name(**keywords)`, of which `names` and `values` are in the same order.
///
/// # Errors
/// What the method raised, or that there is none.
pub fn call_method<'py, const N: usize>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    names: &Bound<'py, PyTuple>,
    values: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N <= MOST) };
    assert_eq!(names.len(), N, "each value has a name");
    // The place before the object is the callee's to write into; that spares it a copy of the rest.
    let mut stack = [std::ptr::null_mut(); MOST + 2];
    stack[1] = object.as_ptr();
    for (place, value) in stack[2..].iter_mut().zip(values) {
        *place = value.as_ptr();
    }
    // SAFETY: the arguments are one positional, the object, and as many keyword ones as the tuple of `str` has items;
    // the borrowed references keep all of them alive for the call. The place before them is ours and is offered by the
    // flag. The result is a new reference, or null with an exception set.
    unsafe {
        let result = ffi::PyObject_VectorcallMethod(
            name.as_ptr(),
            stack.as_ptr().add(1),
            1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            names.as_ptr(),
        );
        Bound::from_owned_ptr_or_err(object.py(), result)
    }
}

#[cfg(test)]
mod tests {
    use pyo3::types::{PyDict, PyInt};

    use super::*;

    #[test]
    fn the_method_gets_its_object_and_all_keywords_in_order() {
        Python::initialize();
        Python::attach(|py| {
            let names = PyDict::new(py);
            py.run(
                c"
class Plugin:
    def plain(self, **data): return self is plugin, list(data.items())
    def named(self, b, **data): return b, data
plugin = Plugin()
plugin.own = lambda **data: sorted(data)
",
                Some(&names),
                None,
            )
            .unwrap();
            let plugin = names.get_item("plugin").unwrap().unwrap();
            let keywords = PyTuple::new(py, ["a", "b"]).unwrap();
            let [one, two] = [1, 2].map(|number: i32| PyInt::new(py, number).into_any());
            let call = |name| call_method(&plugin, &PyString::new(py, name), &keywords, [&one, &two]);
            assert_eq!(call("plain").unwrap().repr().unwrap(), "(True, [('a', 1), ('b', 2)])");
            assert_eq!(call("named").unwrap().repr().unwrap(), "(2, {'a': 1})");
            assert_eq!(call("own").unwrap().repr().unwrap(), "['a', 'b']");
            assert!(call("missing").unwrap_err().to_string().contains("missing"));
        });
    }
}
