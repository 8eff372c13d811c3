//! `await request.post()`: form fields as Python sees them.
//!
//! Runs on the Python thread. Caveat: files are in memory, since the body limit has already bounded them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::edge::http::request::{BodyData, Part, Variables};
use crate::host::bridge::aiohttp;
use crate::host::bridge::locked::made_once;
use crate::host::python::multidict::{MultiDict, Pair};

/// An uploaded file.
#[pyclass(frozen, get_all, module = "plugincore")]
pub struct FileField {
    /// The field's name.
    name: String,
    /// The file's name as the client gave it; not safe as a path.
    filename: String,
    /// The content, as an `io.BytesIO`.
    file: Py<PyAny>,
    /// The part's content type, `application/octet-stream` when it declared none.
    content_type: String,
    /// The part's own headers.
    headers: Py<MultiDict>,
}

#[pymethods]
impl FileField {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (name, filename) = (PyString::new(py, &self.name).repr()?, PyString::new(py, &self.filename).repr()?);
        let content_type = PyString::new(py, &self.content_type).repr()?;
        Ok(format!("<FileField name={name} filename={filename} content_type={content_type}>"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.file)?;
        visit.call(&self.headers)
    }
}

/// The fields of a form in order: `str` or `bytes` for plain values, [`FileField`] for files; empty when the body is no
/// form.
///
/// # Errors
/// `MemoryError`, or whatever makes Python unable to create an object.
pub(crate) fn fields(py: Python<'_>, body: &BodyData, content_type: &str) -> PyResult<Py<MultiDict>> {
    match body {
        // It counts as JSON because it is; as a form it is what the form's rules make of it.
        BodyData::Json(text) if content_type == "application/x-www-form-urlencoded" => {
            MultiDict::of_texts(py, &Variables::from_form(text.trim_ascii_end()))
        }
        BodyData::None | BodyData::Json(_) => MultiDict::new(py, Vec::new()),
        BodyData::Form(form) => MultiDict::of_texts(py, form),
        BodyData::Multipart(form) => {
            MultiDict::new(py, form.parts().iter().map(|part| field(py, part)).collect::<PyResult<_>>()?)
        }
    }
}

/// As in aiohttp: a part with a file name is a file, one that is declared as no text is bytes.
fn field(py: Python<'_>, part: &Part) -> PyResult<Pair> {
    let value = match (&part.filename, part.text().filter(|_| part.is_text())) {
        (Some(filename), _) if !filename.is_empty() => file(py, part, filename)?,
        (_, Some(text)) => PyString::new(py, &text).into_any().unbind(),
        _ => PyBytes::new(py, &part.content).into_any().unbind(),
    };
    Ok((PyString::new(py, &part.name).unbind(), value))
}

/// A file, of aiohttp's class where a plugin has imported that.
fn file(py: Python<'_>, part: &Part, filename: &str) -> PyResult<Py<PyAny>> {
    static BYTES_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let bytes_io =
        made_once(py, &BYTES_IO, || Ok(py.import("io")?.getattr("BytesIO")?.cast_into::<PyType>()?.unbind()))?;
    let field = FileField {
        name: part.name.clone(),
        filename: filename.to_owned(),
        file: bytes_io.bind(py).call1((PyBytes::new(py, &part.content),))?.unbind(),
        content_type: part.content_type().unwrap_or("application/octet-stream").to_owned(),
        headers: MultiDict::of_headers(py, &part.headers)?,
    };
    let theirs = aiohttp::imported(intern!(py, "aiohttp.web_request"));
    Ok(match theirs.and_then(|module| module.getattr(intern!(py, "FileField")).ok()) {
        Some(class) => {
            let FileField { name, filename, file, content_type, headers } = field;
            class.call1((name, filename, file, content_type, headers))?.unbind()
        }
        None => Py::new(py, field)?.into_any(),
    })
}
