//! The server as Python sees it: one application on one reactor.

use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::asgi::AsgiApplication;
use super::awaitable;
use super::reactor::{Core, Reactor};
use crate::server::limits::Limits;
use crate::server::listener::{Listener, Server};

/// Serves an ASGI application.
#[pyclass(unsendable, name = "AsgiServer", module = "spikard._spikard")]
pub(crate) struct AsgiServer {
    server: Rc<Server<AsgiApplication>>,
}

#[pymethods]
impl AsgiServer {
    /// `limits` is a JSON object of the fields of `Limits`; others are ignored.
    #[new]
    #[pyo3(signature = (application, *, as_coroutine, log, limits, root_path, state=None))]
    fn new(
        application: Py<PyAny>,
        as_coroutine: Py<PyAny>,
        log: Py<PyAny>,
        limits: &[u8],
        root_path: &str,
        state: Option<Py<PyDict>>,
    ) -> PyResult<Self> {
        let limits: Limits = serde_json::from_slice(limits)
            .map_err(|error| PyValueError::new_err(format!("limits: {error}")))?;
        let app = AsgiApplication::new(application, as_coroutine, log, root_path, state);
        Ok(Self {
            server: Rc::new(Server::new(Rc::new(app), limits)),
        })
    }

    /// Accepts connections from a listening socket. The descriptor is duplicated; the caller keeps
    /// its own.
    fn listen(&self, reactor: &Reactor, descriptor: RawFd) -> PyResult<()> {
        if descriptor < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        #[expect(unsafe_code, reason = "Python hands sockets over as numbers")]
        // SAFETY: the caller keeps its socket open during this call; ours is a duplicate.
        let owned = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
        let server = Rc::clone(&self.server);
        reactor.enter(|| -> PyResult<()> {
            server.listen(Listener::from_descriptor(owned)?);
            Ok(())
        })
    }

    /// How many connections there are.
    #[getter]
    fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Stops: closes the listeners, lets requests in flight finish for `grace` seconds, then cuts
    /// the rest. Returns an awaitable of the number of connections that were cut.
    fn stop<'py>(&self, py: Python<'py>, reactor: &Reactor, grace: f64) -> PyResult<Bound<'py, PyAny>> {
        let grace = Duration::try_from_secs_f64(grace)
            .map_err(|error| PyValueError::new_err(format!("grace: {error}")))?;
        let core = Rc::clone(reactor.core());
        let future = awaitable::future(&core, py)?;
        let told = future.clone().unbind();
        let server = Rc::clone(&self.server);
        reactor.spawn(async move {
            let cut = server.stop(grace).await;
            Python::attach(|py| complete(&core, told.bind(py), cut));
        })?;
        Ok(future)
    }

    /// Cuts all connections.
    fn stop_now(&self, reactor: &Reactor) -> PyResult<()> {
        reactor.enter(|| {
            self.server.stop_now();
            Ok(())
        })
    }
}

fn complete(core: &Core, future: &Bound<'_, PyAny>, cut: usize) {
    let cut = cut.into_pyobject(future.py());
    let cut = cut.map(Bound::into_any).map_err(PyErr::from);
    awaitable::complete(core, future, cut);
}
