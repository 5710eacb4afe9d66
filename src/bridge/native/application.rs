//! A native application as the server calls it: what the pipeline decides is done.

use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::decoded::Decoded;
use super::file::blocking;
use super::passage::Passage;
use super::slots::Slots;
use super::{Native, Target, finish_answer, mounted, websocket};
use crate::bridge::asgi::{self, AsgiApplication};
use crate::bridge::reactor::Core as Reactor;
use crate::bridge::websocket::Settings;
use crate::bridge::{allocator, errors, gil};
use crate::message::body::ResponseBody;
use crate::message::head::Head;
use crate::message::problem::Problem;
use crate::pipeline::{Decision, Limits, PathSpans, RouteId, answer, overloaded};
use crate::server::shutdown::StopReceiver;
use crate::server::{Answer, Application, Called, Exchange, Fault};

/// A native application as the server calls it.
pub(crate) struct NativeApplication {
    native: Arc<Native>,
    /// One for each mount, with the state of this run's lifespan.
    mounts: Vec<(RouteId, Rc<AsgiApplication>)>,
    mount_door: Option<Rc<AsgiApplication>>,
    /// How many requests may be in handlers, when that is limited.
    slots: Option<Rc<Slots>>,
    websocket: Settings,
    /// How far the server's stop has come.
    stop: Rc<StopReceiver>,
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
            Rc::new(native.application(py, door, state, websocket.clone()))
        });
        let slots = Slots::new(native.pipeline.concurrency()).map(Rc::new);
        Ok(Self {
            native,
            mounts,
            mount_door,
            slots,
            websocket: websocket.clone(),
            stop: Rc::new(websocket.stop.clone()),
        })
    }

    fn mount(&self, id: RouteId) -> Option<Rc<AsgiApplication>> {
        let mount = self.mounts.iter().find(|(known, _)| *known == id)?;
        Some(Rc::clone(&mount.1))
    }
}

impl Native {
    /// An ASGI application below this one as our server calls it.
    pub(super) fn application(
        &self,
        py: Python<'_>,
        callable: &Py<PyAny>,
        state: Option<Py<PyDict>>,
        websocket: Settings,
    ) -> AsgiApplication {
        AsgiApplication::new(
            callable.clone_ref(py),
            self.names.as_coroutine.clone_ref(py),
            self.names.log.clone_ref(py),
            &self.root_path,
            state,
            websocket,
        )
        .cancelling_abandoned(self.cancels_abandoned)
    }
}

impl Application for NativeApplication {
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, exchange: E) -> Called {
        gil::offer();
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
        let body_in = native.pipeline.body_in(&ticket);
        let passage = |head, ticket, spans| Passage {
            native: Arc::clone(native),
            reactor: Rc::clone(&reactor),
            head: Arc::new(head),
            ticket,
            spans,
            inlet: None,
            slots: None,
            slot: None,
            stop: Rc::clone(&self.stop),
        };
        match decision {
            Decision::Respond(response)
                if native.refusals(&ticket, response.status()).is_some() =>
            {
                passage(head, ticket, PathSpans::default()).refuse(response)
            }
            Decision::Respond(response) => {
                Called::Answered(Answer::Response(native.finished(&ticket, response)))
            }
            Decision::SendFile(file) => {
                if let Some(response) = file.open_cached() {
                    if native.refusals(&ticket, response.status()).is_some() {
                        return passage(head, ticket, PathSpans::default()).refuse(response);
                    }
                    return Called::Answered(Answer::Response(native.finished(&ticket, response)));
                }
                let passage = passage(head, ticket, PathSpans::default());
                Called::waiting(async move {
                    let response = blocking(move || file.open()).await;
                    passage
                        .refuse(response.map(ResponseBody::from))
                        .answer()
                        .await
                })
            }
            Decision::Handle {
                id, params, limits, ..
            } => {
                let mut passage = passage(head, ticket, params);
                passage.slots.clone_from(&self.slots);
                match body_in {
                    None => passage.handle(id, limits, &self.websocket, exchange),
                    Some(body_in) => {
                        let exchange = Decoded::new(exchange, body_in);
                        passage.handle(id, limits, &self.websocket, exchange)
                    }
                }
            }
            Decision::Mounted { id, limits, .. } => {
                native.pipeline.tell_request_id(&ticket, &mut head.headers);
                let finished = Arc::clone(native);
                let called = match body_in {
                    None => self.call_mount(id, limits, reactor, head, exchange),
                    Some(body_in) => {
                        let exchange = Decoded::new(exchange, body_in);
                        self.call_mount(id, limits, reactor, head, exchange)
                    }
                };
                called.map(move |answer| finish_answer(&finished, &ticket, answer))
            }
            Decision::Hooks => {
                let limits = native.pipeline.limits();
                // Without slots: the driver asks for a place before the endpoint.
                let passage = passage(head, ticket, PathSpans::default());
                if is_websocket {
                    let callee = websocket::Callee::Driver;
                    return passage.converse(callee, &self.websocket, limits);
                }
                Called::waiting(match body_in {
                    None => passage.drive(limits, Box::new(exchange)),
                    Some(body_in) => {
                        passage.drive(limits, Box::new(Decoded::new(exchange, body_in)))
                    }
                })
            }
        }
    }
}

impl NativeApplication {
    fn call_mount<E: Exchange>(
        &self,
        id: RouteId,
        limits: Limits,
        reactor: Rc<Reactor>,
        head: Head,
        exchange: E,
    ) -> Called {
        let Some(mount) = self.mount(id) else {
            return Called::Answered(Answer::Response(answer(&Problem::not_found())));
        };
        // A WebSocket lasts; `max_connections` bounds those.
        let is_request = !exchange.capabilities().websocket;
        let Some(slots) = self.slots.clone().filter(|_| is_request) else {
            return mounted::serve(mount, reactor, head, exchange, limits);
        };
        Called::waiting(async move {
            let Ok(slot) = slots.enter().await else {
                return Answer::Response(overloaded());
            };
            let called = mounted::serve(mount, reactor, head, exchange, limits);
            let answer = called.answer().await;
            drop(slot);
            answer
        })
    }
}

/// Takes the root path off a target that still has it: a proxy in front may have cut it off.
pub(super) fn cut_root_path(head: &mut Head, root_path: &str) {
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
