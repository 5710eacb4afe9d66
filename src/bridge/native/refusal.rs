//! What policies answer in the application's place, where exception handlers of the application
//! want to have it: 401, 404, 413, 429, 503 and the like.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Response, StatusCode, response};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::call::whole;
use super::head::RequestHead;
use super::passage::{Passage, Step};
use super::respond::Reply;
use super::{Native, internal_server_error};
use crate::bridge::asgi::scope;
use crate::bridge::errors;
use crate::message::body::ResponseBody;
use crate::pipeline::Ticket;
use crate::server::{Answer, Called};

/// The application's say about what policies answer.
pub(super) struct Refusals {
    /// The statuses that it wants to hear of.
    pub(super) statuses: Vec<u16>,
    /// `answer(request, status, headers, body)`: a `Response`, or an awaitable of one.
    pub(super) answer: Py<PyAny>,
}

impl Native {
    /// Who answers in the policies' place, if anybody wants to.
    pub(super) fn refusals(&self, ticket: &Ticket, status: StatusCode) -> Option<&Refusals> {
        let refusals = self.refusals.as_ref()?;
        let is_wanted = refusals.statuses.contains(&status.as_u16());
        (is_wanted && ticket.may_be_answered()).then_some(refusals)
    }
}

impl Passage {
    /// Answers what a policy says, or what the application makes of it.
    pub(super) fn refuse(self, refused: Response<ResponseBody>) -> Called {
        if self
            .native
            .refusals(&self.ticket, refused.status())
            .is_none()
        {
            return Called::Answered(self.give(Reply::plain(refused)));
        }
        Called::waiting(self.ask(refused, None))
    }

    /// As [`Passage::refuse`], for a request that Python has seen already.
    pub(super) async fn refuse_again(
        self,
        refused: Response<ResponseBody>,
        request: Py<PyAny>,
    ) -> Answer {
        self.ask(refused, Some(request)).await
    }

    async fn ask(self, refused: Response<ResponseBody>, request: Option<Py<PyAny>>) -> Answer {
        let native = Arc::clone(&self.native);
        let Some(refusals) = native.refusals(&self.ticket, refused.status()) else {
            return self.give(Reply::plain(refused));
        };
        let (parts, body) = refused.into_parts();
        let body = whole(body);
        // An application's response has no say about the connection; a policy's has.
        let close = parts.headers.get(CONNECTION).cloned();
        let step = Python::attach(|py| {
            let answer = self.call_refusals(py, refusals, &parts, &body, request);
            self.answered(py, answer)
        });
        let mut reply = match step {
            Step::Replied(reply) => reply,
            Step::Waiting(task) | Step::Failing(task) => {
                let limit = native.pipeline.limits().request_timeout;
                match self.wait(task, limit).await {
                    Ok(Ok(response)) => {
                        let step = Python::attach(|py| self.of_response(py, response.bind(py)));
                        match step {
                            Step::Replied(reply) => reply,
                            _ => Reply::plain(internal_server_error()),
                        }
                    }
                    Ok(Err(error)) => {
                        Python::attach(|py| {
                            errors::log(py, &native.names.log, &error);
                        });
                        Reply::plain(internal_server_error())
                    }
                    // The policy's own word takes no time.
                    Err(_timed_out) => {
                        let body = ResponseBody::from_bytes(body);
                        Reply::plain(Response::from_parts(parts, body))
                    }
                }
            }
        };
        if let Some(close) = close {
            reply.response.headers_mut().insert(CONNECTION, close);
        }
        self.give_opened(reply).await
    }

    fn call_refusals<'py>(
        &self,
        py: Python<'py>,
        refusals: &Refusals,
        parts: &response::Parts,
        body: &Bytes,
        request: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = if let Some(request) = request {
            request.into_bound(py)
        } else {
            let root_path = Arc::clone(&self.native.root_path);
            let head = RequestHead::new(Arc::clone(&self.head), root_path)
                .with_policies(self.ticket.request_id(), self.ticket.claims());
            self.request_of(py, head)?
        };
        let headers = scope::headers(py, &parts.headers)?;
        let given = (
            request,
            parts.status.as_u16(),
            headers,
            PyBytes::new(py, body),
        );
        refusals.answer.bind(py).call1(given)
    }
}
