//! What a handler returned as a response.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::Names;
use super::endpoint::Endpoint;
use crate::bridge::buffer;
use crate::bridge::errors;
use crate::bridge::outlet::{Driven, Outlet};
use crate::bridge::reactor::Core;
use crate::bridge::registry::{Key, Registry};
use crate::bridge::task::{Started, Task, Tasks};
use crate::message::body::ResponseBody;

/// Header fields of an ordinary response, the policies' included.
const USUAL_FIELDS: usize = 3;

thread_local! {
    static SINKS: Registry<Outlet> = const { Registry::new() };
}

/// A response of the application and what follows it.
pub(super) struct Reply {
    pub(super) response: Response<ResponseBody>,
    /// A file to send as the body; it is opened off the loop's thread.
    pub(super) file: Option<PathBuf>,
    /// Called once the response has been sent: returns an awaitable.
    pub(super) background: Option<Py<PyAny>>,
    /// Whether the body is a stream of events, which ends when the server stops.
    pub(super) is_event_stream: bool,
}

impl Reply {
    pub(super) fn plain(response: Response<ResponseBody>) -> Self {
        Self {
            response,
            file: None,
            background: None,
            is_event_stream: false,
        }
    }
}

/// Makes a response of what `endpoint` returned.
///
/// # Errors
///
/// What the encoder raised, or what is wrong with the fields of a `Response`.
pub(super) fn reply(
    core: &Rc<Core>,
    names: &Names,
    endpoint: &Endpoint,
    value: &Bound<'_, PyAny>,
) -> PyResult<Reply> {
    let py = value.py();
    if is_response(names, value) {
        return of_response(core, names, value);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Reply::plain(octets(endpoint, bytes)));
    }
    let encoded = endpoint.encode.bind(py).call1((value,))?;
    let encoded = encoded.cast::<PyBytes>()?;
    let mut response = Response::new(ResponseBody::from_bytes(buffer::from_bytes(encoded)));
    *response.status_mut() = endpoint.status;
    if let Some(media_type) = &endpoint.media_type {
        // Its own and what the policies usually add, in one piece.
        response.headers_mut().reserve(USUAL_FIELDS);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type.clone());
    } else {
        *response.body_mut() = ResponseBody::Empty;
    }
    Ok(Reply::plain(response))
}

/// Whether a handler's result is a `Response`, by its class alone: `isinstance` would also ask
/// every other value for its `__class__`.
#[expect(
    unsafe_code,
    reason = "the plain check of a class has no safe name in pyo3"
)]
fn is_response(names: &Names, value: &Bound<'_, PyAny>) -> bool {
    let class = names.response.as_ptr().cast();
    // SAFETY: both are live objects, `response` is a class, and the GIL is held.
    unsafe { pyo3::ffi::PyObject_TypeCheck(value.as_ptr(), class) != 0 }
}

/// `bytes` go out as they are.
fn octets(endpoint: &Endpoint, bytes: &Bound<'_, PyBytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from_bytes(buffer::from_bytes(bytes)));
    *response.status_mut() = endpoint.status;
    match &endpoint.media_type {
        None => *response.body_mut() = ResponseBody::Empty,
        Some(media_type) => {
            let octets = HeaderValue::from_static("application/octet-stream");
            let is_own = media_type != "application/json";
            let media_type = if is_own { media_type.clone() } else { octets };
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type);
        }
    }
    response
}

/// Reads the slots of a `spikard.responses.Response`.
pub(super) fn of_response(
    core: &Rc<Core>,
    names: &Names,
    response: &Bound<'_, PyAny>,
) -> PyResult<Reply> {
    let py = response.py();
    let (parts, body, stream) = slots(response)?;
    let file: Option<String> = response.getattr(intern!(py, "file"))?.extract()?;
    let background = response.getattr(intern!(py, "background"))?;
    let mut is_event_stream = false;
    let body = match stream {
        Some(stream) => {
            let outlet = pump(core, names, &stream)?;
            let period = response.getattr(intern!(py, "keep_alive_seconds"))?;
            let period: Option<f64> = period.extract()?;
            let body = match period.map(Duration::try_from_secs_f64) {
                Some(Ok(period)) => {
                    is_event_stream = true;
                    outlet.events(period)
                }
                _ => outlet.body(),
            };
            ResponseBody::Stream(Box::pin(body))
        }
        None => ResponseBody::from_bytes(body),
    };
    Ok(Reply {
        response: parts.map(|()| body),
        file: file.map(PathBuf::from),
        background: (!background.is_none()).then(|| background.unbind()),
        is_event_stream,
    })
}

/// Status and header fields, the body, and the stream, if it is one.
pub(super) fn slots<'py>(
    response: &Bound<'py, PyAny>,
) -> PyResult<(Response<()>, Bytes, Option<Bound<'py, PyAny>>)> {
    let py = response.py();
    let mut parts = Response::new(());
    *parts.status_mut() = status(&response.getattr(intern!(py, "status_code"))?)?;
    let body = response.getattr(intern!(py, "body"))?;
    let body = match body.cast::<PyBytes>() {
        Ok(bytes) => buffer::from_bytes(bytes),
        Err(_) => Bytes::new(),
    };
    let fields = response.getattr(intern!(py, "raw_headers"))?;
    let fields = fields.cast::<PyList>()?;
    parts.headers_mut().reserve(fields.len());
    for field in fields {
        let field = field.cast_into::<PyTuple>()?;
        let (name, value) = (field.get_item(0)?, field.get_item(1)?);
        let (name, value) = (
            name.cast::<PyBytes>()?.as_bytes(),
            value.cast::<PyBytes>()?.as_bytes(),
        );
        let bad = || {
            let name = name.escape_ascii();
            PyValueError::new_err(format!(
                "expected a header field, got one that cannot be sent: '{name}'"
            ))
        };
        let name = HeaderName::from_bytes(name).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad())?;
        // The server frames messages and manages connections itself.
        let is_framing = name == header::TRANSFER_ENCODING
            || name == header::CONNECTION
            || name == header::CONTENT_LENGTH && !body.is_empty();
        if !is_framing {
            parts.headers_mut().append(name, value);
        }
    }
    let stream = response.getattr(intern!(py, "stream"))?;
    Ok((parts, body, (!stream.is_none()).then_some(stream)))
}

/// A status that a response may have.
pub(super) fn status(given: &Bound<'_, PyAny>) -> PyResult<StatusCode> {
    let code = given
        .extract()
        .ok()
        .filter(|code| (200..=599).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| {
            PyValueError::new_err(format!("status_code: expected 200 to 599, got {given}"))
        })
}

/// Starts a task that moves a stream into an outlet.
fn pump(core: &Rc<Core>, names: &Names, stream: &Bound<'_, PyAny>) -> PyResult<Rc<Outlet>> {
    let py = stream.py();
    let pumping = Rc::new(Pumping {
        core: Rc::clone(core),
        task: RefCell::new(None),
    });
    let outlet = Outlet::new(core, Some(Rc::clone(&pumping) as Rc<dyn Driven>));
    let key = SINKS.with(|sinks| sinks.add(Rc::clone(&outlet)));
    let sink = Bound::new(py, Sink { key })?;
    let coroutine = names.pump.bind(py).call1((stream, sink))?;
    let ended = {
        let (outlet, log) = (Rc::clone(&outlet), names.log.clone_ref(py));
        move |py: Python<'_>, result: PyResult<Py<PyAny>>| {
            SINKS.with(|sinks| sinks.remove(key));
            match result {
                Ok(_) => outlet.end(None),
                Err(error) => {
                    if !outlet.is_gone() {
                        errors::log(py, &log, &error);
                    }
                    outlet.abort();
                }
            }
        }
    };
    match Tasks::start(core, &coroutine) {
        Started::Finished(result) => ended(py, result),
        Started::Waiting(task) => {
            pumping.task.replace(Some(task.object(py)));
            task.leave(Box::new(ended));
        }
    }
    Ok(outlet)
}

/// The task behind a stream: cancelled when the peer goes, which closes the iterator.
struct Pumping {
    core: Rc<Core>,
    task: RefCell<Option<Py<PyAny>>>,
}

impl Driven for Pumping {
    fn drive(&self, _: &mut Context<'_>) {}

    fn peer_gone(&self) {
        if let Some(task) = self.task.take() {
            Python::attach(|py| Task::cancel(&self.core, task.bind(py)));
        }
    }
}

/// Where the pump puts what a stream yields.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Sink {
    key: Key,
}

#[pymethods]
impl Sink {
    /// Sends a chunk; `None` when there is room for the next, else an awaitable for it.
    fn send<'py>(&self, chunk: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = chunk.py();
        let Some(outlet) = SINKS.with(|sinks| sinks.thing(self.key)) else {
            return Ok(None);
        };
        if outlet.is_gone() {
            return Err(errors::client_disconnected(py));
        }
        outlet.push(piece(chunk)?);
        if outlet.has_room() {
            return Ok(None);
        }
        outlet.room(py).map(Some)
    }
}

/// What a stream yields, as bytes.
fn piece(chunk: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(text) = chunk.cast::<PyString>() {
        return Ok(Bytes::copy_from_slice(text.to_str()?.as_bytes()));
    }
    buffer::from_bytes_like(chunk).or_else(|_| {
        let got = chunk.get_type().name()?;
        let message = format!("a stream yields bytes or str, got {got}");
        Err(PyTypeError::new_err(message))
    })
}
