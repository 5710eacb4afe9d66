//! The access log: one line for each request, in batches, without ever waiting for its reader.
//!
//! How this works: a request's [`Entry`] adds its line to a buffer when it is dropped. Shortly
//! after the first line of a batch the buffer goes to the sink. The usual sink is a [`Writer`], a
//! thread with a short queue: when the reader of a pipe falls behind, the queue is full, and
//! batches are counted and thrown away.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use http::{Method, StatusCode, Uri, Version};
use tokio::sync::Notify;

use crate::message::head::Endpoint;

/// How long the first line of a batch waits for others.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// Bytes at which a batch goes out without waiting.
const BATCH_BYTES: usize = 32 * 1024;

/// Batches that a writer's reader may be behind: with the largest ones 512 KiB.
const QUEUED_BATCHES: usize = 16;

/// How long the end of the process waits for the last lines to be taken.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// The lines of one server.
pub struct AccessLog {
    lines: RefCell<Vec<u8>>,
    has_lines: Notify,
    sink: Box<dyn Fn(Vec<u8>)>,
}

impl AccessLog {
    /// A log whose batches, whole lines of ASCII, go to `sink`. It must not wait.
    pub fn new(sink: impl Fn(Vec<u8>) + 'static) -> Self {
        Self {
            lines: RefCell::new(Vec::new()),
            has_lines: Notify::new(),
            sink: Box::new(sink),
        }
    }

    /// Begins the line of a request.
    pub fn begin(
        self: &Rc<Self>,
        peer: &Endpoint,
        method: &Method,
        uri: &Uri,
        version: Version,
    ) -> Entry {
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        // Without the query, which may carry keys and personal data.
        let path = uri.path().as_bytes().escape_ascii();
        Entry {
            log: Rc::clone(self),
            client: peer.clone(),
            request: format!("{method} {path} HTTP/{version}"),
            status: None,
        }
    }

    /// Sends batches for as long as the future is polled.
    pub async fn run(&self) {
        loop {
            self.has_lines.notified().await;
            tokio::time::sleep(BATCH_TIME).await;
            self.flush();
        }
    }

    /// Sends what there is.
    pub fn flush(&self) {
        let lines = std::mem::take(&mut *self.lines.borrow_mut());
        if !lines.is_empty() {
            (self.sink)(lines);
        }
    }

    fn add(&self, client: &Endpoint, request: &str, status: Option<StatusCode>) {
        let mut lines = self.lines.borrow_mut();
        super::planted::point("access log");
        if lines.is_empty() {
            self.has_lines.notify_one();
        }
        let status = status.as_ref().map_or("-", StatusCode::as_str);
        // Writing to memory cannot fail.
        let _ = match client {
            // Of a client that a proxy names, the port is seldom known.
            Endpoint::Tcp(client) if client.port() == 0 => write!(lines, "{}", client.ip()),
            Endpoint::Tcp(client) => write!(lines, "{client}"),
            Endpoint::Unix(_) => write!(lines, "unix"),
        };
        let _ = writeln!(lines, " - \"{request}\" {status}");
        let is_full = lines.len() >= BATCH_BYTES;
        drop(lines);
        if is_full {
            self.flush();
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("buffered", &self.lines.borrow().len())
            .finish_non_exhaustive()
    }
}

/// The line of one request, written when it is dropped: with `-` when nothing was answered.
#[derive(Debug)]
pub struct Entry {
    log: Rc<AccessLog>,
    client: Endpoint,
    /// Method, path and version.
    request: String,
    status: Option<StatusCode>,
}

impl Entry {
    /// Notes on whose behalf the peer, a proxy, sent the request.
    pub fn came_for(&mut self, client: Endpoint) {
        self.client = client;
    }

    /// Notes what was answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.log.add(&self.client, &self.request, self.status);
    }
}

/// A thread that writes batches to a descriptor.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Vec<u8>>>,
    ended: Receiver<()>,
    dropped: Cell<usize>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system has no thread to give.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let (queue, batches) = sync_channel::<Vec<u8>>(QUEUED_BATCHES);
        let (end, ended) = sync_channel(1);
        let mut file = File::from(descriptor);
        thread::Builder::new()
            .name("spikard access log".to_owned())
            .spawn(move || {
                // A reader that has gone does not come back: the queue closes with this loop.
                while let Ok(batch) = batches.recv() {
                    if file.write_all(&batch).is_err() {
                        break;
                    }
                }
                // Nobody may be waiting any more.
                let _ = end.send(());
            })?;
        Ok(Self {
            queue: Some(queue),
            ended,
            dropped: Cell::new(0),
        })
    }

    /// Queues a batch, or counts its lines when the queue is full or the reader has gone. The
    /// next batch that gets through begins with that number.
    pub fn write(&self, batch: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        let lines = memchr::memchr_iter(b'\n', &batch).count();
        let dropped = self.dropped.get();
        let batch = if dropped == 0 {
            batch
        } else {
            let mut told = format!("{dropped} lines were dropped\n").into_bytes();
            told.extend_from_slice(&batch);
            told
        };
        match queue.try_send(batch) {
            Ok(()) => self.dropped.set(0),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.set(dropped + lines);
            }
        }
    }

    /// How many lines have been dropped since the last batch that got through.
    pub fn dropped(&self) -> usize {
        self.dropped.get()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // A thread that is stuck in a full pipe is left behind.
        let _ = self.ended.recv_timeout(LAST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::SocketAddr;

    use super::*;

    fn log() -> (Rc<AccessLog>, Rc<RefCell<Vec<u8>>>) {
        let written = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&written);
        let log = AccessLog::new(move |batch| sink.borrow_mut().extend(batch));
        (Rc::new(log), written)
    }

    #[test]
    fn a_line_tells_the_request_without_its_query() {
        let (log, written) = log();
        let peer = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 5)));
        let uri = Uri::from_static("/a%0Ab?key=secret");
        log.begin(&peer, &Method::GET, &uri, Version::HTTP_11)
            .answered(StatusCode::OK);
        let peer = Endpoint::Unix(None);
        drop(log.begin(
            &peer,
            &Method::POST,
            &Uri::from_static("*"),
            Version::HTTP_2,
        ));
        assert!(written.borrow().is_empty(), "lines go out in batches");
        log.flush();
        let expected = "127.0.0.1:5 - \"GET /a%0Ab HTTP/1.1\" 200\nunix - \"POST * HTTP/2\" -\n";
        assert_eq!(written.borrow().as_slice(), expected.as_bytes());
    }

    #[test]
    fn bytes_that_could_forge_a_line_are_escaped() {
        let (log, written) = log();
        let uri = Uri::from_maybe_shared("/a\"\u{e9}").unwrap();
        drop(log.begin(&Endpoint::Unix(None), &Method::GET, &uri, Version::HTTP_11));
        log.flush();
        assert_eq!(
            written.borrow().as_slice(),
            b"unix - \"GET /a\\\"\\xc3\\xa9 HTTP/1.1\" -\n"
        );
    }

    #[test]
    fn a_pipe_that_nobody_reads_drops_lines_and_counts_them() {
        let (mut reader, sink) = io::pipe().unwrap();
        let writer = Writer::new(sink.into()).unwrap();
        let batch = [b"x".repeat(BATCH_BYTES - 1), b"\n".to_vec()].concat();
        let batches = QUEUED_BATCHES * 4;
        for _ in 0..batches {
            writer.write(batch.clone());
        }
        let dropped = writer.dropped();
        assert!(dropped > 0, "it took {batches} batches");
        let read = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        // The queue empties now; the loss is told with the next batch that gets through.
        while writer.dropped() > 0 {
            writer.write(b"last\n".to_vec());
            thread::yield_now();
        }
        drop(writer);
        let text = read.join().unwrap().unwrap();
        assert!(text.contains(" lines were dropped\nlast\n"));
    }

    #[test]
    fn a_pipe_whose_reader_has_gone_is_no_error() {
        let (reader, sink) = io::pipe().unwrap();
        drop(reader);
        let writer = Writer::new(sink.into()).unwrap();
        while writer.dropped() == 0 {
            writer.write(b"line\n".to_vec());
            thread::yield_now();
        }
    }
}
