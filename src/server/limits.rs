//! The protocol limits and timers of a server; each is a field of `ServerConfig` in Python.

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::access_log::AccessLog;
use super::http2::Http2Limits;

/// Limits of one server, the same for all its connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Time for the first byte of a new connection to arrive.
    #[serde(deserialize_with = "seconds")]
    pub protocol_detect_timeout: Duration,
    /// Time for a whole request head, from its first byte.
    #[serde(deserialize_with = "seconds")]
    pub header_timeout: Duration,
    /// How long a request body may stand still while the application waits for it.
    #[serde(deserialize_with = "seconds")]
    pub body_timeout: Duration,
    /// How long a peer may take nothing of a response that is ready.
    #[serde(deserialize_with = "seconds")]
    pub write_stall_timeout: Duration,
    /// How long a connection may be idle between two requests.
    #[serde(deserialize_with = "seconds")]
    pub keep_alive_timeout: Duration,
    /// Idle time after which a connection gives its buffers back.
    #[serde(skip)]
    pub park_after: Duration,
    /// Bytes a second below which a request body is too slow, after a grace of five seconds.
    pub min_body_rate: u64,
    /// Bytes a second below which a peer takes a waiting response too slowly, after the same grace.
    pub min_write_rate: u64,
    /// Bytes of a request line.
    pub max_request_line: usize,
    /// Bytes of a whole request head.
    pub max_header_size: usize,
    /// Bytes of one field line.
    pub max_header_field: usize,
    /// Field lines of one request.
    pub max_headers: usize,
    /// Connections open at once; above it the longest idle one makes room.
    pub max_connections: usize,
    /// Requests on one connection before it is closed, to spread load after a restart.
    pub max_requests_per_connection: u64,
    /// Whether bytes that parsers read in different ways are refused; see `guard`.
    pub strict_http1: bool,
    /// The versions of HTTP that are spoken.
    pub http: HttpVersions,
    /// Limits of HTTP/2 connections.
    #[serde(skip)]
    pub http2: Rc<Http2Limits>,
    /// Where requests are logged.
    #[serde(skip)]
    pub access_log: Option<Rc<AccessLog>>,
}

/// The versions of HTTP that a server speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum HttpVersions {
    /// Both: what ALPN settles, and HTTP/2 without TLS for clients on this machine that begin
    /// with its preface.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1 only.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2 only, with or without TLS.
    #[serde(rename = "2")]
    Http2,
}

impl Limits {
    /// Reads the limits of every protocol from a JSON object; fields of other things are ignored.
    ///
    /// # Errors
    ///
    /// Says which field cannot be what it is.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        let mut limits: Self = serde_json::from_slice(json)?;
        limits.http2 = Rc::new(serde_json::from_slice(json)?);
        Ok(limits)
    }
}

impl Limits {
    /// Logs requests, of every protocol.
    pub fn log_access(&mut self, log: AccessLog) {
        let log = Rc::new(log);
        Rc::make_mut(&mut self.http2).access_log = Some(Rc::clone(&log));
        self.access_log = Some(log);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            protocol_detect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            park_after: Duration::from_secs(1),
            min_body_rate: 240,
            min_write_rate: 240,
            max_request_line: 16 * 1024,
            max_header_size: 32 * 1024,
            max_header_field: 16 * 1024,
            max_headers: 100,
            max_connections: 10_000,
            max_requests_per_connection: 10_000,
            strict_http1: true,
            http: HttpVersions::Auto,
            http2: Rc::default(),
            access_log: None,
        }
    }
}

/// Reads a duration from a number of seconds; anything that is not a span of time is an error.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}
