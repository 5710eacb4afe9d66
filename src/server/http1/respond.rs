//! From a request that hyper has parsed to the response that hyper writes.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::application::{Answer, Application, Fault, UpgradeHandler};
use super::super::response::{Measured, bare};
use super::Shared;
use super::exchange::Http1Exchange;
use crate::message::body::{Aborted, BodyError, ResponseBody};
use crate::message::head::Head;

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
    let exchange = Http1Exchange::new(incoming, &parts, Rc::clone(&shared));
    let is_head = parts.method == Method::HEAD;
    let accept_key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let head = Head::new(parts, Arc::clone(&shared.connection));
    let answer = {
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
        Answer::Upgrade(fields, handler) => switching_protocols(&shared, accept_key, fields, handler)?,
        Answer::Abort => {
            shared.end_request();
            return Err(Aborted);
        }
    };
    let (parts, body) = response.into_parts();
    let body = Http1Body {
        inner: Measured::new(&parts, body, is_head, app),
        shared,
    };
    Ok(Response::from_parts(parts, body))
}

/// RFC 6455 §4.2.2.
fn switching_protocols(
    shared: &Shared,
    key: Option<HeaderValue>,
    mut fields: HeaderMap,
    handler: UpgradeHandler,
) -> Result<Response<ResponseBody>, Aborted> {
    let key = key.ok_or(Aborted)?;
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).map_err(|_| Aborted)?;
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    shared.upgrade.replace(Some(handler));
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fields;
    Ok(response)
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
