//! The bytes under hyper: checked by the guard, timed by the watch, with 103s slipped in.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::guard::{Guard, Verdict};
use super::super::transport::Transport;
use super::super::watch::Phase;
use super::Shared;

/// Up to this many bytes head and body are copied together: the kernel takes one buffer faster
/// than two.
const GATHER_BELOW: usize = 2048;

/// The transport under hyper; the driver shares it, to look at the peer and to write 103s.
pub(super) struct Wire {
    transport: Transport,
    prefix: Bytes,
    guard: Guard,
    /// How many requests the connection had before the guard began to count.
    first_request: u64,
    shared: Rc<Shared>,
    peer_closed: bool,
    /// A body broke the framing rules: nothing behind it is read.
    is_refused: bool,
    /// Room for a head and a small body side by side.
    gathered: Vec<u8>,
}

/// hyper's end of the [`Wire`].
pub(super) struct GuardedIo(Rc<RefCell<Wire>>);

impl Wire {
    /// A wire whose first bytes, `prefix`, were read already.
    pub(super) fn new(transport: Transport, prefix: Bytes, shared: Rc<Shared>) -> Self {
        Self {
            transport,
            prefix,
            guard: Guard::new(),
            first_request: shared.requests.get(),
            shared,
            peer_closed: false,
            is_refused: false,
            gathered: Vec::new(),
        }
    }

    /// The transport, and whether the peer has closed its side.
    pub(super) fn into_parts(self) -> (Transport, bool) {
        (self.transport, self.peer_closed)
    }

    /// See [`Transport::has_hung_up`].
    pub(super) fn has_hung_up(&self) -> bool {
        self.transport.has_hung_up()
    }

    /// How many requests of this connection were let through so far.
    pub(super) fn requests(&self) -> u64 {
        self.first_request + self.guard.heads()
    }

    /// See [`Guard::is_between_messages`].
    pub(super) fn is_between_messages(&self) -> bool {
        self.guard.is_between_messages()
    }

    /// Puts things right after hyper had its turn: the phase, a declined upgrade, a 103.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        let shared = &self.shared;
        if !shared.in_flight.get() {
            if self.guard.is_held() {
                self.guard.release();
                cx.waker().wake_by_ref();
            }
            if self.guard.is_in_head() && shared.activity.phase() != Phase::Head {
                shared.activity.enter(Phase::Head);
            }
        }
        if !shared.interim.borrow().is_empty() && self.poll_interim(cx).is_ready() {
            let _ = Pin::new(&mut self.transport).poll_flush(cx);
        }
    }

    /// Writes interim responses that wait.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.shared.interim.borrow_mut();
        while !interim.is_empty() {
            let wrote = ready!(Pin::new(&mut self.transport).poll_write(cx, &interim))?;
            interim.advance(wrote);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &self.shared;
        if self.is_refused || shared.refused.get().is_some() || self.guard.is_held() {
            shared.activity.set_reading(false);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.prefix.is_empty() {
            let poll = Pin::new(&mut self.transport).poll_read(cx, buf);
            shared.activity.set_reading(poll.is_pending());
            ready!(poll)?;
        } else {
            let length = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(length));
        }
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            self.peer_closed = true;
            return Poll::Ready(Ok(()));
        }
        if shared.in_flight.get() {
            shared.activity.read_body(bytes.len());
        }
        match self.guard.feed(bytes, &shared.limits) {
            Verdict::Pass => {
                if self.guard.is_in_head() && !shared.in_flight.get() {
                    match shared.activity.phase() {
                        Phase::Head => {}
                        _ => shared.activity.enter(Phase::Head),
                    }
                }
                Poll::Ready(Ok(()))
            }
            Verdict::Refuse {
                in_body: true,
                deliver,
                ..
            } => {
                // hyper would end the connection at an error; the request still gets its answer.
                shared.break_request(self.first_request + self.guard.heads());
                self.is_refused = true;
                buf.set_filled(before + deliver);
                cx.waker().wake_by_ref();
                if deliver > 0 {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
            Verdict::Refuse {
                deliver, status, ..
            } => {
                shared.refused.set(Some(status));
                shared.activity.set_reading(false);
                buf.set_filled(before + deliver);
                if deliver > 0 {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
        }
    }

    fn note_write(&self, poll: &Poll<io::Result<usize>>) {
        match poll {
            Poll::Pending => self.shared.activity.write_blocked(),
            Poll::Ready(Ok(wrote)) => self.shared.activity.wrote(*wrote),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl GuardedIo {
    pub(super) fn new(wire: Rc<RefCell<Wire>>) -> Self {
        Self(wire)
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_interim(cx))?;
        let poll = Pin::new(&mut wire.transport).poll_write(cx, bytes);
        wire.note_write(&poll);
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_interim(cx))?;
        let wire = &mut *wire;
        let length: usize = bytes.iter().map(|piece| piece.len()).sum();
        let poll = if length <= GATHER_BELOW {
            wire.gathered.clear();
            for piece in bytes {
                wire.gathered.extend_from_slice(piece);
            }
            Pin::new(&mut wire.transport).poll_write(cx, &wire.gathered)
        } else {
            Pin::new(&mut wire.transport).poll_write_vectored(cx, bytes)
        };
        wire.note_write(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        let poll = Pin::new(&mut wire.transport).poll_flush(cx);
        if poll.is_ready() {
            wire.shared.activity.flushed();
        }
        poll
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection closes by itself, and lingers (see `connection`).
        self.poll_flush(cx)
    }
}
