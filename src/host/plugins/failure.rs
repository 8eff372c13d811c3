//! Why a plugin was not loaded, with the place to look at and the fix.
//!
//! Runs on the Python thread. Promise: the text for clients holds no traceback; the log gets one record, with the
//! traceback. Caveat: the place is the innermost one in the plugin's own file; a deeper one in a helper module is named
//! beside it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;

use super::discover::stem;
use super::environment::Environment;
use super::parameters::Origin;
use super::{module, parameters};
use crate::edge::config::diagnostic::{Diagnostic, SourceLocation};
use crate::edge::control::status::LastError;
use crate::host::bridge::missing_module::missing_module;
use crate::host::bridge::outcome;

/// Why a plugin is not there.
#[derive(Clone, Debug)]
pub(crate) struct LoadFailure {
    /// The plugin file.
    file: PathBuf,
    /// The line in it, if the trouble has one.
    line: Option<usize>,
    /// The class, if the trouble is of one class.
    class: Option<String>,
    /// Where the parameters are that are to blame, if they are, and their key in the ini file.
    parameters: Option<(SourceLocation, Option<String>)>,
    /// Exception type and text, and what to do.
    reason: String,
    /// The exception itself, if there was one.
    pub cause: Option<Arc<PyErr>>,
    /// Whether the plugin's own `self_check` said so.
    pub of_self_check: bool,
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.diagnostic())
    }
}

impl LoadFailure {
    /// The failure like an error of the configuration.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        if let Some((location, key)) = &self.parameters {
            let error = Diagnostic::error(location.clone(), &self.reason);
            return key.iter().fold(error, |error, key| error.in_section("plugin_parms").at_key(key));
        }
        let reason = match &self.class {
            Some(class) => format!("class {class}: {}", self.reason),
            None => self.reason.clone(),
        };
        Diagnostic::error(SourceLocation::at(&self.file, self.line.unwrap_or_default()), reason)
    }

    /// Whether parameters are to blame.
    pub(super) fn is_of_parameters(&self) -> bool {
        self.parameters.is_some()
    }

    /// The host's own objection to something in `file`.
    pub(crate) fn objection(file: &Path, line: Option<usize>, class: Option<String>, reason: String) -> Self {
        Self { file: file.to_path_buf(), line, class, parameters: None, reason, cause: None, of_self_check: false }
    }

    /// What `error` says of `file`, or of a class in it.
    pub(crate) fn of_error(
        py: Python<'_>,
        environment: &Environment,
        file: &Path,
        class: Option<String>,
        error: &PyErr,
    ) -> Self {
        let cause = Some(Arc::new(error.clone_ref(py)));
        if let Some(Origin { location, key, missing }) = parameters::origin(py, environment, &stem(file), error) {
            let mut reason = one_line(&text_of(py, error));
            if let Some(missing) = missing {
                reason = format!("{reason}; {missing}");
            }
            return Self {
                file: file.to_path_buf(),
                line: None,
                class,
                parameters: Some((location, key)),
                reason,
                cause,
                of_self_check: false,
            };
        }
        let on_disk = environment.locate(file);
        let places = module::places(py, error);
        let line = places.iter().find(|(place, _)| *place == on_disk).map(|(_, line)| *line);
        let mut reason = describe(py, error);
        let innermost = places.iter().find_map(|(place, line)| Some((place, environment.shown(place)?, line)));
        if let Some((_, helper, line)) = innermost.filter(|(place, ..)| **place != on_disk) {
            reason = format!("{reason}, raised at {}:{line}", helper.display());
        }
        if let Some(remedy) = missing_module(py, error) {
            reason = format!("{reason} ({remedy})");
        }
        Self { file: file.to_path_buf(), line, class, parameters: None, reason, cause, of_self_check: false }
    }

    /// The failure as it is logged: with the traceback, unless that only leads to a parameter.
    pub(crate) fn record(&self, py: Python<'_>) -> String {
        match &self.cause {
            Some(cause) if self.parameters.is_none() => format!("{self}\n{}", outcome::traceback(py, cause)),
            _ => self.to_string(),
        }
    }

    /// The failure as those see it who may control the server.
    pub(crate) fn last_error(&self, py: Python<'_>) -> LastError {
        LastError {
            message: self.reason.clone(),
            file: self.file.display().to_string(),
            line: self.line,
            traceback: self.cause.as_ref().map(|cause| outcome::traceback(py, cause)),
        }
    }

    /// Adds what follows from it.
    pub(crate) fn add(&mut self, consequence: &str) {
        self.reason = format!("{}; {consequence}", self.reason);
    }
}

/// `Type: text`, on one line.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    let name = error.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    let text = text_of(py, error);
    one_line(&if text.is_empty() { name } else { format!("{name}: {text}") })
}

fn text_of(py: Python<'_>, error: &PyErr) -> String {
    error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
