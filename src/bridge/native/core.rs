//! `spikard._spikard.Core`: an application's routes and policies, filled and then frozen.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::call::Call;
use super::endpoint::Endpoint;
use super::head::RequestHead;
use super::host_scope;
use super::mounted::Mount;
use super::refusal::Refusals;
use super::{Names, Native, Target};
use crate::bridge::asgi::ApplicationFields;
use crate::bridge::{errors, shared_counts};
use crate::message::head::Head;
use crate::pipeline::{Pipeline, PolicyConfig, RouteId, RouteOptions, Surroundings};

/// An application's routes and policies: filled route by route, then only used.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Core {
    state: Mutex<State>,
}

enum State {
    Filling(Box<Filling>),
    Frozen(Arc<Native>),
    /// Between the two, and after a failure.
    Empty,
}

struct Filling {
    pipeline: Pipeline<Target>,
    root_path: Arc<str>,
    driver: Option<Py<PyAny>>,
    socket_driver: Option<Py<PyAny>>,
    mounts: Vec<RouteId>,
    mount_door: Option<Py<PyAny>>,
    refusals: Option<Refusals>,
    cancels_abandoned: bool,
    forms: Option<Py<PyAny>>,
}

#[pymethods]
impl Core {
    /// `config` is `ServerConfig.to_json()`; `counts` is a descriptor of `COUNTS_BYTES` of memory in
    /// which the workers count requests together; `forms` are the limits of forms.
    #[new]
    #[pyo3(signature = (config, *, counts=None, forms=None))]
    fn new(config: &[u8], counts: Option<RawFd>, forms: Option<Py<PyAny>>) -> PyResult<Self> {
        let server = ApplicationFields::from_json(config)?;
        let root_path = server.root_path.trim_end_matches('/').into();
        let policies = PolicyConfig::from_json(config)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let around = Surroundings {
            counts: counts.map(shared_counts::map).transpose()?,
            ..Surroundings::default()
        };
        let pipeline = Pipeline::within(&policies, around)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let filling = Filling {
            pipeline,
            root_path,
            driver: None,
            socket_driver: None,
            mounts: Vec::new(),
            mount_door: None,
            refusals: None,
            cancels_abandoned: server.cancel_abandoned_streams,
            forms,
        };
        Ok(Self {
            state: Mutex::new(State::Filling(Box::new(filling))),
        })
    }

    /// Adds a route; `RouteError` for a bad template or a conflict.
    fn add_route(&self, spec: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = spec.py();
        let endpoint = Endpoint::from_spec(spec)?;
        let path: String = spec.getattr(intern!(py, "path"))?.extract()?;
        let methods = spec
            .getattr(intern!(py, "methods"))?
            .try_iter()?
            .map(|method| {
                let method: String = method?.extract()?;
                Method::from_bytes(method.as_bytes()).map_err(|_| {
                    PyValueError::new_err(format!("expected a method, got {method:?}"))
                })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let options = options(&spec.getattr(intern!(py, "options"))?)?;
        let is_websocket = endpoint.is_websocket;
        let target = Target::Endpoint(endpoint);
        self.filling(|filling| {
            let pipeline = &mut filling.pipeline;
            let added = if is_websocket {
                pipeline.add_websocket(&path, &options, target)
            } else {
                pipeline.add_route(&methods, &path, &options, target)
            };
            added
                .map(|_| ())
                .map_err(|error| errors::register_error(py, &error))
        })
    }

    /// Adds an ASGI application that takes every path below `prefix` that no route takes.
    ///
    /// `state` is what its own lifespan stored, over that of the server; `options` are those of
    /// `RouteSpec`. An application of others (`foreign`) is answered for as without policies.
    #[pyo3(signature = (prefix, application, *, state=None, options=None, foreign=false))]
    fn add_mount(
        &self,
        py: Python<'_>,
        prefix: &str,
        application: Py<PyAny>,
        state: Option<Py<PyDict>>,
        options: Option<&Bound<'_, PyAny>>,
        foreign: bool,
    ) -> PyResult<()> {
        let options = match options {
            Some(options) => self::options(options)?,
            None => RouteOptions::default(),
        };
        let target = Target::Mount(Mount {
            prefix: prefix.trim_end_matches('/').to_owned(),
            application,
            state,
            is_foreign: foreign,
        });
        self.filling(|filling| {
            let id = filling
                .pipeline
                .add_mount(prefix, &options, target)
                .map_err(|error| errors::register_error(py, &error))?;
            filling.mounts.push(id);
            Ok(())
        })
    }

    /// Has `answer(request, status, headers, body)` make a response, or an awaitable of one, of what
    /// policies answer with one of these statuses.
    fn set_refusals(&self, statuses: Vec<u16>, answer: Py<PyAny>) -> PyResult<()> {
        self.filling(|filling| {
            filling.refusals = Some(Refusals { statuses, answer });
            Ok(())
        })
    }

    /// Sets the coroutine functions that run the hooks of every request: `drive(call, request)`,
    /// and `drive_socket(call, socket)` for the handshake of a WebSocket.
    fn set_driver(&self, driver: Py<PyAny>, socket_driver: Py<PyAny>) -> PyResult<()> {
        self.filling(|filling| {
            filling.pipeline.set_request_hooks(true);
            filling.driver = Some(driver);
            filling.socket_driver = Some(socket_driver);
            Ok(())
        })
    }

    /// Has our own server call `door(scope, receive, send)` for every request that leads to a
    /// mount: the application has hooks or exception handlers around its mounts.
    fn set_mount_door(&self, door: Py<PyAny>) -> PyResult<()> {
        self.filling(|filling| {
            filling.mount_door = Some(door);
            Ok(())
        })
    }

    /// Begins a request that comes from no socket and no ASGI server.
    fn begin(&self, py: Python<'_>, head: &RequestHead) -> PyResult<Call> {
        let native = self.native(py)?;
        let given = head.root_path();
        Ok(Call::hosted(native, Head::clone(&head.head), given, false))
    }

    /// Begins a request, or the handshake of a WebSocket, of another ASGI server.
    fn begin_scope(&self, scope: &Bound<'_, PyDict>) -> PyResult<Call> {
        let native = self.native(scope.py())?;
        let foreign = host_scope::read(scope)?;
        let (given, is_websocket) = (&foreign.root_path, foreign.is_websocket);
        Ok(Call::hosted(native, foreign.head, given, is_websocket))
    }
}

impl Core {
    fn filling<T>(&self, work: impl FnOnce(&mut Filling) -> PyResult<T>) -> PyResult<T> {
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Filling(filling) => work(filling),
            _ => Err(PyRuntimeError::new_err("the application is frozen")),
        }
    }

    /// The application; from now on nothing can be added.
    pub(crate) fn native(&self, py: Python<'_>) -> PyResult<Arc<Native>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Frozen(native) = &*state {
            return Ok(Arc::clone(native));
        }
        let names = Names::import(py)?;
        match std::mem::replace(&mut *state, State::Empty) {
            State::Filling(filling) => {
                let native = Arc::new(Native {
                    pipeline: filling.pipeline,
                    root_path: filling.root_path,
                    names,
                    driver: filling.driver,
                    socket_driver: filling.socket_driver,
                    mounts: filling.mounts,
                    mount_door: filling.mount_door,
                    refusals: filling.refusals,
                    cancels_abandoned: filling.cancels_abandoned,
                    forms: filling.forms,
                });
                *state = State::Frozen(Arc::clone(&native));
                Ok(native)
            }
            _ => Err(PyRuntimeError::new_err(
                "the application could not be frozen",
            )),
        }
    }
}

/// A route's options from a dict with JSON's values.
fn options(options: &Bound<'_, PyAny>) -> PyResult<RouteOptions> {
    let py = options.py();
    let encode = py
        .import(intern!(py, "msgspec.json"))?
        .getattr(intern!(py, "encode"))?;
    let json = encode.call1((options,))?;
    RouteOptions::from_json(json.cast::<PyBytes>()?.as_bytes())
        .map_err(|error| PyValueError::new_err(error.to_string()))
}
