//! From a request that hyper has parsed to the response that hyper writes.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request,
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::super::application::{Answer, Application, Fault, UpgradeHandler};
use super::super::response::{Measured, bare};
use super::Shared;
use super::exchange::Http1Exchange;
use crate::message::body::{Aborted, BodyError, ResponseBody};
use crate::message::head::Head;
use crate::protocol::websocket::handshake::{self, Handshake, HandshakeError};

/// Answers one request: hyper's service.
pub(super) async fn answer<A: Application>(
    app: Rc<A>,
    shared: Rc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Http1Body<A>>, Aborted> {
    shared.begin_request();
    let (mut parts, incoming) = request.into_parts();
    // RFC 9112 §3.2.2: the authority of an absolute target replaces Host.
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    let mut entry = shared.limits.access_log.as_ref().map(|log| {
        log.begin(
            &shared.connection.peer,
            &parts.method,
            &parts.uri,
            parts.version,
        )
    });
    let is_head = parts.method == Method::HEAD;
    let handshake = websocket_handshake(&parts);
    let websocket = matches!(handshake, Ok(Some(_)));
    let exchange = Http1Exchange::new(incoming, &parts, websocket, Rc::clone(&shared));
    let head = Head::new(parts, Arc::clone(&shared.connection));
    let answer = if let Err(error) = handshake {
        Ok(Ok(Answer::Response(refused_handshake(error))))
    } else {
        let mut call = pin!(AssertUnwindSafe(app.call(head, exchange)).catch_unwind());
        poll_fn(|cx| match shared.fault.get() {
            Some(fault) => Poll::Ready(Err(fault)),
            None => call.as_mut().poll(cx).map(Ok),
        })
        .await
    };
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => {
            app.report(Fault::Panicked);
            Answer::Response(bare(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Err(fault) => Answer::Response(refusal(fault)),
    };
    let response = match answer {
        Answer::Response(mut response) => {
            if shared.is_last() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
        Answer::Upgrade(fields, handler) => {
            let handshake = handshake.ok().flatten().ok_or(Aborted)?;
            switching_protocols(&shared, handshake, fields, handler)
        }
        Answer::Abort => {
            shared.end_request();
            return Err(Aborted);
        }
    };
    let (parts, body) = response.into_parts();
    if let Some(entry) = &mut entry {
        entry.answered(parts.status);
    }
    let body = Http1Body {
        inner: Measured::new(&parts, body, is_head, app),
        shared,
    };
    Ok(Response::from_parts(parts, body))
}

/// The WebSocket handshake of a request that asks for one. HTTP/1.0 has no upgrade (RFC 9110
/// §7.8), so there it is an ordinary request.
fn websocket_handshake(parts: &request::Parts) -> Result<Option<Handshake>, HandshakeError> {
    if parts.version != Version::HTTP_11 || !handshake::is_upgrade(&parts.headers) {
        return Ok(None);
    }
    Handshake::upgrade(&parts.method, parts.version, &parts.headers).map(Some)
}

/// RFC 6455 §4.4.
fn refused_handshake(error: HandshakeError) -> Response<ResponseBody> {
    let mut response = bare(error.status());
    response.headers_mut().extend(error.headers());
    response
}

/// RFC 6455 §4.2.2.
fn switching_protocols(
    shared: &Shared,
    handshake: Handshake,
    mut fields: HeaderMap,
    handler: UpgradeHandler,
) -> Response<ResponseBody> {
    shared.upgrade.replace(Some(handler));
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = handshake.status();
    handshake.accept(&mut fields);
    *response.headers_mut() = fields;
    response
}

/// What a client hears whose body broke the rules before the application had answered.
fn refusal(fault: BodyError) -> Response<ResponseBody> {
    let mut response = bare(match fault {
        BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Malformed | BodyError::Gone => StatusCode::BAD_REQUEST,
    });
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// A response body that keeps the connection's state true.
pub(super) struct Http1Body<A: Application> {
    inner: Measured<A>,
    shared: Rc<Shared>,
}

impl<A: Application> Body for Http1Body<A> {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.shared.fault.get().is_some() {
            return Poll::Ready(Some(Err(Aborted)));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<A: Application> Drop for Http1Body<A> {
    fn drop(&mut self) {
        self.shared.end_request();
    }
}
