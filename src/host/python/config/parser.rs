//! Has CPython's `configparser` read a file, and notes the line of each key.
//!
//! Runs on the Python thread. `configparser` keeps no line numbers. It accepts any iterable of lines and any dict type,
//! so the lines are handed over by an iterator that counts them, and the dict notes the count when a key is first set.
//! Caveat: this relies on the parser setting a key while it is at that key's line, and on its attribute `_sections` for
//! a section's own dict; both hold in 3.11 to 3.15, which the tests check.

use crate::edge::config::diagnostic::{ConfigErrors, Diagnostic, SourceLocation};
use crate::edge::config::ini::{Entry, Ini, Section};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of the line that was handed over last.
type Cursor = Arc<AtomicUsize>;

/// The lines of a text, one after another.
#[pyclass]
struct Lines {
    lines: std::vec::IntoIter<String>,
    cursor: Cursor,
}

#[pymethods]
impl Lines {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&mut self) -> Option<String> {
        self.cursor.fetch_add(1, Ordering::Relaxed);
        self.lines.next()
    }
}

/// A dict that knows on which line each of its keys was first set.
#[pyclass(extends = PyDict)]
struct Located {
    cursor: Cursor,
    lines: HashMap<String, usize>,
    /// Line on which this dict was made: of the header, for a section.
    made: usize,
}

#[pymethods]
impl Located {
    fn __setitem__(this: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        {
            let mut own = this.borrow_mut();
            let line = own.cursor.load(Ordering::Relaxed);
            own.lines.entry(key.extract()?).or_insert(line);
        }
        this.as_super().set_item(key, value)
    }
}

/// The text of the file at `path`, which is found from `base`; a byte order mark is dropped.
///
/// # Errors
/// When the file cannot be read or is not UTF-8; the error names the line of the first wrong byte.
pub(crate) fn text(base: &Path, path: &Path) -> Result<String, ConfigErrors> {
    let bytes = std::fs::read(base.join(path)).map_err(|error| {
        Diagnostic::error(SourceLocation::file(path), format!("cannot be read: {error}"))
            .remedy("name a readable ini file")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = split_lines(&String::from_utf8_lossy(good)).len().max(1);
        Diagnostic::error(SourceLocation::at(path, line), "is not UTF-8").remedy("save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Lines as Python's text files give them: ended by LF, CR LF or CR.
fn split_lines(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n").replace('\r', "\n").split_inclusive('\n').map(str::to_owned).collect()
}

/// Parses a text.
///
/// # Errors
/// What `configparser` refuses, with all the lines it names.
pub(crate) fn parse(py: Python<'_>, path: &Path, text: &str) -> Result<Ini, ConfigErrors> {
    parsed(py, path, text).map_err(|error| refused(py, path, text, &error))
}

fn parsed(py: Python<'_>, path: &Path, text: &str) -> PyResult<Ini> {
    let cursor = Cursor::default();
    let for_dicts = cursor.clone();
    let new_dict = PyCFunction::new_closure(py, None, None, move |args, _| {
        let cursor = for_dicts.clone();
        let made = cursor.load(Ordering::Relaxed);
        Bound::new(args.py(), Located { cursor, lines: HashMap::new(), made }).map(Bound::unbind)
    })?;
    let options = PyDict::new(py);
    options.set_item("interpolation", py.None())?;
    options.set_item("dict_type", new_dict)?;
    let parser = py.import("configparser")?.getattr("ConfigParser")?.call((), Some(&options))?;
    let lines = Lines { lines: split_lines(text).into_iter(), cursor };
    parser.call_method1("read_file", (Bound::new(py, lines)?, path))?;

    let defaults = parser.call_method0("defaults")?.cast_into::<Located>()?;
    // The parser's only way to a section's own dict; without it there would be no line numbers.
    let own = parser.getattr("_sections")?;
    let mut ini = Ini { path: path.to_path_buf(), ..Ini::default() };
    let default_lines = defaults.borrow();
    for (key, text) in defaults.as_super().iter() {
        let key: String = key.extract()?;
        let line = default_lines.lines.get(&key).copied().unwrap_or_default();
        ini.defaults.push(Entry { inherited: true, ..Entry::new(key, text.extract::<String>()?, line) });
    }
    for name in parser.call_method0("sections")?.extract::<Vec<String>>()? {
        let located = own.get_item(&name)?.cast_into::<Located>()?;
        let located = located.borrow();
        let items: Vec<(String, String)> = parser.call_method1("items", (&name,))?.extract()?;
        let entry = |(key, text): (String, String)| {
            if let Some(line) = located.lines.get(&key) {
                Entry::new(key, text, *line)
            } else {
                let line = default_lines.lines.get(&key).copied().unwrap_or_default();
                Entry { inherited: true, ..Entry::new(key, text, line) }
            }
        };
        ini.sections.push(Section { name, line: located.made, entries: items.into_iter().map(entry).collect() });
    }
    Ok(ini)
}

/// Tells what `configparser` refused. The lines themselves are not repeated: they may hold a key.
fn refused(py: Python<'_>, path: &Path, text: &str, error: &PyErr) -> ConfigErrors {
    let written = split_lines(text);
    // The name alone is shown: nothing of the line that could be a value.
    let unclosed = |line: usize| {
        let header = written.get(line.checked_sub(1)?)?.trim().strip_prefix('[')?;
        let name = header.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|_| !header.contains(']'))?;
        Some(format!("write [{name}]"))
    };
    let value = error.value(py);
    let attribute = |name: &str| value.getattr(name).ok().and_then(|text| text.extract::<String>().ok());
    let line = value.getattr("lineno").ok().and_then(|line| line.extract::<usize>().ok());
    let place = |line: Option<usize>| SourceLocation::File { path: path.to_path_buf(), line };
    let kind = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    let section = attribute("section");
    let one = |message: &str, remedy: &str| {
        let error = Diagnostic::error(place(line), message).remedy(remedy);
        section.iter().fold(error, crate::edge::config::diagnostic::Diagnostic::in_section)
    };
    match kind.as_str() {
        "MissingSectionHeaderError" => match line.and_then(unclosed) {
            Some(remedy) => one("] is missing", &remedy).into(),
            None => one("text before the first section", "begin with a line like [network]").into(),
        },
        "DuplicateSectionError" => one("stands twice in the file", "put everything into one section").into(),
        "DuplicateOptionError" => {
            let error = one("stands twice in the section", "keep one of them");
            attribute("option").into_iter().fold(error, Diagnostic::at_key).into()
        }
        "MultilineContinuationError" => one("an indented line has no key above it", "take out the indentation").into(),
        _ => {
            let lines = value.getattr("errors").and_then(|errors| errors.extract::<Vec<(usize, Bound<'_, PyAny>)>>());
            match lines {
                Ok(lines) => {
                    let wrong = |(line, _)| match unclosed(line) {
                        Some(remedy) => Diagnostic::error(place(Some(line)), "] is missing").remedy(remedy),
                        None => Diagnostic::error(place(Some(line)), "is neither [section] nor key = value")
                            .remedy("add the = sign"),
                    };
                    ConfigErrors(lines.into_iter().map(wrong).collect())
                }
                Err(_) if error.is_instance_of::<PyException>(py) => {
                    one(&format!("cannot be read as an ini file: {kind}"), "see docs/configuration.md").into()
                }
                Err(_) => one("reading was interrupted", "").into(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
