//! `await request.post()`: form fields as Python sees them.
//!
//! Caveat: files are in memory, since the body limit has already bounded them.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::bridge::request_data::{FormData, FormField};
use crate::python::multidict::MultiDict;

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
        let (name, filename) = (
            PyString::new(py, &self.name).repr()?,
            PyString::new(py, &self.filename).repr()?,
        );
        let content_type = PyString::new(py, &self.content_type).repr()?;
        Ok(format!(
            "<FileField name={name} filename={filename} content_type={content_type}>"
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.file)?;
        visit.call(&self.headers)
    }
}

/// The fields of a form in order: `str` for plain values, [`FileField`] for files.
///
/// # Errors
/// `MemoryError`, or whatever makes Python unable to create an object.
pub fn fields(py: Python<'_>, form: &FormData) -> PyResult<Py<MultiDict>> {
    let pair = |field: &FormField| {
        Ok(match field {
            FormField::Text(name, value) => (
                PyString::new(py, name).unbind(),
                PyString::new(py, value).into_any().unbind(),
            ),
            FormField::File {
                name,
                filename,
                content_type,
                headers,
                content,
            } => {
                static BYTES_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
                let file = FileField {
                    name: name.clone(),
                    filename: filename.clone(),
                    file: BYTES_IO
                        .import(py, "io", "BytesIO")?
                        .call1((PyBytes::new(py, content),))?
                        .unbind(),
                    content_type: content_type.clone(),
                    headers: MultiDict::of_headers(py, headers)?,
                };
                (PyString::new(py, name).unbind(), Py::new(py, file)?.into_any())
            }
        })
    };
    MultiDict::new(py, form.fields.iter().map(pair).collect::<PyResult<_>>()?)
}
