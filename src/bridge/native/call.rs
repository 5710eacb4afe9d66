//! `spikard._spikard.Call`: one request as another door, or a driver of hooks, goes through it.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version, response};
use http_body::Body as _;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::application::cut_root_path;
use super::arguments;
use super::decoded::BodyDecoder;
use super::endpoint::Endpoint;
use super::file::{FilePieces, first_piece, open};
use super::filter::{Filter, OFFLOAD_FROM, encode_whole};
use super::head::{RequestHead, header_map, path_params};
use super::{Native, Target, respond};
use crate::bridge::asgi::scope;
use crate::message::body::ResponseBody;
use crate::message::head::Head;
use crate::pipeline::{
    Decision, FileConditions, Limits, PathSpans, Patience, RouteId, SendFile, Ticket,
    declared_length, overloaded, request_timeout,
};

/// One request of a door that is not ours, or with hooks: decided in Rust, awaited in Python.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Call {
    native: Arc<Native>,
    /// Where the host of this request has mounted the application.
    root_path: Arc<str>,
    inner: Mutex<Inner>,
}

struct Inner {
    head: Arc<Head>,
    ticket: Ticket,
    next: Next,
}

enum Next {
    Hooks,
    /// What the pipeline answers, with its whole body.
    Respond(Option<Response<Bytes>>),
    File(SendFile),
    Handle(RouteId, PathSpans, Limits),
    Mounted(RouteId, Limits),
}

impl Call {
    pub(super) fn new(
        native: Arc<Native>,
        mut head: Head,
        root_path: Arc<str>,
        is_websocket: bool,
    ) -> Self {
        let (ticket, decision) = if is_websocket {
            native.pipeline.begin_websocket(&mut head)
        } else {
            native.pipeline.begin(&mut head)
        };
        let next = Next::of(decision);
        let head = Arc::new(head);
        Self {
            native,
            root_path,
            inner: Mutex::new(Inner { head, ticket, next }),
        }
    }

    /// A request of a host; where it names no root path, that of the configuration counts.
    pub(super) fn hosted(
        native: Arc<Native>,
        mut head: Head,
        root_path: &str,
        is_websocket: bool,
    ) -> Self {
        let root_path = if root_path.is_empty() {
            cut_root_path(&mut head, &native.root_path);
            Arc::clone(&native.root_path)
        } else {
            root_path.into()
        };
        Self::new(native, head, root_path, is_websocket)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take_ticket(&self) -> Ticket {
        self.with(|inner| std::mem::take(&mut inner.ticket))
    }

    fn handled<T>(
        &self,
        work: impl FnOnce(&Endpoint, &Arc<Head>, &PathSpans) -> PyResult<T>,
    ) -> PyResult<T> {
        let (id, head, spans) = self.with(|inner| match &inner.next {
            Next::Handle(id, spans, _) => Ok((*id, Arc::clone(&inner.head), spans.clone())),
            _ => Err(PyRuntimeError::new_err("no endpoint is to be called")),
        })?;
        let endpoint = self
            .native
            .endpoint(id)
            .ok_or_else(|| PyRuntimeError::new_err("the route is a mount"))?;
        work(endpoint, &head, &spans)
    }
}

fn tell_route(
    scope: &Bound<'_, PyDict>,
    endpoint: &Endpoint,
    head: &Head,
    spans: &PathSpans,
) -> PyResult<()> {
    let py = scope.py();
    scope.set_item(intern!(py, "route"), &endpoint.route)?;
    scope.set_item(intern!(py, "endpoint"), &endpoint.handler)?;
    let params = path_params(py, head, &endpoint.names, spans)?;
    scope.set_item(intern!(py, "path_params"), params)
}

impl Next {
    /// The limits in force, if an endpoint is to be called.
    fn limits_of_endpoint(&self) -> Option<Limits> {
        match self {
            Self::Handle(_, _, limits) => Some(*limits),
            _ => None,
        }
    }

    fn of<T>(decision: Decision<'_, T>) -> Self {
        match decision {
            Decision::Respond(response) => Self::Respond(Some(response.map(whole))),
            Decision::SendFile(file) => Self::File(file),
            Decision::Handle {
                id, params, limits, ..
            } => Self::Handle(id, params, limits),
            Decision::Mounted { id, limits, .. } => Self::Mounted(id, limits),
            Decision::Hooks => Self::Hooks,
        }
    }
}

#[pymethods]
impl Call {
    /// What is to be done: `"hooks"`, `"respond"`, `"file"`, `"handle"`, `"websocket"`, `"mounted"`.
    #[getter]
    fn next(&self) -> &'static str {
        let id = self.with(|inner| match &inner.next {
            Next::Hooks => Err("hooks"),
            Next::Respond(_) => Err("respond"),
            Next::File(_) => Err("file"),
            Next::Mounted(..) => Err("mounted"),
            Next::Handle(id, ..) => Ok(*id),
        });
        match id {
            Err(name) => name,
            Ok(id)
                if self
                    .native
                    .endpoint(id)
                    .is_some_and(|endpoint| endpoint.is_websocket) =>
            {
                "websocket"
            }
            Ok(_) => "handle",
        }
    }

    /// Goes on after the `on_request` hooks, with the header fields as they left them.
    #[pyo3(signature = (headers=None))]
    fn resume(&self, headers: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let headers = headers.map(header_map).transpose()?;
        self.with(|inner| {
            if let Some(headers) = headers {
                let mut head = Head::clone(&inner.head);
                head.headers = headers;
                inner.head = Arc::new(head);
            }
            let decision = self.native.pipeline.resume(&inner.head, &mut inner.ticket);
            inner.next = Next::of(decision);
        });
        Ok(())
    }

    /// The head with all that is known by now.
    #[getter]
    fn head(&self) -> RequestHead {
        let (head, id) = self.with(|inner| {
            let head = RequestHead::new(Arc::clone(&inner.head), Arc::clone(&self.root_path))
                .with_policies(inner.ticket.request_id(), inner.ticket.claims());
            match &inner.next {
                Next::Handle(id, spans, _) => (head, Some((*id, spans.clone()))),
                _ => (head, None),
            }
        });
        match id.and_then(|(id, spans)| Some((self.native.endpoint(id)?, spans))) {
            Some((endpoint, spans)) => head.with_match(&endpoint.names, &spans),
            None => head,
        }
    }

    /// The longest body in bytes that the endpoint may be given.
    #[getter]
    fn max_body_bytes(&self) -> Option<u64> {
        self.with(|inner| match &inner.next {
            Next::Handle(_, _, limits) | Next::Mounted(_, limits) => limits.max_body_bytes,
            _ => self.native.pipeline.limits().max_body_bytes,
        })
    }

    /// Seconds until the head of the response has to be there.
    #[getter]
    fn request_timeout(&self) -> Option<f64> {
        let limits = self.with(|inner| match &inner.next {
            Next::Handle(_, _, limits) | Next::Mounted(_, limits) => Some(*limits),
            Next::Hooks => Some(self.native.pipeline.limits()),
            Next::Respond(_) | Next::File(_) => None,
        });
        Some(limits?.request_timeout?.as_secs_f64())
    }

    /// Puts the route that is to be called into a scope, where middleware looks for it.
    fn tell_route(&self, scope: &Bound<'_, PyDict>) -> PyResult<()> {
        self.handled(|endpoint, head, spans| tell_route(scope, endpoint, head, spans))
    }

    /// Whether an endpoint comes next that takes values and perhaps the body, but not the request:
    /// its `(wants_body, request_timeout)`, else `None`. Then the scope is told the route too.
    fn begin_quickly(&self, scope: &Bound<'_, PyDict>) -> PyResult<Option<(bool, Option<f64>)>> {
        let Some(limits) = self.with(|inner| inner.next.limits_of_endpoint()) else {
            return Ok(None);
        };
        let seconds = limits.request_timeout.map(|limit| limit.as_secs_f64());
        self.handled(|endpoint, head, spans| {
            if endpoint.is_websocket || endpoint.wants_request() {
                return Ok(None);
            }
            tell_route(scope, endpoint, head, spans)?;
            Ok(Some((endpoint.body.is_some(), seconds)))
        })
    }

    /// The mount that is to be called: its prefix, its application, and what its own lifespan
    /// stored.
    #[getter]
    fn mount(&self, py: Python<'_>) -> PyResult<(String, Py<PyAny>, Option<Py<PyDict>>)> {
        let id = self.with(|inner| match &inner.next {
            Next::Mounted(id, _) => Some(*id),
            _ => None,
        });
        match id.map(|id| self.native.pipeline.route(id)) {
            Some(Target::Mount(mount)) => Ok((
                mount.prefix.clone(),
                mount.application.clone_ref(py),
                mount.state.as_ref().map(|state| state.clone_ref(py)),
            )),
            _ => Err(PyRuntimeError::new_err("no mount is to be called")),
        }
    }

    /// Whether the endpoint wants the whole body before it is called.
    #[getter]
    fn wants_body(&self) -> PyResult<bool> {
        self.handled(|endpoint, _, _| Ok(endpoint.body.is_some()))
    }

    /// Gives up on the endpoint: as many requests run and wait as may.
    fn overload(&self) {
        self.with(|inner| inner.next = Next::Respond(Some(overloaded().map(whole))));
    }

    /// Gives up on the endpoint: it took too long.
    fn time_out(&self) {
        let mut answer = request_timeout().map(whole);
        self.with(|inner| {
            if inner.head.version > Version::HTTP_11 {
                answer.headers_mut().remove(CONNECTION); // RFC 9113 §8.2.2
            }
            inner.next = Next::Respond(Some(answer));
        });
    }

    /// What the body's chunks go through before anybody reads them, if they do.
    fn body_decoder(&self) -> Option<BodyDecoder> {
        let body_in = self.with(|inner| self.native.pipeline.body_in(&inner.ticket));
        body_in.map(BodyDecoder::new)
    }

    /// Calls the endpoint: `(True, awaitable)`, `(False, result)`, or `(None, response)` when the
    /// request does not fit. Without a request, which only an endpoint that does not want it may be
    /// called with, `(None, None)` says so. What hooks have changed beside header fields is in the
    /// request alone, which is then read instead of the head.
    #[pyo3(signature = (request=None, body=None, is_changed=false))]
    fn invoke<'py>(
        &self,
        py: Python<'py>,
        request: Option<&Bound<'py, PyAny>>,
        body: Option<Bound<'py, PyBytes>>,
        is_changed: bool,
    ) -> PyResult<(Option<bool>, Option<Bound<'py, PyAny>>)> {
        self.handled(|endpoint, head, spans| {
            let bytes = body
                .as_ref()
                .map(|body| Bytes::copy_from_slice(body.as_bytes()));
            let given = arguments::Given {
                head,
                spans,
                body: bytes.as_ref(),
                request,
            };
            if (!is_changed || endpoint.takes_request_only())
                && let Ok(result) = arguments::call(py, endpoint, &given)?
            {
                return Ok((Some(endpoint.is_async), Some(result)));
            }
            let Some(request) = request else {
                return Ok((None, None));
            };
            let answer = endpoint.explain.bind(py).call1((request, body, false))?;
            let Ok(values) = answer.cast::<PyTuple>() else {
                return Ok((None, Some(answer)));
            };
            let result = endpoint.call.bind(py).call1(values)?;
            Ok((Some(endpoint.is_async), Some(result)))
        })
    }

    /// Encodes a result that is no `Response`: `(status, media type or None, body)`.
    fn encode<'py>(
        &self,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<(u16, Option<Bound<'py, PyBytes>>, Bound<'py, PyBytes>)> {
        let py = result.py();
        self.handled(|endpoint, _, _| {
            let (media_type, body) = encoded(endpoint, result)?;
            let media_type = media_type.map(|value| PyBytes::new(py, value.as_bytes()));
            Ok((endpoint.status.as_u16(), media_type, body))
        })
    }

    /// Makes a response, or an awaitable of one, of an exception of the endpoint.
    fn fail<'py>(
        &self,
        request: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = request.py();
        self.handled(|endpoint, _, _| endpoint.fail.bind(py).call1((request, error)))
    }

    /// The pipeline's own answer: `(status, headers, body, rest)`. A file's is read up to its first
    /// piece, so call it for `"file"` off the loop's thread; `rest` reads on, if there is more.
    fn response<'py>(&self, py: Python<'py>) -> PyResult<Begun<'py>> {
        let next = self.with(|inner| match &mut inner.next {
            Next::Respond(response) => response.take().map(Ok),
            Next::File(file) => Some(Err(file.clone())),
            _ => None,
        });
        match next {
            Some(Ok(response)) => {
                let (parts, body) = response.into_parts();
                begun(py, &parts, &body, None)
            }
            Some(Err(file)) => {
                let (parts, first, rest) = py.detach(|| first_piece(file.open()))?;
                begun(py, &parts, &first, rest)
            }
            None => Err(PyRuntimeError::new_err("there is no response")),
        }
    }

    /// A file as a response, as [`Call::response`] gives one; call it off the loop's thread.
    fn file<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
    ) -> PyResult<Begun<'py>> {
        let parts = parts(status, headers)?;
        let head = self.with(|inner| Arc::clone(&inner.head));
        let (parts, first, rest) = py.detach(|| {
            let conditions = FileConditions::new(&head.method, &head.headers);
            let opened = open(Path::new(path), &conditions, &parts, Patience::Blocking);
            first_piece(opened?)
        })?;
        begun(py, &parts, &first, rest)
    }

    /// Puts the policies' last word on the header fields that accept a WebSocket.
    fn accept<'py>(
        &self,
        py: Python<'py>,
        headers: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut fields = header_map(headers)?;
        let ticket = self.take_ticket();
        self.native.pipeline.finish_fields(&ticket, &mut fields);
        scope::headers(py, &fields)
    }

    /// Puts the policies' last word on a response: `(status, headers, body, filter)`, the body as it
    /// goes out with its length among the headers. With a filter it is still to be encoded: a stream
    /// (`body=None`) chunk by chunk, a long body off the loop's thread.
    #[pyo3(signature = (status, headers, body=None))]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        body: Option<Bound<'py, PyBytes>>,
    ) -> PyResult<Finished<'py>> {
        let mut parts = parts(status, headers)?;
        if body
            .as_ref()
            .is_some_and(|body| !body.as_bytes().is_empty())
        {
            parts.headers.remove(CONTENT_LENGTH); // it is the server's to say
        }
        self.finished(py, parts, body)
    }

    /// As [`Call::finish`], for a result that is no `Response`: what the endpoint's encoder raises is
    /// raised.
    fn reply<'py>(&self, result: &Bound<'py, PyAny>) -> PyResult<Finished<'py>> {
        let py = result.py();
        let (parts, body) = self.handled(|endpoint, _, _| {
            let (media_type, body) = encoded(endpoint, result)?;
            let mut response = Response::new(());
            *response.status_mut() = endpoint.status;
            let body = match media_type {
                Some(media_type) => {
                    response.headers_mut().insert(CONTENT_TYPE, media_type);
                    body
                }
                None => PyBytes::new(py, b""),
            };
            Ok((response.into_parts().0, body))
        })?;
        self.finished(py, parts, Some(body))
    }
}

/// `(status, headers, first piece, what reads the others)`.
type Begun<'py> = (
    u16,
    Bound<'py, PyList>,
    Bound<'py, PyBytes>,
    Option<FilePieces>,
);

/// `(status, headers, body, filter)`.
type Finished<'py> = (
    u16,
    Bound<'py, PyList>,
    Option<Bound<'py, PyBytes>>,
    Option<Filter>,
);

impl Call {
    fn finished<'py>(
        &self,
        py: Python<'py>,
        mut parts: response::Parts,
        body: Option<Bound<'py, PyBytes>>,
    ) -> PyResult<Finished<'py>> {
        let ticket = self.take_ticket();
        let pipeline = &self.native.pipeline;
        let body = match body {
            Some(body) if pipeline.restates(&parts) => {
                let document = ResponseBody::from_bytes(Bytes::copy_from_slice(body.as_bytes()));
                let restated = whole(pipeline.restate(&mut parts, document));
                Some(PyBytes::new(py, &restated))
            }
            body => body,
        };
        let length = match &body {
            Some(body) => Some(body.as_bytes().len() as u64),
            None => declared_length(&parts.headers),
        };
        let filter = pipeline.finish_head(&ticket, &mut parts, length);
        let (body, filter) = match (body, filter) {
            (Some(body), Some(mut filter)) if body.as_bytes().len() < OFFLOAD_FROM => (
                Some(PyBytes::new(
                    py,
                    &encode_whole(&mut filter, body.as_bytes())?,
                )),
                None,
            ),
            (body, filter) => (body, filter),
        };
        if let (Some(body), None) = (&body, &filter)
            && has_length(parts.status)
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            let length = HeaderValue::from(body.as_bytes().len());
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        let headers = scope::headers(py, &parts.headers)?;
        let filter = filter.map(|filter| Filter {
            filter: Mutex::new(filter),
        });
        Ok((parts.status.as_u16(), headers, body, filter))
    }
}

/// Whether a response of this status says how long its body is (RFC 9110 §8.6).
fn has_length(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// A result as bytes with their media type; without one such an answer has no body.
fn encoded<'py>(
    endpoint: &Endpoint,
    result: &Bound<'py, PyAny>,
) -> PyResult<(Option<HeaderValue>, Bound<'py, PyBytes>)> {
    let media_type = endpoint.media_type.clone();
    if let Ok(bytes) = result.cast::<PyBytes>() {
        let octets = HeaderValue::from_static("application/octet-stream");
        let media_type = media_type.map(|own| {
            if own == "application/json" {
                octets
            } else {
                own
            }
        });
        return Ok((media_type, bytes.clone()));
    }
    let body = endpoint.encode.bind(result.py()).call1((result,))?;
    Ok((media_type, body.cast_into::<PyBytes>()?))
}

fn begun<'py>(
    py: Python<'py>,
    parts: &response::Parts,
    first: &[u8],
    rest: Option<FilePieces>,
) -> PyResult<Begun<'py>> {
    let headers = scope::headers(py, &parts.headers)?;
    Ok((
        parts.status.as_u16(),
        headers,
        PyBytes::new(py, first),
        rest,
    ))
}

/// The head of a response from Python's fields.
fn parts(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<response::Parts> {
    let mut response = Response::new(());
    *response.status_mut() = respond::status(status)?;
    *response.headers_mut() = header_map(headers)?;
    Ok(response.into_parts().0)
}

/// All bytes of a body that does not wait, and as many as there are of one that does.
pub(super) fn whole(mut body: ResponseBody) -> Bytes {
    if let ResponseBody::Full(bytes) = body {
        return bytes;
    }
    let mut bytes = BytesMut::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    bytes.freeze()
}
