//! Servers as Python sees them: one application on one reactor.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::asgi::{ApplicationFields, AsgiApplication};
use super::confined::Confined;
use super::control;
use super::descriptor::duplicate;
use super::native::{Core, NativeApplication};
use super::reactor::Reactor;
use super::websocket::Settings;
use crate::server::Application;
use crate::server::access_log::{AccessLog, Writer};
use crate::server::limits::Limits;
use crate::server::listener::{Listener, Server};
use crate::server::shutdown::{self, StopReceiver, StopSender};
use crate::server::tls::TlsAcceptor;

/// Serves an ASGI application.
#[pyclass(module = "spikard._spikard")]
pub(crate) struct AsgiServer(Confined<Rc<Server<AsgiApplication>>>);

/// Serves a Spikard application.
#[pyclass(module = "spikard._spikard")]
pub(crate) struct NativeServer(Confined<Rc<Server<NativeApplication>>>);

#[pymethods]
impl AsgiServer {
    /// `config` is `ServerConfig.to_json()`; `access_log` a descriptor to write lines to, or a
    /// function that takes a `str` of whole lines.
    #[new]
    #[pyo3(signature = (application, *, as_coroutine, log, config, state=None, access_log=None))]
    fn new(
        application: Py<PyAny>,
        as_coroutine: Py<PyAny>,
        log: Py<PyAny>,
        config: &[u8],
        state: Option<Py<PyDict>>,
        access_log: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (stop, receiver) = shutdown::channel();
        let websocket = websocket(config, receiver)?;
        let fields = ApplicationFields::from_json(config)?;
        let app = AsgiApplication::new(
            application,
            as_coroutine,
            log,
            &fields.root_path,
            state,
            websocket,
        )
        .cancelling_abandoned(fields.cancel_abandoned_streams);
        Ok(Self(Confined::new(server(app, config, stop, access_log)?)))
    }

    /// Accepts connections from a listening socket. The descriptor is duplicated; the caller keeps
    /// its own.
    fn listen(&self, reactor: &Reactor, descriptor: RawFd) -> PyResult<()> {
        listen(self.0.get()?, reactor, descriptor)
    }

    /// Reads the certificates again, for new connections. Raises `ValueError` when they cannot be
    /// used; the old ones stay in force then.
    fn reload_tls(&self) -> PyResult<()> {
        reload_tls(self.0.get()?)
    }

    /// Stops: closes the listeners, lets requests in flight finish for `grace` seconds, then cuts
    /// the rest. Returns an awaitable of the number of connections that were cut. `WebSocket`s are
    /// closed with 1001.
    fn stop<'py>(
        &self,
        py: Python<'py>,
        reactor: &Reactor,
        grace: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        stop(self.0.get()?, py, reactor, grace)
    }

    /// Cuts all connections.
    fn stop_now(&self, reactor: &Reactor) -> PyResult<()> {
        stop_now(self.0.get()?, reactor)
    }
}

#[pymethods]
impl NativeServer {
    /// `config` is `ServerConfig.to_json()`; `access_log` a descriptor to write lines to, or a
    /// function that takes a `str` of whole lines.
    #[new]
    #[pyo3(signature = (core, *, config, state=None, access_log=None))]
    fn new(
        py: Python<'_>,
        core: &Core,
        config: &[u8],
        state: Option<&Bound<'_, PyDict>>,
        access_log: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let state = state.map(|state| state.clone().unbind());
        let (stop, receiver) = shutdown::channel();
        let websocket = websocket(config, receiver)?;
        let app = NativeApplication::new(py, core.native(py)?, state.as_ref(), &websocket)?;
        Ok(Self(Confined::new(server(app, config, stop, access_log)?)))
    }

    /// See `AsgiServer.listen`.
    fn listen(&self, reactor: &Reactor, descriptor: RawFd) -> PyResult<()> {
        listen(self.0.get()?, reactor, descriptor)
    }

    /// See `AsgiServer.reload_tls`.
    fn reload_tls(&self) -> PyResult<()> {
        reload_tls(self.0.get()?)
    }

    /// See `AsgiServer.stop`.
    fn stop<'py>(
        &self,
        py: Python<'py>,
        reactor: &Reactor,
        grace: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        stop(self.0.get()?, py, reactor, grace)
    }

    /// See `AsgiServer.stop_now`.
    fn stop_now(&self, reactor: &Reactor) -> PyResult<()> {
        stop_now(self.0.get()?, reactor)
    }
}

fn server<A: Application>(
    app: A,
    config: &[u8],
    stop: StopSender,
    access_log: Option<Bound<'_, PyAny>>,
) -> PyResult<Rc<Server<A>>> {
    let tls =
        TlsAcceptor::from_json(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut limits = Limits::from_json(config)
        .map_err(|error| PyValueError::new_err(format!("config: {error}")))?;
    if let Some(sink) = access_log {
        limits.log_access(self::access_log(sink)?);
    }
    Ok(Rc::new(Server::new(Rc::new(app), limits, tls, stop)))
}

fn reload_tls<A: Application>(server: &Server<A>) -> PyResult<()> {
    server
        .reload_tls()
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// An access log to a descriptor, or to a function that takes a `str` of whole lines.
fn access_log(sink: Bound<'_, PyAny>) -> PyResult<AccessLog> {
    if let Ok(descriptor) = sink.extract::<RawFd>() {
        let writer = Writer::new(duplicate(descriptor)?)?;
        return Ok(AccessLog::new(move |batch| writer.write(batch)));
    }
    let sink = sink.unbind();
    Ok(AccessLog::new(move |batch| {
        let text = String::from_utf8_lossy(&batch);
        Python::attach(|py| {
            if let Err(error) = sink.bind(py).call1((text,)) {
                error.write_unraisable(py, None);
            }
        });
    }))
}

fn websocket(config: &[u8], stop: StopReceiver) -> PyResult<Settings> {
    let limits = serde_json::from_slice(config)
        .map_err(|error| PyValueError::new_err(format!("config: {error}")))?;
    Ok(Settings { limits, stop })
}

fn listen<A: Application>(
    server: &Rc<Server<A>>,
    reactor: &Reactor,
    descriptor: RawFd,
) -> PyResult<()> {
    let owned = duplicate(descriptor)?;
    reactor.enter(|| {
        server.listen(Listener::from_descriptor(owned)?);
        Ok(())
    })
}

fn stop<'py, A: Application>(
    server: &Rc<Server<A>>,
    py: Python<'py>,
    reactor: &Reactor,
    grace: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let grace = Duration::try_from_secs_f64(grace)
        .map_err(|error| PyValueError::new_err(format!("grace: {error}")))?;
    let server = Rc::clone(server);
    let core = Rc::clone(reactor.core()?);
    control::awaitable(py, reactor, async move {
        let begun = Instant::now();
        let cut = server.stop(grace).await;
        let left = grace.saturating_sub(begun.elapsed());
        let _ = tokio::time::timeout(left, core.afterwork.ended()).await;
        cut
    })
}

fn stop_now<A: Application>(server: &Rc<Server<A>>, reactor: &Reactor) -> PyResult<()> {
    reactor.core()?.afterwork.abandon();
    reactor.enter(|| {
        server.stop_now();
        Ok(())
    })
}
