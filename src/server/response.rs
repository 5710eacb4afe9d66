//! What every protocol version asks of a response: the length that it declares is the length sent.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, response};
use http_body::{Body, Frame, SizeHint};

use super::application::{Application, Fault};
use crate::message::body::{Aborted, ResponseBody};

/// A response without a body, for what the protocol layer itself has to say.
pub fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    let zero = HeaderValue::from_static("0");
    response.headers_mut().insert(header::CONTENT_LENGTH, zero);
    response
}

/// A response body held to its `content-length`: more is left out, less cuts the response, and
/// the application hears of both.
#[derive(Debug)]
pub struct Measured<A: Application> {
    inner: ResponseBody,
    /// The declared length and what is left of it; `None` when nothing was declared.
    declared: Option<Declared>,
    app: Rc<A>,
}

#[derive(Clone, Copy, Debug)]
struct Declared {
    length: u64,
    left: u64,
    excess_reported: bool,
}

impl<A: Application> Measured<A> {
    /// Measures `body` by the head it goes with; with `is_head` or a status that has no body
    /// nothing is sent, whatever the head declares (RFC 9110 §9.3.2, §6.4.1).
    pub fn new(parts: &response::Parts, body: ResponseBody, is_head: bool, app: Rc<A>) -> Self {
        let bodiless = is_head
            || parts.status.is_informational()
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let declared = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .filter(|_| !bodiless)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            inner: body,
            declared: declared.map(|length| Declared {
                length,
                left: length,
                excess_reported: false,
            }),
            app,
        }
    }
}

impl<A: Application> Body for Measured<A> {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = &mut *self;
        loop {
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
            let Some(declared) = &mut this.declared else {
                return Poll::Ready(frame);
            };
            let frame = match frame {
                None if declared.left > 0 => {
                    this.app.report(Fault::BodyTooShort {
                        missing: declared.left,
                    });
                    return Poll::Ready(Some(Err(Aborted)));
                }
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let left = usize::try_from(declared.left).unwrap_or(usize::MAX);
            if data.len() > left {
                data.truncate(left);
                if !declared.excess_reported {
                    declared.excess_reported = true;
                    this.app.report(Fault::BodyTooLong {
                        declared: declared.length,
                    });
                }
            }
            declared.left -= data.len() as u64;
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.declared {
            None => self.inner.is_end_stream(),
            Some(declared) => declared.left == 0 && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            None => self.inner.size_hint(),
            Some(declared) => SizeHint::with_exact(declared.left),
        }
    }
}
