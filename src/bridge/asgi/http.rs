//! One HTTP request of an ASGI application: its `receive`, its `send`, and the answer between.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::file::SentFile;
use super::{AsgiApplication, event, scope};
use crate::bridge::awaitable;
use crate::bridge::errors;
use crate::bridge::outlet::{Driven, Outlet, Piece};
use crate::bridge::reactor::Core;
use crate::bridge::registry::{Key, Registry};
use crate::bridge::task::{Started, Task, Tasks};
use crate::message::body::{BodyError, ResponseBody};
use crate::message::head::Head;
use crate::pipeline::request_timeout;
use crate::protocol::asgi::http::{
    Action, Content, RequestFacts, Responder, ResponseHead, Then, Unfinished, Write,
};
use crate::server::planted;
use crate::server::response::bare;
use crate::server::{Answer, Called, Exchange};

thread_local! {
    static CYCLES: Registry<Cycle> = const { Registry::new() };
}

/// A request from its head to its application's end.
struct Cycle {
    core: Rc<Core>,
    app: Rc<AsgiApplication>,
    exchange: RefCell<Box<dyn Exchange>>,
    responder: RefCell<Responder>,
    answer: RefCell<Option<Answer>>,
    outlet: RefCell<Option<Rc<Outlet>>>,
    /// The connection's task, which has to look when an answer is there.
    connection: RefCell<Option<Waker>>,
    /// The connection's task is calling the application and looks anyway.
    is_starting: Cell<bool>,
    /// Futures of `receive` calls that wait.
    receivers: RefCell<VecDeque<Py<PyAny>>>,
    /// The application has been given the whole body.
    body_given: Cell<bool>,
    gone: Cell<bool>,
    /// The application's task, if it waits and might be cancelled.
    task: RefCell<Option<Py<PyAny>>>,
    /// There is a time limit, or an abandoned stream is cancelled.
    is_cancellable: bool,
    /// The application has been told that the peer has gone.
    is_told: Cell<bool>,
    key: Cell<Option<Key>>,
}

/// Serves one request. At the time limit its application is cancelled, and the answer is 408.
pub(in crate::bridge) fn serve<E: Exchange>(
    app: Rc<AsgiApplication>,
    core: Rc<Core>,
    head: &Head,
    exchange: E,
    limit: Option<Duration>,
) -> Called {
    let capabilities = exchange.capabilities();
    let facts = RequestFacts {
        is_head: head.method == Method::HEAD,
        version: head.version,
        trailers: capabilities.trailers,
        early_hints: capabilities.early_hints,
    };
    let app_cancels = app.cancels_abandoned;
    let cycle = Rc::new(Cycle {
        core,
        app,
        exchange: RefCell::new(Box::new(exchange)),
        responder: RefCell::new(Responder::new(facts)),
        answer: RefCell::new(None),
        outlet: RefCell::new(None),
        connection: RefCell::new(None),
        is_starting: Cell::new(true),
        receivers: RefCell::new(VecDeque::new()),
        body_given: Cell::new(false),
        gone: Cell::new(false),
        task: RefCell::new(None),
        is_cancellable: limit.is_some() || app_cancels,
        is_told: Cell::new(false),
        key: Cell::new(None),
    });
    cycle.start(head, capabilities);
    cycle.is_starting.set(false);
    if let Some(answer) = cycle.answer.take() {
        return Called::Answered(answer);
    }
    let answering = Answering(Some(Rc::clone(&cycle)));
    let Some(limit) = limit else {
        return Called::waiting(answering);
    };
    Called::waiting(async move {
        let answer = tokio::time::timeout(limit, answering).await;
        answer.unwrap_or_else(|_| {
            cycle.cancel();
            Answer::Response(request_timeout())
        })
    })
}

/// Waits for the application's answer; dropping it before tells the application that the peer
/// has gone.
struct Answering(Option<Rc<Cycle>>);

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let cycle = self
            .0
            .as_ref()
            .expect("it is taken out only when the answer is there");
        cycle.set_connection(cx.waker());
        cycle.drive(cx);
        match cycle.answer.take() {
            None => Poll::Pending,
            Some(answer) => {
                self.0 = None;
                Poll::Ready(answer)
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(cycle) = self.0.take() {
            // An answer that nobody took holds the cycle.
            drop(cycle.answer.take());
            cycle.peer_gone();
        }
    }
}

impl Cycle {
    /// Calls the application and lets it take its first step.
    fn start(self: &Rc<Self>, head: &Head, capabilities: crate::server::Capabilities) {
        Python::attach(|py| {
            let key = CYCLES.with(|cycles| cycles.add(Rc::clone(self)));
            self.key.set(Some(key));
            let coroutine = match self.coroutine(py, key, head, capabilities) {
                Ok(Some(coroutine)) => coroutine,
                Ok(None) => {
                    CYCLES.with(|cycles| cycles.remove(key));
                    self.answer
                        .replace(Some(Answer::Response(bare(StatusCode::BAD_REQUEST))));
                    return;
                }
                Err(error) => return self.ended(py, key, &Err(error)),
            };
            match Tasks::start(&self.core, &coroutine) {
                Started::Finished(result) => self.ended(py, key, &result),
                Started::Waiting(task) => {
                    if self.is_cancellable {
                        self.task.replace(Some(task.object(py)));
                    }
                    let cycle = Rc::clone(self);
                    task.leave(Box::new(move |py, result| cycle.ended(py, key, &result)));
                }
            }
        });
    }

    fn coroutine<'py>(
        &self,
        py: Python<'py>,
        key: Key,
        head: &Head,
        capabilities: crate::server::Capabilities,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(scope) = scope::http(py, &self.app.scope, head, capabilities)? else {
            return Ok(None);
        };
        let receive = Bound::new(py, Receive { key })?;
        let send = Bound::new(py, Send { key })?;
        self.app
            .coroutine(scope, receive.as_any(), send.as_any())
            .map(Some)
    }

    /// The application has returned or raised.
    fn ended(&self, py: Python<'_>, key: Key, result: &PyResult<Py<PyAny>>) {
        CYCLES.with(|cycles| cycles.remove(key));
        self.task.take();
        let unfinished = self.responder.borrow().finish();
        match result {
            // Cancelled with its connection cut: nobody's mistake.
            Err(error) if self.gone.get() && is_cancelled(py, error) => {}
            Err(error) => self.app.log_exception(py, error),
            Ok(_) if self.gone.get() => {}
            Ok(_) => match unfinished {
                Unfinished::Complete => {}
                Unfinished::NothingSent | Unfinished::HeldStart => {
                    self.app
                        .log(py, "the application returned without a response");
                }
                Unfinished::Cut => {
                    self.app.log(
                        py,
                        "the application returned before its response was complete",
                    );
                }
            },
        }
        match unfinished {
            Unfinished::Complete => {}
            Unfinished::NothingSent | Unfinished::HeldStart => {
                self.give(Answer::Response((self.app.failure)()));
            }
            Unfinished::Cut => {
                if let Some(outlet) = &*self.outlet.borrow() {
                    outlet.abort();
                }
            }
        }
        self.tell_receivers(py);
    }

    /// Cancels the application, for which nobody waits any more.
    fn cancel(&self) {
        self.gone.set(true);
        if let Some(task) = self.task.take() {
            Python::attach(|py| Task::cancel(&self.core, task.bind(py)));
        }
    }

    fn set_connection(&self, waker: &Waker) {
        let mut connection = self.connection.borrow_mut();
        if connection
            .as_ref()
            .is_none_or(|known| !known.will_wake(waker))
        {
            *connection = Some(waker.clone());
        }
    }

    fn give(&self, answer: Answer) {
        self.answer.replace(Some(answer));
        if self.is_starting.get() {
            return;
        }
        if let Some(connection) = &*self.connection.borrow() {
            self.core.wake(connection);
        }
    }

    /// Whether `receive` has nothing more to tell but the disconnect.
    fn is_over(&self) -> bool {
        self.gone.get() || self.responder.borrow().is_complete()
    }

    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_over() {
            self.is_told.set(true);
            return awaitable::ready(disconnect(py)?.as_any());
        }
        if !self.body_given.get() {
            let waker = self.connection.borrow().clone();
            let waker = waker.unwrap_or_else(|| Waker::noop().clone());
            if let Poll::Ready(event) = self.poll_event(py, &mut Context::from_waker(&waker)) {
                return awaitable::ready(event?.as_any());
            }
        }
        let future = awaitable::future(&self.core, py)?;
        self.receivers
            .borrow_mut()
            .push_back(future.clone().unbind());
        awaitable::waiting(future)
    }

    /// The next event of the body; only while the application has not been given all of it.
    fn poll_event<'py>(
        &self,
        py: Python<'py>,
        cx: &mut Context<'_>,
    ) -> Poll<PyResult<Bound<'py, PyDict>>> {
        let mut exchange = self.exchange.borrow_mut();
        let body = if exchange.is_body_end() {
            Bytes::new()
        } else {
            match exchange.poll_body(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => Bytes::new(),
                Poll::Ready(Some(Ok(body))) => body,
                Poll::Ready(Some(Err(error))) => {
                    drop(exchange);
                    return Poll::Ready(self.body_failed(py, error));
                }
            }
        };
        let more = !exchange.is_body_end();
        self.body_given.set(!more);
        Poll::Ready(request_event(py, &body, more))
    }

    fn body_failed<'py>(&self, py: Python<'py>, _: BodyError) -> PyResult<Bound<'py, PyDict>> {
        self.gone.set(true);
        disconnect(py)
    }

    fn send<'py>(self: &Rc<Self>, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        let (event, file) = event::http(event)?;
        if self.gone.get() {
            let responder = self.responder.borrow();
            // A client may leave once it has what it came for, before the end is sent. Middleware
            // takes an error for a reason to cancel what the application has yet to do.
            if !responder.is_complete() && !responder.only_ends(&event) {
                self.is_told.set(true);
                return Err(errors::client_disconnected(py));
            }
        }
        let mut responder = self.responder.borrow_mut();
        planted::point("asgi send");
        let action = responder.send(event);
        drop(responder);
        match action.map_err(|error| errors::send_error(py, &error))? {
            Action::Hold | Action::Ignore => {}
            Action::EarlyHint(fields) => self.exchange.borrow_mut().early_hints(fields),
            Action::Write(write) => return self.write(py, write, file),
        }
        awaitable::done(py)
    }

    fn write<'py>(
        self: &Rc<Self>,
        py: Python<'py>,
        write: Write,
        file: Option<SentFile>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Write {
            head,
            content,
            then,
            excess,
        } = write;
        if excess > 0 {
            let message = format!("the response body is {excess} bytes longer than declared");
            self.app.log(py, &message);
            self.exchange.borrow_mut().close_after();
        }
        let piece = piece(py, content, file)?;
        let ends = !matches!(then, Then::More);
        if let Some(head) = head {
            if let Then::End = then {
                self.give(Answer::Response(response(head, piece.into())));
                self.tell_receivers(py);
                return awaitable::done(py);
            }
            let driven = Rc::clone(self) as Rc<dyn Driven>;
            let outlet = Outlet::new(&self.core, Some(driven));
            let body = ResponseBody::Stream(Box::pin(outlet.body()));
            self.outlet.replace(Some(outlet));
            self.give(Answer::Response(response(head, body)));
        }
        let outlet = self.outlet.borrow().clone();
        let Some(outlet) = outlet else {
            return awaitable::done(py);
        };
        outlet.push(piece);
        match then {
            Then::More => {}
            Then::End => outlet.end(None),
            Then::Trailers(trailers) => outlet.end(Some(trailers)),
            Then::Short { declared, got } => {
                let message = format!("the response body has {got} of {declared} declared bytes");
                self.app.log(py, &message);
                outlet.abort();
            }
        }
        if ends {
            self.tell_receivers(py);
        }
        outlet.room(py)
    }

    /// Tells waiting `receive` calls of the disconnect, once there is nothing else to tell.
    fn tell_receivers(&self, py: Python<'_>) {
        if !self.is_over() {
            return;
        }
        let receivers = std::mem::take(&mut *self.receivers.borrow_mut());
        for receiver in receivers {
            let event = disconnect(py).map(Bound::into_any);
            awaitable::complete(&self.core, receiver.bind(py), event);
        }
    }
}

impl Driven for Cycle {
    fn drive(&self, cx: &mut Context<'_>) {
        if self.receivers.borrow().is_empty() || self.body_given.get() {
            return;
        }
        Python::attach(|py| {
            while let Some(receiver) = self.awaited_receiver(py) {
                match self.poll_event(py, cx) {
                    Poll::Pending => {
                        self.receivers.borrow_mut().push_front(receiver.unbind());
                        return;
                    }
                    Poll::Ready(event) => {
                        awaitable::complete(&self.core, &receiver, event.map(Bound::into_any));
                    }
                }
                if self.body_given.get() {
                    return self.tell_receivers(py);
                }
            }
        });
    }

    fn file_failed(&self) {
        let message = "a file became shorter, or unreadable, while it was being sent";
        Python::attach(|py| self.app.log(py, message));
    }

    fn peer_gone(&self) {
        if self.gone.replace(true) {
            return;
        }
        Python::attach(|py| {
            let is_abandoned = self.app.cancels_abandoned && self.is_abandoned(py);
            self.tell_receivers(py);
            if is_abandoned {
                self.look_later(py);
            }
        });
    }
}

impl Cycle {
    /// Cancels the application unless it hears of its peer in the step that it may be about to take.
    fn look_later(&self, py: Python<'_>) {
        let Some(key) = self.key.get() else { return };
        let event_loop = self.core.event_loop.bind(py);
        let asked = Bound::new(py, Look { key })
            .and_then(|look| event_loop.call_method1(intern!(py, "call_soon"), (look,)));
        if let Err(error) = asked {
            self.app.log_exception(py, &error);
        }
        self.core.after_step(py);
    }

    /// Whether a response has begun, is not complete, and the application waits for something else
    /// than the connection: it would never hear that the peer has gone.
    fn is_abandoned(&self, py: Python<'_>) -> bool {
        let outlet = self.outlet.borrow();
        let has_begun = outlet.as_ref().is_some_and(|outlet| !outlet.is_awaited(py));
        let receivers = self.receivers.borrow();
        has_begun
            && !self.responder.borrow().is_complete()
            && !receivers
                .iter()
                .any(|receiver| awaitable::is_awaited(receiver.bind(py)))
    }

    /// The next `receive` call that was not cancelled.
    fn awaited_receiver<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        loop {
            let receiver = self.receivers.borrow_mut().pop_front()?.into_bound(py);
            if awaitable::is_awaited(&receiver) {
                return Some(receiver);
            }
        }
    }
}

fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<CancelledError>(py)
}

fn response(head: ResponseHead, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// What is to be sent of the bytes or the file that an event brought.
fn piece(py: Python<'_>, content: Content, file: Option<SentFile>) -> PyResult<Piece> {
    let (offset, length) = match content {
        Content::Bytes(bytes) => return Ok(Piece::Bytes(bytes)),
        Content::Path { length, .. } => (Some(0), length),
        Content::File { offset, count } => (offset, count),
    };
    let Some(file) = file else {
        return Ok(Piece::Bytes(Bytes::new()));
    };
    let begin = match offset {
        Some(offset) => offset,
        None => file.position(py)?,
    };
    let end = begin + length;
    if offset.is_none() {
        file.set_position(py, end)?;
    }
    Ok(Piece::File(file.into_body(begin..end)))
}

/// What the client of a broken application hears; the log knows more.
pub(super) fn internal_server_error() -> Response<ResponseBody> {
    let text = Bytes::from_static(b"Internal Server Error");
    let mut response = Response::new(ResponseBody::Full(text));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, plain);
    response
}

fn request_event<'py>(py: Python<'py>, body: &Bytes, more: bool) -> PyResult<Bound<'py, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    event.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    event.set_item(intern!(py, "more_body"), more)?;
    Ok(event)
}

fn disconnect(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
    Ok(event)
}

/// Looks whether the application of one request still waits for a peer that has gone.
#[pyclass(frozen)]
struct Look {
    key: Key,
}

#[pymethods]
impl Look {
    fn __call__(&self) {
        let cycle = CYCLES.with(|cycles| cycles.thing(self.key));
        if let Some(cycle) = cycle.filter(|cycle| !cycle.is_told.get()) {
            cycle.cancel();
        }
    }
}

/// Whether a request is one of another thread: of a worker thread's caller, say, that wants to have
/// the call made on the loop.
fn is_elsewhere(key: Key) -> bool {
    !CYCLES.with(|cycles| cycles.gave(key))
}

/// ASGI's `receive` of one request.
#[pyclass(frozen)]
struct Receive {
    key: Key,
}

#[pymethods]
impl Receive {
    fn __call__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let py = slf.py();
        let key = slf.get().key;
        match CYCLES.with(|cycles| cycles.thing(key)) {
            Some(cycle) => cycle.receive(py),
            None if is_elsewhere(key) => awaitable::called_later(slf.into_any(), None),
            None => awaitable::ready(disconnect(py)?.as_any()),
        }
    }
}

/// ASGI's `send` of one request.
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
        let key = slf.get().key;
        match CYCLES.with(|cycles| cycles.thing(key)) {
            Some(cycle) => cycle.send(&event),
            None if is_elsewhere(key) => awaitable::called_later(slf.into_any(), Some(event)),
            None => awaitable::done(event.py()),
        }
    }
}
