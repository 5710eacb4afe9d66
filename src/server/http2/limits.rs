//! What one HTTP/2 connection may cost.

use std::time::Duration;

/// Largest amount of response data that `h2` holds for one stream, in bytes.
pub(super) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The limits of one HTTP/2 connection; the defaults are the server's.
#[derive(Clone, Debug)]
pub struct Http2Limits {
    /// Streams that the client may have open at once.
    pub max_concurrent_streams: u32,
    /// Size of a request's fields as RFC 9113 §6.5.2 counts them (32 more bytes a field); longer
    /// is 431, four times longer ends the connection.
    pub max_header_bytes: u32,
    /// Fields of one request, each cookie crumb counted; more is 431.
    pub max_headers: usize,
    /// Length of the target in bytes; longer is 414.
    pub max_target_bytes: usize,
    /// Length of the method in bytes; longer is 501.
    pub max_method_bytes: usize,
    /// Request bytes that one stream may send ahead of the application.
    pub stream_window: u32,
    /// Request bytes that all streams together may send ahead of the application.
    pub connection_window: u32,
    /// Streams that the client reset before the server looked at them.
    pub max_pending_accept_reset: usize,
    /// Streams that the server reset for the client's errors, over the connection's life.
    pub max_local_error_reset: usize,
    /// PING frames.
    pub ping_budget: Budget,
    /// SETTINGS frames.
    pub settings_budget: Budget,
    /// `RST_STREAM` frames; a response that was sent to its end gives one back.
    pub reset_budget: Budget,
    /// PRIORITY frames and frames of unknown types, each.
    pub other_budget: Budget,
    /// Longest time without progress while response data waits for the client's window or
    /// socket; the stream is reset then.
    pub write_stall: Option<Duration>,
    /// Slowest rate at which a client may take a response that waits for it.
    pub min_write_rate: Option<MinRate>,
    /// Longest time that the application waits for the next piece of a request body. A gRPC call
    /// may be silent for as long as it likes.
    pub body_idle: Option<Duration>,
    /// Slowest rate at which a client may send a body that the application waits for.
    pub min_body_rate: Option<MinRate>,
    /// How long a connection stays without a stream.
    pub idle: Option<Duration>,
    /// While streams are open: silence after which a PING is sent.
    pub ping_interval: Option<Duration>,
    /// How long the client may take to answer that PING.
    pub ping_timeout: Duration,
    /// How long the client may take to send the connection preface.
    pub preface_timeout: Duration,
    /// Requests after which the connection is closed gracefully.
    pub max_requests: Option<u64>,
    /// Whether extended CONNECT (RFC 8441) is offered.
    pub websocket: bool,
}

/// A token bucket: `burst` at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many come free.
    pub burst: u32,
    /// How many more a second.
    pub per_second: u32,
}

/// A lowest acceptable rate, judged once `grace` has been spent waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Time before the rate is looked at.
    pub grace: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        let rate = MinRate {
            bytes_per_second: 240,
            grace: Duration::from_secs(5),
        };
        let small = Budget {
            burst: 100,
            per_second: 10,
        };
        Self {
            max_concurrent_streams: 100,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_target_bytes: 16 * 1024,
            max_method_bytes: 32,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            max_pending_accept_reset: 20,
            max_local_error_reset: 32,
            ping_budget: small,
            settings_budget: Budget {
                burst: 20,
                per_second: 2,
            },
            reset_budget: small,
            other_budget: Budget {
                burst: 512,
                per_second: 100,
            },
            write_stall: Some(Duration::from_secs(30)),
            min_write_rate: Some(rate),
            body_idle: Some(Duration::from_secs(30)),
            min_body_rate: Some(rate),
            idle: Some(Duration::from_secs(75)),
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            preface_timeout: Duration::from_secs(5),
            max_requests: Some(10_000),
            websocket: true,
        }
    }
}
