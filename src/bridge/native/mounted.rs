//! Mounted ASGI applications within the limits that the policies set around every handler.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Native, internal_server_error};
use crate::bridge::asgi::{self, AsgiApplication};
use crate::bridge::reactor::Core as Reactor;
use crate::bridge::websocket::Settings;
use crate::message::body::BodyError;
use crate::message::head::{Endpoint, Head};
use crate::pipeline::{BodyLimit, Limits, body_refusal};
use crate::server::{Answer, Called, Capabilities, Exchange};

/// An ASGI application below a prefix.
pub(crate) struct Mount {
    pub(super) prefix: String,
    /// `async (scope, receive, send)`.
    pub(super) application: Py<PyAny>,
    /// What its own lifespan stored; complete when the server starts.
    pub(super) state: Option<Py<PyDict>>,
    /// Served for its own sake, with policies that were asked for.
    pub(super) is_foreign: bool,
}

impl Mount {
    /// The application for one run: its own state over that of the server's lifespan.
    pub(super) fn application(
        &self,
        py: Python<'_>,
        native: &Native,
        server_state: Option<&Py<PyDict>>,
        websocket: &Settings,
    ) -> PyResult<AsgiApplication> {
        let state = match (server_state, &self.state) {
            (server, None) => server.map(|state| state.clone_ref(py)),
            (None, Some(own)) => Some(own.clone_ref(py)),
            (Some(server), Some(own)) => {
                let state = server.bind(py).copy()?;
                state.update(own.bind(py).as_mapping())?;
                Some(state.unbind())
            }
        };
        let application = native
            .application(py, &self.application, state, websocket.clone())
            .below(&self.prefix);
        Ok(if self.is_foreign {
            application
        } else {
            application.answering_with(internal_server_error)
        })
    }
}

/// Serves one request or WebSocket of a mounted application.
pub(super) fn serve<E: Exchange>(
    mount: Rc<AsgiApplication>,
    reactor: Rc<Reactor>,
    head: Head,
    exchange: E,
    limits: Limits,
) -> Called {
    if exchange.capabilities().websocket {
        return asgi::serve(mount, reactor, head, exchange, None);
    }
    let refused = Rc::new(Cell::new(None));
    let exchange = Limited {
        inner: exchange,
        limit: BodyLimit::new(limits.max_body_bytes),
        refused: Rc::clone(&refused),
    };
    let called = asgi::serve(mount, reactor, head, exchange, limits.request_timeout);
    // The application heard a disconnect; the client is told why.
    called.map(move |answer| match refused.get().and_then(body_refusal) {
        Some(refusal) => Answer::Response(refusal),
        None => answer,
    })
}

/// An exchange whose body may not be longer than its limit.
struct Limited<E> {
    inner: E,
    limit: BodyLimit,
    /// What kept the application from reading the body.
    refused: Rc<Cell<Option<BodyError>>>,
}

impl<E: Exchange> Exchange for Limited<E> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(piece) = ready!(self.inner.poll_body(cx)) else {
            return Poll::Ready(None);
        };
        let piece = piece.and_then(|piece| self.limit.admit(&piece).map(|()| piece));
        if let Err(error) = &piece {
            self.refused.set(Some(*error));
        }
        Poll::Ready(Some(piece))
    }

    fn is_body_end(&self) -> bool {
        self.inner.is_body_end()
    }

    fn body_length(&self) -> Option<u64> {
        self.inner.body_length()
    }

    fn early_hints(&mut self, fields: HeaderMap) {
        self.inner.early_hints(fields);
    }

    fn came_for(&mut self, client: &Endpoint) {
        self.inner.came_for(client);
    }

    fn close_after(&mut self) {
        self.inner.close_after();
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
