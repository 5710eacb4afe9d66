//! What one HTTP/2 connection may cost.

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::server::access_log::AccessLog;
use crate::server::limits::seconds;

/// The limits of one HTTP/2 connection; the defaults are the server's. Read from a JSON object by
/// the names of `ServerConfig`; fields without a name there keep their defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Http2Limits {
    /// Where requests are logged.
    #[serde(skip)]
    pub access_log: Option<Rc<AccessLog>>,
    /// Streams that the client may have open at once.
    pub max_concurrent_streams: u32,
    /// Size of a request's fields as RFC 9113 §6.5.2 counts them (32 more bytes a field); longer
    /// is 431, four times longer ends the connection.
    #[serde(rename = "max_header_size")]
    pub max_header_bytes: u32,
    /// Fields of one request, each cookie crumb counted; more is 431.
    pub max_headers: usize,
    /// Length of the target in bytes; longer is 414.
    #[serde(rename = "max_request_line")]
    pub max_target_bytes: usize,
    /// Length of the method in bytes; longer is 501.
    #[serde(skip)]
    pub max_method_bytes: usize,
    /// Request bytes that one stream may send ahead of the application.
    #[serde(rename = "h2_stream_window")]
    pub stream_window: u32,
    /// Request bytes that all streams together may send ahead of the application.
    #[serde(rename = "h2_connection_window")]
    pub connection_window: u32,
    /// Response bytes of one stream that wait to be written.
    #[serde(rename = "h2_send_buffer")]
    pub send_buffer: u32,
    /// Streams that the client reset before the server looked at them.
    #[serde(rename = "h2_max_pending_reset_streams")]
    pub max_pending_accept_reset: usize,
    /// Streams that the server reset for the client's errors, over the connection's life.
    #[serde(rename = "h2_max_local_reset_streams")]
    pub max_local_error_reset: usize,
    /// PING frames.
    #[serde(skip)]
    pub ping_budget: Budget,
    /// SETTINGS frames.
    #[serde(skip)]
    pub settings_budget: Budget,
    /// `RST_STREAM` frames; a response that was sent to its end gives one back.
    #[serde(skip)]
    pub reset_budget: Budget,
    /// PRIORITY frames and frames of unknown types, each.
    #[serde(skip)]
    pub other_budget: Budget,
    /// Longest time without progress while response data waits for the client's window or
    /// socket; the stream is reset then.
    #[serde(rename = "h2_stall_timeout", deserialize_with = "seconds")]
    pub write_stall: Duration,
    /// Bytes a second below which a client takes a waiting response too slowly; 0 is off.
    pub min_write_rate: u64,
    /// Longest time that the application waits for the next piece of a request body. A gRPC call
    /// may be silent for as long as it likes.
    #[serde(rename = "body_timeout", deserialize_with = "seconds")]
    pub body_idle: Duration,
    /// Bytes a second below which a body that the application waits for is too slow; 0 is off.
    pub min_body_rate: u64,
    /// Time spent waiting before a rate is looked at.
    #[serde(skip)]
    pub rate_grace: Duration,
    /// While streams are open: silence after which a PING is sent.
    #[serde(rename = "h2_ping_interval", deserialize_with = "optional_seconds")]
    pub ping_interval: Option<Duration>,
    /// How long the client may take to answer that PING.
    #[serde(rename = "h2_ping_timeout", deserialize_with = "seconds")]
    pub ping_timeout: Duration,
    /// How long the client may take to send the connection preface.
    #[serde(rename = "protocol_detect_timeout", deserialize_with = "seconds")]
    pub preface_timeout: Duration,
    /// Requests after which the connection is closed gracefully.
    #[serde(rename = "max_requests_per_connection")]
    pub max_requests: u64,
    /// Whether extended CONNECT (RFC 8441) is offered.
    #[serde(skip)]
    pub websocket: bool,
}

fn optional_seconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let seconds = Option::<f64>::deserialize(deserializer)?;
    seconds
        .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom))
        .transpose()
}

/// A token bucket: `burst` at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many come free.
    pub burst: u32,
    /// How many more a second.
    pub per_second: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        let small = Budget {
            burst: 100,
            per_second: 10,
        };
        Self {
            access_log: None,
            max_concurrent_streams: 100,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_target_bytes: 16 * 1024,
            max_method_bytes: 32,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            send_buffer: 64 * 1024,
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
            write_stall: Duration::from_secs(30),
            min_write_rate: 240,
            body_idle: Duration::from_secs(30),
            min_body_rate: 240,
            rate_grace: Duration::from_secs(5),
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            preface_timeout: Duration::from_secs(5),
            max_requests: 10_000,
            websocket: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_server_config() {
        let json = r#"{"max_header_size": 1024, "h2_stall_timeout": 1.5, "h2_ping_interval": null,
            "max_requests_per_connection": 7, "min_body_rate": 0, "strict_http1": true}"#;
        let limits: Http2Limits = serde_json::from_str(json).unwrap();
        assert_eq!(limits.max_header_bytes, 1024);
        assert_eq!(limits.write_stall, Duration::from_millis(1500));
        assert_eq!(limits.ping_interval, None);
        assert_eq!((limits.max_requests, limits.min_body_rate), (7, 0));
        assert_eq!(limits.stream_window, 256 * 1024);
    }
}
