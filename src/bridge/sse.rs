//! `spikard._spikard.encode_event`: server-sent events for `python/spikard/events.py`.

use std::str;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::protocol::sse::Event;

/// The wire form of an event; `data` is text, or text as UTF-8.
#[pyfunction]
#[pyo3(signature = (data, event_type=None, event_id=None, retry=None))]
pub(super) fn encode_event<'py>(
    data: &Bound<'py, PyAny>,
    event_type: Option<&str>,
    event_id: Option<&str>,
    retry: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let text = if let Ok(text) = data.cast::<PyString>() {
        text.to_str()?
    } else if let Ok(bytes) = data.cast::<PyBytes>() {
        str::from_utf8(bytes.as_bytes())
            .map_err(|_| PyValueError::new_err("expected data of an event in UTF-8"))?
    } else {
        let class = data.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "expected data of str or bytes, got {class}"
        )));
    };
    let event = Event {
        data: Some(text),
        event: event_type,
        id: event_id,
        retry,
    };
    let mut out = Vec::with_capacity(text.len() + 16);
    event
        .encode(&mut out)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(data.py(), &out))
}
