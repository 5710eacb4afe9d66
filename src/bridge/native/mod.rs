//! Spikard's own applications on our server: pipeline, endpoint, response, without ASGI between.

mod application;
mod arguments;
mod call;
mod collecting;
mod core;
mod decoded;
mod driver;
mod endpoint;
mod file;
mod filter;
mod followed;
mod head;
mod host_scope;
mod inlet;
mod mounted;
mod names;
mod passage;
mod refusal;
mod respond;
mod slots;
mod until_stop;
mod websocket;

use std::sync::Arc;

use http::Response;
use pyo3::prelude::*;

use crate::message::body::ResponseBody;
use crate::message::problem::Problem;
use crate::pipeline::{Pipeline, RouteId, Ticket, answer};
use crate::server::Answer;

pub(crate) use self::core::Core;
pub(crate) use application::NativeApplication;
pub(crate) use call::Call;
pub(crate) use decoded::BodyDecoder;
pub(crate) use file::FilePieces;
pub(crate) use filter::Filter;
pub(crate) use head::RequestHead;
pub(crate) use inlet::Source;
pub(crate) use respond::Sink;
pub(crate) use websocket::Peer;

use endpoint::Endpoint;
use mounted::Mount;
use names::Names;
use refusal::Refusals;

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
    /// The application's say about what policies answer, when it has one.
    refusals: Option<Refusals>,
    cancels_abandoned: bool,
    /// The limits of forms, which every `Exchange` has.
    forms: Option<Py<PyAny>>,
}

/// What a path leads to.
pub(super) enum Target {
    Endpoint(Endpoint),
    Mount(Mount),
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

fn internal_server_error() -> Response<ResponseBody> {
    answer(&Problem::internal_server_error())
}
