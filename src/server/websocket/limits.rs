//! What a session allows and how long it waits; each is a field of `ServerConfig` in Python.

use std::time::Duration;

use serde::Deserialize;

use crate::protocol::websocket::frame;
use crate::server::limits::seconds;

/// Limits of one session.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(from = "Fields")]
pub struct Limits {
    /// What the peer may send.
    pub frames: frame::Limits,
    /// The most messages that wait for the application. They come from one read: while any waits,
    /// nothing is read.
    pub max_waiting_messages: usize,
    /// [`Session::send`](super::Session::send) waits while more bytes than these are queued.
    pub max_queued_bytes: usize,
    /// Silence after which the peer is pinged; `None`: never.
    pub ping_interval: Option<Duration>,
    /// Time for the peer to say anything after a ping; `None`: for ever.
    pub ping_timeout: Option<Duration>,
    /// Time in which the peer has to take at least one byte of what is queued.
    pub write_stall_timeout: Duration,
    /// Time for the closing handshake, and for the peer to close the connection after it.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Fields::default().into()
    }
}

/// The fields of `ServerConfig` by their names.
#[derive(Deserialize)]
#[serde(default)]
struct Fields {
    ws_max_message_size: usize,
    ws_max_fragments: u32,
    ws_max_queue: usize,
    ws_write_buffer: usize,
    #[serde(deserialize_with = "optional_seconds")]
    ws_ping_interval: Option<Duration>,
    #[serde(deserialize_with = "optional_seconds")]
    ws_ping_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    ws_close_timeout: Duration,
    #[serde(deserialize_with = "seconds")]
    write_stall_timeout: Duration,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            ws_max_message_size: 16 << 20,
            ws_max_fragments: 1024,
            ws_max_queue: 16,
            ws_write_buffer: 1 << 20,
            ws_ping_interval: Some(Duration::from_secs(20)),
            ws_ping_timeout: Some(Duration::from_secs(20)),
            ws_close_timeout: Duration::from_secs(5),
            write_stall_timeout: Duration::from_secs(30),
        }
    }
}

impl From<Fields> for Limits {
    fn from(fields: Fields) -> Self {
        Self {
            frames: frame::Limits {
                max_message_bytes: fields.ws_max_message_size,
                max_fragments: fields.ws_max_fragments,
            },
            max_waiting_messages: fields.ws_max_queue,
            max_queued_bytes: fields.ws_write_buffer,
            ping_interval: fields.ws_ping_interval,
            ping_timeout: fields.ws_ping_timeout,
            write_stall_timeout: fields.write_stall_timeout,
            close_timeout: fields.ws_close_timeout,
        }
    }
}

/// As [`seconds`], with `null` for none.
fn optional_seconds<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let seconds = Option::<f64>::deserialize(deserializer)?;
    let duration = seconds.map(Duration::try_from_secs_f64).transpose();
    duration.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_python_names() {
        let limits: Limits = serde_json::from_str(
            r#"{"ws_max_message_size": 9, "ws_max_fragments": 8, "ws_max_queue": 7, "port": 1,
                "ws_write_buffer": 6, "ws_ping_interval": null, "ws_ping_timeout": 0.5,
                "ws_close_timeout": 4.0, "write_stall_timeout": 3.0}"#,
        )
        .unwrap();
        assert_eq!(
            (limits.frames.max_message_bytes, limits.frames.max_fragments),
            (9, 8)
        );
        assert_eq!(
            (limits.max_waiting_messages, limits.max_queued_bytes),
            (7, 6)
        );
        assert_eq!(limits.ping_interval, None);
        assert_eq!(limits.ping_timeout, Some(Duration::from_millis(500)));
        assert_eq!(limits.close_timeout, Duration::from_secs(4));
        assert_eq!(limits.write_stall_timeout, Duration::from_secs(3));
    }

    #[test]
    fn a_time_that_is_none_is_an_error() {
        for json in [r#"{"ws_close_timeout": -1}"#, r#"{"ws_ping_interval": -1}"#] {
            assert!(serde_json::from_str::<Limits>(json).is_err(), "{json}");
        }
    }
}
