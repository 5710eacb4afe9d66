//! From Rust's errors to Python's exceptions, in one place.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::protocol::asgi::EventError;
use crate::protocol::asgi::http::SendError;

/// `spikard_asgi.exceptions.ClientDisconnected`, the OSError that `send` raises.
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
