//! One stream's side of the [`Exchange`] seam, and what it shares with the stream's task.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode};

use crate::message::body::BodyError;
use crate::message::head::Endpoint;
use crate::server::application::{Capabilities, Exchange};

use super::stall::Stall;
use super::streams::Streams;

/// Pieces of a request body shorter than this are joined with what else is there: a client may
/// send one byte a frame, and each piece costs the application far more than a copy.
const COALESCE_BELOW: usize = 4 * 1024;
/// How much is joined at most.
const COALESCED_BYTES: usize = 64 * 1024;

/// What a stream's task, its exchange and the connection's clock share.
#[derive(Debug)]
pub(super) struct StreamState {
    streams: Rc<Streams>,
    /// Whether the connection's clock looks at this stream.
    watched: Cell<Option<usize>>,
    /// The client lets our data through too slowly.
    pub(super) sending: Stall,
    /// The client sends its body too slowly.
    pub(super) receiving: Stall,
    /// Whether `receiving` is judged at all.
    pub(super) body_timed: bool,
    /// Interim responses that the stream's task has yet to send; `None` once it is too late.
    interim: RefCell<Option<Vec<Response<()>>>>,
    /// The stream's task.
    waker: RefCell<Option<Waker>>,
    /// On whose behalf a proxy sent the request, for the access log.
    client: RefCell<Option<Endpoint>>,
}

impl StreamState {
    pub(super) fn new(streams: Rc<Streams>, body_timed: bool) -> Rc<Self> {
        streams.opened();
        Rc::new(Self {
            streams,
            watched: Cell::new(None),
            sending: Stall::default(),
            receiving: Stall::default(),
            body_timed,
            interim: RefCell::new(Some(Vec::new())),
            client: RefCell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// Asks the connection's clock to look at this stream from now on.
    pub(super) fn watch(self: &Rc<Self>) {
        if self.watched.get().is_none() {
            self.watched.set(Some(self.streams.watch(Rc::clone(self))));
        }
    }

    /// Notes who has to send interim responses.
    pub(super) fn set_task(&self, cx: &Context<'_>) {
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    /// Takes the interim responses that wait.
    pub(super) fn take_interim(&self) -> Vec<Response<()>> {
        self.interim
            .borrow_mut()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// No interim response can be sent any more.
    pub(super) fn answered(&self) {
        self.interim.take();
    }

    /// Takes the client on whose behalf a proxy sent the request, if one did.
    pub(super) fn take_client(&self) -> Option<Endpoint> {
        self.client.take()
    }

    /// A response was sent to its end.
    pub(super) fn completed(&self) {
        self.streams.completed();
    }

    /// The stream is over.
    pub(super) fn closed(&self) {
        self.streams.closed(self.watched.take());
    }

    fn push_interim(&self, response: Response<()>) {
        if let Some(interim) = &mut *self.interim.borrow_mut() {
            interim.push(response);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

/// The application's side of one stream.
#[derive(Debug)]
pub(super) struct Http2Exchange {
    /// `None` at the body's end.
    body: Option<RecvStream>,
    length: Option<u64>,
    websocket: bool,
    /// The client waits for `100 Continue` (RFC 9110 §10.1.1).
    expects_continue: bool,
    /// What [`Exchange::poll_body`] has to report after the bytes that it has joined.
    failed: Option<BodyError>,
    state: Rc<StreamState>,
}

impl Http2Exchange {
    pub(super) fn new(
        body: Option<RecvStream>,
        length: Option<u64>,
        websocket: bool,
        expects_continue: bool,
        state: Rc<StreamState>,
    ) -> Self {
        Self {
            body: body.filter(|body| !body.is_end_stream()),
            length,
            websocket,
            expects_continue,
            failed: None,
            state,
        }
    }

    /// Polls for one DATA frame with bytes in it and opens the window again by its length.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    let released = body.flow_control().release_capacity(data.len());
                    if body.is_end_stream() {
                        self.body = None;
                    }
                    if released.is_err() {
                        return Poll::Ready(Some(Err(BodyError::Gone)));
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(body_error(&error))));
                }
                // Trailers or the end: the seam has no place for a request's trailers.
                None => self.body = None,
            }
        }
    }
}

/// The client's fault (a length that does not fit) or its absence.
fn body_error(error: &h2::Error) -> BodyError {
    if error.is_library() && error.is_reset() {
        BodyError::Malformed
    } else {
        BodyError::Gone
    }
}

impl Exchange for Http2Exchange {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if std::mem::take(&mut self.expects_continue) && self.body.is_some() {
            self.state.push_interim(interim(StatusCode::CONTINUE));
        }
        if self.body.is_some() && self.state.receiving.expired() {
            self.body = None;
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        }
        let first = match self.poll_data(cx) {
            Poll::Ready(Some(Ok(first))) => first,
            Poll::Ready(other) => return Poll::Ready(other),
            Poll::Pending => {
                if self.state.body_timed {
                    self.state.receiving.wait(cx);
                    self.state.watch();
                }
                return Poll::Pending;
            }
        };
        if first.len() >= COALESCE_BELOW || self.body.is_none() {
            self.state.receiving.progress(first.len());
            return Poll::Ready(Some(Ok(first)));
        }
        let mut joined: Option<BytesMut> = None;
        while joined.as_ref().map_or(first.len(), BytesMut::len) < COALESCED_BYTES {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => joined
                    .get_or_insert_with(|| BytesMut::from(&first[..]))
                    .extend_from_slice(&data),
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        let data = joined.map_or(first, BytesMut::freeze);
        self.state.receiving.progress(data.len());
        Poll::Ready(Some(Ok(data)))
    }

    fn is_body_end(&self) -> bool {
        self.failed.is_none() && self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn body_length(&self) -> Option<u64> {
        self.length
    }

    fn early_hints(&mut self, fields: HeaderMap) {
        let mut response = interim(StatusCode::EARLY_HINTS);
        *response.headers_mut() = fields;
        self.state.push_interim(response);
    }

    fn came_for(&mut self, client: &Endpoint) {
        self.state.client.replace(Some(client.clone()));
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            early_hints: true,
            trailers: true,
            websocket: self.websocket,
        }
    }
}

fn interim(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
