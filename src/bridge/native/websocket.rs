//! One WebSocket of a native handler: policies have decided, the handler answers the handshake.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use tokio::task::spawn_local;

use super::call::Call;
use super::endpoint::Endpoint;
use super::head::RequestHead;
use super::passage::Passage;
use super::respond::{self, Reply};
use super::{Native, arguments, finish_answer};
use crate::bridge::awaitable;
use crate::bridge::buffer;
use crate::bridge::errors;
use crate::bridge::reactor::Core as Reactor;
use crate::bridge::registry::{Key, Registry};
use crate::bridge::task::{Started, Task, Tasks};
use crate::bridge::websocket::{Awaited, Channel, Dialect, Settings};
use crate::message::head::Head;
use crate::pipeline::{PathSpans, RouteId, request_timeout};
use crate::protocol::asgi::Fields;
use crate::protocol::asgi::websocket::{Ended, SendError, SendEvent};
use crate::protocol::websocket::close::{ABNORMAL, Close, NORMAL};
use crate::protocol::websocket::handshake::subprotocols;
use crate::server::Answer;
use crate::server::websocket::Incoming;

/// Time that a handler whose peer has gone gets to notice by itself before it is cancelled.
const NOTICE_TIME: Duration = Duration::from_secs(1);

thread_local! {
    static SOCKETS: Registry<Socket> = const { Registry::new() };
}

/// Who is called with the WebSocket.
pub(super) enum Callee {
    /// A WebSocket route's endpoint.
    Endpoint(RouteId),
    /// The coroutine that runs the hooks.
    Driver,
}

/// A WebSocket while its handler runs.
struct Socket {
    native: Arc<Native>,
    reactor: Rc<Reactor>,
    channel: Rc<Channel>,
    /// The response that refuses the handshake.
    reply: RefCell<Option<Reply>>,
}

/// Serves one handshake; an accepted WebSocket lives on in the answer's handler.
pub(super) async fn serve(
    mut passage: Passage,
    callee: Callee,
    settings: Settings,
    timeout: Option<Duration>,
) -> Answer {
    let native = Arc::clone(&passage.native);
    let offered = subprotocols(&passage.head.headers);
    let version = passage.head.version;
    let channel = Channel::new(&passage.reactor, &Words, settings, offered, version);
    channel.skip_connect();
    let socket = Rc::new(Socket {
        native: Arc::clone(&native),
        reactor: Rc::clone(&passage.reactor),
        channel: Rc::clone(&channel),
        reply: RefCell::new(None),
    });
    let mut awaited = Awaited(Some(channel));
    let mut call = None;
    let mut started = false;
    let answering = poll_fn(|cx| {
        let channel = &socket.channel;
        channel.set_connection(cx.waker());
        if !started {
            started = true;
            call = Python::attach(|py| start(py, &passage, &callee, &socket));
        }
        channel.take_answer().map_or(Poll::Pending, Poll::Ready)
    });
    let answer = match timeout {
        None => Some(answering.await),
        Some(timeout) => tokio::time::timeout(timeout, answering).await.ok(),
    };
    if let Some(call) = call {
        passage.ticket = call.get().take_ticket();
    }
    let Some(answer) = answer else {
        drop(awaited);
        return passage.give(Reply::plain(request_timeout()));
    };
    awaited.0 = None;
    let reply = socket.reply.take();
    match reply {
        Some(reply) => passage.give_opened(reply).await,
        None => finish_answer(&native, &passage.ticket, answer),
    }
}

/// Calls the handler and lets it take its first step. Returns the driver's call.
fn start(
    py: Python<'_>,
    passage: &Passage,
    callee: &Callee,
    socket: &Rc<Socket>,
) -> Option<Py<Call>> {
    let key = SOCKETS.with(|sockets| sockets.add(Rc::clone(socket)));
    let (coroutine, call) = match coroutine(py, passage, callee, key) {
        Ok(made) => made,
        Err(error) => {
            ended(py, socket, key, &Err(error));
            return None;
        }
    };
    match Tasks::start(&socket.reactor, &coroutine) {
        Started::Finished(result) => ended(py, socket, key, &result),
        Started::Waiting(task) => {
            let object = task.object(py);
            cancel_when_over(socket, object);
            let socket = Rc::clone(socket);
            task.leave(Box::new(move |py, result| ended(py, &socket, key, &result)));
        }
    }
    call
}

fn coroutine<'py>(
    py: Python<'py>,
    passage: &Passage,
    callee: &Callee,
    key: Key,
) -> PyResult<(Bound<'py, PyAny>, Option<Py<Call>>)> {
    let native = &passage.native;
    let head = RequestHead::new(Arc::clone(&passage.head), Arc::clone(&native.root_path));
    let object = |head: RequestHead| {
        let peer = Bound::new(py, Peer { key })?;
        let class = native.names.websocket.bind(py);
        class.call1((Bound::new(py, head)?, peer))
    };
    match callee {
        Callee::Endpoint(id) => {
            let endpoint = native
                .endpoint(*id)
                .ok_or_else(|| PyRuntimeError::new_err("the route is a mount"))?;
            let head = head
                .with_match(&endpoint.names, &passage.spans)
                .with_policies(passage.ticket.request_id(), passage.ticket.claims());
            let coroutine = called(py, passage, endpoint, &object(head)?)?;
            Ok((coroutine, None))
        }
        Callee::Driver => {
            let driver = native
                .socket_driver
                .as_ref()
                .ok_or_else(|| PyRuntimeError::new_err("the application has no driver"))?;
            let root_path = Arc::clone(&native.root_path);
            let begun = Head::clone(&passage.head);
            let call = Call::new(Arc::clone(native), begun, root_path, true);
            let call = Py::new(py, call)?;
            let coroutine = driver.bind(py).call1((&call, object(head)?))?;
            Ok((coroutine, Some(call)))
        }
    }
}

fn called<'py>(
    py: Python<'py>,
    passage: &Passage,
    endpoint: &Endpoint,
    socket: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let spans = PathSpans::default();
    let given = arguments::Given {
        head: &passage.head,
        spans: &spans,
        body: None,
        request: Some(socket),
    };
    match arguments::call(py, endpoint, &given)? {
        Ok(coroutine) => Ok(coroutine),
        Err(_misfit) => Err(PyRuntimeError::new_err("the WebSocket does not fit")),
    }
}

/// The handler has returned or raised; its endpoint has closed the WebSocket already.
fn ended(py: Python<'_>, socket: &Socket, key: Key, result: &PyResult<Py<PyAny>>) {
    SOCKETS.with(|sockets| sockets.remove(key));
    match result {
        Ok(_) => socket.channel.ended(Ended::Returned),
        Err(error) => {
            // Cancelled because the peer has gone: nobody's failure.
            if !socket.channel.is_over() {
                errors::log(py, &socket.native.names.log, error);
            }
            socket.channel.ended(Ended::Raised)
        }
    };
}

/// Cancels a handler that is busy with something else when the peer goes.
fn cancel_when_over(socket: &Rc<Socket>, task: Py<PyAny>) {
    let reactor = Rc::clone(&socket.reactor);
    let channel = Rc::downgrade(&socket.channel);
    socket.channel.on_over(Box::new(move || {
        spawn_local(async move {
            tokio::time::sleep(NOTICE_TIME).await;
            if channel
                .upgrade()
                .is_some_and(|channel| !channel.knows_end())
            {
                Python::attach(|py| Task::cancel(&reactor, task.bind(py)));
            }
        });
    }));
}

/// The words of `spikard.websockets`: messages as they are, and `WebSocketDisconnect`.
struct Words;

impl Dialect for Words {
    fn connect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(py.None().into_bound(py))
    }

    fn incoming<'py>(&self, py: Python<'py>, incoming: Incoming) -> PyResult<Bound<'py, PyAny>> {
        match incoming {
            Incoming::Text(text) => PyString::from_bytes(py, &text).map(Bound::into_any),
            Incoming::Binary(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            Incoming::Closed(close) => Err(errors::websocket_disconnect(py, close)),
        }
    }

    fn refused(&self, py: Python<'_>, error: &SendError, close: Option<Close>) -> PyErr {
        match error {
            SendError::Closed(_) => errors::websocket_disconnect(py, close.unwrap_or_else(lost)),
            error => errors::protocol_error(py, &error.to_string()),
        }
    }
}

fn lost() -> Close {
    Close::of(ABNORMAL, "")
}

/// The server's end of a WebSocket: what `spikard.websockets.WebSocketExchange` asks for.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Peer {
    key: Key,
}

impl Peer {
    fn socket(&self, py: Python<'_>) -> PyResult<Rc<Socket>> {
        SOCKETS
            .with(|sockets| sockets.thing(self.key))
            .ok_or_else(|| errors::websocket_disconnect(py, lost()))
    }

    fn tell<'py>(&self, py: Python<'py>, event: SendEvent) -> PyResult<Bound<'py, PyAny>> {
        self.socket(py)?.channel.send(py, event)
    }
}

#[pymethods]
impl Peer {
    /// Accepts the handshake.
    fn accept<'py>(
        &self,
        py: Python<'py>,
        subprotocol: Option<String>,
        headers: Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut fields = Fields::with_capacity(headers.len());
        for (name, value) in headers {
            fields
                .push(name.as_bytes(), value.as_bytes())
                .map_err(|error| errors::protocol_error(py, &error.to_string()))?;
        }
        let event = SendEvent::Accept {
            subprotocol,
            headers: fields,
        };
        self.tell(py, event)
    }

    /// Refuses the handshake with a response.
    fn reject<'py>(&self, response: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = response.py();
        let socket = self.socket(py)?;
        let reply = respond::of_response(&socket.reactor, &socket.native.names, response)?;
        socket.reply.replace(Some(reply));
        self.close(py, NORMAL.into(), String::new())
    }

    /// An awaitable of the next message; `WebSocketDisconnect` at the end.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.socket(py)?.channel.receive(py)
    }

    /// Sends a message; the awaitable is ready when there is room for the next.
    fn send<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = data.py();
        let (text, bytes) = if let Ok(text) = data.cast::<PyString>() {
            let text = Bytes::copy_from_slice(text.to_str()?.as_bytes());
            (Some(text), None)
        } else if let Ok(bytes) = buffer::from_bytes_like(data) {
            (None, Some(bytes))
        } else {
            let class = data.get_type().name()?;
            let message = format!("expected a message of str or bytes, got {class}");
            return Err(PyTypeError::new_err(message));
        };
        self.tell(py, SendEvent::Send { text, bytes })
    }

    /// Closes, or before the handshake's end refuses it with 403.
    fn close<'py>(
        &self,
        py: Python<'py>,
        code: i64,
        reason: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        match SOCKETS.with(|sockets| sockets.thing(self.key)) {
            Some(socket) => socket.channel.send(py, SendEvent::Close { code, reason }),
            None => awaitable::done(py),
        }
    }

    /// Whether the peer is known to have gone.
    fn is_disconnected(&self) -> bool {
        let socket = SOCKETS.with(|sockets| sockets.thing(self.key));
        socket.is_none_or(|socket| socket.channel.is_over())
    }
}
