//! ASGI applications on our server: scopes, `receive` and `send` (ASGI 3.0, HTTP 2.5).

mod event;
mod file;
mod http;
pub(super) mod scope;
mod websocket;

use std::rc::Rc;
use std::time::Duration;

use ::http::Response;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::allocator;
use super::errors;
use super::reactor::Core;
use super::websocket::Settings as WebSocketSettings;
use crate::message::body::ResponseBody;
use crate::message::head::Head;
use crate::server::{Answer, Application, Called, Exchange, Fault};

/// What of the configuration is no policy and yet concerns requests.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ApplicationFields {
    pub(super) root_path: String,
    pub(super) cancel_abandoned_streams: bool,
}

impl ApplicationFields {
    /// From `ServerConfig.to_json()`.
    pub(super) fn from_json(config: &[u8]) -> PyResult<Self> {
        serde_json::from_slice(config)
            .map_err(|error| PyValueError::new_err(format!("config: {error}")))
    }
}

/// An ASGI application and what the server needs to run it.
pub(super) struct AsgiApplication {
    /// `async (scope, receive, send)`.
    callable: Py<PyAny>,
    /// Makes a coroutine of an awaitable, for applications that return something else.
    as_coroutine: Py<PyAny>,
    /// Called with an exception that the application raised, or with a text.
    log: Py<PyAny>,
    scope: scope::Settings,
    websocket: WebSocketSettings,
    /// What the client hears when the application has failed; the log knows more.
    failure: fn() -> Response<ResponseBody>,
    /// Whether one that waits in a response whose client has left is cancelled.
    cancels_abandoned: bool,
}

impl AsgiApplication {
    /// `as_coroutine` turns any awaitable into a coroutine; `log` takes an exception or a str.
    pub(super) fn new(
        callable: Py<PyAny>,
        as_coroutine: Py<PyAny>,
        log: Py<PyAny>,
        root_path: &str,
        state: Option<Py<PyDict>>,
        websocket: WebSocketSettings,
    ) -> Self {
        Self {
            callable,
            as_coroutine,
            log,
            scope: scope::Settings::new(root_path, state),
            websocket,
            failure: http::internal_server_error,
            cancels_abandoned: false,
        }
    }

    /// With `ServerConfig.cancel_abandoned_streams`.
    pub(super) fn cancelling_abandoned(mut self, cancels: bool) -> Self {
        self.cancels_abandoned = cancels;
        self
    }

    /// Mounted below `prefix` in an application that is served under the root path.
    pub(super) fn below(mut self, prefix: &str) -> Self {
        self.scope.root_path.push_str(prefix);
        self
    }

    /// With another answer for a failure than a line of text.
    pub(super) fn answering_with(mut self, failure: fn() -> Response<ResponseBody>) -> Self {
        self.failure = failure;
        self
    }

    fn coroutine<'py>(
        &self,
        scope: Bound<'py, PyDict>,
        receive: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        let returned = self.callable.bind(py).call1((scope, receive, send))?;
        if is_coroutine(&returned) {
            return Ok(returned);
        }
        self.as_coroutine.bind(py).call1((returned,))
    }

    fn log_exception(&self, py: Python<'_>, error: &PyErr) {
        errors::log(py, &self.log, error);
    }

    fn log(&self, py: Python<'_>, message: &str) {
        errors::log_text(py, &self.log, message);
    }
}

#[expect(unsafe_code, reason = "the exact check has no safe name in pyo3")]
fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `object` is a live object and the GIL is held.
    unsafe { pyo3::ffi::PyCoro_CheckExact(object.as_ptr()) == 1 }
}

/// Serves one request, for at most `limit`, or one WebSocket.
pub(super) fn serve<E: Exchange>(
    app: Rc<AsgiApplication>,
    core: Rc<Core>,
    head: Head,
    exchange: E,
    limit: Option<Duration>,
) -> Called {
    if exchange.capabilities().websocket {
        return Called::waiting(websocket::serve(app, core, head));
    }
    http::serve(app, core, &head, exchange, limit)
}

impl Application for AsgiApplication {
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, exchange: E) -> Called {
        super::gil::offer();
        match Core::current() {
            Some(core) => serve(Rc::clone(self), core, head, exchange, None),
            None => Called::Answered(Answer::Abort),
        }
    }

    fn report(&self, fault: Fault) {
        Python::attach(|py| self.log(py, &fault.to_string()));
    }

    fn rested(&self) {
        allocator::give_back();
    }
}
