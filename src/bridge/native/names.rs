//! What the bridge needs of `spikard`'s Python side.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::bridge::asgi::AsgiApplication;
use crate::bridge::websocket::Settings;

/// The classes and functions, looked up once when the application is frozen.
pub(super) struct Names {
    /// `spikard.responses.Response`.
    pub(super) response: Py<PyType>,
    /// `spikard.datastructures.Request`.
    pub(super) request: Py<PyAny>,
    /// `spikard.websockets.WebSocket`.
    pub(super) websocket: Py<PyAny>,
    /// `spikard._exchange.Exchange`.
    pub(super) exchange: Py<PyAny>,
    /// `spikard._exchange.pump`.
    pub(super) pump: Py<PyAny>,
    /// `spikard_asgi.application.as_coroutine`.
    pub(super) as_coroutine: Py<PyAny>,
    /// `spikard._server.log_failure`.
    pub(super) log: Py<PyAny>,
}

impl Names {
    pub(super) fn import(py: Python<'_>) -> PyResult<Self> {
        let name =
            |module: &str, name: &str| PyResult::Ok(py.import(module)?.getattr(name)?.unbind());
        Ok(Self {
            response: py
                .import("spikard.responses")?
                .getattr("Response")?
                .cast_into::<PyType>()?
                .unbind(),
            request: name("spikard.datastructures", "Request")?,
            websocket: name("spikard.websockets", "WebSocket")?,
            exchange: name("spikard._exchange", "Exchange")?,
            pump: name("spikard._exchange", "pump")?,
            as_coroutine: name("spikard_asgi.application", "as_coroutine")?,
            log: name("spikard_asgi.application", "log_failure")?,
        })
    }
}

impl Names {
    /// An ASGI application as our server calls it.
    pub(super) fn application(
        &self,
        py: Python<'_>,
        callable: &Py<PyAny>,
        root_path: &str,
        state: Option<Py<PyDict>>,
        websocket: Settings,
    ) -> AsgiApplication {
        AsgiApplication::new(
            callable.clone_ref(py),
            self.as_coroutine.clone_ref(py),
            self.log.clone_ref(py),
            root_path,
            state,
            websocket,
        )
    }
}
