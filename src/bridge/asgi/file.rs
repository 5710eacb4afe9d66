//! Files that an ASGI application sends by path or by descriptor.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::Path;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};

use crate::bridge::descriptor::duplicate;
use crate::bridge::errors;
use crate::pipeline::FileBody;

/// An open file that an event brought, with what it still has to know about its owner.
pub(super) struct SentFile {
    file: File,
    length: u64,
    /// The application's object, whose position moves on as it would by reading.
    positioned: Option<Py<PyAny>>,
}

impl SentFile {
    /// Opens a file by its path, which must be a regular file: others could make us wait.
    pub(super) fn open(py: Python<'_>, path: &Path) -> PyResult<Self> {
        // A FIFO without a writer would block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = open(path, flags, Mode::empty()).map(File::from);
        let file = opened.map_err(|error| os_error(&error.into(), Some(path)))?;
        Self::checked(py, file, None)
    }

    /// Takes an own descriptor of a file that stays the application's: an int, or an object with
    /// `fileno()`.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let file = File::from(duplicate(descriptor_of(object)?)?);
        Self::checked(py, file, Some(object.clone().unbind()))
    }

    fn checked(py: Python<'_>, file: File, positioned: Option<Py<PyAny>>) -> PyResult<Self> {
        let metadata = file.metadata().map_err(|error| os_error(&error, None))?;
        if !metadata.is_file() {
            let message = "expected a regular file to send, got something else";
            return Err(errors::protocol_error(py, message));
        }
        Ok(Self {
            file,
            length: metadata.len(),
            positioned,
        })
    }

    /// The length of the file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where the application's next read would begin, in bytes.
    pub(super) fn position(&self, py: Python<'_>) -> PyResult<u64> {
        if let Some(object) = self.object(py) {
            return object.call_method0(intern!(py, "tell"))?.extract();
        }
        seek(&self.file, SeekFrom::Current(0)).map_err(|error| os_error(&error.into(), None))
    }

    /// Moves the application's position, as reading up to there would have.
    pub(super) fn set_position(&self, py: Python<'_>, position: u64) -> PyResult<()> {
        if let Some(object) = self.object(py) {
            object.call_method1(intern!(py, "seek"), (position,))?;
            return Ok(());
        }
        // The duplicate shares its position with the original.
        seek(&self.file, SeekFrom::Start(position))
            .map(drop)
            .map_err(|error| os_error(&error.into(), None))
    }

    /// The object that keeps a position of its own, because it reads ahead of its descriptor.
    fn object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let object = self.positioned.as_ref()?.bind(py);
        object
            .hasattr(intern!(py, "tell"))
            .is_ok_and(|has_one| has_one)
            .then(|| object.clone())
    }

    /// A body of this part of it.
    pub(super) fn into_body(self, range: Range<u64>) -> FileBody {
        FileBody::of_range(self.file, range)
    }
}

fn descriptor_of(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    if object.is_instance_of::<PyInt>() {
        return object.extract();
    }
    object
        .call_method0(intern!(object.py(), "fileno"))?
        .extract()
}

/// The `OSError` of the right kind, with the path where there is one.
fn os_error(error: &io::Error, path: Option<&Path>) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return PyOSError::new_err(error.to_string());
    };
    // Rust says "… (os error 2)", Python has the number beside the text.
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
    match path {
        Some(path) => PyOSError::new_err((number, text, path.display().to_string())),
        None => PyOSError::new_err((number, text)),
    }
}
