//! The ASGI rules of a WebSocket (WebSocket 2.5, with the extension for denial responses): which
//! event may follow which, on both sides, and what goes to the client.
//!
//! An event that is refused changes nothing.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::{HeaderMap, HeaderValue, Version};
use thiserror::Error;

use super::fields::{FieldError, Fields};
use super::http as response;
use crate::protocol::websocket::close::{Close, CloseError, INTERNAL_ERROR, NORMAL};

/// An event that an application sends.
#[derive(Debug)]
pub enum SendEvent {
    /// `websocket.accept`.
    Accept {
        /// The chosen subprotocol, one of those that the client offers.
        subprotocol: Option<String>,
        /// Fields for the response to the handshake.
        headers: Fields,
    },
    /// `websocket.send`; exactly one of the two is there.
    Send {
        /// A text message: valid UTF-8.
        text: Option<Bytes>,
        /// A binary message.
        bytes: Option<Bytes>,
    },
    /// `websocket.close`.
    Close {
        /// The close code as it came; 1000 by default.
        code: i64,
        /// The reason; empty by default.
        reason: String,
    },
    /// `websocket.http.response.start`.
    ResponseStart {
        /// The status as it came; 200 to 599 can be sent.
        status: i64,
        /// The header fields.
        headers: Fields,
    },
    /// `websocket.http.response.body`.
    ResponseBody {
        /// A piece of the body, maybe empty.
        body: Bytes,
        /// Whether more pieces follow.
        more: bool,
    },
}

/// What an event means.
#[derive(Debug)]
pub enum Action {
    /// Accepts the handshake with these fields.
    Accept(HeaderMap),
    /// Refuses the handshake: a 403 without a body.
    Reject,
    /// Refuses the handshake with the application's own response, as HTTP would send it.
    Deny(response::Action),
    /// Sends a text message.
    Text(Bytes),
    /// Sends a binary message.
    Binary(Bytes),
    /// Sends a close frame.
    Close(Close),
    /// Nothing goes out: it is closed already.
    Ignore,
}

/// Why an event is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The peer is gone or the connection is closed: an `OSError` to the application.
    #[error("expected an open websocket, got '{0}' after it was closed")]
    Closed(&'static str),
    /// A message before the handshake is finished.
    #[error("expected 'websocket.accept', 'websocket.close' or a response, got '{0}'")]
    BeforeAccept(&'static str),
    /// The handshake is finished already.
    #[error("expected 'websocket.send' or 'websocket.close', got '{0}' after the handshake")]
    AfterHandshake(&'static str),
    /// A denial response has begun; only its body may follow.
    #[error("expected 'websocket.http.response.body', got '{0}' after the response began")]
    AfterResponse(&'static str),
    /// The denial response breaks a rule of HTTP responses.
    #[error(transparent)]
    Response(#[from] response::SendError),
    /// A header field that cannot be sent.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// RFC 6455 §4.2.2: the client would fail the connection.
    #[error("expected a subprotocol that the client offers ({}), got '{got}'", list(.offered))]
    Subprotocol {
        /// What the client offers.
        offered: Vec<String>,
        /// What came.
        got: String,
    },
    /// A message that is not exactly one of text and bytes.
    #[error("expected exactly one of 'text' and 'bytes' in 'websocket.send', got {0}")]
    Message(&'static str),
    /// A close that cannot be sent.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// What the application's next `receive` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// `websocket.connect`, at once.
    Connect,
    /// The handshake's end: then ask again. A peer that leaves meanwhile is a disconnect.
    Handshake,
    /// A message or the disconnect.
    Message,
    /// `websocket.disconnect`: with what the session says of the close if there was a session,
    /// else with 1006.
    Disconnect,
}

/// How the application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned.
    Returned,
    /// It raised.
    Raised,
}

/// What is to be done when the application has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Nothing.
    Complete,
    /// A 500: the handshake got no answer.
    ServerError,
    /// The connection is cut in the middle of a denial response.
    Cut,
    /// This close frame is sent.
    Close(Close),
}

/// The state of one WebSocket.
#[derive(Debug)]
pub struct Conversation {
    offered: Vec<String>,
    version: Version,
    connect: Connect,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connect {
    Pending,
    Delivered,
}

#[derive(Debug)]
enum State {
    Handshake,
    Open,
    Denying(response::Responder),
    /// Closed or denied by the application.
    Closed,
    /// The peer closed, or the connection was lost.
    Gone,
}

impl SendEvent {
    /// The event's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "websocket.accept",
            Self::Send { .. } => "websocket.send",
            Self::Close { .. } => "websocket.close",
            Self::ResponseStart { .. } => "websocket.http.response.start",
            Self::ResponseBody { .. } => "websocket.http.response.body",
        }
    }
}

impl Conversation {
    /// A WebSocket whose client waits for the handshake and offers these subprotocols.
    pub fn new(offered: Vec<String>, version: Version) -> Self {
        Self {
            offered,
            version,
            connect: Connect::Pending,
            state: State::Handshake,
        }
    }

    /// Takes an event and says what it means.
    ///
    /// # Errors
    /// When the event is out of order or cannot be sent; the state is then what it was.
    pub fn send(&mut self, event: SendEvent) -> Result<Action, SendError> {
        let kind = event.kind();
        match (&mut self.state, event) {
            // ASGI HTTP: what comes after a response's last piece is ignored.
            (State::Closed | State::Gone, SendEvent::Close { .. })
            | (State::Closed, SendEvent::ResponseBody { .. }) => Ok(Action::Ignore),
            (State::Closed | State::Gone, _) => Err(SendError::Closed(kind)),
            (
                State::Handshake,
                SendEvent::Accept {
                    subprotocol,
                    headers,
                },
            ) => {
                let headers = self.accept(subprotocol, headers)?;
                self.state = State::Open;
                Ok(Action::Accept(headers))
            }
            (State::Handshake, SendEvent::Close { code, reason }) => {
                Close::new(code, reason)?;
                self.state = State::Closed;
                Ok(Action::Reject)
            }
            (State::Handshake, SendEvent::ResponseStart { status, headers }) => {
                self.deny(status, headers).map(Action::Deny)
            }
            (State::Handshake, _) => Err(SendError::BeforeAccept(kind)),
            (State::Open, SendEvent::Send { text, bytes }) => match (text, bytes) {
                (Some(text), None) => Ok(Action::Text(text)),
                (None, Some(bytes)) => Ok(Action::Binary(bytes)),
                (None, None) => Err(SendError::Message("neither")),
                (Some(_), Some(_)) => Err(SendError::Message("both")),
            },
            (State::Open, SendEvent::Close { code, reason }) => {
                let close = Close::new(code, reason)?;
                self.state = State::Closed;
                Ok(Action::Close(close))
            }
            (State::Open, _) => Err(SendError::AfterHandshake(kind)),
            (State::Denying(responder), SendEvent::ResponseBody { body, more }) => {
                let action = responder.send(response::SendEvent::Body { body, more })?;
                if responder.is_complete() {
                    self.state = State::Closed;
                }
                Ok(Action::Deny(action))
            }
            (State::Denying(_), _) => Err(SendError::AfterResponse(kind)),
        }
    }

    /// Says what the application's call of `receive` waits for.
    pub fn receive(&mut self) -> Receive {
        if self.connect == Connect::Pending {
            self.connect = Connect::Delivered;
            return Receive::Connect;
        }
        match self.state {
            State::Handshake | State::Denying(_) => Receive::Handshake,
            State::Open => Receive::Message,
            State::Closed | State::Gone => Receive::Disconnect,
        }
    }

    /// Takes note that the peer closed or was lost; what the application sends is an error now.
    pub fn peer_gone(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Gone;
        }
    }

    /// Says what is missing now that the application has ended.
    pub fn finish(&self, ended: Ended) -> Unfinished {
        match &self.state {
            State::Handshake => Unfinished::ServerError,
            State::Open => Unfinished::Close(match ended {
                Ended::Returned => Close::of(NORMAL, ""),
                Ended::Raised => Close::of(INTERNAL_ERROR, ""),
            }),
            State::Denying(responder) => match responder.finish() {
                response::Unfinished::Complete => Unfinished::Complete,
                response::Unfinished::NothingSent | response::Unfinished::HeldStart => {
                    Unfinished::ServerError
                }
                response::Unfinished::Cut => Unfinished::Cut,
            },
            State::Closed | State::Gone => Unfinished::Complete,
        }
    }

    fn accept(&self, subprotocol: Option<String>, headers: Fields) -> Result<HeaderMap, SendError> {
        refuse_handshake_fields(headers.map(), "'websocket.accept'")?;
        let mut headers = headers.into_map();
        // RFC 9110 §8.6: no length on a 1xx.
        headers.remove(CONTENT_LENGTH);
        if let Some(got) = subprotocol {
            let value = HeaderValue::from_str(&got)
                .ok()
                .filter(|_| self.offered.contains(&got));
            let Some(value) = value else {
                return Err(SendError::Subprotocol {
                    offered: self.offered.clone(),
                    got,
                });
            };
            headers
                .try_append(SEC_WEBSOCKET_PROTOCOL, value)
                .map_err(|_| FieldError::TooMany)?;
        }
        Ok(headers)
    }

    fn deny(&mut self, status: i64, headers: Fields) -> Result<response::Action, SendError> {
        refuse_handshake_fields(headers.map(), "'websocket.http.response.start'")?;
        let mut responder = response::Responder::new(response::RequestFacts {
            is_head: false,
            version: self.version,
            trailers: false,
            early_hints: false,
        });
        let start = response::SendEvent::Start {
            status,
            headers,
            trailers: false,
        };
        let action = responder.send(start)?;
        self.state = State::Denying(responder);
        Ok(action)
    }
}

/// The fields of the handshake itself are the server's business.
fn refuse_handshake_fields(headers: &HeaderMap, place: &'static str) -> Result<(), FieldError> {
    let own = [
        SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION,
    ];
    match own.into_iter().find(|name| headers.contains_key(name)) {
        Some(name) => Err(FieldError::Forbidden { name, place }),
        None => Ok(()),
    }
}

fn list(offered: &[String]) -> String {
    if offered.is_empty() {
        "none".into()
    } else {
        offered.join(", ")
    }
}

#[cfg(test)]
mod tests;
