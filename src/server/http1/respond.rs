//! From a request that hyper has parsed to the response that hyper writes.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request,
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

use super::super::access_log::Entry;
use super::super::application::{
    Answer, AnswerFuture, Application, Called, Exchange, Fault, UpgradeHandler,
};
use super::super::planted;
use super::super::response::{Measured, bare};
use super::Shared;
use super::exchange::Http1Exchange;
use crate::message::body::{Aborted, BodyError, ResponseBody};
use crate::message::head::Head;
use crate::protocol::websocket::handshake::{self, Handshake, HandshakeError};

/// hyper's service: the application, behind what HTTP/1 itself has to say.
pub(super) struct Answerer<A> {
    app: Rc<A>,
    shared: Rc<Shared>,
}

impl<A: Application> Answerer<A> {
    /// Answers the requests of one connection.
    pub(super) fn new(app: Rc<A>, shared: Rc<Shared>) -> Self {
        Self { app, shared }
    }
}

impl<A: Application> Service<Request<Incoming>> for Answerer<A> {
    type Response = Response<Http1Body<A>>;
    type Error = Aborted;
    type Future = Answering<A>;

    fn call(&self, request: Request<Incoming>) -> Answering<A> {
        let shared = &self.shared;
        shared.begin_request();
        planted::point("http1 request");
        let (mut parts, incoming) = request.into_parts();
        // RFC 9112 §3.2.2: the authority of an absolute target replaces Host.
        if let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(header::HOST, host);
        }
        let (handshake, refused) = match websocket_handshake(&parts) {
            Ok(handshake) => (handshake.map(Box::new), None),
            Err(error) => (None, Some(error)),
        };
        let finishing = Finishing {
            app: Rc::clone(&self.app),
            shared: Rc::clone(shared),
            entry: shared.limits.access_log.as_ref().map(|log| {
                let peer = &shared.connection.peer;
                log.begin(peer, &parts.method, &parts.uri, parts.version)
            }),
            is_head: parts.method == Method::HEAD,
            handshake,
        };
        if let Some(error) = refused {
            return finishing.answered(Answer::Response(refused_handshake(error)));
        }
        let is_websocket = finishing.handshake.is_some();
        let exchange = Http1Exchange::new(incoming, &parts, is_websocket, Rc::clone(shared));
        let head = Head::new(parts, Arc::clone(&shared.connection));
        if exchange.is_body_end() {
            finishing.ask(head, exchange)
        } else {
            Answering::Unasked(Some((head, exchange, finishing)))
        }
    }
}

/// The way from a request to its response.
#[expect(
    clippy::large_enum_variant,
    reason = "hyper has one in a box of its own; another box would be an allocation a request"
)]
pub(super) enum Answering<A: Application> {
    /// The request has a body: hyper looks for its first bytes before it polls this, so the
    /// application finds them when it is called and need not wait.
    Unasked(Option<(Head, Http1Exchange, Finishing<A>)>),
    /// The application answered at once.
    Answered(Option<Result<Response<Http1Body<A>>, Aborted>>),
    /// The application waits for something.
    Waiting(Option<(AnswerFuture, Finishing<A>)>),
}

impl<A: Application> Future for Answering<A> {
    type Output = Result<Response<Http1Body<A>>, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED_AGAIN: &str = "a future that is ready is not polled";
        if let Self::Unasked(request) = &mut *self {
            let (head, exchange, finishing) = request.take().expect(POLLED_AGAIN);
            *self = finishing.ask(head, exchange);
        }
        match &mut *self {
            Self::Unasked(_) => Poll::Pending,
            Self::Answered(response) => Poll::Ready(response.take().expect(POLLED_AGAIN)),
            Self::Waiting(rest) => {
                let (call, finishing) = rest.as_mut().expect(POLLED_AGAIN);
                let answer = match finishing.shared.fault.get() {
                    Some(fault) => Answer::Response(refusal(fault)),
                    None => match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
                        Ok(answer) => ready!(answer),
                        Err(_panic) => finishing.panicked(),
                    },
                };
                let (_call, finishing) = rest.take().expect(POLLED_AGAIN);
                Poll::Ready(finishing.finish(answer))
            }
        }
    }
}

/// What makes a response of the application's answer.
pub(super) struct Finishing<A> {
    app: Rc<A>,
    shared: Rc<Shared>,
    entry: Option<Entry>,
    is_head: bool,
    /// Of a request that asks for a WebSocket.
    handshake: Option<Box<Handshake>>,
}

impl<A: Application> Finishing<A> {
    /// Calls the application.
    fn ask(self, head: Head, exchange: Http1Exchange) -> Answering<A> {
        if let Some(fault) = self.shared.fault.get() {
            return self.answered(Answer::Response(refusal(fault)));
        }
        match catch_unwind(AssertUnwindSafe(|| self.app.call(head, exchange))) {
            Ok(Called::Answered(answer)) => self.answered(answer),
            Ok(Called::Waiting(call)) => Answering::Waiting(Some((call, self))),
            Err(_panic) => {
                let answer = self.panicked();
                self.answered(answer)
            }
        }
    }

    fn answered(self, answer: Answer) -> Answering<A> {
        Answering::Answered(Some(self.finish(answer)))
    }

    fn finish(mut self, answer: Answer) -> Result<Response<Http1Body<A>>, Aborted> {
        let shared = self.shared;
        if let Some(entry) = &mut self.entry
            && let Some(client) = shared.client.take()
        {
            entry.came_for(client);
        }
        let response = match answer {
            Answer::Response(mut response) => {
                if shared.is_last() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                response
            }
            Answer::Upgrade(fields, handler) => {
                let handshake = self.handshake.ok_or(Aborted)?;
                switching_protocols(&shared, *handshake, fields, handler)
            }
            Answer::Abort => {
                shared.end_request();
                return Err(Aborted);
            }
        };
        let (parts, body) = response.into_parts();
        if let Some(entry) = &mut self.entry {
            entry.answered(parts.status);
        }
        let body = Http1Body {
            inner: Measured::new(&parts, body, self.is_head, self.app),
            shared,
        };
        Ok(Response::from_parts(parts, body))
    }

    fn panicked(&self) -> Answer {
        self.app.report(Fault::Panicked);
        Answer::Response(bare(StatusCode::INTERNAL_SERVER_ERROR))
    }
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
        BodyError::TooLarge { .. } | BodyError::Inflated { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Malformed | BodyError::Gone | BodyError::Undecodable => StatusCode::BAD_REQUEST,
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
