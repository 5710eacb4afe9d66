//! What the bridge needs of `spikard`'s Python side.

use pyo3::prelude::*;
use pyo3::types::PyType;

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
