//! One WebSocket of an ASGI application: its `receive`, its `send`, and its end.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use http::StatusCode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::{AsgiApplication, event, scope};
use crate::bridge::awaitable;
use crate::bridge::errors;
use crate::bridge::reactor::Core;
use crate::bridge::registry::Key;
use crate::bridge::task::{Started, Tasks};
use crate::bridge::websocket::{Awaited, Channel, Dialect};
use crate::message::head::Head;
use crate::protocol::asgi::websocket::{Ended, SendError, Unfinished};
use crate::protocol::websocket::close::{ABNORMAL, Close};
use crate::protocol::websocket::handshake::subprotocols;
use crate::server::Answer;
use crate::server::response::bare;
use crate::server::websocket::Incoming;

/// Serves one handshake; an accepted WebSocket lives on in the answer's handler.
pub(in crate::bridge) async fn serve(
    app: Rc<AsgiApplication>,
    core: Rc<Core>,
    head: Head,
) -> Answer {
    let offered = subprotocols(&head.headers);
    let settings = app.websocket.clone();
    let channel = Channel::new(&core, &Events, settings, offered.clone(), head.version);
    let mut awaited = Awaited(Some(channel));
    let mut started = false;
    let answer = poll_fn(|cx| {
        let channel = awaited
            .0
            .as_ref()
            .expect("it is taken out only when the answer is there");
        channel.set_connection(cx.waker());
        if !started {
            started = true;
            start(&app, &core, channel, &head, &offered);
        }
        channel.take_answer().map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    awaited.0 = None;
    answer
}

/// Calls the application and lets it take its first step.
fn start(
    app: &Rc<AsgiApplication>,
    core: &Rc<Core>,
    channel: &Rc<Channel>,
    head: &Head,
    offered: &[String],
) {
    Python::attach(|py| {
        let coroutine = match coroutine(py, app, channel.key(), head, offered) {
            Ok(Some(coroutine)) => coroutine,
            Ok(None) => return channel.refuse(Answer::Response(bare(StatusCode::BAD_REQUEST))),
            Err(error) => return ended(py, app, channel, &Err(error)),
        };
        match Tasks::start(core, &coroutine) {
            Started::Finished(result) => ended(py, app, channel, &result),
            Started::Waiting(task) => {
                let (app, channel) = (Rc::clone(app), Rc::clone(channel));
                task.leave(Box::new(move |py, result| {
                    ended(py, &app, &channel, &result);
                }));
            }
        }
    });
}

fn coroutine<'py>(
    py: Python<'py>,
    app: &AsgiApplication,
    key: Key,
    head: &Head,
    offered: &[String],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(scope) = scope::websocket(py, &app.scope, head, offered)? else {
        return Ok(None);
    };
    let receive = Bound::new(py, Receive { key })?;
    let send = Bound::new(py, Send { key })?;
    app.coroutine(scope, receive.as_any(), send.as_any())
        .map(Some)
}

/// The application has returned or raised.
fn ended(py: Python<'_>, app: &AsgiApplication, channel: &Channel, result: &PyResult<Py<PyAny>>) {
    match result {
        Err(error) => {
            app.log_exception(py, error);
            channel.ended(Ended::Raised);
        }
        Ok(_) => match channel.ended(Ended::Returned) {
            Unfinished::Complete | Unfinished::Close(_) => {}
            Unfinished::ServerError => {
                app.log(
                    py,
                    "the application returned without an answer to the handshake",
                );
            }
            Unfinished::Cut => {
                app.log(
                    py,
                    "the application returned before its response was complete",
                );
            }
        },
    }
}

/// The words of ASGI: dictionaries, and an `OSError` once the peer has gone.
struct Events;

impl Dialect for Events {
    fn connect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let event = PyDict::new(py);
        event.set_item(intern!(py, "type"), intern!(py, "websocket.connect"))?;
        Ok(event.into_any())
    }

    fn incoming<'py>(&self, py: Python<'py>, incoming: Incoming) -> PyResult<Bound<'py, PyAny>> {
        let event = PyDict::new(py);
        let kind = match incoming {
            Incoming::Text(text) => {
                event.set_item(intern!(py, "text"), PyString::from_bytes(py, &text)?)?;
                intern!(py, "websocket.receive")
            }
            Incoming::Binary(bytes) => {
                event.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
                intern!(py, "websocket.receive")
            }
            Incoming::Closed(close) => {
                event.set_item(intern!(py, "code"), close.code)?;
                event.set_item(intern!(py, "reason"), close.reason)?;
                intern!(py, "websocket.disconnect")
            }
        };
        event.set_item(intern!(py, "type"), kind)?;
        Ok(event.into_any())
    }

    fn refused(&self, py: Python<'_>, error: &SendError, _: Option<Close>) -> PyErr {
        match error {
            SendError::Closed(_) => errors::client_disconnected(py),
            error => errors::protocol_error(py, &error.to_string()),
        }
    }
}

/// ASGI's `receive` of one WebSocket.
#[pyclass(frozen)]
struct Receive {
    key: Key,
}

#[pymethods]
impl Receive {
    fn __call__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let py = slf.py();
        let key = slf.get().key;
        if let Some(channel) = Channel::of(key) {
            return channel.receive(py);
        }
        if Channel::is_elsewhere(key) {
            return awaitable::called_later(slf.into_any(), None);
        }
        let end = Incoming::Closed(Close::of(ABNORMAL, ""));
        awaitable::ready(&Events.incoming(py, end)?)
    }
}

/// ASGI's `send` of one WebSocket.
#[pyclass(frozen)]
struct Send {
    key: Key,
}

#[pymethods]
impl Send {
    fn __call__<'py>(
        slf: Bound<'py, Self>,
        event: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        let key = slf.get().key;
        if Channel::is_elsewhere(key) {
            return awaitable::called_later(slf.into_any(), Some(event));
        }
        let event = event::websocket(&event)?;
        match Channel::of(key) {
            Some(channel) => channel.send(py, event),
            None => Err(errors::client_disconnected(py)),
        }
    }
}
