//! Server-sent events: the `text/event-stream` format (HTML Living Standard §9.2).

use thiserror::Error;

/// A comment that keeps the connection busy; clients ignore it.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// One event; fields that are not there are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// What is delivered, in any number of lines. An event without it only sets `id` and `retry`.
    pub data: Option<&'a str>,
    /// The event's type; clients take `message` when there is none.
    pub event: Option<&'a str>,
    /// What the client sends as `last-event-id` when it comes back; empty forgets the last one.
    pub id: Option<&'a str>,
    /// How long the client waits before it comes back, in milliseconds.
    pub retry: Option<u64>,
}

/// A field that cannot be sent: what follows its line end would be read as another field.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected {field} of an event without CR, LF and NUL, got one")]
pub struct FieldError {
    /// `id` or `event`.
    pub field: &'static str,
}

impl Event<'_> {
    /// Appends the event, with the empty line that dispatches it.
    ///
    /// # Errors
    /// When `id` or `event` has CR, LF or NUL; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FieldError> {
        for (field, value) in [("event", self.event), ("id", self.id)] {
            if value.is_some_and(|value| value.contains(['\r', '\n', '\0'])) {
                return Err(FieldError { field });
            }
        }
        if let Some(event) = self.event {
            push_field(out, "event", event);
        }
        if let Some(id) = self.id {
            push_field(out, "id", id);
        }
        if let Some(retry) = self.retry {
            push_field(out, "retry", itoa::Buffer::new().format(retry));
        }
        for line in self.data.into_iter().flat_map(lines) {
            push_field(out, "data", line);
        }
        out.push(b'\n');
        Ok(())
    }
}

/// The lines of a text, as the format ends them: CRLF, LF or CR alone. There is at least one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\r', b'\n', text.as_bytes()) else {
            rest = None;
            return Some(text);
        };
        let after = if text[end..].starts_with("\r\n") {
            end + 2
        } else {
            end + 1
        };
        rest = Some(&text[after..]);
        Some(&text[..end])
    })
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    // The blank is dropped by the client, so that a value may begin with one.
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(event: Event<'_>) -> String {
        let mut out = Vec::new();
        event.encode(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn data(data: &str) -> Event<'_> {
        Event {
            data: Some(data),
            ..Event::default()
        }
    }

    #[test]
    fn all_fields_are_sent() {
        let event = Event {
            data: Some("x"),
            event: Some("tick"),
            id: Some("7"),
            retry: Some(500),
        };
        assert_eq!(encode(event), "event: tick\nid: 7\nretry: 500\ndata: x\n\n");
        let event = Event {
            id: Some(""),
            ..Event::default()
        };
        assert_eq!(encode(event), "id: \n\n");
    }

    #[test]
    fn data_is_split_at_every_kind_of_line_end() {
        let cases = [
            ("", "data: \n\n"),
            (" a", "data:  a\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"),
            ("a\n", "data: a\ndata: \n\n"),
            ("a\n\nid: 1", "data: a\ndata: \ndata: id: 1\n\n"),
            ("é\u{2028}ü", "data: é\u{2028}ü\n\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(encode(data(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn fields_that_would_become_others_are_refused() {
        for value in ["a\nid: 1", "a\rb", "a\0"] {
            let mut out = b"kept".to_vec();
            let id = Event {
                id: Some(value),
                ..data("x")
            };
            assert_eq!(id.encode(&mut out), Err(FieldError { field: "id" }));
            let event = Event {
                event: Some(value),
                ..data("x")
            };
            assert_eq!(event.encode(&mut out), Err(FieldError { field: "event" }));
            assert_eq!(out, b"kept");
        }
    }
}
