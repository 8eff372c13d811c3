//! What is written for objects that `json.dumps` refuses and that have an obvious form: dates, UUIDs, `Decimal`, members
//! of an `Enum`, dataclasses, sets, and the models of msgspec and pydantic.
//!
//! Runs on the Python thread. Promise: a replacement is a text, a list or a dict, or else one of them is what an enum's
//! member stands for, so that replacing comes to an end. Caveat: what they contain is replaced in its turn, when the
//! walk gets there; keys of dicts are not replaced.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyString};

/// What to write for `object`; nothing if it has no form.
///
/// # Errors
/// What the object's own code raises.
pub(super) fn replacement<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if object.is_instance_of::<PySet>() || object.is_instance_of::<PyFrozenSet>() {
        return PyList::new(py, object.try_iter()?.collect::<PyResult<Vec<_>>>()?).map(|list| Some(list.into_any()));
    }
    if is_one_of(object, "datetime", &["date", "time"])? {
        let text = object.call_method0(intern!(py, "isoformat"))?;
        return Ok(text.is_instance_of::<PyString>().then_some(text));
    }
    if is_one_of(object, "uuid", &["UUID"])? || is_one_of(object, "decimal", &["Decimal"])? {
        return object.str().map(|text| Some(text.into_any()));
    }
    if is_one_of(object, "enum", &["Enum"])? {
        let value = object.getattr(intern!(py, "_value_"))?;
        return if is_one_of(&value, "enum", &["Enum"])? { Ok(None) } else { Ok(Some(value)) };
    }
    let class = object.get_type();
    if class.hasattr(intern!(py, "__dataclass_fields__"))? {
        let fields = py.import(intern!(py, "dataclasses"))?.call_method1(intern!(py, "fields"), (object,))?;
        let names =
            fields.try_iter()?.map(|field| field?.getattr(intern!(py, "name"))).collect::<PyResult<Vec<_>>>()?;
        return attributes(object, PyList::new(py, names)?.as_any()).map(Some);
    }
    if let Some(fields) = class.getattr_opt(intern!(py, "__struct_fields__"))? {
        return attributes(object, &fields).map(Some);
    }
    if class.hasattr(intern!(py, "model_dump"))? {
        let mode = PyDict::new(py);
        mode.set_item(intern!(py, "mode"), "json")?;
        let dumped = object.call_method(intern!(py, "model_dump"), (), Some(&mode))?;
        return Ok(dumped.is_exact_instance_of::<PyDict>().then_some(dumped));
    }
    Ok(None)
}

/// Whether `object` is of a class of a module. If that has not been imported, there is no such object.
fn is_one_of(object: &Bound<'_, PyAny>, module: &str, names: &[&str]) -> PyResult<bool> {
    let modules = object.py().import("sys")?.getattr("modules")?;
    let Ok(module) = modules.get_item(module) else { return Ok(false) };
    for name in names {
        // A module that another thread is importing may lack the class; nothing can be of it then.
        if let Ok(class) = module.getattr(*name)
            && object.is_instance(&class)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The attributes of `object` that `names` names, in that order, as a dict.
fn attributes<'py>(object: &Bound<'py, PyAny>, names: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(object.py());
    for name in names.try_iter()? {
        let name = name?.cast_into::<PyString>().map_err(PyErr::from)?;
        // A field with `init=False` may never have been set.
        if let Some(value) = object.getattr_opt(&name)? {
            dict.set_item(name, value)?;
        }
    }
    Ok(dict.into_any())
}
