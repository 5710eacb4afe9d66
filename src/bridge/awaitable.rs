//! Awaitables: those that are ready at once, and futures of the loop for the others.

use pyo3::exceptions::PyStopIteration;
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
