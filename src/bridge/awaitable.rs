//! Awaitables: those that are ready at once, and those that wait for a future of the loop.
//!
//! All are coroutines to `asyncio.iscoroutine` (they have the methods of
//! `collections.abc.Coroutine`): with other servers `receive()` and `send()` are, so applications
//! give them to `create_task`, `run_coroutine_threadsafe` and task groups.

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::reactor::Core;

/// An awaitable that gives `None` at once. There is one, it has no state.
#[pyclass(frozen)]
pub(crate) struct Done;

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err(()))
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw(
        &self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        Err(thrown(kind, value)?)
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    fn close(&self) {}
}

/// The exception that the arguments of `throw` mean: an exception, or its class and maybe a value.
fn thrown(kind: Bound<'_, PyAny>, value: Option<Bound<'_, PyAny>>) -> PyResult<PyErr> {
    let error = match value {
        _ if kind.is_instance_of::<PyBaseException>() => kind,
        Some(value) if value.is_instance_of::<PyBaseException>() => value,
        Some(value) if !value.is_none() => kind.call1((value,))?,
        _ => kind.call0()?,
    };
    Ok(PyErr::from_value(error))
}

/// The [`Done`].
pub(crate) fn done(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static DONE: PyOnceLock<Py<Done>> = PyOnceLock::new();
    let done = DONE.get_or_try_init(py, || Py::new(py, Done))?;
    Ok(done.bind(py).clone().into_any())
}

/// An awaitable that gives a value at once.
#[pyclass(frozen)]
pub(crate) struct Ready {
    value: Py<PyAny>,
}

#[pymethods]
impl Ready {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        // A tuple would be taken for the exception's arguments.
        Err(PyStopIteration::new_err((self.value.clone_ref(py),)))
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw(
        &self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        Err(thrown(kind, value)?)
    }

    #[expect(clippy::unused_self, reason = "it is the protocol's signature")]
    fn close(&self) {}
}

/// An awaitable of something that is not there yet.
#[pyclass]
pub(crate) struct Waiting {
    stage: Stage,
}

enum Stage {
    /// Nobody has waited yet for this future.
    Future(Py<PyAny>),
    /// Called on another thread than the server's: this call, with its argument, is to be made on
    /// the thread of whoever awaits it, which is the loop's.
    Call(Py<PyAny>, Option<Py<PyAny>>),
    /// The iterator of what is awaited.
    Steps(Py<PyAny>),
    Ended,
}

impl Waiting {
    /// The iterator of what is awaited; made, and the call made, when first asked for.
    fn steps(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let awaited = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Future(future) => future.into_bound(py),
            Stage::Call(call, None) => call.bind(py).call0()?,
            Stage::Call(call, Some(argument)) => call.bind(py).call1((argument,))?,
            Stage::Steps(steps) => {
                self.stage = Stage::Steps(steps.clone_ref(py));
                return Ok(steps);
            }
            Stage::Ended => {
                return Err(PyRuntimeError::new_err("it was awaited already"));
            }
        };
        let steps = awaited.call_method0(intern!(py, "__await__"))?.unbind();
        self.stage = Stage::Steps(steps.clone_ref(py));
        Ok(steps)
    }
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let py = slf.py();
        let is_call = matches!(slf.borrow().stage, Stage::Call(..));
        if is_call {
            return Ok(slf.into_any());
        }
        let steps = slf.borrow_mut().steps(py)?;
        Ok(steps.into_bound(py))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let steps = self.steps(py)?;
        steps.call_method0(py, intern!(py, "__next__"))
    }

    fn send(&mut self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        if let Stage::Steps(steps) = &self.stage {
            let steps = steps.clone_ref(py);
            return steps.call_method1(py, intern!(py, "throw"), (kind, value, traceback));
        }
        self.close(py)?;
        Err(thrown(kind, value)?)
    }

    /// Gives up: a message that comes goes to the next who asks.
    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Future(future) => {
                future.call_method0(py, intern!(py, "cancel"))?;
            }
            Stage::Steps(steps) => {
                steps.call_method0(py, intern!(py, "close"))?;
            }
            Stage::Call(..) | Stage::Ended => {}
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.stage {
            Stage::Future(object) | Stage::Steps(object) => visit.call(object),
            Stage::Call(call, argument) => {
                visit.call(call)?;
                visit.call(argument)
            }
            Stage::Ended => Ok(()),
        }
    }

    fn __clear__(&mut self) {
        self.stage = Stage::Ended;
    }
}

/// An awaitable of what a future of the loop will have.
pub(crate) fn waiting(future: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = future.py();
    let stage = Stage::Future(future.unbind());
    Ok(Bound::new(py, Waiting { stage })?.into_any())
}

/// An awaitable of what `call`, made by whoever awaits it, returns.
pub(crate) fn called_later<'py>(
    call: Bound<'py, PyAny>,
    argument: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let stage = Stage::Call(call.unbind(), argument.map(Bound::unbind));
    Ok(Bound::new(py, Waiting { stage })?.into_any())
}

/// An awaitable of `value`.
pub(crate) fn ready<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let ready = Ready {
        value: value.clone().unbind(),
    };
    Ok(Bound::new(value.py(), ready)?.into_any())
}

/// A new `asyncio.Future` of the loop.
pub(crate) fn future<'py>(core: &Core, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
    core.event_loop
        .bind(py)
        .call_method0(intern!(py, "create_future"))
}

/// Whether somebody still waits for this future: it was not cancelled.
pub(crate) fn is_awaited(future: &Bound<'_, PyAny>) -> bool {
    future
        .call_method0(intern!(future.py(), "done"))
        .and_then(|done| done.is_truthy())
        .is_ok_and(|done| !done)
}

/// Completes a future, unless it was cancelled meanwhile.
pub(crate) fn complete(core: &Core, future: &Bound<'_, PyAny>, value: PyResult<Bound<'_, PyAny>>) {
    let py = future.py();
    if is_awaited(future) {
        // It cannot fail on a future that is not done, except when memory runs out.
        let _ = match value {
            Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
            Err(error) => {
                future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))
            }
        };
    }
    core.after_step(py);
}
