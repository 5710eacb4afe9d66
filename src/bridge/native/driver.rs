//! A request with hooks: Python runs them around the endpoint.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::call::Call;
use super::head::RequestHead;
use super::inlet::Inlet;
use super::internal_server_error;
use super::passage::{Passage, Step, TimedOut};
use super::respond::Reply;
use crate::bridge::errors;
use crate::bridge::task::{Started, Tasks};
use crate::message::head::Head;
use crate::pipeline::{BodyLimit, Limits, request_timeout};
use crate::server::{Answer, Exchange};

impl Passage {
    /// Lets Python run the hooks around the request.
    pub(super) async fn drive(mut self, limits: Limits, exchange: Box<dyn Exchange>) -> Answer {
        let limit = BodyLimit::new(limits.max_body_bytes);
        self.inlet = Some(Inlet::new(&self.reactor, exchange, limit));
        let (call, request, step) = match Python::attach(|py| self.start_driver(py)) {
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
        self.ticket = call.get().take_ticket();
        let reply = match result {
            Err(TimedOut) => return self.refuse_again(request_timeout(), request).await,
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
        self.give_opened(reply).await
    }

    fn start_driver(&self, py: Python<'_>) -> PyResult<(Py<Call>, Py<PyAny>, Started)> {
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
            return Err(PyRuntimeError::new_err("the application has no driver"));
        };
        let coroutine = driver.bind(py).call1((&call, &request))?;
        let started = Tasks::start(&self.reactor, &coroutine);
        Ok((call, request.unbind(), started))
    }
}
