//! The way of a streamed response body from Python to the connection, with backpressure.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use pyo3::prelude::*;

use super::awaitable;
use super::errors;
use super::reactor::Core;
use crate::message::body::Aborted;

/// Bytes that may wait for the connection before the producer has to.
const HIGH_WATER: usize = 64 * 1024;

/// One streamed body between its producer and its connection.
pub(crate) struct Outlet {
    core: Rc<Core>,
    frames: RefCell<VecDeque<Frame<Bytes>>>,
    queued: Cell<usize>,
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

impl Outlet {
    pub(crate) fn new(core: &Rc<Core>, driven: Option<Rc<dyn Driven>>) -> Rc<Self> {
        Rc::new(Self {
            core: Rc::clone(core),
            frames: RefCell::new(VecDeque::new()),
            queued: Cell::new(0),
            state: Cell::new(State::Open),
            connection: RefCell::new(None),
            producers: RefCell::new(Vec::new()),
            driven: RefCell::new(driven),
        })
    }

    /// The connection's end.
    pub(crate) fn body(self: &Rc<Self>) -> OutletBody {
        OutletBody(Rc::clone(self))
    }

    /// Whether the peer has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.get() == State::Gone
    }

    /// Gives bytes to the connection.
    pub(crate) fn push(&self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued.set(self.queued.get() + bytes.len());
            self.frames.borrow_mut().push_back(Frame::data(bytes));
            self.wake();
        }
    }

    /// Ends the body, with trailer fields or without.
    pub(crate) fn end(&self, trailers: Option<HeaderMap>) {
        if let Some(trailers) = trailers {
            self.frames
                .borrow_mut()
                .push_back(Frame::trailers(trailers));
        }
        self.set_state(State::Ended);
    }

    /// Cuts the response.
    pub(crate) fn abort(&self) {
        self.set_state(State::Aborted);
    }

    /// An awaitable for the producer: ready when there is room for more.
    pub(crate) fn room<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.queued.get() <= HIGH_WATER || self.state.get() != State::Open {
            return awaitable::done(py);
        }
        let future = awaitable::future(&self.core, py)?;
        self.producers.borrow_mut().push(future.clone().unbind());
        Ok(future)
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

/// The connection's end of an [`Outlet`].
pub(crate) struct OutletBody(Rc<Outlet>);

impl Body for OutletBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let outlet = &self.0;
        let driven = outlet.driven.borrow().clone();
        if let Some(driven) = driven {
            driven.drive(cx);
        }
        let frame = outlet.frames.borrow_mut().pop_front();
        if let Some(frame) = frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            outlet.queued.set(outlet.queued.get() - length);
            if outlet.queued.get() <= HIGH_WATER {
                outlet.release_producers();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match outlet.state.get() {
            State::Ended => Poll::Ready(None),
            State::Aborted | State::Gone => Poll::Ready(Some(Err(Aborted))),
            State::Open => {
                outlet.connection.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.state.get() == State::Ended && self.0.frames.borrow().is_empty()
    }
}

impl Drop for OutletBody {
    fn drop(&mut self) {
        let outlet = &self.0;
        let driven = outlet.driven.take();
        let undelivered = !outlet.frames.borrow().is_empty();
        if outlet.state.get() == State::Open || undelivered {
            outlet.state.set(State::Gone);
            outlet.frames.borrow_mut().clear();
            outlet.queued.set(0);
            outlet.release_producers();
            if let Some(driven) = driven {
                driven.peer_gone();
            }
        }
    }
}
