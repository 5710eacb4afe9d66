//! The ASGI rules of an HTTP response (HTTP 2.5, with the extensions early hints, trailers,
//! pathsend and zero-copy send): which event may follow which, and what goes to the client.
//!
//! `http.response.start` is held until the body begins, so that an application that fails in
//! between still becomes a 500. An event that is refused changes nothing.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use thiserror::Error;

use super::fields::{FieldError, Fields};

/// An event that an application sends.
#[derive(Debug)]
pub enum SendEvent {
    /// `http.response.start`.
    Start {
        /// The status as it came; 200 to 599 can be sent.
        status: i64,
        /// The header fields.
        headers: Fields,
        /// Whether `http.response.trailers` will follow the body.
        trailers: bool,
    },
    /// `http.response.body`.
    Body {
        /// A piece of the body, maybe empty.
        body: Bytes,
        /// Whether more pieces follow.
        more: bool,
    },
    /// `http.response.trailers`.
    Trailers {
        /// The trailer fields.
        headers: Fields,
        /// Whether more trailer fields follow.
        more: bool,
    },
    /// `http.response.early_hint`.
    EarlyHint {
        /// One `link` value each (RFC 8288).
        links: Vec<Bytes>,
    },
    /// `http.response.pathsend`. The door opens the file first: one that is missing is its error.
    PathSend {
        /// The absolute path.
        path: PathBuf,
        /// The length of the open file in bytes.
        length: u64,
    },
    /// `http.response.zerocopysend`. The door keeps the file object.
    ZeroCopySend {
        /// Where to begin, in bytes; `None`: at the file's own position.
        offset: Option<u64>,
        /// How many bytes to send; the door computes an absent count from the file's length.
        count: u64,
        /// Whether more pieces follow.
        more: bool,
    },
}

/// What an event means.
#[derive(Debug)]
pub enum Action {
    /// Nothing goes out yet.
    Hold,
    /// Nothing goes out, ever: the response is complete, or the event came too late to be of use.
    Ignore,
    /// Sends `103 Early Hints` with these fields.
    EarlyHint(HeaderMap),
    /// Sends this.
    Write(Write),
}

/// A piece of the response, to be sent in the order head, content, end.
#[derive(Debug)]
pub struct Write {
    /// The head, with the first piece.
    pub head: Option<ResponseHead>,
    /// The bytes.
    pub content: Content,
    /// What comes after them.
    pub then: Then,
    /// How many bytes were cut off because the head declared fewer; 0 when none. To be logged.
    pub excess: u64,
}

/// A response's head, ready to be sent.
#[derive(Debug)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: StatusCode,
    /// The fields; `content-length` only where it was declared or the body is left out.
    pub headers: HeaderMap,
}

/// The bytes of a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// These, maybe none.
    Bytes(Bytes),
    /// The first `length` bytes of the file that the door opened for `http.response.pathsend`.
    Path {
        /// The absolute path.
        path: PathBuf,
        /// How many bytes.
        length: u64,
    },
    /// A range of the file that came with `http.response.zerocopysend`.
    File {
        /// Where to begin, in bytes; `None`: at the file's own position.
        offset: Option<u64>,
        /// How many bytes.
        count: u64,
    },
}

/// What comes after a piece.
#[derive(Debug)]
pub enum Then {
    /// More pieces or trailers.
    More,
    /// The end of the response.
    End,
    /// The end of the response, with these trailer fields.
    Trailers(HeaderMap),
    /// The connection (HTTP/1) or stream (HTTP/2) is cut: fewer bytes came than were declared.
    /// To be logged.
    Short {
        /// The declared length in bytes.
        declared: u64,
        /// How many bytes came.
        got: u64,
    },
}

/// Why an event is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// Something other than the start came first.
    #[error("expected 'http.response.start', got '{0}'")]
    BeforeStart(&'static str),
    /// The response was started already.
    #[error("expected 'http.response.body', got a second 'http.response.start'")]
    SecondStart,
    /// A status that no final response may have.
    #[error("expected a status from 200 to 599, got {0}")]
    Status(i64),
    /// A header field that cannot be sent.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A file by path after, or among, other pieces of the body.
    #[error("expected 'http.response.body', got 'http.response.pathsend' after the body began")]
    PathSendInBody,
    /// A relative path.
    #[error("expected an absolute path in 'http.response.pathsend', got '{}'", .0.display())]
    RelativePath(PathBuf),
    /// The body has ended; only trailers may follow.
    #[error("expected 'http.response.trailers' after the last piece of the body, got '{0}'")]
    AfterBody(&'static str),
    /// Trailers before the body's end.
    #[error("expected the rest of the body, got 'http.response.trailers'")]
    TrailersInBody,
    /// Trailers that the start did not announce.
    #[error("expected 'trailers' to be True in 'http.response.start', got trailers without it")]
    TrailersNotAnnounced,
}

/// What is to be done when the application has ended, by returning or by raising.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Nothing: the response is complete.
    Complete,
    /// A 500: nothing was sent.
    NothingSent,
    /// A 500 in place of the start that is still held.
    HeldStart,
    /// The connection (HTTP/1) or stream (HTTP/2) is cut.
    Cut,
}

/// What of the request and its connection the rules depend on.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts {
    /// The method is `HEAD`.
    pub is_head: bool,
    /// The version of the protocol.
    pub version: Version,
    /// Trailer fields reach the client.
    pub trailers: bool,
    /// 103 can be sent.
    pub early_hints: bool,
}

/// The state of one response.
#[derive(Debug)]
pub struct Responder {
    facts: RequestFacts,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Held(Held),
    Body(Progress),
    /// The body has ended; what came of the trailers.
    Trailers(HeaderMap, Deliver),
    Done,
}

#[derive(Debug)]
struct Held {
    status: StatusCode,
    headers: Fields,
    trailers: bool,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The declared length in bytes.
    declared: Option<u64>,
    /// How many bytes the application gave.
    got: u64,
    trailers: Option<Deliver>,
}

/// Whether announced trailers reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deliver {
    Send,
    Drop,
}

impl SendEvent {}

impl Responder {
    /// A response of which nothing has been sent.
    pub fn new(facts: RequestFacts) -> Self {
        Self {
            facts,
            state: State::Idle,
        }
    }

    /// Takes an event and says what it means.
    ///
    /// # Errors
    /// When the event is out of order or cannot be sent; the state is then what it was, and the
    /// application may go on with another event.
    pub fn send(&mut self, event: SendEvent) -> Result<Action, SendError> {
        if let State::Done = self.state {
            return Ok(Action::Ignore);
        }
        match event {
            SendEvent::Start {
                status,
                headers,
                trailers,
            } => self.start(status, headers, trailers),
            SendEvent::Body { body, more } => {
                self.piece("http.response.body", Content::Bytes(body), more)
            }
            SendEvent::ZeroCopySend {
                offset,
                count,
                more,
            } => self.piece(
                "http.response.zerocopysend",
                Content::File { offset, count },
                more,
            ),
            SendEvent::PathSend { path, length } => {
                if let State::Body(_) = self.state {
                    return Err(SendError::PathSendInBody);
                }
                if !path.is_absolute() {
                    return Err(SendError::RelativePath(path));
                }
                self.piece(
                    "http.response.pathsend",
                    Content::Path { path, length },
                    false,
                )
            }
            SendEvent::Trailers { headers, more } => self.trailers(headers, more),
            SendEvent::EarlyHint { links } => self.early_hint(&links),
        }
    }

    /// Whether an event only ends a body whose every byte was taken before: a client that has
    /// gone misses nothing of it.
    pub fn only_ends(&self, event: &SendEvent) -> bool {
        let State::Body(progress) = &self.state else {
            return false;
        };
        let is_whole = progress
            .declared
            .is_none_or(|declared| progress.got >= declared);
        let is_end = matches!(event, SendEvent::Body { body, more: false } if body.is_empty());
        is_end && is_whole && progress.trailers != Some(Deliver::Send)
    }

    /// Says what is missing now that the application has ended.
    pub fn finish(&self) -> Unfinished {
        match self.state {
            State::Idle => Unfinished::NothingSent,
            State::Held(_) => Unfinished::HeldStart,
            State::Body(_) | State::Trailers(_, Deliver::Send) => Unfinished::Cut,
            State::Trailers(_, Deliver::Drop) | State::Done => Unfinished::Complete,
        }
    }

    /// Whether the response is complete: `receive` then tells of the disconnect.
    pub fn is_complete(&self) -> bool {
        self.finish() == Unfinished::Complete
    }

    /// Whether the head has gone out: a failure can no longer become a 500.
    pub fn is_head_sent(&self) -> bool {
        !matches!(self.state, State::Idle | State::Held(_))
    }

    fn start(&mut self, status: i64, headers: Fields, trailers: bool) -> Result<Action, SendError> {
        if !matches!(self.state, State::Idle) {
            return Err(SendError::SecondStart);
        }
        // Only final statuses: 1xx would leave the client waiting for the real response, and
        // RFC 9110 §15 defines no class above 5xx.
        let parsed = u16::try_from(status)
            .ok()
            .filter(|status| (200..=599).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or(SendError::Status(status))?;
        self.state = State::Held(Held {
            status: parsed,
            headers,
            trailers,
        });
        Ok(Action::Hold)
    }

    fn piece(
        &mut self,
        kind: &'static str,
        content: Content,
        more: bool,
    ) -> Result<Action, SendError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Held(start) => Ok(Action::Write(self.first_piece(start, content, more))),
            State::Body(progress) => Ok(Action::Write(
                self.next_piece(None, progress, content, more),
            )),
            state => {
                let error = match state {
                    State::Idle => SendError::BeforeStart(kind),
                    _ => SendError::AfterBody(kind),
                };
                self.state = state;
                Err(error)
            }
        }
    }

    fn first_piece(&mut self, start: Held, content: Content, more: bool) -> Write {
        let declared = start.headers.content_length();
        let close = start.headers.wants_close() && self.is_http1();
        let mut head = ResponseHead {
            status: start.status,
            headers: start.headers.into_map(),
        };
        if close {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let whole = (!more).then(|| content.length());
        // RFC 9112 §6.3: these never have a body, whatever their fields say.
        let bodyless = matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if bodyless {
            head.headers.remove(CONTENT_LENGTH);
        } else if declared.is_none()
            && let (Some(length), true) = (
                whole,
                self.facts.is_head || !start.trailers && !matches!(content, Content::Bytes(_)),
            )
        {
            // As the answer to GET would have it (RFC 9110 §8.6).
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if bodyless || self.facts.is_head {
            return Write {
                head: Some(head),
                content: Content::Bytes(Bytes::new()),
                then: Then::End,
                excess: 0,
            };
        }
        // HTTP/1 trailers need the chunked coding, which a declared length rules out.
        let deliver = if self.facts.trailers && (declared.is_none() || !self.is_http1()) {
            Deliver::Send
        } else {
            Deliver::Drop
        };
        let progress = Progress {
            declared,
            got: 0,
            trailers: start.trailers.then_some(deliver),
        };
        self.next_piece(Some(head), progress, content, more)
    }

    fn next_piece(
        &mut self,
        mut head: Option<ResponseHead>,
        mut progress: Progress,
        mut content: Content,
        more: bool,
    ) -> Write {
        let length = content.length();
        let room = progress
            .declared
            .map_or(u64::MAX, |declared| declared - progress.got);
        let excess = length.saturating_sub(room);
        if excess > 0 {
            content.truncate(room);
            // The client has all that was declared; the connection is not worth keeping.
            if let Some(head) = head.as_mut().filter(|_| self.is_http1()) {
                head.headers
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        progress.got = progress.got.saturating_add(length - excess);
        let then = if more && excess == 0 {
            self.state = State::Body(progress);
            Then::More
        } else {
            self.after_body(progress, excess)
        };
        Write {
            head,
            content,
            then,
            excess,
        }
    }

    fn after_body(&mut self, progress: Progress, excess: u64) -> Then {
        self.state = State::Done;
        match (progress.declared, progress.trailers) {
            (Some(declared), _) if progress.got < declared => Then::Short {
                declared,
                got: progress.got,
            },
            (_, Some(deliver)) if excess == 0 => {
                self.state = State::Trailers(HeaderMap::new(), deliver);
                match deliver {
                    Deliver::Send => Then::More,
                    Deliver::Drop => Then::End,
                }
            }
            _ => Then::End,
        }
    }

    fn trailers(&mut self, headers: Fields, more: bool) -> Result<Action, SendError> {
        let (collected, deliver) = match &mut self.state {
            State::Trailers(collected, deliver) => (collected, *deliver),
            State::Idle => return Err(SendError::BeforeStart("http.response.trailers")),
            State::Held(Held { trailers: true, .. })
            | State::Body(Progress {
                trailers: Some(_), ..
            }) => {
                return Err(SendError::TrailersInBody);
            }
            _ => return Err(SendError::TrailersNotAnnounced),
        };
        if let Some(name) = headers.map().keys().find(|name| !may_trail(name)) {
            let name = name.clone();
            return Err(FieldError::Forbidden {
                name,
                place: "the trailers",
            }
            .into());
        }
        let headers = headers.into_map();
        if collected.is_empty() {
            *collected = headers;
        } else {
            for (name, value) in &headers {
                collected
                    .try_append(name.clone(), value.clone())
                    .map_err(|_| FieldError::TooMany)?;
            }
        }
        let fields = if more {
            None
        } else {
            Some(std::mem::take(collected))
        };
        if fields.is_some() {
            self.state = State::Done;
        }
        Ok(match (deliver, fields) {
            (Deliver::Drop, _) => Action::Ignore,
            (Deliver::Send, None) => Action::Hold,
            (Deliver::Send, Some(fields)) => Action::Write(Write {
                head: None,
                content: Content::Bytes(Bytes::new()),
                then: Then::Trailers(fields),
                excess: 0,
            }),
        })
    }

    fn early_hint(&self, links: &[Bytes]) -> Result<Action, SendError> {
        let mut fields = Fields::with_capacity(links.len());
        for link in links {
            fields.push(LINK.as_str().as_bytes(), link)?;
        }
        // RFC 8297: an interim response comes before the final one.
        if self.is_head_sent() || !self.facts.early_hints || links.is_empty() {
            return Ok(Action::Ignore);
        }
        Ok(Action::EarlyHint(fields.into_map()))
    }

    fn is_http1(&self) -> bool {
        self.facts.version < Version::HTTP_2
    }
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Path { length, .. } => *length,
            Self::File { count, .. } => *count,
        }
    }

    fn truncate(&mut self, to: u64) {
        match self {
            Self::Bytes(bytes) => {
                if let Ok(to) = usize::try_from(to) {
                    bytes.truncate(to);
                }
            }
            Self::Path { length, .. } => *length = (*length).min(to),
            Self::File { count, .. } => *count = (*count).min(to),
        }
    }
}

/// RFC 9110 §6.5.1: fields that frame, route, authenticate or describe the content have no
/// meaning after it.
fn may_trail(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "content-length"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "host"
            | "trailer"
            | "te"
            | "authorization"
            | "proxy-authorization"
            | "www-authenticate"
            | "proxy-authenticate"
            | "set-cookie"
            | "cookie"
            | "cache-control"
            | "expires"
            | "age"
            | "date"
            | "location"
            | "retry-after"
            | "vary"
    )
}

#[cfg(test)]
mod tests;
