//! A request's body and its interim responses on HTTP/1.

use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version, header, request};
use http_body::Body;
use hyper::body::Incoming;

use super::super::application::{Capabilities, Exchange};
use super::super::planted;
use super::super::watch::Phase;
use super::Shared;
use crate::message::body::BodyError;
use crate::message::head::Endpoint;

/// Small pieces of a chunked body are gathered up to this size before the application sees them,
/// so that a body of one-byte chunks does not cost it a call each.
const GATHER: usize = 16 * 1024;

/// [`Exchange`] over hyper's incoming body.
pub(super) struct Http1Exchange {
    body: Incoming,
    shared: Rc<Shared>,
    gathered: BytesMut,
    /// Whether hyper had one more turn since the last piece, to find the next.
    looked_again: bool,
    ended: bool,
    capabilities: Capabilities,
}

impl Http1Exchange {
    pub(super) fn new(
        body: Incoming,
        parts: &request::Parts,
        websocket: bool,
        shared: Rc<Shared>,
    ) -> Self {
        let ended = body.is_end_stream();
        let is_http11 = parts.version == Version::HTTP_11;
        Self {
            body,
            shared,
            gathered: BytesMut::new(),
            looked_again: false,
            ended,
            capabilities: Capabilities {
                early_hints: is_http11,
                trailers: is_http11 && lists(&parts.headers, &header::TE, "trailers"),
                websocket,
            },
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

/// What hyper found wrong with a body: its own limits on trailers, or a peer that has gone.
fn fault_of(error: &hyper::Error) -> BodyError {
    let cause = std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    match cause {
        Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput) => {
            BodyError::Malformed
        }
        _ => BodyError::Gone,
    }
}

/// Whether a comma-separated field has this token (RFC 9110 §5.6.1).
fn lists(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

impl Exchange for Http1Exchange {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        planted::point("http1 body");
        loop {
            if let Some(fault) = self.shared.fault.get() {
                return self.fail(fault);
            }
            if self.ended {
                return if self.gathered.is_empty() {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Ok(self.gathered.split().freeze())))
                };
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if self.shared.activity.phase() == Phase::Body {
                        self.shared.activity.enter(Phase::Handling);
                    }
                    let Ok(data) = frame.into_data() else {
                        continue; // trailer fields of a request reach nobody (RFC 9110 §6.5.1)
                    };
                    self.looked_again = false;
                    self.ended = self.body.is_end_stream();
                    if self.gathered.is_empty() && (data.len() >= 1024 || self.ended) {
                        return Poll::Ready(Some(Ok(data)));
                    }
                    self.gathered.extend_from_slice(&data);
                    if self.gathered.len() >= GATHER {
                        return Poll::Ready(Some(Ok(self.gathered.split().freeze())));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = self.shared.fault.get().unwrap_or_else(|| fault_of(&error));
                    if error == BodyError::Malformed {
                        self.shared.fault.set(Some(error));
                    }
                    return self.fail(error);
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if self.gathered.is_empty() => {
                    if self.shared.activity.phase() == Phase::Handling {
                        self.shared.activity.enter(Phase::Body);
                    }
                    return Poll::Pending;
                }
                Poll::Pending if self.looked_again => {
                    return Poll::Ready(Some(Ok(self.gathered.split().freeze())));
                }
                Poll::Pending => {
                    self.looked_again = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_body_end(&self) -> bool {
        self.ended && self.gathered.is_empty()
    }

    fn body_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    fn early_hints(&mut self, fields: HeaderMap) {
        // Behind output that is stuck a hint would come out of order, and too late to be of use.
        if !self.capabilities.early_hints || self.shared.activity.is_write_blocked() {
            return;
        }
        let mut interim = self.shared.interim.borrow_mut();
        interim.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for (name, value) in &fields {
            let _ = write!(interim, "{name}: ");
            interim.extend_from_slice(value.as_bytes());
            interim.extend_from_slice(b"\r\n");
        }
        interim.extend_from_slice(b"\r\n");
        self.shared.activity.wake();
    }

    fn came_for(&mut self, client: &Endpoint) {
        if self.shared.limits.access_log.is_some() {
            self.shared.client.replace(Some(client.clone()));
        }
    }

    fn close_after(&mut self) {
        self.shared.close_after.set(true);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}
