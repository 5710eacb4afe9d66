//! From Rust's errors to Python's exceptions, in one place.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::message::body::BodyError;
use crate::message::multipart::MultipartError;
use crate::message::problem::Problem;
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
    http_exception(
        py,
        &match error {
            BodyError::Gone => return client_disconnected(py),
            BodyError::TooLarge { limit } => Problem::payload_too_large(limit),
            BodyError::Inflated { ratio } => Problem::inflated(ratio),
            BodyError::TooSlow => Problem::request_timeout(),
            BodyError::Malformed | BodyError::Undecodable => {
                Problem::bad_request(error.to_string())
            }
        },
    )
}

/// What is wrong with a multipart form: `HTTPException` with 400, 413 or 431.
pub(crate) fn multipart_error(py: Python<'_>, error: &MultipartError) -> PyErr {
    let detail = error.to_string().into();
    http_exception(py, &Problem::of_status(error.status(), Some(detail)))
}

fn http_exception(py: Python<'_>, problem: &Problem) -> PyErr {
    static HTTP_EXCEPTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let make = || {
        let class = HTTP_EXCEPTION.import(py, "spikard.exceptions", "HTTPException")?;
        let members = PyDict::new(py);
        members.set_item("type", problem.kind())?;
        members.set_item("title", problem.title())?;
        let given = (problem.status().as_u16(), problem.detail().as_str());
        class.call(given, Some(&members))
    };
    make().map_or_else(|error| error, PyErr::from_value)
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
