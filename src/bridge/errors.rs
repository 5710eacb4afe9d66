//! From Rust's errors to Python's exceptions, in one place.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::message::body::BodyError;
use crate::message::multipart::MultipartError;
use crate::pipeline::RegisterError;
use crate::protocol::asgi::EventError;
use crate::protocol::asgi::http::SendError;
use crate::protocol::websocket::close::Close;

/// `spikard_asgi.exceptions.ClientDisconnected`, the `OSError` that `send` raises.
pub(crate) fn client_disconnected(py: Python<'_>) -> PyErr {
    let message = "the client has disconnected";
    match exception(py, &CLIENT_DISCONNECTED, "ClientDisconnected") {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => error,
    }
}

static CLIENT_DISCONNECTED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PROTOCOL_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn exception<'py>(
    py: Python<'py>,
    slot: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    slot.import(py, "spikard_asgi.exceptions", name).cloned()
}

/// `spikard.exceptions.WebSocketDisconnect`.
pub(crate) fn websocket_disconnect(py: Python<'_>, close: Close) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match CLASS.import(py, "spikard.exceptions", "WebSocketDisconnect") {
        Ok(class) => PyErr::from_type(class.clone(), (close.code, close.reason)),
        Err(error) => error,
    }
}

/// An event that breaks the ASGI rules.
pub(crate) fn send_error(py: Python<'_>, error: &SendError) -> PyErr {
    protocol_error(py, &error.to_string())
}

/// An event that is not what its type requires.
pub(crate) fn event_error(error: &EventError) -> PyErr {
    let message = error.to_string();
    match error {
        EventError::NotADict { .. } | EventError::WrongType { .. } => PyTypeError::new_err(message),
        EventError::UnknownType { .. } | EventError::MissingKey { .. } => {
            PyValueError::new_err(message)
        }
    }
}

/// `spikard_asgi.exceptions.ProtocolError`.
pub(crate) fn protocol_error(py: Python<'_>, message: &str) -> PyErr {
    match exception(py, &PROTOCOL_ERROR, "ProtocolError") {
        Ok(class) => PyErr::from_type(class, message.to_owned()),
        Err(error) => error,
    }
}

/// What keeps a handler from reading its request's body: `HTTPException` with 413, 408 or 400, or
/// [`client_disconnected`].
pub(crate) fn body_error(py: Python<'_>, error: BodyError) -> PyErr {
    let status = match error {
        BodyError::Gone => return client_disconnected(py),
        BodyError::TooLarge { .. } => 413,
        BodyError::TooSlow => 408,
        BodyError::Malformed => 400,
    };
    http_exception(py, status, &error.to_string())
}

/// What is wrong with a multipart form: `HTTPException` with 400, 413 or 431.
pub(crate) fn multipart_error(py: Python<'_>, error: &MultipartError) -> PyErr {
    http_exception(py, error.status().as_u16(), &error.to_string())
}

fn http_exception(py: Python<'_>, status: u16, detail: &str) -> PyErr {
    static HTTP_EXCEPTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match HTTP_EXCEPTION.import(py, "spikard.exceptions", "HTTPException") {
        Ok(class) => PyErr::from_type(class.clone(), (status, detail.to_owned())),
        Err(error) => error,
    }
}

/// `spikard.exceptions.RouteError` for a bad template or a conflict, `ValueError` for an option.
pub(crate) fn register_error(py: Python<'_>, error: &RegisterError) -> PyErr {
    static ROUTE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let message = error.to_string();
    match error {
        RegisterError::Option(_) => PyValueError::new_err(message),
        RegisterError::Route(_) => {
            match ROUTE_ERROR.import(py, "spikard.exceptions", "RouteError") {
                Ok(class) => PyErr::from_type(class.clone(), message),
                Err(error) => error,
            }
        }
    }
}

/// Logs an exception with the function that Python gave for it.
pub(crate) fn log(py: Python<'_>, log: &Py<PyAny>, error: &PyErr) {
    if let Err(error) = log.bind(py).call1((error.value(py),)) {
        error.write_unraisable(py, None);
    }
}

/// Logs a sentence with the same function.
pub(crate) fn log_text(py: Python<'_>, log: &Py<PyAny>, text: &str) {
    if let Err(error) = log.bind(py).call1((text,)) {
        error.write_unraisable(py, None);
    }
}
