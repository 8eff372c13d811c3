//! Handlers whose type hints say what they take.
//!
//! Runs on the Python thread: hints are read once, when a plugin is loaded, and values of requests that the edge has
//! checked by them are converted before the handler is called. Promise: a hint that says nothing, or that no schema can
//! be made of, leaves its parameter as it is without hints. Caveat: plugins that go through `handle_request` take
//! variables as they come, since what is in between expects those.

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pythonize::pythonize;
use serde_json::{Map, Value, json};

use super::host_keys::HOST_KEYS;
use crate::edge::parameters::{Parameters, TextValues};

/// What a handler takes.
pub(crate) struct TypedHandler {
    /// By what requests are checked.
    pub parameters: Arc<Parameters>,
    /// For each parameter, by its number, its name and what makes the hinted object of a value.
    converters: Vec<(Py<PyString>, Py<PyAny>)>,
}

/// What `plugincore._hints` says of a handler.
#[derive(FromPyObject)]
struct Hints {
    schema: String,
    parameters: Vec<(Py<PyString>, Py<PyAny>)>,
    problems: Vec<(String, String)>,
}

impl TypedHandler {
    /// What the hints of `handler`, of a class in `file`, say; each parameter that they say nothing usable of is logged.
    pub(crate) fn of(handler: &Bound<'_, PyAny>, file: &Path) -> Option<Self> {
        let class = handler.getattr("__self__").and_then(|instance| instance.get_type().name());
        let class = class.map_or_else(|_| String::new(), |name| format!(" class {name}:"));
        let leave = |name: &str, reason: &str| {
            tracing::warn!(
                "{}:{class} parameter {name} takes what comes, since its hint cannot be checked: {reason}",
                file.display()
            );
        };
        let read = || -> PyResult<Option<Hints>> {
            let module = handler.py().import("plugincore._hints")?;
            module.call_method1("read", (handler, HOST_KEYS))?.extract()
        };
        let hints = match read() {
            Ok(hints) => hints?,
            Err(error) => {
                tracing::warn!("{}:{class} the hints of the handler cannot be read: {error}", file.display());
                return None;
            }
        };
        hints.problems.iter().for_each(|(name, reason)| leave(name, reason));
        let parameters = usable(&hints.schema, &leave)?;
        let py = handler.py();
        let mut converters = Vec::new();
        for name in parameters.names() {
            let found =
                hints.parameters.iter().find(|(known, _)| known.bind(py).to_str().is_ok_and(|known| known == name));
            let (known, convert) = found?;
            converters.push((known.clone_ref(py), convert.clone_ref(py)));
        }
        Some(Self { parameters: Arc::new(parameters), converters })
    }

    /// Whether `name` is a parameter with a type.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.parameters.number(name).is_some()
    }

    /// Puts the hinted objects into `keywords`: in the place of what JSON brought, and of `texts`.
    ///
    /// # Errors
    /// What a converter raised: that a value is not what the hint means, although it fits the schema.
    pub(crate) fn convert(&self, keywords: &Bound<'_, PyDict>, texts: &TextValues) -> PyResult<()> {
        let py = keywords.py();
        for (number, text) in texts {
            if let Some((name, _)) = self.converters.get(*number) {
                keywords.set_item(name, pythonize(py, text)?)?;
            }
        }
        for (name, convert) in &self.converters {
            if let Some(value) = keywords.get_item(name)? {
                keywords.set_item(name, convert.bind(py).call1((value,))?)?;
            }
        }
        Ok(())
    }
}

/// What `instance`, of a class in `file`, says of itself; what of that cannot be used is logged.
pub(crate) fn description(instance: &Bound<'_, PyAny>, file: &Path) -> Value {
    let class = instance.get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
    let leave = |reason: &dyn std::fmt::Display| {
        tracing::warn!("{}: class {class}: its description is not used: {reason}", file.display());
    };
    let read = || -> PyResult<(String, Vec<String>)> {
        let handler = instance.getattr_opt("request_handler")?;
        instance.py().import("plugincore._hints")?.call_method1("describe", (instance, handler))?.extract()
    };
    match read() {
        Ok((text, problems)) => {
            for reason in &problems {
                leave(reason);
            }
            serde_json::from_str(&text).unwrap_or_default()
        }
        Err(error) => {
            leave(&error);
            Value::Null
        }
    }
}

/// The parameters of `schema`, without those that cannot be checked, which `leave` is given with the reasons.
fn usable(schema: &str, leave: &dyn Fn(&str, &str)) -> Option<Parameters> {
    let mut schema: Value = serde_json::from_str(schema).ok()?;
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    let properties = schema.get_mut("properties")?.as_object_mut()?;
    let mut left = Map::new();
    for (name, property) in std::mem::take(properties) {
        let alone = json!({"type": "object", "properties": {&name: &property}, "$defs": &definitions});
        match Parameters::new(alone) {
            Ok(_) => drop(left.insert(name, property)),
            Err(reason) => leave(&name, &reason),
        }
    }
    if left.is_empty() {
        return None;
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name.as_str().is_some_and(|name| left.contains_key(name)));
    }
    let names = left.keys().cloned().collect::<Vec<_>>().join(", ");
    schema["properties"] = Value::Object(left);
    Parameters::new(schema).map_err(|reason| leave(&names, &reason)).ok()
}
