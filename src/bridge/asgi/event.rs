//! From the dictionaries that an ASGI application sends to typed events.

use std::path::PathBuf;

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use super::file::SentFile;
use crate::bridge::{buffer, errors};
use crate::protocol::asgi::http::SendEvent;
use crate::protocol::asgi::websocket;
use crate::protocol::asgi::{EventError, FieldError, Fields};
use crate::protocol::websocket::close::NORMAL;

/// Reads an event of the HTTP protocol, and opens the file if it sends one.
pub(super) fn http(event: &Bound<'_, PyAny>) -> PyResult<(SendEvent, Option<SentFile>)> {
    let py = event.py();
    let event = Event::new(event)?;
    let kind = event.kind("http")?;
    let event = match kind.to_str()? {
        "http.response.pathsend" => return event.path_send(),
        "http.response.zerocopysend" => return event.zero_copy_send(),
        "http.response.start" => Ok(SendEvent::Start {
            status: event.status("http.response.start")?,
            headers: event.headers("http.response.start")?,
            trailers: event.flag("http.response.start", intern!(py, "trailers"))?,
        }),
        "http.response.body" => Ok(SendEvent::Body {
            body: event.bytes("http.response.body", intern!(py, "body"))?,
            more: event.flag("http.response.body", intern!(py, "more_body"))?,
        }),
        "http.response.trailers" => Ok(SendEvent::Trailers {
            headers: event.headers("http.response.trailers")?,
            more: event.flag("http.response.trailers", intern!(py, "more_trailers"))?,
        }),
        "http.response.early_hint" => Ok(SendEvent::EarlyHint {
            links: event.links()?,
        }),
        other => Err(errors::event_error(&EventError::UnknownType {
            protocol: "http",
            got: shortened(other),
        })),
    };
    event.map(|event| (event, None))
}

/// Reads an event of the WebSocket protocol.
pub(super) fn websocket(event: &Bound<'_, PyAny>) -> PyResult<websocket::SendEvent> {
    let py = event.py();
    let event = Event::new(event)?;
    let kind = event.kind("websocket")?;
    match kind.to_str()? {
        "websocket.send" => Ok(websocket::SendEvent::Send {
            text: event.text("websocket.send", intern!(py, "text"))?,
            bytes: event.optional_bytes("websocket.send", intern!(py, "bytes"))?,
        }),
        "websocket.accept" => Ok(websocket::SendEvent::Accept {
            subprotocol: event.string("websocket.accept", "subprotocol")?,
            headers: event.headers("websocket.accept")?,
        }),
        "websocket.close" => Ok(websocket::SendEvent::Close {
            code: event.code()?,
            reason: event
                .string("websocket.close", "reason")?
                .unwrap_or_default(),
        }),
        "websocket.http.response.start" => Ok(websocket::SendEvent::ResponseStart {
            status: event.status("websocket.http.response.start")?,
            headers: event.headers("websocket.http.response.start")?,
        }),
        "websocket.http.response.body" => Ok(websocket::SendEvent::ResponseBody {
            body: event.bytes("websocket.http.response.body", intern!(py, "body"))?,
            more: event.flag("websocket.http.response.body", intern!(py, "more_body"))?,
        }),
        other => Err(errors::event_error(&EventError::UnknownType {
            protocol: "websocket",
            got: shortened(other),
        })),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

struct Event<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'a, 'py> Event<'a, 'py> {
    fn new(event: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        match event.cast::<PyDict>() {
            Ok(event) => Ok(Self(event)),
            Err(_) => Err(errors::event_error(&EventError::NotADict {
                got: type_name(event),
            })),
        }
    }

    fn kind(&self, protocol: &'static str) -> PyResult<Bound<'py, PyString>> {
        let py = self.0.py();
        let missing = EventError::MissingKey {
            event: protocol,
            key: "type",
        };
        let kind = self
            .0
            .get_item(intern!(py, "type"))?
            .ok_or_else(|| errors::event_error(&missing))?;
        kind.cast_into::<PyString>()
            .map_err(|error| wrong_type(protocol, "type", "a str", &error.into_inner()))
    }

    fn status(&self, event: &'static str) -> PyResult<i64> {
        let py = self.0.py();
        let missing = EventError::MissingKey {
            event,
            key: "status",
        };
        let status = self
            .0
            .get_item(intern!(py, "status"))?
            .ok_or_else(|| errors::event_error(&missing))?;
        if !status.is_instance_of::<PyInt>() || status.is_instance_of::<PyBool>() {
            return Err(wrong_type(event, "status", "an int", &status));
        }
        Ok(status.extract().unwrap_or(i64::MAX))
    }

    fn flag(&self, event: &'static str, key: &Bound<'py, PyString>) -> PyResult<bool> {
        match self.0.get_item(key)? {
            None => Ok(false),
            Some(value) => match value.cast::<PyBool>() {
                Ok(flag) => Ok(flag.is_true()),
                // Frameworks send the ints 0 and 1, and uvicorn takes any truth value.
                Err(_) if value.is_instance_of::<PyInt>() || value.is_none() => value.is_truthy(),
                Err(_) => Err(wrong_type(event, "more_body", "a bool", &value)),
            },
        }
    }

    /// A key that may be absent or None.
    fn given(&self, key: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(key)?.filter(|value| !value.is_none()))
    }

    fn text(&self, event: &'static str, key: &Bound<'py, PyString>) -> PyResult<Option<Bytes>> {
        let Some(text) = self.given(key)? else {
            return Ok(None);
        };
        let Ok(text) = text.cast::<PyString>() else {
            return Err(wrong_type(event, "text", "a str", &text));
        };
        Ok(Some(Bytes::copy_from_slice(text.to_str()?.as_bytes())))
    }

    fn optional_bytes(
        &self,
        event: &'static str,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bytes>> {
        let Some(bytes) = self.given(key)? else {
            return Ok(None);
        };
        match buffer::from_bytes_like(&bytes) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(wrong_type(event, "bytes", "bytes", &bytes)),
        }
    }

    fn string(&self, event: &'static str, key: &'static str) -> PyResult<Option<String>> {
        let Some(text) = self.given(&PyString::intern(self.0.py(), key))? else {
            return Ok(None);
        };
        match text.cast::<PyString>() {
            Ok(text) => Ok(Some(text.to_str()?.to_owned())),
            Err(_) => Err(wrong_type(event, key, "a str", &text)),
        }
    }

    fn code(&self) -> PyResult<i64> {
        let Some(code) = self.given(intern!(self.0.py(), "code"))? else {
            return Ok(NORMAL.into());
        };
        if !code.is_instance_of::<PyInt>() || code.is_instance_of::<PyBool>() {
            return Err(wrong_type("websocket.close", "code", "an int", &code));
        }
        Ok(code.extract().unwrap_or(i64::MAX))
    }

    fn bytes(&self, event: &'static str, key: &Bound<'py, PyString>) -> PyResult<Bytes> {
        match self.0.get_item(key)? {
            None => Ok(Bytes::new()),
            Some(body) => buffer::from_bytes_like(&body)
                .map_err(|_| wrong_type(event, "body", "bytes", &body)),
        }
    }

    fn headers(&self, event: &'static str) -> PyResult<Fields> {
        let Some(headers) = self.0.get_item(intern!(self.0.py(), "headers"))? else {
            return Ok(Fields::default());
        };
        let mut fields = Fields::with_capacity(headers.len().unwrap_or(0));
        if let Ok(list) = headers.cast_exact::<PyList>() {
            for pair in list {
                push(event, &mut fields, &pair)?;
            }
            return Ok(fields);
        }
        let pairs = headers
            .try_iter()
            .map_err(|_| wrong_type(event, "headers", "an iterable of pairs of bytes", &headers))?;
        for pair in pairs {
            push(event, &mut fields, &pair?)?;
        }
        Ok(fields)
    }

    fn path_send(&self) -> PyResult<(SendEvent, Option<SentFile>)> {
        let (event, py) = ("http.response.pathsend", self.0.py());
        let path = self.given(intern!(py, "path"))?;
        let path = path.ok_or_else(|| missing(event, "path"))?;
        let Ok(text) = path.cast::<PyString>() else {
            return Err(wrong_type(event, "path", "a str", &path));
        };
        let path: PathBuf = text.extract()?;
        // The rules refuse a relative one: nothing to open.
        let file = if path.is_absolute() {
            Some(SentFile::open(py, &path)?)
        } else {
            None
        };
        let length = file.as_ref().map_or(0, SentFile::length);
        Ok((SendEvent::PathSend { path, length }, file))
    }

    fn zero_copy_send(&self) -> PyResult<(SendEvent, Option<SentFile>)> {
        let (event, py) = ("http.response.zerocopysend", self.0.py());
        let object = self.given(intern!(py, "file"))?;
        let file = SentFile::of(&object.ok_or_else(|| missing(event, "file"))?)?;
        let offset = self.size(event, "offset")?;
        let begin = match offset {
            Some(offset) => offset,
            None => file.position(py)?,
        };
        let rest = file.length().saturating_sub(begin);
        let count = self.size(event, "count")?.map_or(rest, |n| n.min(rest));
        let event = SendEvent::ZeroCopySend {
            offset,
            count,
            more: self.flag(event, intern!(py, "more_body"))?,
        };
        Ok((event, Some(file)))
    }

    fn size(&self, event: &'static str, key: &'static str) -> PyResult<Option<u64>> {
        let Some(size) = self.given(&PyString::intern(self.0.py(), key))? else {
            return Ok(None);
        };
        let expected = "an int that is not negative";
        if !size.is_instance_of::<PyInt>() || size.is_instance_of::<PyBool>() {
            return Err(wrong_type(event, key, expected, &size));
        }
        let size = size
            .extract()
            .map_err(|_| wrong_type(event, key, expected, &size))?;
        Ok(Some(size))
    }

    fn links(&self) -> PyResult<Vec<Bytes>> {
        let event = "http.response.early_hint";
        let Some(links) = self.0.get_item(intern!(self.0.py(), "links"))? else {
            return Ok(Vec::new());
        };
        let links = links
            .try_iter()
            .map_err(|_| wrong_type(event, "links", "an iterable of bytes", &links))?;
        links
            .map(|link| {
                let link = link?;
                buffer::from_bytes_like(&link)
                    .map_err(|_| wrong_type(event, "links", "an iterable of bytes", &link))
            })
            .collect()
    }
}

fn push(event: &'static str, fields: &mut Fields, pair: &Bound<'_, PyAny>) -> PyResult<()> {
    let invalid = |error: FieldError| errors::protocol_error(pair.py(), &error.to_string());
    if let Ok(tuple) = pair.cast_exact::<PyTuple>()
        && tuple.len() == 2
        && let Ok(name) = tuple.get_borrowed_item(0)?.cast::<PyBytes>()
        && let Ok(value) = tuple.get_borrowed_item(1)?.cast::<PyBytes>()
    {
        return fields
            .push(name.as_bytes(), value.as_bytes())
            .map_err(invalid);
    }
    let (name, value) = name_and_value(event, pair)?;
    fields
        .push(name.as_bytes(), value.as_bytes())
        .map_err(invalid)
}

/// The two halves of a header: a tuple or list of two `bytes`.
fn name_and_value<'py>(
    event: &'static str,
    pair: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let wrong = |got: &Bound<'_, PyAny>| wrong_type(event, "headers", "pairs of bytes", got);
    let (name, value) = match pair.cast::<PyTuple>() {
        Ok(tuple) if tuple.len() == 2 => (tuple.get_item(0)?, tuple.get_item(1)?),
        _ => pair
            .extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()
            .or_else(|_| {
                let items: Vec<Bound<'py, PyAny>> = pair.extract().map_err(|_| wrong(pair))?;
                <[_; 2]>::try_from(items)
                    .map(|[name, value]| (name, value))
                    .map_err(|_| wrong(pair))
            })?,
    };
    match (name.cast_into::<PyBytes>(), value.cast_into::<PyBytes>()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Err(error), _) | (_, Err(error)) => Err(wrong(&error.into_inner())),
    }
}

fn missing(event: &'static str, key: &'static str) -> PyErr {
    errors::event_error(&EventError::MissingKey { event, key })
}

fn wrong_type(
    event: &'static str,
    key: &'static str,
    expected: &'static str,
    got: &Bound<'_, PyAny>,
) -> PyErr {
    errors::event_error(&EventError::WrongType {
        event,
        key,
        expected,
        got: type_name(got),
    })
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
