//! Files that handlers answer with: opened and read at once when the kernel has all of it in its
//! caches, else off the loop's thread.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Response, StatusCode, response};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;

use crate::pipeline::{FileBody, FileConditions, FileSource, Patience};

/// Runs `work` on the runtime's blocking pool.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it, and then nobody waits any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Answers with a file; with [`Patience::Cached`] an error of kind `WouldBlock` says that the disk
/// would have to turn.
pub(super) fn open(
    path: &Path,
    conditions: &FileConditions,
    parts: &response::Parts,
    patience: Patience,
) -> io::Result<Response<FileBody>> {
    let file = open_file(path, patience)?;
    let metadata = file.metadata()?;
    let source = FileSource::new(file, &metadata)
        .ok_or_else(|| io::Error::other("it is not a regular file"))?;
    let octets = http::HeaderValue::from_static("application/octet-stream");
    let content_type = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .unwrap_or(&octets);
    let mut response = source.respond(conditions, content_type, patience)?;
    if response.status() == StatusCode::OK {
        *response.status_mut() = parts.status;
    }
    for (name, value) in &parts.headers {
        if name != http::header::CONTENT_TYPE && name != http::header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    Ok(response)
}

fn open_file(path: &Path, patience: Patience) -> io::Result<File> {
    // A FIFO without a writer would block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match patience {
        Patience::Blocking => rustix::fs::open(path, flags, Mode::empty())?,
        Patience::Cached => open_cached(path, flags)?,
    };
    Ok(opened.into())
}

#[cfg(target_os = "linux")]
fn open_cached(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    use rustix::fs::{CWD, ResolveFlags, openat2};
    use rustix::io::Errno;

    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        // Not in the caches; or a kernel or sandbox that does not know the question.
        Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        outcome => Ok(outcome?),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_cached(_path: &Path, _flags: OFlags) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// The head and the first piece of a file, and the rest if there is more of it.
pub(super) fn first_piece(
    response: Response<FileBody>,
) -> io::Result<(response::Parts, Bytes, Option<FilePieces>)> {
    let (parts, mut file) = response.into_parts();
    let is_long = file.remaining() > PIECE_BYTES;
    let path = is_long.then(|| file.whole_path()).flatten();
    let first = file.read()?.unwrap_or_default();
    let rest = (file.remaining() > 0).then(|| FilePieces {
        path,
        file: Mutex::new(file),
    });
    Ok((parts, first, rest))
}

/// What [`FileBody::read`] gives at most: a file of one piece is sent as that.
const PIECE_BYTES: u64 = 64 * 1024;

/// What of a file is still to be sent.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct FilePieces {
    file: Mutex<FileBody>,
    /// Of a file that is sent whole.
    path: Option<String>,
}

#[pymethods]
impl FilePieces {
    /// The path that names all of what is sent, the first piece too, where there is one.
    #[getter]
    fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The next 64 KiB or less, `None` at the end; call it off the loop's thread.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let piece = py.detach(|| {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.read()
        })?;
        Ok(piece.map(|piece| PyBytes::new(py, &piece)))
    }
}
