//! Spikard's own applications on our server: pipeline, endpoint, response, without ASGI between.

mod arguments;
mod core;
mod endpoint;
mod head;
mod host_scope;
mod inlet;
mod mounted;
mod respond;
mod slots;
mod websocket;

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use tokio::task::{spawn_blocking, spawn_local};

use super::allocator;
use super::asgi::{self, AsgiApplication};
use super::errors;
use super::outlet::Driven;
use super::reactor::Core as Reactor;
use super::task::{Started, Tasks};
use super::websocket::Settings;
use crate::message::body::{Aborted, BodyError, ResponseBody};
use crate::message::head::Head;
use crate::message::problem::Problem;
use crate::pipeline::{
    BodyLimit, Decision, FileBody, FileConditions, FileSource, Limits, PathSpans, Patience,
    Pipeline, RouteId, Ticket, answer, overloaded, payload_too_large, request_timeout,
};
use crate::server::{Answer, Application, Called, Exchange, Fault};

pub(crate) use self::core::{Call, Core, FilePieces, Filter};
pub(crate) use head::RequestHead;
pub(crate) use inlet::Source;
pub(crate) use respond::Sink;
pub(crate) use websocket::Peer;

use endpoint::Endpoint;
use inlet::Inlet;
use mounted::Mount;
use respond::{Reply, reply};
use slots::{Overloaded, Slot, Slots};

/// A Spikard application, frozen.
pub(crate) struct Native {
    pipeline: Pipeline<Target>,
    root_path: Arc<str>,
    names: Names,
    /// `drive(call)`: the coroutine that runs the hooks around a request, when there are any.
    driver: Option<Py<PyAny>>,
    /// `drive_socket(call, socket)`: the same for a WebSocket.
    socket_driver: Option<Py<PyAny>>,
    mounts: Vec<RouteId>,
    /// What is called for every request to a mount instead, when Python has a say around them.
    mount_door: Option<Py<PyAny>>,
}

/// What a path leads to.
pub(super) enum Target {
    Endpoint(Endpoint),
    Mount(Mount),
}

/// What the bridge needs of `spikard`'s Python side.
pub(super) struct Names {
    /// `spikard.responses.Response`.
    pub(super) response: Py<PyType>,
    /// `spikard.datastructures.Request`.
    pub(super) request: Py<PyAny>,
    /// `spikard.websockets.WebSocket`.
    pub(super) websocket: Py<PyAny>,
    /// `spikard._exchange.Exchange`.
    pub(super) exchange: Py<PyAny>,
    /// `spikard._exchange.pump`.
    pub(super) pump: Py<PyAny>,
    /// `spikard_asgi.application.as_coroutine`.
    pub(super) as_coroutine: Py<PyAny>,
    /// `spikard._server.log_failure`.
    pub(super) log: Py<PyAny>,
}

/// A native application as the server calls it.
pub(crate) struct NativeApplication {
    native: Arc<Native>,
    /// One for each mount, with the state of this run's lifespan.
    mounts: Vec<(RouteId, Rc<AsgiApplication>)>,
    mount_door: Option<Rc<AsgiApplication>>,
    /// How many requests may be in handlers, when that is limited.
    slots: Option<Rc<Slots>>,
    websocket: Settings,
}

/// One request on its way through.
struct Passage {
    native: Arc<Native>,
    reactor: Rc<Reactor>,
    head: Arc<Head>,
    ticket: Ticket,
    spans: PathSpans,
    inlet: Option<Rc<Inlet>>,
    slots: Option<Rc<Slots>>,
    slot: Option<Slot>,
}

impl NativeApplication {
    /// The application for one run: `state` is what its lifespan stored.
    pub(crate) fn new(
        py: Python<'_>,
        native: Arc<Native>,
        state: Option<&Py<PyDict>>,
        websocket: &Settings,
    ) -> PyResult<Self> {
        let mount = |id: &RouteId| match native.pipeline.route(*id) {
            Target::Endpoint(_) => None,
            Target::Mount(mount) => Some(
                mount
                    .application(py, &native, state, websocket)
                    .map(|mount| (*id, Rc::new(mount))),
            ),
        };
        let mounts = native.mounts.iter().filter_map(mount);
        let mounts = mounts.collect::<PyResult<Vec<_>>>()?;
        let mount_door = native.mount_door.as_ref().map(|door| {
            let state = state.map(|state| state.clone_ref(py));
            Rc::new(
                native
                    .names
                    .application(py, door, &native.root_path, state, websocket.clone()),
            )
        });
        let slots = Slots::new(native.pipeline.concurrency()).map(Rc::new);
        Ok(Self {
            native,
            mounts,
            mount_door,
            slots,
            websocket: websocket.clone(),
        })
    }

    fn mount(&self, id: RouteId) -> Option<Rc<AsgiApplication>> {
        let mount = self.mounts.iter().find(|(known, _)| *known == id)?;
        Some(Rc::clone(&mount.1))
    }
}

impl Application for NativeApplication {
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, exchange: E) -> Called {
        super::gil::offer();
        match Reactor::current() {
            Some(reactor) => self.serve(reactor, head, exchange),
            None => Called::Answered(Answer::Abort),
        }
    }

    fn report(&self, fault: Fault) {
        Python::attach(|py| errors::log_text(py, &self.native.names.log, &fault.to_string()));
    }

    fn rested(&self) {
        allocator::give_back();
    }
}

impl NativeApplication {
    fn serve<E: Exchange>(
        self: &Rc<Self>,
        reactor: Rc<Reactor>,
        mut head: Head,
        mut exchange: E,
    ) -> Called {
        let native = &self.native;
        cut_root_path(&mut head, &native.root_path);
        let is_websocket = exchange.capabilities().websocket;
        if let Some(door) = &self.mount_door
            && native.pipeline.leads_to_mount(&head, is_websocket)
        {
            return asgi::serve(Rc::clone(door), reactor, head, exchange, None);
        }
        let facts = Arc::as_ptr(&head.connection);
        let (ticket, decision) = if is_websocket {
            native.pipeline.begin_websocket(&mut head)
        } else {
            native.pipeline.begin(&mut head)
        };
        if !std::ptr::eq(facts, Arc::as_ptr(&head.connection)) {
            exchange.came_for(&head.connection.peer);
        }
        match decision {
            Decision::Respond(response) => {
                Called::Answered(Answer::Response(native.finished(&ticket, response)))
            }
            Decision::SendFile(file) => {
                if let Some(response) = file.open_cached() {
                    return Called::Answered(Answer::Response(native.finished(&ticket, response)));
                }
                let native = Arc::clone(native);
                Called::waiting(async move {
                    let response = blocking(move || file.open()).await;
                    let response = response.map(ResponseBody::from);
                    Answer::Response(native.finished(&ticket, response))
                })
            }
            Decision::Handle {
                id, params, limits, ..
            } => {
                let passage = Passage {
                    native: Arc::clone(native),
                    reactor,
                    head: Arc::new(head),
                    ticket,
                    spans: params,
                    inlet: None,
                    slots: self.slots.clone(),
                    slot: None,
                };
                passage.handle(id, limits, &self.websocket, exchange)
            }
            Decision::Mounted { id, limits, .. } => {
                native.pipeline.tell_request_id(&ticket, &mut head.headers);
                let app = Rc::clone(self);
                Called::waiting(async move {
                    let answer = app.call_mount(id, limits, reactor, head, exchange).await;
                    finish_answer(&app.native, &ticket, answer)
                })
            }
            Decision::Hooks => {
                let limits = native.pipeline.limits();
                let passage = Passage {
                    native: Arc::clone(native),
                    reactor,
                    head: Arc::new(head),
                    ticket,
                    spans: PathSpans::default(),
                    inlet: None,
                    // The driver asks for a place before the endpoint.
                    slots: None,
                    slot: None,
                };
                if is_websocket {
                    let callee = websocket::Callee::Driver;
                    return passage.converse(callee, &self.websocket, limits);
                }
                Called::waiting(passage.drive(limits, exchange))
            }
        }
    }
}

impl NativeApplication {
    async fn call_mount<E: Exchange>(
        &self,
        id: RouteId,
        limits: Limits,
        reactor: Rc<Reactor>,
        head: Head,
        exchange: E,
    ) -> Answer {
        let Some(mount) = self.mount(id) else {
            return Answer::Response(answer(&Problem::not_found()));
        };
        // A WebSocket lasts; `max_connections` bounds those.
        let is_request = !exchange.capabilities().websocket;
        let slot = match self.slots.as_ref().filter(|_| is_request) {
            None => None,
            Some(slots) => match slots.enter().await {
                Ok(slot) => Some(slot),
                Err(Overloaded) => return Answer::Response(overloaded()),
            },
        };
        let answer = mounted::serve(mount, reactor, head, exchange, limits).await;
        drop(slot);
        answer
    }
}

/// Takes the root path off a target that still has it: a proxy in front may have cut it off.
fn cut_root_path(head: &mut Head, root_path: &str) {
    if root_path.is_empty() {
        return;
    }
    let below = match head.uri.path().strip_prefix(root_path) {
        Some("") => "/",
        Some(below) if below.starts_with('/') => below,
        _ => return,
    };
    let target = match head.uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{below}?{query}")),
        None => PathAndQuery::try_from(below),
    };
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = target.ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

fn finish_answer(native: &Native, ticket: &Ticket, answer: Answer) -> Answer {
    match answer {
        Answer::Response(response) => {
            let (mut parts, body) = response.into_parts();
            let body = native.pipeline.finish(ticket, &mut parts, body);
            Answer::Response(Response::from_parts(parts, body))
        }
        Answer::Upgrade(mut fields, handler) => {
            native.pipeline.finish_fields(ticket, &mut fields);
            Answer::Upgrade(fields, handler)
        }
        Answer::Abort => Answer::Abort,
    }
}

impl Native {
    fn finished(
        &self,
        ticket: &Ticket,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let body = self.pipeline.finish(ticket, &mut parts, body);
        Response::from_parts(parts, body)
    }

    fn endpoint(&self, id: RouteId) -> Option<&Endpoint> {
        match self.pipeline.route(id) {
            Target::Endpoint(endpoint) => Some(endpoint),
            Target::Mount(_) => None,
        }
    }
}

impl Names {
    /// An ASGI application as our server calls it.
    fn application(
        &self,
        py: Python<'_>,
        callable: &Py<PyAny>,
        root_path: &str,
        state: Option<Py<PyDict>>,
        websocket: Settings,
    ) -> AsgiApplication {
        AsgiApplication::new(
            callable.clone_ref(py),
            self.as_coroutine.clone_ref(py),
            self.log.clone_ref(py),
            root_path,
            state,
            websocket,
        )
    }
}

/// How far a step into Python came.
enum Step {
    Replied(Reply),
    /// The endpoint's task waits.
    Waiting(super::task::Task),
    /// An exception handler's task waits.
    Failing(super::task::Task),
}

impl Passage {
    fn converse(self, callee: websocket::Callee, settings: &Settings, limits: Limits) -> Called {
        let timeout = limits.request_timeout;
        Called::waiting(websocket::serve(self, callee, settings.clone(), timeout))
    }

    /// Calls the endpoint: at once, unless it has to wait for a body or for a place.
    fn handle<E: Exchange>(
        mut self,
        id: RouteId,
        limits: Limits,
        websocket: &Settings,
        mut exchange: E,
    ) -> Called {
        let native = Arc::clone(&self.native);
        let Some(endpoint) = native.endpoint(id) else {
            return Called::Answered(Answer::Abort);
        };
        if endpoint.is_websocket {
            let callee = websocket::Callee::Endpoint(id);
            return self.converse(callee, websocket, limits);
        }
        let mut body = endpoint
            .body
            .is_some()
            .then(|| Collecting::new(limits.max_body_bytes));
        // A small body usually came with its head.
        let mut unwatched = Context::from_waker(Waker::noop());
        let is_there = body
            .as_mut()
            .is_none_or(|body| body.poll(&mut exchange, &mut unwatched).is_ready());
        if !is_there || self.slots.is_some() {
            return Called::waiting(self.handle_later(id, limits, body, exchange));
        }
        let body = match body.map(Collecting::finish).transpose() {
            Ok(body) => body,
            Err(error) => return Called::Answered(self.refuse_body(error)),
        };
        match self.start(endpoint, body.as_ref(), limits, exchange) {
            Step::Replied(reply) if reply.file.is_none() => Called::Answered(self.give(reply)),
            step => Called::waiting(self.handle_rest(id, step, limits)),
        }
    }

    fn refuse_body(self, error: BodyError) -> Answer {
        match error {
            BodyError::TooLarge { limit } => self.give(Reply::plain(payload_too_large(limit))),
            _ => Answer::Abort,
        }
    }

    async fn handle_later<E: Exchange>(
        mut self,
        id: RouteId,
        limits: Limits,
        mut body: Option<Collecting>,
        mut exchange: E,
    ) -> Answer {
        let native = Arc::clone(&self.native);
        let Some(endpoint) = native.endpoint(id) else {
            return Answer::Abort;
        };
        if let Some(body) = &mut body {
            poll_fn(|cx| body.poll(&mut exchange, cx)).await;
        }
        let body = match body.map(Collecting::finish).transpose() {
            Ok(body) => body,
            Err(error) => return self.refuse_body(error),
        };
        // After the body: a client that sends slowly takes nobody's place.
        if let Some(slots) = self.slots.take() {
            match slots.enter().await {
                Ok(slot) => self.slot = Some(slot),
                Err(Overloaded) => return self.give(Reply::plain(overloaded())),
            }
        }
        match self.start(endpoint, body.as_ref(), limits, exchange) {
            Step::Replied(reply) if reply.file.is_none() => self.give(reply),
            step => self.handle_rest(id, step, limits).await,
        }
    }

    /// What comes after a first step that left something open.
    async fn handle_rest(mut self, id: RouteId, step: Step, limits: Limits) -> Answer {
        let native = Arc::clone(&self.native);
        let Some(endpoint) = native.endpoint(id) else {
            return Answer::Abort;
        };
        let reply = self.settle(endpoint, step, limits.request_timeout).await;
        self.slot = None;
        self.give_opened(reply).await
    }

    fn start<E: Exchange>(
        &mut self,
        endpoint: &Endpoint,
        body: Option<&Bytes>,
        limits: Limits,
        exchange: E,
    ) -> Step {
        if endpoint.wants_request() {
            let limit = BodyLimit::new(limits.max_body_bytes);
            self.inlet = Some(Inlet::new(&self.reactor, Box::new(exchange), limit));
        }
        Python::attach(|py| self.first_step(py, endpoint, body))
    }

    fn first_step(&mut self, py: Python<'_>, endpoint: &Endpoint, body: Option<&Bytes>) -> Step {
        let request = if endpoint.wants_request() {
            match self.request(py, endpoint) {
                Ok(request) => Some(request),
                Err(error) => return self.failed(py, endpoint, &error),
            }
        } else {
            None
        };
        let given = arguments::Given {
            head: &self.head,
            spans: &self.spans,
            body,
            request: request.as_ref(),
        };
        let result = match arguments::call(py, endpoint, &given) {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(arguments::Misfit)) => match self.explain(py, endpoint, body) {
                Ok(Explained::Response(reply)) => return Step::Replied(reply),
                Ok(Explained::Result(result)) => Ok(result),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match result {
            Err(error) => self.failed(py, endpoint, &error),
            Ok(result) if endpoint.is_async => match Tasks::start(&self.reactor, &result) {
                Started::Finished(Ok(value)) => self.replied(py, endpoint, value.bind(py)),
                Started::Finished(Err(error)) => self.failed(py, endpoint, &error),
                Started::Waiting(task) => Step::Waiting(task),
            },
            Ok(value) => {
                self.reactor.after_step(py);
                self.replied(py, endpoint, &value)
            }
        }
    }

    fn replied(&self, py: Python<'_>, endpoint: &Endpoint, value: &Bound<'_, PyAny>) -> Step {
        match reply(&self.reactor, &self.native.names, endpoint, value) {
            Ok(reply) => Step::Replied(reply),
            Err(error) => self.failed(py, endpoint, &error),
        }
    }

    /// Makes a response of an exception.
    fn failed(&self, py: Python<'_>, endpoint: &Endpoint, error: &PyErr) -> Step {
        let names = &self.native.names;
        let answer = self
            .request(py, endpoint)
            .and_then(|request| endpoint.fail.bind(py).call1((request, error.value(py))));
        let answer = match answer {
            Ok(answer) => answer,
            Err(second) => {
                errors::log(py, &names.log, &second);
                return Step::Replied(Reply::plain(internal_server_error()));
            }
        };
        if let Ok(true) = answer.is_instance(names.response.bind(py)) {
            return self.of_response(py, &answer);
        }
        let coroutine = names.as_coroutine.bind(py).call1((answer,));
        match coroutine.map(|coroutine| Tasks::start(&self.reactor, &coroutine)) {
            Ok(Started::Finished(Ok(response))) => self.of_response(py, response.bind(py)),
            Ok(Started::Waiting(task)) => Step::Failing(task),
            Ok(Started::Finished(Err(error))) | Err(error) => {
                errors::log(py, &names.log, &error);
                Step::Replied(Reply::plain(internal_server_error()))
            }
        }
    }

    fn of_response(&self, py: Python<'_>, response: &Bound<'_, PyAny>) -> Step {
        let names = &self.native.names;
        match respond::of_response(&self.reactor, names, response) {
            Ok(reply) => Step::Replied(reply),
            Err(error) => {
                errors::log(py, &names.log, &error);
                Step::Replied(Reply::plain(internal_server_error()))
            }
        }
    }

    /// The slow pass: everything that is wrong, or all values after all.
    fn explain<'py>(
        &mut self,
        py: Python<'py>,
        endpoint: &Endpoint,
        body: Option<&Bytes>,
    ) -> PyResult<Explained<'py>> {
        let request = self.request(py, endpoint)?;
        let body = body.map(|body| pyo3::types::PyBytes::new(py, body));
        let answer = endpoint.explain.bind(py).call1((request, body))?;
        if let Ok(values) = answer.cast::<pyo3::types::PyTuple>() {
            return Ok(Explained::Result(endpoint.call.bind(py).call1(values)?));
        }
        respond::of_response(&self.reactor, &self.native.names, &answer).map(Explained::Response)
    }

    /// The request as Python sees it.
    fn request<'py>(&self, py: Python<'py>, endpoint: &Endpoint) -> PyResult<Bound<'py, PyAny>> {
        let head = RequestHead::new(Arc::clone(&self.head), Arc::clone(&self.native.root_path))
            .with_match(&endpoint.names, &self.spans)
            .with_policies(self.ticket.request_id(), self.ticket.claims());
        self.request_of(py, head)
    }

    fn request_of<'py>(&self, py: Python<'py>, head: RequestHead) -> PyResult<Bound<'py, PyAny>> {
        let names = &self.native.names;
        let source = match &self.inlet {
            Some(inlet) => Some(Bound::new(py, inlet.source())?),
            None => None,
        };
        let exchange = names.exchange.bind(py).call1((source,))?;
        names
            .request
            .bind(py)
            .call1((Bound::new(py, head)?, exchange))
    }

    /// Waits for what a step left open.
    async fn settle(
        &mut self,
        endpoint: &Endpoint,
        step: Step,
        timeout: Option<Duration>,
    ) -> Reply {
        let mut step = step;
        loop {
            step = match step {
                Step::Replied(reply) => return reply,
                Step::Waiting(task) => match self.wait(task, timeout).await {
                    Err(TimedOut) => return Reply::plain(request_timeout()),
                    Ok(result) => Python::attach(|py| match result {
                        Ok(value) => self.replied(py, endpoint, value.bind(py)),
                        Err(error) => self.failed(py, endpoint, &error),
                    }),
                },
                Step::Failing(task) => match self.wait(task, timeout).await {
                    Err(TimedOut) => return Reply::plain(request_timeout()),
                    Ok(result) => Python::attach(|py| match result {
                        Ok(response) => self.of_response(py, response.bind(py)),
                        Err(error) => {
                            errors::log(py, &self.native.names.log, &error);
                            Step::Replied(Reply::plain(internal_server_error()))
                        }
                    }),
                },
            };
        }
    }

    /// Awaits a task, driving the request body that it may read. Dropping it cancels the task.
    async fn wait(
        &self,
        task: super::task::Task,
        timeout: Option<Duration>,
    ) -> Result<PyResult<Py<PyAny>>, TimedOut> {
        let mut task = pin!(task);
        let waiting = poll_fn(|cx| {
            if let Some(inlet) = &self.inlet {
                inlet.drive(cx);
            }
            task.as_mut().poll(cx)
        });
        match timeout {
            None => Ok(waiting.await),
            Some(timeout) => {
                if let Ok(result) = tokio::time::timeout(timeout, waiting).await {
                    return Ok(result);
                }
                Python::attach(|py| task.expire(py));
                Err(TimedOut)
            }
        }
    }

    /// Finishes the reply and hands it over.
    fn give(mut self, reply: Reply) -> Answer {
        let Reply {
            response,
            file: _,
            background,
        } = reply;
        let (mut parts, body) = response.into_parts();
        let mut body = self.native.pipeline.finish(&self.ticket, &mut parts, body);
        let inlet = self.inlet.take();
        if background.is_some() || matches!(body, ResponseBody::Stream(_)) && inlet.is_some() {
            body = ResponseBody::Stream(Box::pin(Followed {
                inner: body,
                then: background,
                native: Arc::clone(&self.native),
                reactor: Rc::clone(&self.reactor),
                inlet,
            }));
        } else if let Some(inlet) = inlet {
            inlet.close();
        }
        Answer::Response(Response::from_parts(parts, body))
    }

    /// As [`Passage::give`], for a reply whose file may have to be opened first.
    async fn give_opened(self, mut reply: Reply) -> Answer {
        if let Some(path) = reply.file.take() {
            reply.response = self.with_file(reply.response, path).await;
        }
        self.give(reply)
    }

    async fn with_file(
        &self,
        response: Response<ResponseBody>,
        path: std::path::PathBuf,
    ) -> Response<ResponseBody> {
        let conditions = FileConditions::new(&self.head.method, &self.head.headers);
        let (parts, _) = response.into_parts();
        let shown = path.clone();
        let opened = blocking(move || open(&path, &conditions, &parts)).await;
        match opened {
            Ok(response) => response.map(ResponseBody::from),
            Err(error) => {
                let message = format!("the file {} cannot be sent: {error}", shown.display());
                Python::attach(|py| errors::log_text(py, &self.native.names.log, &message));
                internal_server_error()
            }
        }
    }

    /// Lets Python run the hooks around the request.
    async fn drive<E: Exchange>(mut self, limits: Limits, exchange: E) -> Answer {
        let limit = BodyLimit::new(limits.max_body_bytes);
        self.inlet = Some(Inlet::new(&self.reactor, Box::new(exchange), limit));
        let (call, step) = match Python::attach(|py| self.start_driver(py)) {
            Ok(started) => started,
            Err(error) => {
                Python::attach(|py| errors::log(py, &self.native.names.log, &error));
                return self.give(Reply::plain(internal_server_error()));
            }
        };
        let result = match step {
            Started::Finished(result) => Ok(result),
            Started::Waiting(task) => self.wait(task, limits.request_timeout).await,
        };
        let reply = match result {
            Err(TimedOut) => Reply::plain(request_timeout()),
            Ok(Ok(response)) => {
                Python::attach(|py| match self.of_response(py, response.bind(py)) {
                    Step::Replied(reply) => reply,
                    _ => Reply::plain(internal_server_error()),
                })
            }
            Ok(Err(error)) => {
                Python::attach(|py| errors::log(py, &self.native.names.log, &error));
                Reply::plain(internal_server_error())
            }
        };
        self.ticket = call.get().take_ticket();
        self.give_opened(reply).await
    }

    fn start_driver(&self, py: Python<'_>) -> PyResult<(Py<Call>, Started)> {
        let head = RequestHead::new(Arc::clone(&self.head), Arc::clone(&self.native.root_path));
        let request = self.request_of(py, head)?;
        let root_path = Arc::clone(&self.native.root_path);
        let call = Call::new(
            Arc::clone(&self.native),
            Head::clone(&self.head),
            root_path,
            false,
        );
        let call = Py::new(py, call)?;
        let Some(driver) = &self.native.driver else {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(
                "the application has no driver",
            ));
        };
        let coroutine = driver.bind(py).call1((&call, request))?;
        let started = Tasks::start(&self.reactor, &coroutine);
        Ok((call, started))
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(inlet) = self.inlet.take() {
            inlet.peer_gone();
            inlet.close();
        }
    }
}

struct TimedOut;

enum Explained<'py> {
    Response(Reply),
    Result(Bound<'py, PyAny>),
}

/// Reads a body to its end.
struct Collecting {
    limit: BodyLimit,
    pieces: BytesMut,
    whole: Option<Result<Bytes, BodyError>>,
}

impl Collecting {
    fn new(limit: Option<u64>) -> Self {
        Self {
            limit: BodyLimit::new(limit),
            pieces: BytesMut::new(),
            whole: None,
        }
    }

    fn poll<E: Exchange>(&mut self, exchange: &mut E, cx: &mut Context<'_>) -> Poll<()> {
        if self.whole.is_none() {
            self.whole = Some(ready!(self.poll_whole(exchange, cx)));
        }
        Poll::Ready(())
    }

    fn poll_whole<E: Exchange>(
        &mut self,
        exchange: &mut E,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, BodyError>> {
        while !exchange.is_body_end() {
            let Some(piece) = ready!(exchange.poll_body(cx)) else {
                break;
            };
            let piece = piece?;
            self.limit.admit(&piece)?;
            if self.pieces.is_empty() && exchange.is_body_end() {
                return Poll::Ready(Ok(piece)); // nothing to copy
            }
            self.pieces.extend_from_slice(&piece);
        }
        Poll::Ready(Ok(self.pieces.split().freeze()))
    }

    /// What was read, once `poll` is ready.
    fn finish(self) -> Result<Bytes, BodyError> {
        self.whole.unwrap_or(Err(BodyError::Gone))
    }
}

/// Runs `work` on the runtime's blocking pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it, and then nobody waits any more.
            Err(_) => std::future::pending().await,
        },
    }
}

fn open(
    path: &Path,
    conditions: &FileConditions,
    parts: &http::response::Parts,
) -> std::io::Result<Response<FileBody>> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let source = FileSource::new(file, &metadata)
        .ok_or_else(|| std::io::Error::other("it is not a regular file"))?;
    let octets = http::HeaderValue::from_static("application/octet-stream");
    let content_type = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .unwrap_or(&octets);
    let mut response = source.respond(conditions, content_type, Patience::Blocking)?;
    if response.status() == StatusCode::OK {
        *response.status_mut() = parts.status;
    }
    for (name, value) in &parts.headers {
        if name != http::header::CONTENT_TYPE && name != http::header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    Ok(response)
}

fn internal_server_error() -> Response<ResponseBody> {
    answer(&Problem::internal_server_error())
}

/// A body with something to do once it has been sent, or could not be.
struct Followed {
    inner: ResponseBody,
    then: Option<Py<PyAny>>,
    native: Arc<Native>,
    reactor: Rc<Reactor>,
    inlet: Option<Rc<Inlet>>,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(inlet) = &self.inlet {
            inlet.drive(cx);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(inlet) = self.inlet.take() {
            inlet.close();
        }
        let Some(then) = self.then.take() else { return };
        let (native, reactor) = (Arc::clone(&self.native), Rc::clone(&self.reactor));
        let piece = reactor.afterwork.begin();
        // In a task of its own: this runs while the connection is at work.
        spawn_local(async move {
            let _piece = piece;
            let step = Python::attach(|py| {
                let awaitable = then.bind(py).call0()?;
                let coroutine = native.names.as_coroutine.bind(py).call1((awaitable,))?;
                PyResult::Ok(Tasks::start(&reactor, &coroutine))
            });
            let result = match step {
                Ok(Started::Waiting(task)) => task.await,
                Ok(Started::Finished(result)) => result,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                Python::attach(|py| errors::log(py, &native.names.log, &error));
            }
        });
    }
}
