//! `spikard._spikard.MultipartParser`: the parser of forms for `python/spikard/_multipart.py`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::asgi::scope;
use super::errors;
use crate::message::multipart::{self, Event, Limits};

/// An incremental parser of one form. A malformed form is an `HTTPException`; after one it must not
/// be used again.
#[pyclass(frozen, module = "spikard._spikard")]
pub(super) struct MultipartParser {
    /// Boxed: its search needle is aligned for vector instructions, Python's objects are not.
    parser: Mutex<Box<multipart::MultipartParser>>,
}

#[pymethods]
impl MultipartParser {
    #[new]
    #[pyo3(signature = (boundary, *, max_parts, max_field_bytes))]
    fn new(
        py: Python<'_>,
        boundary: &str,
        max_parts: usize,
        max_field_bytes: usize,
    ) -> PyResult<Self> {
        let limits = Limits {
            max_parts,
            max_field_bytes,
            ..Limits::default()
        };
        let parser = multipart::MultipartParser::new(boundary, limits)
            .map_err(|error| errors::multipart_error(py, &error))?;
        Ok(Self {
            parser: Mutex::new(Box::new(parser)),
        })
    }

    /// Takes the next chunk of the body.
    fn push(&self, chunk: &[u8]) {
        self.lock().push(Bytes::copy_from_slice(chunk));
    }

    /// The next event, `None` when it needs another chunk: `("part", name, filename or None,
    /// headers)`, `("data", bytes)`, `("part_end",)` or `("end",)`.
    fn next_event<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let event = self.lock().next_event();
        match event.map_err(|error| errors::multipart_error(py, &error))? {
            None => Ok(None),
            Some(event) => tuple(py, event).map(Some),
        }
    }

    /// Checks that the form was complete.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.lock()
            .finish()
            .map_err(|error| errors::multipart_error(py, &error))
    }
}

impl MultipartParser {
    fn lock(&self) -> MutexGuard<'_, Box<multipart::MultipartParser>> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::PartHead(part) => {
            let filename = part.filename.map(|name| name.basename);
            let headers = scope::headers(py, &part.headers)?;
            (intern!(py, "part"), part.name, filename, headers).into_pyobject(py)
        }
        Event::Data(data) => (intern!(py, "data"), PyBytes::new(py, &data)).into_pyobject(py),
        Event::PartEnd => (intern!(py, "part_end"),).into_pyobject(py),
        Event::End => (intern!(py, "end"),).into_pyobject(py),
    }
}
