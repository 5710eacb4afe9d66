//! A request's body for a handler that reads it itself, and its other ways to the connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge::awaitable;
use crate::bridge::errors;
use crate::bridge::outlet::Driven;
use crate::bridge::reactor::Core;
use crate::bridge::registry::{Key, Registry};
use crate::message::body::BodyError;
use crate::pipeline::BodyLimit;
use crate::server::Exchange;

thread_local! {
    static INLETS: Registry<Inlet> = const { Registry::new() };
}

/// The time until the head of a response has to be there; `None` for any.
#[derive(Clone, Copy)]
pub(super) struct TimeLimit(pub(super) Option<Duration>);

/// The exchange of one request while Python may use it.
pub(super) struct Inlet {
    core: Rc<Core>,
    exchange: RefCell<Box<dyn Exchange>>,
    limit: RefCell<BodyLimit>,
    /// Set when another time limit holds, until somebody has heard of it.
    timeout: Cell<Option<TimeLimit>>,
    connection: RefCell<Option<Waker>>,
    receivers: RefCell<VecDeque<Py<PyAny>>>,
    gone: Cell<bool>,
    key: Cell<Option<Key>>,
}

impl Inlet {
    pub(super) fn new(core: &Rc<Core>, exchange: Box<dyn Exchange>, limit: BodyLimit) -> Rc<Self> {
        let inlet = Rc::new(Self {
            core: Rc::clone(core),
            exchange: RefCell::new(exchange),
            limit: RefCell::new(limit),
            timeout: Cell::new(None),
            connection: RefCell::new(None),
            receivers: RefCell::new(VecDeque::new()),
            gone: Cell::new(false),
            key: Cell::new(None),
        });
        let key = INLETS.with(|inlets| inlets.add(Rc::clone(&inlet)));
        inlet.key.set(Some(key));
        inlet
    }

    /// Python's end.
    pub(super) fn source(&self) -> Source {
        Source {
            key: self.key.get().expect("it is set when the inlet is made"),
        }
    }

    /// Sets who is woken when there is something to drive.
    pub(super) fn set_connection(&self, waker: &Waker) {
        let mut connection = self.connection.borrow_mut();
        if connection
            .as_ref()
            .is_none_or(|known| !known.will_wake(waker))
        {
            *connection = Some(waker.clone());
        }
    }

    /// The time limit that came in force since the last call.
    pub(super) fn changed_timeout(&self) -> Option<TimeLimit> {
        self.timeout.take()
    }

    /// Ends Python's use: the request is over.
    pub(super) fn close(&self) {
        if let Some(key) = self.key.take() {
            INLETS.with(|inlets| inlets.remove(key));
        }
        if !self.receivers.borrow().is_empty() {
            self.gone.set(true);
            Python::attach(|py| self.fail_receivers(py));
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut exchange = self.exchange.borrow_mut();
        if exchange.is_body_end() {
            return Poll::Ready(None);
        }
        exchange.poll_body(cx).map(|piece| {
            piece.map(|piece| {
                let piece = piece?;
                self.limit.borrow_mut().admit(&piece)?;
                Ok(piece)
            })
        })
    }

    fn value(
        py: Python<'_>,
        piece: Option<Result<Bytes, BodyError>>,
    ) -> PyResult<Bound<'_, PyAny>> {
        match piece {
            None => Ok(py.None().into_bound(py)),
            Some(Ok(bytes)) => Ok(PyBytes::new(py, &bytes).into_any()),
            Some(Err(error)) => Err(errors::body_error(py, error)),
        }
    }

    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.gone.get() {
            return Err(errors::client_disconnected(py));
        }
        let waker = self.connection.borrow().clone();
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        if let Poll::Ready(piece) = self.poll(&mut Context::from_waker(&waker)) {
            return awaitable::ready(&Self::value(py, piece)?);
        }
        let future = awaitable::future(&self.core, py)?;
        self.receivers
            .borrow_mut()
            .push_back(future.clone().unbind());
        Ok(future)
    }

    fn fail_receivers(&self, py: Python<'_>) {
        let receivers = std::mem::take(&mut *self.receivers.borrow_mut());
        for receiver in receivers {
            let gone = Err(errors::client_disconnected(py));
            awaitable::complete(&self.core, receiver.bind(py), gone);
        }
    }
}

impl Driven for Inlet {
    fn drive(&self, cx: &mut Context<'_>) {
        self.set_connection(cx.waker());
        if self.receivers.borrow().is_empty() {
            return;
        }
        Python::attach(|py| {
            loop {
                let Some(receiver) = self.receivers.borrow_mut().pop_front() else {
                    return;
                };
                let receiver = receiver.into_bound(py);
                if !awaitable::is_awaited(&receiver) {
                    continue;
                }
                match self.poll(cx) {
                    Poll::Ready(piece) => {
                        awaitable::complete(&self.core, &receiver, Self::value(py, piece));
                    }
                    Poll::Pending => {
                        self.receivers.borrow_mut().push_front(receiver.unbind());
                        return;
                    }
                }
            }
        });
    }

    fn peer_gone(&self) {
        self.gone.set(true);
        Python::attach(|py| self.fail_receivers(py));
    }
}

/// What `spikard._exchange.Exchange` reads from.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Source {
    key: Key,
}

impl Source {
    fn inlet(&self) -> Option<Rc<Inlet>> {
        INLETS.with(|inlets| inlets.thing(self.key))
    }
}

#[pymethods]
impl Source {
    /// An awaitable of the next piece of the body, `None` at its end.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.inlet() {
            Some(inlet) => inlet.receive(py),
            None => Err(errors::client_disconnected(py)),
        }
    }

    /// Whether the client has gone, or the request is over.
    fn is_disconnected(&self) -> bool {
        self.inlet().is_none_or(|inlet| inlet.gone.get())
    }

    /// Holds the request to other limits: bytes of its body, seconds from its beginning.
    #[pyo3(signature = (max_body_bytes, request_timeout))]
    fn set_limits(&self, max_body_bytes: Option<u64>, request_timeout: Option<f64>) {
        let Some(inlet) = self.inlet() else { return };
        inlet.limit.replace(BodyLimit::new(max_body_bytes));
        let timeout = request_timeout.map(Duration::try_from_secs_f64);
        inlet
            .timeout
            .set(Some(TimeLimit(timeout.and_then(Result::ok))));
        if let Some(connection) = &*inlet.connection.borrow() {
            connection.wake_by_ref();
        }
    }

    /// Sends `103 Early Hints` with these `link` values where the connection can.
    fn early_hints(&self, links: Vec<String>) -> PyResult<()> {
        let Some(inlet) = self.inlet() else {
            return Ok(());
        };
        let mut fields = HeaderMap::new();
        for link in links {
            let value = HeaderValue::try_from(&link).map_err(|_| {
                pyo3::exceptions::PyValueError::new_err(format!(
                    "expected a link value, got {link:?}"
                ))
            })?;
            fields.append(header::LINK, value);
        }
        inlet.exchange.borrow_mut().early_hints(fields);
        Ok(())
    }
}
