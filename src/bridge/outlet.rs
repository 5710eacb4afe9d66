//! The way of a streamed response body from Python to the connection, with backpressure.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use pyo3::prelude::*;
use tokio::time::{Instant, Sleep, sleep_until};

use super::awaitable;
use super::errors;
use super::reactor::Core;
use crate::message::body::{Aborted, ResponseBody};
use crate::pipeline::FileBody;
use crate::protocol::sse;
use crate::server::planted;

/// Bytes that may wait for the connection before the producer has to.
const HIGH_WATER: u64 = 64 * 1024;

/// Bytes up to which pieces that wait are sent as one.
const GATHERED: usize = 8 * 1024;

/// A piece of a body.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// A part of a file, read as it is sent.
    File(FileBody),
    Trailers(HeaderMap),
}

/// One streamed body between its producer and its connection.
pub(crate) struct Outlet {
    core: Rc<Core>,
    pieces: RefCell<VecDeque<Piece>>,
    queued: Cell<u64>,
    state: Cell<State>,
    connection: RefCell<Option<Waker>>,
    producers: RefCell<Vec<Py<PyAny>>>,
    /// Polled with every frame: the request body that the application reads meanwhile.
    driven: RefCell<Option<Rc<dyn Driven>>>,
}

/// Something that makes progress whenever the connection does.
pub(crate) trait Driven {
    /// Makes progress; `cx` is the connection's.
    fn drive(&self, cx: &mut Context<'_>);

    /// A file could not be read to the end of what was to be sent of it.
    fn file_failed(&self) {}

    /// The peer has gone before the body's end.
    fn peer_gone(&self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Aborted,
    Gone,
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.remaining(),
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Piece> for ResponseBody {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Bytes(bytes) => Self::from_bytes(bytes),
            Piece::File(file) => file.into(),
            Piece::Trailers(_) => Self::Empty,
        }
    }
}

impl Outlet {
    pub(crate) fn new(core: &Rc<Core>, driven: Option<Rc<dyn Driven>>) -> Rc<Self> {
        Rc::new(Self {
            core: Rc::clone(core),
            pieces: RefCell::new(VecDeque::new()),
            queued: Cell::new(0),
            state: Cell::new(State::Open),
            connection: RefCell::new(None),
            producers: RefCell::new(Vec::new()),
            driven: RefCell::new(driven),
        })
    }

    /// The connection's end.
    pub(crate) fn body(self: &Rc<Self>) -> OutletBody {
        OutletBody {
            outlet: Rc::clone(self),
            silence: None,
        }
    }

    /// The connection's end of a stream of events, with a comment for each `period` of silence.
    pub(crate) fn events(self: &Rc<Self>, period: Duration) -> OutletBody {
        OutletBody {
            outlet: Rc::clone(self),
            silence: Some(Silence::new(period)),
        }
    }

    /// Whether the peer has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.get() == State::Gone
    }

    /// Whether a producer waits for room, and so will hear that the peer has gone.
    pub(crate) fn is_awaited(&self, py: Python<'_>) -> bool {
        let producers = self.producers.borrow();
        producers
            .iter()
            .any(|producer| awaitable::is_awaited(producer.bind(py)))
    }

    /// Gives bytes or a file to the connection.
    pub(crate) fn push(&self, piece: impl Into<Piece>) {
        let piece = piece.into();
        let length = piece.length();
        if length > 0 {
            self.queued.set(self.queued.get() + length);
            self.pieces.borrow_mut().push_back(piece);
            self.wake();
        }
    }

    /// Ends the body, with trailer fields or without.
    pub(crate) fn end(&self, trailers: Option<HeaderMap>) {
        if let Some(trailers) = trailers {
            self.pieces
                .borrow_mut()
                .push_back(Piece::Trailers(trailers));
        }
        self.set_state(State::Ended);
    }

    /// Cuts the response.
    pub(crate) fn abort(&self) {
        self.set_state(State::Aborted);
    }

    /// Whether the producer need not wait: there is room, or nobody takes anything any more.
    pub(crate) fn has_room(&self) -> bool {
        self.queued.get() <= HIGH_WATER || self.state.get() != State::Open
    }

    /// An awaitable for the producer: ready when there is room for more.
    pub(crate) fn room<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.has_room() {
            return awaitable::done(py);
        }
        let future = awaitable::future(&self.core, py)?;
        self.producers.borrow_mut().push(future.clone().unbind());
        awaitable::waiting(future)
    }

    /// Polls for the next frame of what is queued; `None` when nothing is.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let mut pieces = self.pieces.borrow_mut();
        planted::point("outlet");
        if let Some(Piece::File(file)) = pieces.front_mut() {
            let frame = ready!(Pin::new(&mut *file).poll_frame(cx));
            if file.remaining() == 0 {
                pieces.pop_front();
            }
            return Poll::Ready(frame);
        }
        Poll::Ready(pieces.pop_front().map(|piece| match piece {
            Piece::Bytes(bytes) => Ok(Frame::data(gathered(bytes, &mut pieces))),
            Piece::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            Piece::File(_) => Err(Aborted), // it was looked for above
        }))
    }

    fn file_failed(&self) {
        let driven = self.driven.borrow().clone();
        if let Some(driven) = driven {
            driven.file_failed();
        }
    }

    fn set_state(&self, state: State) {
        if self.state.get() == State::Open {
            self.state.set(state);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.connection.borrow() {
            self.core.wake(waker);
        }
    }

    fn release_producers(&self) {
        let producers = self.producers.take();
        if producers.is_empty() {
            return;
        }
        Python::attach(|py| {
            for producer in producers {
                let value = if self.is_gone() {
                    Err(errors::client_disconnected(py))
                } else {
                    Ok(py.None().into_bound(py))
                };
                awaitable::complete(&self.core, producer.bind(py), value);
            }
        });
    }
}

/// The first piece, with the small ones that wait behind it: a producer that is faster than the
/// connection must not cost a frame for each of its chunks.
fn gathered(first: Bytes, pieces: &mut VecDeque<Piece>) -> Bytes {
    let mut length = first.len();
    let mut count = 0;
    for piece in pieces.iter() {
        match piece {
            Piece::Bytes(next) if length + next.len() <= GATHERED => length += next.len(),
            _ => break,
        }
        count += 1;
    }
    if count == 0 {
        return first;
    }
    let mut together = BytesMut::with_capacity(length);
    together.extend_from_slice(&first);
    for piece in pieces.drain(..count) {
        if let Piece::Bytes(next) = piece {
            together.extend_from_slice(&next);
        }
    }
    together.freeze()
}

/// The connection's end of an [`Outlet`].
pub(crate) struct OutletBody {
    outlet: Rc<Outlet>,
    silence: Option<Silence>,
}

/// Notices that nothing has been sent for a while. A frame only notes its time: the timer is set
/// anew when it ends, not for each frame.
struct Silence {
    period: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(period: Duration) -> Self {
        let since = Instant::now();
        Self {
            period,
            since,
            timer: Box::pin(sleep_until(since + period)),
        }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    fn poll_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_long = now >= self.since + self.period;
            if is_long {
                self.since = now;
            }
            self.timer.as_mut().reset(self.since + self.period);
            if is_long {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Body for OutletBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let Self { outlet, silence } = self.get_mut();
        let driven = outlet.driven.borrow().clone();
        if let Some(driven) = driven {
            driven.drive(cx);
        }
        if let Some(frame) = ready!(outlet.poll_piece(cx)) {
            let Ok(frame) = frame else {
                outlet.file_failed();
                return Poll::Ready(Some(Err(Aborted)));
            };
            let length = frame.data_ref().map_or(0, Bytes::len);
            outlet.queued.set(outlet.queued.get() - length as u64);
            if outlet.queued.get() <= HIGH_WATER {
                outlet.release_producers();
            }
            if let Some(silence) = silence {
                silence.broken();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match outlet.state.get() {
            State::Ended => Poll::Ready(None),
            State::Aborted | State::Gone => Poll::Ready(Some(Err(Aborted))),
            State::Open => {
                outlet.connection.replace(Some(cx.waker().clone()));
                match silence.as_mut().map(|silence| silence.poll_long(cx)) {
                    Some(Poll::Ready(())) => {
                        let comment = Bytes::from_static(sse::KEEP_ALIVE);
                        Poll::Ready(Some(Ok(Frame::data(comment))))
                    }
                    _ => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.outlet.state.get() == State::Ended && self.outlet.pieces.borrow().is_empty()
    }
}

impl Drop for OutletBody {
    fn drop(&mut self) {
        let outlet = &self.outlet;
        let driven = outlet.driven.take();
        let undelivered = !outlet.pieces.borrow().is_empty();
        if outlet.state.get() == State::Open || undelivered {
            outlet.state.set(State::Gone);
            outlet.pieces.borrow_mut().clear();
            outlet.queued.set(0);
            if let Some(driven) = driven {
                driven.peer_gone();
            }
            outlet.release_producers();
        }
    }
}
