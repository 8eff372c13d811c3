//! A problem in the configuration: where it is, what is wrong, how to fix it.
//!
//! Plain data, used on the Python thread. Caveat: a message may name a key but must never repeat a value that could be
//! secret, since messages are logged.

use std::fmt;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The server does not start (or keeps what it had, at a reload).
    Error,
    /// The server runs, but probably not as meant.
    Warning,
    /// The server runs as meant, by a key that has another name now.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Where a text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceLocation {
    /// The ini file, with the line counted from 1 when it is known.
    File {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// Line of the key or section header.
        line: Option<usize>,
    },
    /// An environment variable that replaced the file's text.
    Variable(String),
    /// An option of the command line that replaced it.
    Option(&'static str),
}

impl SourceLocation {
    /// A place in the file, `line` counted from 1; 0 for what is not written there.
    pub(crate) fn at(path: &Path, line: usize) -> Self {
        Self::File { path: path.to_path_buf(), line: (line > 0).then_some(line) }
    }

    /// The line, when it is known.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => *line,
            Self::Variable(_) | Self::Option(_) => None,
        }
    }

    /// The file as a whole.
    pub(crate) fn file(path: &Path) -> Self {
        Self::File { path: path.to_path_buf(), line: None }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Option(name) => write!(f, "option {name}"),
        }
    }
}

/// One problem. Shown as `plugincore.ini:12: [network] port: must be a number (write port=9192)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Where the offending text is.
    pub location: SourceLocation,
    /// Section name as written, if the problem belongs to one.
    pub section: Option<String>,
    /// Key as `configparser` gives it (lower case), if the problem belongs to one.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How to fix it; empty if the message is enough.
    pub remedy: String,
}

impl Diagnostic {
    /// An error at `place`, so far without section, key and remedy.
    pub(crate) fn error(location: SourceLocation, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            location,
            section: None,
            key: None,
            message: message.into(),
            remedy: String::new(),
        }
    }

    /// A warning at `place`, so far without section, key and remedy.
    pub(crate) fn warning(location: SourceLocation, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(location, message) }
    }

    /// A note on `place`, so far without section, key and remedy.
    pub(crate) fn note(location: SourceLocation, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(location, message) }
    }

    /// Names the section.
    #[must_use]
    pub(crate) fn in_section(mut self, section: impl Into<String>) -> Self {
        self.section = Some(section.into());
        self
    }

    /// Names the key.
    #[must_use]
    pub(crate) fn at_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        match (&self.section, &self.key) {
            (Some(section), Some(key)) => write!(f, "[{section}] {key}: ")?,
            (Some(section), None) => write!(f, "[{section}]: ")?,
            (None, Some(key)) => write!(f, "{key}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

/// Problems in the order they were found; errors, warnings and notes mixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a problem.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Errors (`None` when there are none), and warnings and notes, apart, each in file order; what has no line comes
    /// last.
    pub(crate) fn split(mut self) -> (Option<ConfigErrors>, Vec<Diagnostic>) {
        self.0.sort_by_key(|diagnostic| diagnostic.location.line().unwrap_or(usize::MAX));
        let (errors, warnings): (Vec<_>, _) = self.0.into_iter().partition(|d| d.severity == Severity::Error);
        ((!errors.is_empty()).then_some(ConfigErrors(errors)), warnings)
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}

/// Every error of a configuration at once; shown one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct ConfigErrors(pub Vec<Diagnostic>);

impl From<Diagnostic> for ConfigErrors {
    fn from(error: Diagnostic) -> Self {
        Self(vec![error])
    }
}

/// Logs what is doubtful in the configuration.
pub(crate) fn log_warnings(warnings: &[Diagnostic]) {
    for warning in warnings {
        match warning.severity {
            Severity::Note => tracing::info!("{warning}"),
            Severity::Warning | Severity::Error => tracing::warn!("{warning}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_file_line_section_key_and_remedy() {
        let shown = Diagnostic::error(SourceLocation::at(Path::new("plugincore.ini"), 12), "must be a number")
            .in_section("network")
            .at_key("port")
            .remedy("write port=9192")
            .to_string();
        assert_eq!(shown, "plugincore.ini:12: [network] port: must be a number (write port=9192)");
    }

    #[test]
    fn a_text_from_the_environment_is_blamed_on_its_variable() {
        let shown = Diagnostic::error(SourceLocation::Variable("PLUGINCORE_NETWORK_PORT".into()), "bad").to_string();
        assert_eq!(shown, "environment variable PLUGINCORE_NETWORK_PORT: bad");
    }

    #[test]
    fn errors_are_shown_one_a_line_and_apart_from_warnings() {
        let location = SourceLocation::file(Path::new("a.ini"));
        let mut found = Diagnostics::default();
        found.push(Diagnostic::error(location.clone(), "one"));
        found.push(Diagnostic::warning(location.clone(), "hm"));
        found.push(Diagnostic::error(location, "two"));
        let (errors, warnings) = found.split();
        assert_eq!(errors.map(|e| e.to_string()).as_deref(), Some("a.ini: one\na.ini: two"));
        assert_eq!(warnings.len(), 1);
    }
}
