//! Counts the frames that a client sends, in front of `h2`, which does not limit the cheap ones.
//!
//! How this works: [`Metered`] wraps the socket. Every byte read passes through a [`Meter`], which
//! follows the frame headers only. A client that overdraws a budget is cut off from `h2` at once:
//! the bytes of that read are dropped, no more are read, and the connection's task, which looks at
//! [`IoState`] after each poll, says `GOAWAY(ENHANCE_YOUR_CALM)`.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::limits::{Budget, Http2Limits};

/// What an HTTP/2 client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;

/// Overhead that a connection may have beyond an eighth of its traffic: nginx's rule.
const FREE_OVERHEAD_BYTES: u64 = 1024 * 1024;

/// DATA frames up to this length carry less than their own header; no gRPC message and no masked
/// WebSocket frame is as short.
const TINY_DATA_BYTES: usize = 4;
const TINY_DATA_BUDGET: Budget = Budget {
    burst: 8_000,
    per_second: 100,
};

/// `WINDOW_UPDATE` frames besides one for each [`BYTES_PER_WINDOW_UPDATE`] that we have sent:
/// some clients acknowledge every DATA frame twice.
const WINDOW_UPDATE_BUDGET: Budget = Budget {
    burst: 4_096,
    per_second: 512,
};
const BYTES_PER_WINDOW_UPDATE: u64 = 8;

/// What one poll of the connection reads before the streams' tasks have their turn: `h2` keeps
/// some 300 bytes for each DATA frame that the application has not read.
const BYTES_PER_POLL: usize = 128 * 1024;
const DATA_FRAMES_PER_POLL: u32 = 256;

/// How much a client may still send after the end so that closing does not turn into a TCP reset
/// that overtakes the GOAWAY.
const LINGER_BYTES: usize = 1024 * 1024;

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

/// A socket with a [`Meter`] on its read half.
#[derive(Debug)]
pub(super) struct Metered<IO> {
    io: IO,
    /// Bytes that were read before, to be read again.
    prefix: &'static [u8],
    meter: Meter,
    state: Rc<IoState>,
    lingered: usize,
}

impl<IO> Metered<IO> {
    pub(super) fn new(io: IO, prefix: &'static [u8], limits: &Http2Limits, now: Instant) -> Self {
        Self {
            io,
            prefix,
            meter: Meter::new(limits, now),
            state: Rc::new(IoState {
                flooded: Cell::new(false),
                shutting: Cell::new(false),
                write_blocked: Cell::new(None),
                reads: Cell::new(0),
                completed: Cell::new(0),
                bytes: Cell::new(0),
                data_frames: Cell::new(0),
            }),
            lingered: 0,
        }
    }

    pub(super) fn state(&self) -> Rc<IoState> {
        Rc::clone(&self.state)
    }

    fn wrote<T>(&mut self, result: &Poll<io::Result<T>>, bytes: impl Fn(&T) -> usize) {
        match result {
            Poll::Ready(Ok(written)) => {
                self.meter.sent(bytes(written));
                self.state.write_blocked.set(None);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if self.state.write_blocked.get().is_none() {
                    self.state.write_blocked.set(Some(Instant::now()));
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.flooded.get() {
            return Poll::Pending;
        }
        if this.state.has_read_enough() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = if this.prefix.is_empty() {
            Pin::new(&mut this.io).poll_read(cx, buf)
        } else {
            let (now, later) = this.prefix.split_at(buf.remaining().min(this.prefix.len()));
            buf.put_slice(now);
            this.prefix = later;
            Poll::Ready(Ok(()))
        };
        if let Poll::Ready(Ok(())) = polled
            && buf.filled().len() > before
        {
            let state = &this.state;
            let received = &buf.filled()[before..];
            state.reads.set(state.reads.get().wrapping_add(1));
            state.bytes.set(state.bytes.get() + received.len());
            this.meter.completed(state.completed.take());
            let verdict = this.meter.received(received);
            let data_frames = std::mem::take(&mut this.meter.data_frames);
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

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(&result, |written| *written);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(&result, |written| *written);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        this.wrote(&result, |()| 0);
        result
    }

    /// Shuts the write half down, then reads on and drops what comes until the client closes too:
    /// closing a socket with unread bytes would reset it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.state.shutting.get() {
            std::task::ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.state.shutting.set(true);
        }
        let mut scratch = [0; 4096];
        while this.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match std::task::ready!(Pin::new(&mut this.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => this.lingered += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Flood,
}

/// Follows the frame headers of one direction and keeps the budgets.
#[derive(Debug)]
struct Meter {
    /// Bytes of the preface that are still to come.
    preface: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_filled: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload: usize,
    received_bytes: u64,
    useful_bytes: u64,
    /// DATA frames since somebody asked last.
    data_frames: u32,
    /// Sent bytes that have not yet paid for a `WINDOW_UPDATE`.
    unspent_bytes: u64,
    ping: Bucket,
    settings: Bucket,
    reset: Bucket,
    window_update: Bucket,
    priority: Bucket,
    tiny_data: Bucket,
    other: Bucket,
}

impl Meter {
    fn new(limits: &Http2Limits, now: Instant) -> Self {
        let bucket = |budget| Bucket::new(budget, now);
        Self {
            preface: PREFACE.len(),
            header: [0; FRAME_HEADER_BYTES],
            header_filled: 0,
            payload: 0,
            received_bytes: 0,
            useful_bytes: 0,
            data_frames: 0,
            unspent_bytes: 0,
            ping: bucket(limits.ping_budget),
            settings: bucket(limits.settings_budget),
            reset: bucket(limits.reset_budget),
            window_update: bucket(WINDOW_UPDATE_BUDGET),
            priority: bucket(limits.other_budget),
            tiny_data: bucket(TINY_DATA_BUDGET),
            other: bucket(limits.other_budget),
        }
    }

    fn received(&mut self, mut bytes: &[u8]) -> Verdict {
        self.received_bytes += bytes.len() as u64;
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                break;
            }
            let taken = (FRAME_HEADER_BYTES - self.header_filled).min(bytes.len());
            self.header[self.header_filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.header_filled += taken;
            bytes = &bytes[taken..];
            if self.header_filled == FRAME_HEADER_BYTES {
                self.header_filled = 0;
                let [a, b, c, kind, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if !self.frame(kind, self.payload) {
                    return Verdict::Flood;
                }
            }
        }
        if self.received_bytes / 8 > self.useful_bytes + FREE_OVERHEAD_BYTES {
            return Verdict::Flood;
        }
        Verdict::Fine
    }

    /// Charges one frame; false when its budget is overdrawn.
    fn frame(&mut self, kind: u8, length: usize) -> bool {
        match kind {
            // DATA
            0 => {
                self.data_frames += 1;
                self.useful_bytes += length as u64;
                length > TINY_DATA_BYTES || length == 0 || self.tiny_data.take()
            }
            // HEADERS, CONTINUATION
            1 | 9 => {
                self.useful_bytes += length as u64;
                true
            }
            2 => self.priority.take(),
            3 => self.reset.take(),
            4 => self.settings.take(),
            6 => self.ping.take(),
            8 => {
                if self.unspent_bytes >= BYTES_PER_WINDOW_UPDATE {
                    self.unspent_bytes -= BYTES_PER_WINDOW_UPDATE;
                    true
                } else {
                    self.window_update.take()
                }
            }
            _ => self.other.take(),
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.useful_bytes += bytes as u64;
        self.unspent_bytes += bytes as u64;
    }

    fn completed(&mut self, responses: u32) {
        self.reset.give(responses);
    }
}

/// A token bucket that looks at the clock only when it is empty.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    budget: Budget,
    filled: Instant,
}

impl Bucket {
    fn new(budget: Budget, now: Instant) -> Self {
        Self {
            tokens: budget.burst,
            budget,
            filled: now,
        }
    }

    fn take(&mut self) -> bool {
        if self.tokens == 0 {
            self.refill(Instant::now());
        }
        let some = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        some
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_millis();
        let earned = elapsed * u128::from(self.budget.per_second) / 1000;
        if earned > 0 {
            self.tokens = u32::try_from(earned)
                .unwrap_or(u32::MAX)
                .min(self.budget.burst);
            self.filled = now;
        }
    }

    fn give(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.budget.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = length_bytes[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 1]);
        bytes.resize(bytes.len() + length, 0);
        bytes
    }

    fn meter() -> Meter {
        let mut meter = Meter::new(&Http2Limits::default(), Instant::now());
        assert_eq!(meter.received(PREFACE), Verdict::Fine);
        meter
    }

    #[test]
    fn each_kind_of_frame_has_its_budget() {
        // kind, payload length, number that is fine, number that is a flood
        for (kind, length, fine, flood) in [
            (2, 5, 512, 1_000),
            (3, 4, 100, 200),
            (4, 0, 20, 40),
            (6, 8, 100, 200),
            (8, 4, 4_096, 20_000),
            (0, 1, 8_000, 10_000),
            (0x77, 3, 512, 1_000),
        ] {
            let mut meter = meter();
            let frame = frame(kind, length);
            let count = (0..flood)
                .take_while(|_| meter.received(&frame) == Verdict::Fine)
                .count();
            assert!(count >= fine && count < flood, "kind {kind}: {count}");
        }
    }

    #[test]
    fn frames_are_followed_across_any_split() {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(frame(1, 300));
            bytes.extend(frame(6, 8));
        }
        for size in [1, 2, 7, 9, 10, 317, 4096] {
            let mut meter = meter();
            for piece in bytes.chunks(size) {
                assert_eq!(meter.received(piece), Verdict::Fine, "size {size}");
            }
            assert_eq!(meter.ping.tokens, 50, "size {size}");
            assert_eq!(meter.useful_bytes, 50 * 300, "size {size}");
        }
    }

    #[test]
    fn window_updates_are_paid_for_by_sent_bytes() {
        let mut meter = meter();
        let update = frame(8, 4);
        meter.sent(8 * 100_000);
        for _ in 0..100_000 {
            assert_eq!(meter.received(&update), Verdict::Fine);
        }
    }

    #[test]
    fn useless_bytes_beyond_an_eighth_are_a_flood() {
        let mut meter = meter();
        let unknown = frame(0x77, 16_384);
        let count = (0..512)
            .take_while(|_| meter.received(&unknown) == Verdict::Fine)
            .count();
        assert!(count < 512, "{count}");
    }

    #[test]
    fn finished_responses_pay_for_resets() {
        let mut meter = meter();
        let reset = frame(3, 4);
        for _ in 0..1_000 {
            meter.completed(1);
            assert_eq!(meter.received(&reset), Verdict::Fine);
        }
    }

    #[test]
    fn a_bucket_refills_with_time() {
        let now = Instant::now();
        let budget = Budget {
            burst: 10,
            per_second: 5,
        };
        let mut bucket = Bucket::new(budget, now);
        bucket.tokens = 0;
        bucket.refill(now + std::time::Duration::from_secs(1));
        assert_eq!(bucket.tokens, 5);
        bucket.refill(now + std::time::Duration::from_secs(100));
        assert_eq!(bucket.tokens, 10);
    }
}
