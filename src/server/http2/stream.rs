//! The life of one stream after its request was accepted: ask the application, send its answer.

use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};

use crate::message::body::{Aborted, ResponseBody};
use crate::message::head::Head;
use crate::server::access_log::Entry;
use crate::server::application::{
    Answer, AnswerFuture, Application, Called, Exchange, Fault, UpgradeHandler,
};
use crate::server::planted;
use crate::server::response::{Measured, bare};

use super::date;
use super::exchange::StreamState;
use super::upgraded::Upgraded;

/// How much of a response is asked room for at once.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// One stream, from the call of the application to the end of its answer.
pub(super) struct Stream<A> {
    pub(super) state: Open,
    pub(super) app: Rc<A>,
    pub(super) respond: SendResponse<Bytes>,
    /// The request was HEAD.
    pub(super) is_head: bool,
    /// The request's body, if the stream may become a WebSocket.
    pub(super) upgrade: Option<RecvStream>,
    pub(super) entry: Option<Entry>,
}

/// What of a stream's life has to wait for something; dropping it drops the application's part.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// Tells the connection that the stream is over, however it ends.
pub(super) struct Open(pub(super) Rc<StreamState>);

impl Deref for Open {
    type Target = Rc<StreamState>;

    fn deref(&self) -> &Rc<StreamState> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// How the sending of a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Completely,
    /// The client has gone or reset the stream; nothing more can be said.
    Gone,
    /// The stream has to be reset for this reason.
    Broken(Reason),
}

impl<A: Application> Stream<A> {
    /// Asks the application and answers, all at once if nothing has to wait: no future is made
    /// then, and none is moved.
    pub(super) fn start(mut self, head: Head, exchange: impl Exchange) -> Option<Rest> {
        match unwinding(&*self.app, || self.app.call(head, exchange)) {
            None => self.answer(panicked()),
            Some(Called::Answered(answer)) => {
                self.send_interim();
                self.answer(answer)
            }
            Some(Called::Waiting(call)) => Some(Box::pin(async move {
                let Some(answer) = self.wait(call).await else {
                    return;
                };
                if let Some(rest) = self.answer(answer) {
                    rest.await;
                }
            })),
        }
    }

    /// Waits for the application's answer, or until the client resets the stream: `None`.
    async fn wait(&mut self, mut call: AnswerFuture) -> Option<Answer> {
        poll_fn(|cx| {
            let Some(answer) = unwinding(&*self.app, || call.as_mut().poll(cx)) else {
                return Poll::Ready(Some(panicked()));
            };
            if answer.is_pending() && self.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            self.send_interim();
            if answer.is_pending() {
                self.state.set_task(cx);
            }
            answer.map(Some)
        })
        .await
    }

    fn answer(mut self, answer: Answer) -> Option<Rest> {
        self.state.answered();
        if let Some(mut entry) = self.entry.take() {
            if let Some(client) = self.state.take_client() {
                entry.came_for(client);
            }
            match &answer {
                Answer::Response(response) => entry.answered(response.status()),
                Answer::Upgrade(..) => entry.answered(StatusCode::OK),
                Answer::Abort => {}
            }
        }
        match answer {
            Answer::Abort => {
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                None
            }
            Answer::Response(response) => {
                let (parts, body) = response.into_parts();
                self.send(parts, body)
            }
            Answer::Upgrade(fields, handler) => Some(Box::pin(self.upgrade(fields, handler))),
        }
    }

    fn send_interim(&mut self) {
        for interim in self.state.take_interim() {
            // It fails only for fields that HTTP/2 forbids; a hint is not worth more.
            let _ = self.respond.send_informational(interim);
        }
    }

    fn send(mut self, mut parts: Parts, body: ResponseBody) -> Option<Rest> {
        planted::point("http2 answer");
        if parts.status.is_informational() {
            return self.ended(Sent::Broken(Reason::INTERNAL_ERROR));
        }
        remove_connection_fields(&mut parts.headers);
        let bodiless = self.is_head
            || parts.status == StatusCode::NO_CONTENT
            || parts.status == StatusCode::NOT_MODIFIED;
        let known = match &body {
            ResponseBody::Empty => Some(0),
            ResponseBody::Full(bytes) => Some(bytes.len() as u64),
            ResponseBody::Stream(_) => None,
        };
        if parts.status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6
            parts.headers.remove(CONTENT_LENGTH);
        }
        let declared = parts.headers.get(CONTENT_LENGTH);
        let is_declared = declared.is_some();
        let fits = declared.is_none_or(|value| {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            length.is_some() && length == known
        });
        if let (Some(known), false, false) = (known, is_declared, bodiless) {
            let known = HeaderValue::from(known);
            parts.headers.insert(CONTENT_LENGTH, known);
        }
        if !parts.headers.contains_key(DATE) {
            parts.headers.insert(DATE, date::now());
        }
        let end = bodiless || known == Some(0) && !is_declared;
        let body = match body {
            ResponseBody::Full(bytes) if fits => Outgoing::Full(bytes),
            body if is_declared && !end => {
                let app = Rc::clone(&self.app);
                Outgoing::Measured(Measured::new(&parts, body, self.is_head, app))
            }
            body => Outgoing::Stream(body),
        };
        let response = Response::from_parts(parts, ());
        let Ok(mut stream) = self.respond.send_response(response, end) else {
            return self.ended(Sent::Broken(Reason::INTERNAL_ERROR));
        };
        if end {
            return self.ended(Sent::Completely);
        }
        if let Outgoing::Full(bytes) = &body
            && let Some(sent) = send_at_once(&mut stream, bytes)
        {
            return self.ended(sent);
        }
        Some(Box::pin(async move {
            let (app, state) = (&*self.app, &*self.state);
            let sent = match body {
                Outgoing::Full(bytes) => send_data(&mut stream, bytes, true, state).await,
                Outgoing::Stream(body) => send_stream(&mut stream, body, app, state).await,
                Outgoing::Measured(body) => send_stream(&mut stream, body, app, state).await,
            };
            self.ended(sent);
        }))
    }

    /// The response has been sent as far as it could be: nothing is left.
    fn ended(mut self, sent: Sent) -> Option<Rest> {
        match sent {
            Sent::Completely => self.state.completed(),
            Sent::Gone => {}
            Sent::Broken(reason) => self.respond.send_reset(reason),
        }
        None
    }

    async fn upgrade(mut self, fields: HeaderMap, handler: UpgradeHandler) {
        let Some(receive) = self.upgrade.take() else {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        };
        let mut response = Response::new(());
        *response.headers_mut() = fields;
        remove_connection_fields(response.headers_mut());
        match self.respond.send_response(response, false) {
            Ok(send) => {
                let io = Upgraded::new(receive, send, Rc::clone(&self.state));
                handler(Box::new(io)).await;
            }
            Err(_) => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

/// What the client hears when our code or the application's panicked.
fn panicked() -> Answer {
    Answer::Response(bare(StatusCode::INTERNAL_SERVER_ERROR))
}

/// A body on its way, by what it still needs.
enum Outgoing<A: Application> {
    Full(Bytes),
    Stream(ResponseBody),
    /// It declared a length, which has to be kept.
    Measured(Measured<A>),
}

/// Calls our code or the application's; `None` when it panicked, which the application hears of.
fn unwinding<A: Application, T>(app: &A, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(run));
    if result.is_err() {
        app.report(Fault::Panicked);
    }
    result.ok()
}

/// Sends a body as it is made.
async fn send_stream<A: Application>(
    stream: &mut SendStream<Bytes>,
    mut body: impl Body<Data = Bytes, Error = Aborted> + Unpin,
    app: &A,
    state: &Rc<StreamState>,
) -> Sent {
    loop {
        let next = poll_fn(|cx| {
            let polled = unwinding(app, || Pin::new(&mut body).poll_frame(cx));
            match polled.unwrap_or(Poll::Ready(Some(Err(Aborted)))) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                // The client may reset the stream before the next frame is made.
                Poll::Pending => stream.poll_reset(cx).map(|_| None),
            }
        });
        let Some(frame) = next.await else {
            return Sent::Gone;
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let end = body.is_end_stream();
                let sent = send_data(stream, data, end, state).await;
                if end || sent != Sent::Completely {
                    return sent;
                }
            }
            Some(Ok(Err(frame))) => {
                let Ok(mut trailers) = frame.into_trailers() else {
                    continue;
                };
                remove_connection_fields(&mut trailers);
                if trailers.is_empty() {
                    return end_stream(stream);
                }
                return match stream.send_trailers(trailers) {
                    Ok(()) => Sent::Completely,
                    Err(_) => Sent::Gone,
                };
            }
            Some(Err(Aborted)) => return Sent::Broken(Reason::INTERNAL_ERROR),
            None => return end_stream(stream),
        }
    }
}

fn end_stream(stream: &mut SendStream<Bytes>) -> Sent {
    match stream.send_data(Bytes::new(), true) {
        Ok(()) => Sent::Completely,
        Err(_) => Sent::Gone,
    }
}

/// Hands a whole body to `h2`; `None` when there is no room for it yet.
fn send_at_once(stream: &mut SendStream<Bytes>, data: &Bytes) -> Option<Sent> {
    if data.len() > PIECE_BYTES {
        return None;
    }
    stream.reserve_capacity(data.len());
    if stream.capacity() < data.len() {
        return None;
    }
    Some(match stream.send_data(data.clone(), true) {
        Ok(()) => Sent::Completely,
        Err(_) => Sent::Gone,
    })
}

/// Hands `data` to `h2` as fast as the client's windows and the send buffer allow.
async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
    state: &Rc<StreamState>,
) -> Sent {
    if data.is_empty() {
        return if end {
            end_stream(stream)
        } else {
            Sent::Completely
        };
    }
    while !data.is_empty() {
        let wanted = data.len().min(PIECE_BYTES);
        match poll_fn(|cx| poll_capacity(stream, wanted, state, cx)).await {
            Capacity::Bytes(length) => {
                let piece = data.split_to(length);
                if stream.send_data(piece, end && data.is_empty()).is_err() {
                    return Sent::Gone;
                }
            }
            Capacity::Gone => return Sent::Gone,
            Capacity::Stalled => return Sent::Broken(Reason::CANCEL),
        }
    }
    Sent::Completely
}

/// What a stream may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    /// This many bytes, at least one, at most as many as wanted.
    Bytes(usize),
    /// Nothing any more: the stream or its connection is over.
    Gone,
    /// Nothing for too long.
    Stalled,
}

/// Polls for the right to send up to `wanted` bytes.
pub(super) fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    state: &Rc<StreamState>,
    cx: &mut Context<'_>,
) -> Poll<Capacity> {
    stream.reserve_capacity(wanted);
    let mut capacity = stream.capacity();
    if capacity == 0 {
        if state.sending.expired() {
            return Poll::Ready(Capacity::Stalled);
        }
        state.sending.wait(cx);
        state.watch();
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(granted)) => capacity = granted,
            Some(Err(_)) | None => return Poll::Ready(Capacity::Gone),
        }
    }
    let granted = capacity.min(wanted);
    state.sending.progress(granted);
    Poll::Ready(Capacity::Bytes(granted))
}

/// Removes what RFC 9113 §8.2.2 forbids; an application written for HTTP/1.1 may send it.
pub(super) fn remove_connection_fields(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    let forbidden = [
        &CONNECTION,
        &TRANSFER_ENCODING,
        &UPGRADE,
        &TE,
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
    ];
    if headers.keys().any(|name| forbidden.contains(&name)) {
        for name in forbidden {
            headers.remove(name);
        }
    }
}
