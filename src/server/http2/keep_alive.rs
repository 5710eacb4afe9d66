//! PING frames to a client from which nothing has come for a while (RFC 9113 §6.7).

use std::task::{Context, Waker};

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::limits::Http2Limits;
use super::wire::{IoState, Metered};

/// Notices a client that has vanished while streams are open.
pub(super) struct KeepAlive {
    /// Bytes have come at this time, give or take a tick.
    heard: Instant,
    reads: u64,
    pub(super) pinged: bool,
    ping_pong: Option<PingPong>,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            reads: 0,
            pinged: false,
            ping_pong: None,
        }
    }

    /// Anything that comes counts as an answer to the ping.
    pub(super) fn is_dead(&mut self, now: Instant, limits: &Http2Limits, io: &IoState) -> bool {
        if self.reads != io.reads.get() {
            self.reads = io.reads.get();
            self.heard = now;
            self.pinged = false;
        }
        let Some(interval) = limits.ping_interval else {
            return false;
        };
        self.pinged && now.saturating_duration_since(self.heard) > interval + limits.ping_timeout
    }

    pub(super) fn ping<IO>(
        &mut self,
        http2: &mut h2::server::Connection<Metered<IO>, Bytes>,
        now: Instant,
        limits: &Http2Limits,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(interval) = limits.ping_interval else {
            return;
        };
        if self.pinged || now.saturating_duration_since(self.heard) < interval {
            return;
        }
        if self.ping_pong.is_none() {
            self.ping_pong = http2.ping_pong();
        }
        if let Some(ping_pong) = &mut self.ping_pong {
            // Takes the answer to the last ping, without which the next one is refused.
            let _ = ping_pong.poll_pong(&mut Context::from_waker(Waker::noop()));
            self.pinged = ping_pong.send_ping(Ping::opaque()).is_ok();
        }
    }
}
