//! The body of a file, or of parts of it, read in pieces; off the loop's thread where the disk
//! has to turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::file::Patience;
use crate::message::body::{Aborted, ResponseBody};

/// How much of a file is read at once: a slow client holds one piece in memory and one in the
/// connection's write buffer.
pub(super) const PIECE_BYTES: u64 = 64 * 1024;

/// What is still to be sent of a file.
///
/// As a [`Body`] it takes what the kernel has in memory at once and reads the rest on Tokio's
/// blocking pool; where no Tokio runs, [`FileBody::read`] does the same on a thread of the owner's
/// choice.
#[derive(Debug, Default)]
pub struct FileBody {
    file: Option<Arc<File>>,
    segments: VecDeque<Segment>,
    remaining: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// One stretch of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Bytes that are there.
    Ready(Bytes),
    /// Bytes of the file.
    File(Range<u64>),
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Ready(bytes) => bytes.len() as u64,
            Self::File(range) => range.end - range.start,
        }
    }
}

impl FileBody {
    /// A body of bytes that are there already.
    pub(super) fn ready(bytes: Bytes) -> Self {
        let segments = if bytes.is_empty() {
            Vec::new()
        } else {
            vec![Segment::Ready(bytes)]
        };
        Self::assemble(None, segments)
    }

    /// A body of these stretches of a file.
    pub(super) fn new(file: File, segments: Vec<Segment>) -> Self {
        Self::assemble(Some(Arc::new(file)), segments)
    }

    /// A body of one range of a file, in bytes.
    pub fn of_range(file: File, range: Range<u64>) -> Self {
        let segments = if range.is_empty() {
            Vec::new()
        } else {
            vec![Segment::File(range)]
        };
        Self::new(file, segments)
    }

    fn assemble(file: Option<Arc<File>>, segments: Vec<Segment>) -> Self {
        Self {
            file,
            remaining: segments.iter().map(Segment::len).sum(),
            segments: segments.into(),
            reading: None,
        }
    }

    /// Returns how many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Returns the path of the file when the body is all of it, where the system can tell: after
    /// opening, so no link in the path leads anywhere else.
    pub fn whole_path(&self) -> Option<String> {
        let (file, [Segment::File(range)]) = (self.file.as_ref()?, self.segments.as_slices().0)
        else {
            return None;
        };
        if range.start != 0 || file.metadata().ok()?.len() != range.end {
            return None;
        }
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = std::fs::read_link(link).ok()?.into_os_string();
        let path = path.into_string().ok()?;
        // The kernel says so of a file without a name.
        (path.starts_with('/') && !path.ends_with(" (deleted)")).then_some(path)
    }

    /// Reads the next piece, at most 64 KiB, and may block on the disk; `None` at the end.
    ///
    /// # Errors
    ///
    /// The operating system's, and `UnexpectedEof` when the file has become shorter.
    pub fn read(&mut self) -> io::Result<Option<Bytes>> {
        let bytes = match self.next_step() {
            None => return Ok(None),
            Some(Step::Ready(bytes)) => bytes,
            Some(Step::Read(file, range)) => read_range(&file, range, Patience::Blocking)?,
        };
        self.remaining -= bytes.len() as u64;
        Ok(Some(bytes))
    }

    fn piece(&mut self, read: io::Result<Bytes>) -> Result<Frame<Bytes>, Aborted> {
        if let Ok(bytes) = read {
            self.remaining -= bytes.len() as u64;
            Ok(Frame::data(bytes))
        } else {
            // The head promised a length that the file no longer has: the cut shows it.
            self.segments.clear();
            Err(Aborted)
        }
    }

    fn next_step(&mut self) -> Option<Step> {
        match self.segments.pop_front()? {
            Segment::Ready(bytes) => Some(Step::Ready(bytes)),
            Segment::File(range) => {
                let end = range.end.min(range.start + PIECE_BYTES);
                if end < range.end {
                    self.segments.push_front(Segment::File(end..range.end));
                }
                let file = self.file.as_ref().expect("file segments come with a file");
                Some(Step::Read(Arc::clone(file), range.start..end))
            }
        }
    }
}

enum Step {
    Ready(Bytes),
    Read(Arc<File>, Range<u64>),
}

/// Reads one stretch of a file; with [`Patience::Cached`] an error of kind `WouldBlock` says that
/// the disk would have to turn.
pub(super) fn read_range(file: &File, range: Range<u64>, patience: Patience) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = Buffer::take(length);
    let bytes = &mut buffer.bytes[..length];
    match patience {
        Patience::Blocking => file.read_exact_at(bytes, range.start)?,
        Patience::Cached => read_cached(file, bytes, range.start)?,
    }
    Ok(if length < POOLED_FROM_BYTES {
        Bytes::copy_from_slice(bytes)
    } else {
        Bytes::from_owner(buffer)
    })
}

/// Shorter pieces are copied: a buffer of 64 KiB would wait for a slow client with little in it.
const POOLED_FROM_BYTES: usize = 16 * 1024;

/// How many unused buffers a thread keeps: 1 MiB.
const POOL_BUFFERS: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Room for one piece. It has been written to before, so that taking it costs neither the zeros of
/// new memory nor the kernel's work for new pages; dropped, it goes to its thread's pool.
struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    fn take(length: usize) -> Self {
        let room = usize::try_from(PIECE_BYTES).expect("64 KiB");
        let pooled = POOL
            .try_with(|pool| pool.borrow_mut().pop())
            .ok()
            .flatten()
            .filter(|_| length <= room);
        let bytes = pooled.unwrap_or_else(|| vec![0; length.max(room)].into());
        Self { bytes, length }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // At a thread's end there is no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOL_BUFFERS {
                pool.push(std::mem::take(&mut self.bytes));
            }
        });
    }
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let length = buffer.len();
    let slices = &mut [io::IoSliceMut::new(buffer)];
    match preadv2(file, slices, offset, ReadWriteFlags::NOWAIT) {
        Ok(read) if read == length => Ok(()),
        // A short read ends where the cached pages do; some file systems do not know the flag.
        Ok(_) | Err(Errno::OPNOTSUPP | Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl From<FileBody> for ResponseBody {
    fn from(mut body: FileBody) -> Self {
        match body.segments.front() {
            None => Self::Empty,
            Some(Segment::Ready(_)) if body.segments.len() == 1 => {
                match body.segments.pop_front() {
                    Some(Segment::Ready(bytes)) => Self::Full(bytes),
                    Some(Segment::File(_)) | None => Self::Empty,
                }
            }
            Some(_) => Self::Stream(Box::pin(body)),
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.reading.is_none() {
            match self.next_step() {
                None => return Poll::Ready(None),
                Some(Step::Ready(bytes)) => {
                    self.remaining -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Read(file, range)) => {
                    // What the kernel has in memory is copied faster than a thread is woken.
                    if let Ok(bytes) = read_range(&file, range.clone(), Patience::Cached) {
                        self.remaining -= bytes.len() as u64;
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    let reading = tokio::task::spawn_blocking(move || {
                        read_range(&file, range, Patience::Blocking)
                    });
                    self.reading = Some(reading);
                }
            }
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let outcome = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(self.piece(
            outcome.unwrap_or_else(|error| Err(io::Error::other(error))),
        )))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
