//! Whether a handler can be called at all, checked when its plugin is loaded.
//!
//! Runs on the Python thread. Handlers are called with keyword arguments alone. Promise: only what no request could
//! ever call is refused. Caveat: only plain Python functions are checked, and of decorated ones only what the decorator
//! returned.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFunction, PyTuple};

/// Flags of code objects: it has `*args`, it has `**kwargs`.
const TAKES_POSITIONS: usize = 4;
const TAKES_KEYWORDS: usize = 8;

/// Why no call can succeed, and where the handler is defined.
pub(crate) struct Uncallable {
    /// What is wrong with it and how to write it.
    pub reason: String,
    /// The file as Python knows it.
    pub file: PathBuf,
    /// The line of the definition.
    pub line: usize,
}

/// What keeps `method` from ever being called with the keywords `always` and more.
///
/// # Errors
/// When the function is not what Python makes of a definition.
pub(crate) fn uncallable(method: &Bound<'_, PyAny>, always: &[&str]) -> PyResult<Option<Uncallable>> {
    let is_bound = method.getattr_opt("__self__")?.is_some();
    let function = method.getattr_opt("__func__")?.unwrap_or_else(|| method.clone());
    if !function.is_exact_instance_of::<PyFunction>() {
        return Ok(None);
    }
    let code = function.getattr("__code__")?.cast_into::<PyCode>().map_err(PyErr::from)?;
    let number = |name: &str| code.getattr(name)?.extract::<usize>();
    let (flags, positional, only_positional) =
        (number("co_flags")?, number("co_argcount")?, number("co_posonlyargcount")?);
    let names = code.getattr("co_varnames")?.extract::<Vec<String>>()?;
    let keywords = names.get(..positional + number("co_kwonlyargcount")?).unwrap_or_default();
    let defaults = function.getattr("__defaults__")?.cast_into::<PyTuple>().map_or(0, |defaults| defaults.len());
    let own = usize::from(is_bound);
    let refused = if positional < own && flags & TAKES_POSITIONS == 0 {
        "has no parameter self".to_owned()
    } else if let Some(name) =
        names.get(own..only_positional.min(positional.saturating_sub(defaults))).and_then(<[String]>::first)
    {
        format!("takes {name} by its position only, but gets names")
    } else if flags & TAKES_KEYWORDS == 0
        && let Some(name) =
            always.iter().find(|name| !keywords.iter().skip(own.max(only_positional)).any(|keyword| keyword == *name))
    {
        format!("does not take {name}, which every request brings")
    } else {
        return Ok(None);
    };
    let name = function.getattr("__name__")?.extract::<String>()?;
    Ok(Some(Uncallable {
        reason: format!("{name} cannot be called: it {refused}; write async def {name}(self, **data)"),
        file: code.getattr("co_filename")?.extract()?,
        line: number("co_firstlineno")?,
    }))
}
