//! The socket under `h2`: metered, followed, and still ours when `h2` is gone.
//!
//! How this works: `h2` owns a [`Metered`], which is a handle of the connection's [`Wire`]. A client
//! that overdraws a budget of the meter is cut off from `h2` at once: the bytes of that read are
//! dropped, no more are read, and the connection's task, which looks at [`IoState`] after each
//! poll, says `GOAWAY(ENHANCE_YOUR_CALM)`. What `h2` writes is kept back while it is little, to be
//! written with the turn's [`Batch`]. While a new `h2` is told what the one before knew (see
//! `ledger`), the wire plays the client and the socket is left alone.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::server::batch::{Batch, Held};
use crate::server::planted;
use crate::server::watch::Activity;

use super::ledger::Replay;
use super::limits::Http2Limits;
use super::meter::{Meter, Verdict};

/// What one poll of the connection reads before the streams' tasks have their turn: `h2` keeps
/// some 300 bytes for each DATA frame that the application has not read.
const BYTES_PER_POLL: usize = 128 * 1024;
const DATA_FRAMES_PER_POLL: u32 = 256;

/// How much a client may still send after the end so that closing does not turn into a TCP reset
/// that overtakes the GOAWAY.
const LINGER_BYTES: usize = 1024 * 1024;

/// Bytes that one connection may hold back for the turn's [`Batch`]: some dozen small responses.
const MAX_HELD: usize = 4096;

/// What the connection's task needs to know of its socket.
#[derive(Debug)]
pub(super) struct IoState {
    /// A budget is overdrawn.
    pub(super) flooded: Cell<bool>,
    /// The write half is being shut down.
    pub(super) shutting: Cell<bool>,
    /// Since when the socket has taken no bytes.
    pub(super) write_blocked: Cell<Option<Instant>>,
    /// How many reads brought something; a change means that the client lives.
    pub(super) reads: Cell<u64>,
    /// Responses that were sent to their end since the meter looked last.
    pub(super) completed: Cell<u32>,
    /// Read in this poll of the connection.
    bytes: Cell<usize>,
    data_frames: Cell<u32>,
}

impl IoState {
    /// Another poll of the connection begins.
    pub(super) fn begin_poll(&self) {
        self.bytes.set(0);
        self.data_frames.set(0);
    }

    fn has_read_enough(&self) -> bool {
        self.bytes.get() >= BYTES_PER_POLL || self.data_frames.get() >= DATA_FRAMES_PER_POLL
    }
}

/// One connection's socket with what is known of it.
#[derive(Debug)]
pub(super) struct Wire<IO> {
    io: IO,
    /// Bytes that were read before, to be read again.
    read_ahead: Bytes,
    /// To be written before anything that `h2` writes now.
    unsent: BytesMut,
    output: Output,
    /// What the wire says to `h2` in place of the client; `None` most of the time.
    replay: Option<Bytes>,
    meter: Meter,
    state: Rc<IoState>,
    activity: Rc<Activity>,
    lingered: usize,
}

/// Who writes what is unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The connection's task, as far as the socket takes it.
    Direct,
    /// The batch, at the end of the turn.
    Held,
}

/// The wire as `h2` has it.
#[derive(Debug)]
pub(super) struct Metered<IO> {
    wire: Rc<RefCell<Wire<IO>>>,
    batch: Rc<Batch<HeldFrames<IO>>>,
}

/// A connection whose frames wait for the end of the turn.
#[derive(Debug)]
pub struct HeldFrames<IO>(Weak<RefCell<Wire<IO>>>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Held for HeldFrames<IO> {
    /// As for HTTP/1: a fraction of what a network adds by itself.
    const MAX_WAIT: Duration = Duration::from_micros(100);

    fn release(&self) {
        if let Some(wire) = self.0.upgrade() {
            planted::point("http2 batch");
            wire.borrow_mut().release();
        }
    }
}

impl<IO> Wire<IO> {
    pub(super) fn new(
        io: IO,
        read_ahead: &'static [u8],
        limits: &Http2Limits,
        activity: Rc<Activity>,
    ) -> Self {
        Self {
            io,
            read_ahead: Bytes::from_static(read_ahead),
            unsent: BytesMut::new(),
            output: Output::Direct,
            replay: None,
            meter: Meter::new(limits, Instant::now()),
            state: Rc::new(IoState {
                flooded: Cell::new(false),
                shutting: Cell::new(false),
                write_blocked: Cell::new(None),
                reads: Cell::new(0),
                completed: Cell::new(0),
                bytes: Cell::new(0),
                data_frames: Cell::new(0),
            }),
            activity,
            lingered: 0,
        }
    }

    pub(super) fn state(&self) -> Rc<IoState> {
        Rc::clone(&self.state)
    }

    /// Whether `h2` can be dropped now and begun again later; it must be idle.
    pub(super) fn can_replay(&self, limits: &Http2Limits) -> bool {
        self.read_ahead.is_empty()
            && self.unsent.is_empty()
            && self.meter.is_between()
            && self.meter.ledger.is_between()
            && self.replay_for(limits).is_some()
    }

    /// What a new `h2` has to be told.
    pub(super) fn replay_for(&self, limits: &Http2Limits) -> Option<Replay> {
        let ledger = &self.meter.ledger;
        ledger.replay(limits.connection_window, limits.max_header_bytes)
    }

    /// Plays the client: says this to `h2`, and throws away what it answers.
    pub(super) fn play(&mut self, bytes: Vec<u8>) {
        self.replay = Some(bytes.into());
    }

    /// Goes back to the real client, who is told `top_up` first.
    pub(super) fn stop_playing(&mut self, top_up: &[u8]) {
        self.replay = None;
        self.meter.ledger.sent(top_up);
        self.unsent.extend_from_slice(top_up);
    }

    /// Gives back what is not needed while nothing happens.
    pub(super) fn shrink(&mut self) {
        self.meter.ledger.shrink();
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
    }

    /// Takes `bufs` for the batch; `None` when they are too much or something goes before them.
    fn hold(&mut self, bufs: &[io::IoSlice<'_>]) -> Option<usize> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        let is_held = self.output == Output::Held;
        if self.replay.is_some()
            || self.unsent.len() + length > MAX_HELD
            || !is_held && !self.unsent.is_empty()
        {
            return None;
        }
        for buf in bufs {
            self.unsent.extend_from_slice(buf);
            self.meter.ledger.sent(buf);
        }
        self.meter.sent(length);
        Some(length)
    }

    fn wrote<T>(&self, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Ready(Ok(_)) => self.state.write_blocked.set(None),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if self.state.write_blocked.get().is_none() {
                    self.state.write_blocked.set(Some(Instant::now()));
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> Wire<IO> {
    /// Polls for bytes while there is no `h2`; `false` when there are no more.
    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        // Any bytes will do: `h2` reads the rest with its own buffer.
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {
                self.read_ahead = Bytes::copy_from_slice(buf.filled());
                Poll::Ready(true)
            }
            _ => Poll::Ready(false),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(replay) = &mut self.replay {
            if replay.is_empty() {
                return Poll::Pending;
            }
            put(replay, buf);
            return Poll::Ready(Ok(()));
        }
        if self.state.flooded.get() {
            return Poll::Pending;
        }
        if self.state.has_read_enough() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = if self.read_ahead.is_empty() {
            Pin::new(&mut self.io).poll_read(cx, buf)
        } else {
            put(&mut self.read_ahead, buf);
            Poll::Ready(Ok(()))
        };
        if let Poll::Ready(Ok(())) = polled
            && buf.filled().len() > before
        {
            let state = &self.state;
            let received = &buf.filled()[before..];
            state.reads.set(state.reads.get().wrapping_add(1));
            state.bytes.set(state.bytes.get() + received.len());
            self.meter.completed(state.completed.take());
            let verdict = self.meter.received(received);
            let data_frames = self.meter.take_data_frames();
            state.data_frames.set(state.data_frames.get() + data_frames);
            if verdict == Verdict::Flood {
                buf.set_filled(before);
                state.flooded.set(true);
                return Poll::Pending;
            }
        }
        polled
    }
}

/// Moves as much as fits.
fn put(bytes: &mut Bytes, buf: &mut ReadBuf<'_>) {
    let now = bytes.split_to(buf.remaining().min(bytes.len()));
    buf.put_slice(&now);
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// Writes what was held back, as the connection's task: it is woken when the socket takes more.
    fn release(&mut self) {
        self.output = Output::Direct;
        let activity = Rc::clone(&self.activity);
        let polled = activity.with_waker(|waker| self.poll_flush(&mut Context::from_waker(waker)));
        if !matches!(polled, Some(Poll::Ready(Ok(())))) {
            // It sets its timer, or finds the error for itself.
            activity.wake();
        }
    }

    /// Writes what goes first.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let result = Pin::new(&mut self.io).poll_write(cx, &self.unsent);
            self.wrote(&result);
            let written = ready!(result)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replay.is_some() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.output = Output::Direct;
        ready!(self.poll_unsent(cx))?;
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        if let Poll::Ready(Ok(written)) = result {
            self.meter.sent(written);
            let mut rest = written;
            for buf in bufs {
                let taken = rest.min(buf.len());
                self.meter.ledger.sent(&buf[..taken]);
                rest -= taken;
            }
        }
        result
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held is the batch's to write.
        if self.replay.is_some() || self.output == Output::Held {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_unsent(cx))?;
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(&result);
        result
    }

    /// Shuts the write half down, then reads on and drops what comes until the client closes too:
    /// closing a socket with unread bytes would reset it.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.shutting.get() {
            self.output = Output::Direct;
            ready!(self.poll_unsent(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.state.shutting.set(true);
        }
        let mut scratch = [0; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO> Metered<IO> {
    pub(super) fn new(wire: Rc<RefCell<Wire<IO>>>, batch: Rc<Batch<HeldFrames<IO>>>) -> Self {
        Self { wire, batch }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Metered<IO> {
    fn write(&self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        let Some(held) = wire.hold(bufs) else {
            return wire.poll_write_vectored(cx, bufs);
        };
        let is_new = std::mem::replace(&mut wire.output, Output::Held) != Output::Held;
        drop(wire);
        if is_new {
            let frames = HeldFrames(Rc::downgrade(&self.wire));
            self.batch.add(frames, Waker::wake_by_ref);
        }
        self.batch.flush_if_due();
        Poll::Ready(Ok(held))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.borrow().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().poll_shutdown(cx)
    }
}
