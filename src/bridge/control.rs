//! Awaitables of the control plane: futures of the reactor as futures of its event loop.
//!
//! `pyo3-async-runtimes` does the crossing, over our runtime: its stock one is a static that nobody
//! shuts down before the interpreter goes, ours ends in `Reactor.close`. Nothing that happens once a
//! request comes this way: a crossing wakes the loop through its self-pipe.

use std::future::Future;
use std::pin::Pin;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{ContextExt, Runtime, future_into_py_with_locals};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, spawn, spawn_local};

use super::reactor::Reactor;

/// Runs `future` on the reactor, to its end even when the awaitable is cancelled.
pub(super) fn awaitable<'py, T>(
    py: Python<'py>,
    reactor: &Reactor,
    future: impl Future<Output = T> + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'any> IntoPyObject<'any> + Send + 'static,
{
    let event_loop = reactor.core()?.event_loop.bind(py).clone();
    let (tell, told) = oneshot::channel();
    reactor.enter(|| {
        spawn_local(async move {
            // It fails when nobody waits any more.
            let _ = tell.send(future.await);
        });
        let result = async move {
            told.await
                .map_err(|_| PyRuntimeError::new_err("the reactor was closed"))
        };
        future_into_py_with_locals::<OfReactor, _, T>(py, TaskLocals::new(event_loop), result)
    })
}

/// The runtime of the reactor that this thread is in.
struct OfReactor;

impl Runtime for OfReactor {
    type JoinError = JoinError;
    type JoinHandle = JoinHandle<()>;

    fn spawn<F>(future: F) -> Self::JoinHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        spawn(future)
    }

    /// What it calls blocking is a wait for the GIL, which this thread has. Another thread would
    /// take it some time later, maybe from an interpreter that is being finalised.
    fn spawn_blocking<F>(work: F) -> Self::JoinHandle
    where
        F: FnOnce() + Send + 'static,
    {
        spawn(async { work() })
    }
}

/// Locals are for futures that call coroutines; those of the control plane do not.
impl ContextExt for OfReactor {
    fn scope<F, R>(_: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(future)
    }

    fn get_task_locals() -> Option<TaskLocals> {
        None
    }
}
