//! The connection's side of a session: reads, writes, keeps time and closes.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::{Incoming, Limits, Sending, Shared};
use crate::protocol::websocket::close::{self, Close};
use crate::protocol::websocket::frame::{Decoder, Item, Opcode, Violation};
use crate::server::application::UpgradedIo;
use crate::server::planted;
use crate::server::shutdown::{Stop, StopReceiver};

/// The most that is read between short messages, in bytes: what a message leaves of it stays with
/// an idle session.
const READ_BYTES: usize = 4096;
/// The most that is read at once inside a long message and after one, in bytes.
const LONG_READ_BYTES: usize = 64 * 1024;

/// The future that a session's connection lives as long as.
///
/// It ends when the connection is closed, and never later than the limits allow.
pub struct Driver {
    io: Box<dyn UpgradedIo>,
    limits: Limits,
    shared: Rc<Shared>,
    stop: Pin<Box<dyn Future<Output = (Stop, StopReceiver)>>>,
    decoder: Decoder,
    /// What was read and not decoded yet.
    unread: BytesMut,
    /// Whether the last read gave more than [`READ_BYTES`]: the next message may be long too.
    reads_long: bool,
    phase: Phase,
    /// The payload of the latest ping, until its pong is queued. Of several pings only the last
    /// is answered (RFC 6455 §5.5.3).
    pong: Option<Bytes>,
    /// Where in the outbox the last pong ends: the next one waits until it is written.
    pong_end: u64,
    heard: Instant,
    pinged: Option<Instant>,
    /// Since when the connection takes nothing of what is queued.
    stalled: Option<Instant>,
    /// When the closing has to be over.
    close_by: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages go both ways.
    Open,
    /// Our close frame is queued; the peer's has not come.
    Closing,
    /// Nothing more is decoded: what is queued goes out, then our half is shut.
    Ending,
    /// Our half is shut; what still comes is dropped, so that no reset overtakes our close frame.
    Lingering,
    Done,
}

impl Driver {
    pub(super) fn new(
        io: Box<dyn UpgradedIo>,
        limits: Limits,
        stop: StopReceiver,
        shared: Rc<Shared>,
    ) -> Self {
        let now = Instant::now();
        let first = limits.ping_interval.unwrap_or(limits.write_stall_timeout);
        Self {
            io,
            limits,
            shared,
            stop: Box::pin(next_stop(stop, Stop::Running)),
            decoder: Decoder::new(limits.frames),
            unread: BytesMut::new(),
            reads_long: false,
            phase: Phase::Open,
            pong: None,
            pong_end: 0,
            heard: now,
            pinged: None,
            stalled: None,
            close_by: None,
            timer: Box::pin(tokio::time::sleep_until(now + first)),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_stop(cx);
        self.take_request();
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            self.poll_read(cx)?;
        }
        self.poll_write(cx)?;
        // The timers come last: what the peer has sent or taken meanwhile counts.
        while self.poll_timer(cx) {
            self.poll_write(cx)?;
        }
        if self.phase == Phase::Lingering {
            ready!(self.poll_linger(cx))?;
            self.phase = Phase::Done;
        }
        match self.phase {
            Phase::Done => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready((stop, receiver)) = self.stop.as_mut().poll(cx) {
            let close = Close::of(close::GOING_AWAY, "server shutting down");
            if stop == Stop::Now {
                self.shared.end(close);
                self.phase = Phase::Done;
                return;
            }
            self.stop = Box::pin(next_stop(receiver, stop));
            if self.phase == Phase::Open {
                self.shared.end(close.clone());
                self.start_close(&close, Phase::Closing);
            }
        }
    }

    /// Does what the application asked for.
    fn take_request(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        let Sending::Asked(close) = &state.sending else {
            return;
        };
        let close = close.clone();
        state.sending = Sending::Over;
        drop(state);
        if self.phase == Phase::Open {
            self.start_close(&close, Phase::Closing);
        }
    }

    /// Queues a close frame; nothing is sent after it.
    fn start_close(&mut self, close: &Close, next: Phase) {
        self.shared
            .state
            .borrow_mut()
            .outbox
            .push(Opcode::Close, close.payload());
        self.pong = None;
        self.go_on(next);
    }

    fn go_on(&mut self, next: Phase) {
        self.phase = next;
        self.close_by = Some(Instant::now() + self.limits.close_timeout);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            self.decode();
            if !matches!(self.phase, Phase::Open | Phase::Closing) || self.is_paused() {
                return Ok(());
            }
            // More than is missing, so that a read that is not filled tells that the socket is
            // empty, without another one.
            let missing = self.decoder.missing();
            let read = if self.reads_long {
                self.poll_fill::<LONG_READ_BYTES>(cx, LONG_READ_BYTES)
            } else if missing >= READ_BYTES {
                self.poll_fill::<LONG_READ_BYTES>(cx, missing.saturating_add(READ_BYTES))
            } else {
                self.poll_fill::<READ_BYTES>(cx, READ_BYTES)
            };
            match read? {
                Poll::Pending => return Ok(()),
                Poll::Ready(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(read) => {
                    self.reads_long = read > READ_BYTES;
                    self.heard = Instant::now();
                    self.pinged = None;
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.shared.state.borrow().inbox.len() >= self.limits.max_waiting_messages
    }

    /// Whether the application has not taken what has come.
    fn is_paused(&self) -> bool {
        self.phase == Phase::Open && !self.shared.state.borrow().inbox.is_empty()
    }

    /// Reads once, `most` bytes at the most, into room on the stack: an idle session has no read
    /// buffer.
    #[inline(never)]
    fn poll_fill<const ROOM: usize>(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> io::Result<Poll<usize>> {
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut buffer = ReadBuf::uninit(&mut room[..most.min(ROOM)]);
        if Pin::new(&mut self.io)
            .poll_read(cx, &mut buffer)?
            .is_pending()
        {
            return Ok(Poll::Pending);
        }
        let mut input = buffer.filled();
        let read = input.len();
        self.decode_from(&mut input);
        self.unread.extend_from_slice(input);
        Ok(Poll::Ready(read))
    }

    /// Decodes what an earlier read has left.
    fn decode(&mut self) {
        if self.unread.is_empty() {
            return;
        }
        let unread = std::mem::take(&mut self.unread);
        let mut input = &unread[..];
        self.decode_from(&mut input);
        let left = input.len();
        if left > 0 {
            let taken = unread.len() - left;
            self.unread = unread;
            self.unread.advance(taken);
        }
    }

    fn decode_from(&mut self, input: &mut &[u8]) {
        // While closing, what comes is dropped and fills nothing.
        while self.phase == Phase::Closing || self.phase == Phase::Open && !self.is_full() {
            match self.decoder.decode(input) {
                Ok(Some(item)) => self.handle(item),
                Ok(None) => return,
                Err(violation) => self.fail(violation),
            }
        }
        if !matches!(self.phase, Phase::Open | Phase::Closing) {
            *input = &[];
        }
    }

    fn handle(&mut self, item: Item) {
        planted::point("websocket");
        let message = match item {
            Item::Text(text) => Incoming::Text(text),
            Item::Binary(bytes) => Incoming::Binary(bytes),
            Item::Pong => return,
            Item::Ping(payload) => {
                if self.phase == Phase::Open {
                    self.pong = Some(payload);
                }
                return;
            }
            Item::Close(close) => {
                if self.phase == Phase::Open {
                    // RFC 6455 §5.5.1: echo the code.
                    let echo = Close {
                        reason: String::new(),
                        ..close.clone()
                    };
                    self.start_close(&echo, Phase::Ending);
                } else {
                    self.go_on(Phase::Ending);
                }
                self.shared.end(close);
                return;
            }
        };
        if self.phase == Phase::Open {
            self.shared.state.borrow_mut().inbox.push_back(message);
            self.shared.wake_receiver();
        }
    }

    fn fail(&mut self, violation: Violation) {
        let close = violation.close();
        match self.phase {
            Phase::Open => self.start_close(&close, Phase::Ending),
            _ => self.go_on(Phase::Ending),
        }
        self.shared.end(close);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.phase == Phase::Done || self.phase == Phase::Lingering {
            return Ok(());
        }
        let mut state = self.shared.state.borrow_mut();
        let outbox = &mut state.outbox;
        let before = outbox.written();
        let poll = loop {
            if self.pong_end <= outbox.written()
                && let Some(payload) = self.pong.take()
            {
                outbox.push(Opcode::Pong, payload);
                self.pong_end = outbox.queued();
            }
            let poll = outbox.poll_flush(&mut *self.io, cx)?;
            if poll.is_pending() || self.pong.is_none() {
                break poll;
            }
        };
        let has_room = outbox.bytes() <= self.limits.max_queued_bytes;
        let progress = outbox.written() > before;
        drop(state);
        if has_room {
            self.shared.wake_senders();
        }
        if poll.is_ready() {
            self.stalled = None;
            if self.phase == Phase::Ending && Pin::new(&mut self.io).poll_shutdown(cx)?.is_ready() {
                self.phase = Phase::Lingering;
            }
        } else if progress || self.stalled.is_none() {
            self.stalled = Some(Instant::now());
        }
        Ok(())
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            let mut buffer = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Acts on the times that have passed; whether there is something new to write.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut acted = false;
        while let Some(next) = self.next_time() {
            // The timer may be early, because messages have moved the times on: one reset a
            // period instead of one a message.
            if self.timer.deadline() > next || self.timer.is_elapsed() {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if now >= next {
                self.act(now);
                acted = true;
            }
        }
        acted
    }

    fn next_time(&self) -> Option<Instant> {
        if self.phase == Phase::Done {
            return None;
        }
        let ping = match (self.phase, self.pinged) {
            (Phase::Open, Some(pinged)) => self.limits.ping_timeout.map(|timeout| pinged + timeout),
            (Phase::Open, None) => self
                .limits
                .ping_interval
                .map(|interval| self.heard + interval),
            _ => None,
        };
        let stall = self
            .stalled
            .map(|since| since + self.limits.write_stall_timeout);
        [self.close_by, stall, ping].into_iter().flatten().min()
    }

    fn act(&mut self, now: Instant) {
        let stalled = self
            .stalled
            .is_some_and(|at| at + self.limits.write_stall_timeout <= now);
        if stalled || self.close_by.is_some_and(|at| at <= now) {
            self.shared.end(lost());
            self.phase = Phase::Done;
        } else if self.is_paused() {
            // Nothing is read because of our application: the silence is not the peer's.
            self.heard = now;
            self.pinged = None;
        } else if self.pinged.is_some() {
            self.shared.end(lost());
            let close = Close::of(close::INTERNAL_ERROR, "no answer to ping");
            self.start_close(&close, Phase::Ending);
        } else {
            self.shared
                .state
                .borrow_mut()
                .outbox
                .push(Opcode::Ping, Bytes::new());
            self.pinged = Some(now);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        let poll = driver.advance(cx);
        if poll.is_pending() {
            driver.shared.driver.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        // An error is the connection's: whatever it was, the peer is lost.
        driver.shared.end(lost());
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end(lost());
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

fn lost() -> Close {
    Close::of(close::ABNORMAL, "")
}

/// Waits until the stop has come further than `known`.
async fn next_stop(mut receiver: StopReceiver, known: Stop) -> (Stop, StopReceiver) {
    let mut stop = receiver.current();
    while stop == known {
        stop = receiver.changed().await;
    }
    (stop, receiver)
}
