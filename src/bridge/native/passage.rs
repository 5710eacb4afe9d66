//! One request on its way through: its body, its endpoint, its response.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::arguments::{self, Misfit};
use super::collecting::Collecting;
use super::endpoint::Endpoint;
use super::file::{blocking, open};
use super::followed::Followed;
use super::head::RequestHead;
use super::inlet::{Inlet, TimeLimit};
use super::respond::{self, Reply, reply};
use super::slots::{Overloaded, Slot, Slots};
use super::until_stop::UntilStop;
use super::{Native, internal_server_error, websocket};
use crate::bridge::errors;
use crate::bridge::outlet::Driven;
use crate::bridge::reactor::Core as Reactor;
use crate::bridge::task::{Started, Task, Tasks};
use crate::bridge::websocket::Settings;
use crate::message::body::{BodyError, ResponseBody};
use crate::message::head::Head;
use crate::pipeline::{
    BodyLimit, FileConditions, Limits, PathSpans, Patience, RouteId, Ticket, body_refusal,
    overloaded, request_timeout,
};
use crate::server::shutdown::StopReceiver;
use crate::server::{Answer, Called, Exchange};

/// One request on its way through.
pub(super) struct Passage {
    pub(super) native: Arc<Native>,
    pub(super) reactor: Rc<Reactor>,
    pub(super) head: Arc<Head>,
    pub(super) ticket: Ticket,
    pub(super) spans: PathSpans,
    pub(super) inlet: Option<Rc<Inlet>>,
    pub(super) slots: Option<Rc<Slots>>,
    pub(super) slot: Option<Slot>,
    pub(super) stop: Rc<StopReceiver>,
}

/// How far a step into Python came.
pub(super) enum Step {
    Replied(Reply),
    /// The endpoint's task waits.
    Waiting(Task),
    /// An exception handler's task waits.
    Failing(Task),
}

impl Passage {
    pub(super) fn converse(
        self,
        callee: websocket::Callee,
        settings: &Settings,
        limits: Limits,
    ) -> Called {
        let timeout = limits.request_timeout;
        Called::waiting(websocket::serve(self, callee, settings.clone(), timeout))
    }

    /// Calls the endpoint: at once, unless it has to wait for a body or for a place.
    pub(super) fn handle<E: Exchange>(
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
            Err(error) => return self.refuse_body(error),
        };
        match self.start(endpoint, body.as_ref(), limits, exchange) {
            Step::Replied(reply) if reply.file.is_none() => Called::Answered(self.give(reply)),
            step => Called::waiting(self.handle_rest(id, step, limits)),
        }
    }

    fn refuse_body(self, error: BodyError) -> Called {
        match body_refusal(error) {
            Some(refusal) => self.refuse(refusal),
            None => Called::Answered(Answer::Abort),
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
            Err(error) => return self.refuse_body(error).answer().await,
        };
        // After the body: a client that sends slowly takes nobody's place.
        if let Some(slots) = self.slots.take() {
            match slots.enter().await {
                Ok(slot) => self.slot = Some(slot),
                Err(Overloaded) => return self.refuse(overloaded()).answer().await,
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
        let settled = self.settle(endpoint, step, limits.request_timeout).await;
        self.slot = None;
        match settled {
            Ok(reply) => self.give_opened(reply).await,
            Err(TimedOut) => self.refuse(request_timeout()).answer().await,
        }
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
            Ok(Err(misfit)) => match self.explain(py, endpoint, body, &misfit) {
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
        let answer = self
            .request(py, endpoint)
            .and_then(|request| endpoint.fail.bind(py).call1((request, error.value(py))));
        self.answered(py, answer)
    }

    /// What came of asking the application for a response: one, or an awaitable of one.
    pub(super) fn answered(&self, py: Python<'_>, answer: PyResult<Bound<'_, PyAny>>) -> Step {
        let names = &self.native.names;
        let started = answer.and_then(|answer| {
            if let Ok(true) = answer.is_instance(names.response.bind(py)) {
                return Ok(Started::Finished(Ok(answer.unbind())));
            }
            let coroutine = names.as_coroutine.bind(py).call1((answer,))?;
            Ok(Tasks::start(&self.reactor, &coroutine))
        });
        match started {
            Ok(Started::Finished(Ok(response))) => self.of_response(py, response.bind(py)),
            Ok(Started::Waiting(task)) => Step::Failing(task),
            Ok(Started::Finished(Err(error))) | Err(error) => {
                errors::log(py, &names.log, &error);
                Step::Replied(Reply::plain(internal_server_error()))
            }
        }
    }

    pub(super) fn of_response(&self, py: Python<'_>, response: &Bound<'_, PyAny>) -> Step {
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
        misfit: &Misfit,
    ) -> PyResult<Explained<'py>> {
        let request = self.request(py, endpoint)?;
        let body = body.map(|body| PyBytes::new(py, body));
        let is_json = endpoint.body.as_ref().is_some_and(|body| body.is_json);
        let is_refused = is_json && matches!(misfit, Misfit::Body);
        let given = (request, body, is_refused);
        let answer = endpoint.explain.bind(py).call1(given)?;
        if let Ok(values) = answer.cast::<PyTuple>() {
            return Ok(Explained::Result(endpoint.call.bind(py).call1(values)?));
        }
        respond::of_response(&self.reactor, &self.native.names, &answer).map(Explained::Response)
    }

    /// The request as Python sees it.
    pub(super) fn request<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Endpoint,
    ) -> PyResult<Bound<'py, PyAny>> {
        let head = RequestHead::new(Arc::clone(&self.head), Arc::clone(&self.native.root_path))
            .with_match(&endpoint.names, &self.spans)
            .with_policies(self.ticket.request_id(), self.ticket.claims());
        self.request_of(py, head)
    }

    pub(super) fn request_of<'py>(
        &self,
        py: Python<'py>,
        head: RequestHead,
    ) -> PyResult<Bound<'py, PyAny>> {
        let names = &self.native.names;
        let source = match &self.inlet {
            Some(inlet) => Some(Bound::new(py, inlet.source())?),
            None => None,
        };
        let exchange = names
            .exchange
            .bind(py)
            .call1((source, &self.native.forms))?;
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
    ) -> Result<Reply, TimedOut> {
        let mut step = step;
        loop {
            step = match step {
                Step::Replied(reply) => return Ok(reply),
                Step::Waiting(task) => {
                    let result = self.wait(task, timeout).await?;
                    Python::attach(|py| match result {
                        Ok(value) => self.replied(py, endpoint, value.bind(py)),
                        Err(error) => self.failed(py, endpoint, &error),
                    })
                }
                Step::Failing(task) => {
                    let result = self.wait(task, timeout).await?;
                    Python::attach(|py| match result {
                        Ok(response) => self.of_response(py, response.bind(py)),
                        Err(error) => {
                            errors::log(py, &self.native.names.log, &error);
                            Step::Replied(Reply::plain(internal_server_error()))
                        }
                    })
                }
            };
        }
    }

    /// Awaits a task, driving the request body that it may read. Dropping it cancels the task. The
    /// time runs from here, and is another once the inlet says so.
    pub(super) async fn wait(
        &self,
        task: Task,
        timeout: Option<Duration>,
    ) -> Result<PyResult<Py<PyAny>>, TimedOut> {
        let began = tokio::time::Instant::now();
        let mut task = pin!(task);
        let mut timeout = timeout;
        loop {
            let waiting = poll_fn(|cx| {
                if let Some(inlet) = &self.inlet {
                    inlet.drive(cx);
                    if let Some(changed) = inlet.changed_timeout() {
                        return Poll::Ready(Err(changed));
                    }
                }
                task.as_mut().poll(cx).map(Ok)
            });
            let waited = match timeout {
                None => Ok(waiting.await),
                Some(timeout) => tokio::time::timeout_at(began + timeout, waiting).await,
            };
            match waited {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(TimeLimit(changed))) => timeout = changed,
                Err(_elapsed) => {
                    Python::attach(|py| task.expire(py));
                    return Err(TimedOut);
                }
            }
        }
    }

    /// Finishes the reply and hands it over.
    pub(super) fn give(mut self, reply: Reply) -> Answer {
        let Reply {
            response,
            file: _,
            background,
            is_event_stream,
        } = reply;
        let (mut parts, mut body) = response.into_parts();
        if is_event_stream {
            let stop = StopReceiver::clone(&self.stop);
            body = ResponseBody::Stream(Box::pin(UntilStop::new(body, stop)));
        }
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
    pub(super) async fn give_opened(self, mut reply: Reply) -> Answer {
        if let Some(path) = reply.file.take() {
            reply.response = self.with_file(reply.response, path).await;
        }
        self.give(reply)
    }

    async fn with_file(
        &self,
        response: Response<ResponseBody>,
        path: PathBuf,
    ) -> Response<ResponseBody> {
        let conditions = FileConditions::new(&self.head.method, &self.head.headers);
        let (parts, _) = response.into_parts();
        let shown = path.clone();
        let opened = match open(&path, &conditions, &parts, Patience::Cached) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                blocking(move || open(&path, &conditions, &parts, Patience::Blocking)).await
            }
            opened => opened,
        };
        match opened {
            Ok(response) => response.map(ResponseBody::from),
            Err(error) => {
                let message = format!("the file {} cannot be sent: {error}", shown.display());
                Python::attach(|py| errors::log_text(py, &self.native.names.log, &message));
                internal_server_error()
            }
        }
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

pub(super) struct TimedOut;

enum Explained<'py> {
    Response(Reply),
    Result(Bound<'py, PyAny>),
}
