//! The bytes under hyper: checked by the guard, timed by the watch, with 103s slipped in.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::batch::{Batch, Held};
use super::super::guard::{Guard, Verdict};
use super::super::planted;
use super::super::shutdown::Stop;
use super::super::transport::Transport;
use super::super::watch::Phase;
use super::Shared;

/// Up to this many bytes head and body are copied together, to be written with the turn's
/// [`Batch`]; the kernel takes one buffer faster than two anyway.
const GATHER_BELOW: usize = 2048;
/// Bytes of pipelined responses that one connection may hold back.
const MAX_HELD: usize = 16 * 1024;

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
    /// Small responses that hyper has written and the transport has not.
    outgoing: BytesMut,
    output: Output,
}

/// Who writes what is outgoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The connection's task, as far as the transport takes it.
    Direct,
    /// The batch, at the end of the turn.
    Held,
    /// Nobody: the transport has refused bytes for good.
    Failed,
}

/// hyper's end of the [`Wire`].
pub(super) struct GuardedIo {
    wire: Rc<RefCell<Wire>>,
    batch: Rc<Batch<HeldResponse>>,
}

/// A connection whose small responses wait for the end of the turn.
#[derive(Debug)]
pub struct HeldResponse(Weak<RefCell<Wire>>);

impl Held for HeldResponse {
    /// A fraction of what a network adds by itself, and enough for a dozen small requests.
    const MAX_WAIT: Duration = Duration::from_micros(100);

    fn release(&self) {
        if let Some(wire) = self.0.upgrade() {
            planted::point("batch");
            wire.borrow_mut().release();
        }
    }
}

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
            outgoing: BytesMut::new(),
            output: Output::Direct,
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

    /// Whether the transport has refused bytes for good.
    pub(super) fn has_failed(&self) -> bool {
        self.output == Output::Failed
    }

    /// Writes what was held back, as the connection's task: it is woken when the transport takes
    /// more.
    pub(super) fn release(&mut self) {
        self.output = Output::Direct;
        let shared = Rc::clone(&self.shared);
        let poll = shared
            .activity
            .with_waker(|waker| self.poll_outgoing(&mut Context::from_waker(waker)));
        // Whoever waits for the end of all output looks now.
        let is_awaited = shared.refused.get().is_some()
            || shared.close_after.get()
            || shared.activity.stop() != Stop::Running;
        if self.has_failed() || is_awaited && poll.is_some_and(|poll| poll.is_ready()) {
            shared.activity.wake();
        }
    }

    /// Writes what hyper has written.
    pub(super) fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let poll = Pin::new(&mut self.transport).poll_write(cx, &self.outgoing);
            self.note_write(&poll);
            match ready!(poll) {
                Ok(wrote) if wrote > 0 => self.outgoing.advance(wrote),
                Ok(_) => return Poll::Ready(self.fail(io::ErrorKind::WriteZero.into())),
                Err(error) => return Poll::Ready(self.fail(error)),
            }
        }
        let flushed = ready!(Pin::new(&mut self.transport).poll_flush(cx));
        self.shared.unsent.set(false);
        self.shared.activity.flushed();
        match flushed {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(self.fail(error)),
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Result<()> {
        self.outgoing.clear();
        self.output = Output::Failed;
        Err(error)
    }

    /// Takes the pieces of a small response; `None` when they do not fit.
    fn hold(&mut self, pieces: &[io::IoSlice<'_>]) -> Option<usize> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let has_room = self.outgoing.len() + length <= MAX_HELD;
        if length > GATHER_BELOW
            || !has_room
            || (!self.outgoing.is_empty() && self.output != Output::Held)
        {
            return None;
        }
        for piece in pieces {
            self.outgoing.extend_from_slice(piece);
        }
        self.shared.unsent.set(true);
        Some(length)
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
        if !shared.interim.borrow().is_empty() {
            if self.poll_interim(cx).is_ready() {
                let _ = Pin::new(&mut self.transport).poll_flush(cx);
            }
        } else if self.output == Output::Direct && !self.outgoing.is_empty() {
            // An error is found by `has_failed`.
            let _ = self.poll_outgoing(cx);
        }
    }

    /// Writes interim responses that wait, behind what was written before.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.interim.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_outgoing(cx))?;
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
        planted::point("http1 read");
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
    pub(super) fn new(wire: Rc<RefCell<Wire>>, batch: Rc<Batch<HeldResponse>>) -> Self {
        Self { wire, batch }
    }

    fn write(&self, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        ready!(wire.poll_interim(cx))?;
        planted::point("http1 write");
        let Some(held) = wire.hold(pieces) else {
            ready!(wire.poll_outgoing(cx))?;
            let poll = Pin::new(&mut wire.transport).poll_write_vectored(cx, pieces);
            wire.note_write(&poll);
            return poll;
        };
        let is_new = std::mem::replace(&mut wire.output, Output::Held) != Output::Held;
        drop(wire);
        if is_new {
            let held = HeldResponse(Rc::downgrade(&self.wire));
            self.batch.add(held, Waker::wake_by_ref);
        }
        self.batch.flush_if_due();
        Poll::Ready(Ok(held))
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.borrow().transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        if wire.output == Output::Held {
            return Poll::Ready(Ok(())); // the batch does it
        }
        wire.poll_outgoing(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection closes by itself, and lingers (see `connection`).
        self.wire.borrow_mut().poll_outgoing(cx)
    }
}
