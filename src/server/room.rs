//! How many connections there is room for, and what those hear that find none.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;

use http::StatusCode;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Resource, getrlimit};

use super::connection::status_line;
use super::transport::Transport;

/// Descriptors that connections leave to the application, for its files, databases and
/// sub-processes: a quarter of what the process may open, at most this many.
const MOST_LEFT: u64 = 256;
/// What a process has open, where it cannot be counted.
const USUALLY_OPEN: usize = 32;

/// How many connections the process has descriptors for, besides those that are open now.
pub(super) fn connections() -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let open = std::fs::read_dir("/dev/fd").map_or(USUALLY_OPEN, Iterator::count);
    let left = (limit / 4).min(MOST_LEFT);
    let room = usize::try_from(limit - left).unwrap_or(usize::MAX);
    room.saturating_sub(open).max(1)
}

/// A descriptor to give up when there is no other: then a connection can be accepted after all,
/// and be told that there is no room. Without it, it would wait in the queue for an answer.
#[derive(Debug)]
pub(super) struct Spare(RefCell<Option<File>>);

impl Spare {
    pub(super) fn new() -> Self {
        Self(RefCell::new(spare()))
    }

    /// Gives the descriptor up for as long as the guard lives.
    pub(super) fn lend(&self) -> Lent<'_> {
        self.0.take();
        Lent(self)
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

pub(super) struct Lent<'a>(&'a Spare);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.0.replace(spare());
    }
}

/// Says 503 on a connection without TLS, and closes it.
pub(super) fn turn_away(transport: &Transport) {
    let descriptor = match transport {
        Transport::Tcp(stream) => stream.as_fd(),
        Transport::Unix(stream) => stream.as_fd(),
        Transport::TlsTcp(_) | Transport::TlsUnix(_) => return,
    };
    // Neither may wait, and neither may fail in a way that matters: the peer is not served. What
    // it has sent is read because closing a socket with unread bytes resets it.
    let mut scrap = [0; 4096];
    let _ = rustix::net::recv(descriptor, &mut scrap, RecvFlags::DONTWAIT);
    let answer = status_line(StatusCode::SERVICE_UNAVAILABLE);
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = rustix::net::send(descriptor, &answer, flags);
}
