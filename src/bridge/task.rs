//! A handler's coroutine as a real `asyncio.Task` whose first step runs at once.
//!
//! How this works: a bare `coro.send(None)` would leave `asyncio.current_task()` empty, which
//! breaks `asyncio.timeout`, anyio and httpx. From Python 3.12 on a Task can start eagerly. Before
//! that a Task puts its first step on the loop with `loop.call_soon`: [`CallSoon`] stands in for
//! that method on the loop's instance, catches the step while a task is being made, and the step
//! is then run in its context. A coroutine that never waits is finished when [`Tasks::start`]
//! returns; another one is an ordinary suspended task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use slab::Slab;

use super::reactor::Core;

/// All tasks that the reactor started and that have not finished.
pub(crate) struct Tasks {
    class: Py<PyAny>,
    keywords: Py<PyDict>,
    /// `None` where tasks start eagerly by themselves.
    call_soon: Option<Py<CallSoon>>,
    waiting: RefCell<Slab<Slot>>,
    next_id: Cell<u64>,
}

struct Slot {
    id: u64,
    task: Py<PyAny>,
    state: State,
}

enum State {
    Waiting(Option<Waker>),
    Finished(PyResult<Py<PyAny>>),
    /// Nobody awaits it any more; this is told its end.
    Left(OnEnd),
}

/// Told the end of a task that was left.
pub(crate) type OnEnd = Box<dyn FnOnce(Python<'_>, PyResult<Py<PyAny>>)>;

/// How far a coroutine came in its first step.
pub(crate) enum Started {
    /// To its end.
    Finished(PyResult<Py<PyAny>>),
    /// To an await that waits.
    Waiting(Task),
}

/// A suspended task; ready with what its coroutine returns or raises. Dropping it cancels the
/// task; [`Task::leave`] does not.
pub(crate) struct Task {
    core: Rc<Core>,
    object: Py<PyAny>,
    key: usize,
    id: u64,
    ended: bool,
}

impl Tasks {
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let keywords = PyDict::new(py);
        keywords.set_item("loop", event_loop)?;
        let call_soon = if py.version_info() >= (3, 12) {
            keywords.set_item("eager_start", true)?;
            None
        } else {
            Some(CallSoon::enter(event_loop)?)
        };
        Ok(Self {
            class: py.import("asyncio")?.getattr("Task")?.unbind(),
            keywords: keywords.unbind(),
            call_soon,
            waiting: RefCell::new(Slab::new()),
            next_id: Cell::new(0),
        })
    }

    /// Makes a task of `coroutine` and takes its first step.
    pub(crate) fn start(core: &Rc<Core>, coroutine: &Bound<'_, PyAny>) -> Started {
        let py = coroutine.py();
        let tasks = &core.tasks;
        let started = tasks.first_step(coroutine);
        core.after_step(py);
        let task = match started {
            Ok(task) => task,
            // The step raised SystemExit or KeyboardInterrupt, which tasks let through.
            Err(error) => return Started::Finished(Err(error)),
        };
        let done = task
            .call_method0(intern!(py, "done"))
            .and_then(|done| done.is_truthy());
        match done {
            Ok(true) => Started::Finished(result(&task)),
            Ok(false) => match tasks.wait_for(&task) {
                Ok((key, id)) => Started::Waiting(Task {
                    core: Rc::clone(core),
                    object: task.unbind(),
                    key,
                    id,
                    ended: false,
                }),
                Err(error) => Started::Finished(Err(error)),
            },
            Err(error) => Started::Finished(Err(error)),
        }
    }

    fn first_step<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let class = self.class.bind(py);
        let keywords = self.keywords.bind(py);
        let Some(call_soon) = &self.call_soon else {
            return class.call((coroutine,), Some(keywords));
        };
        let call_soon = call_soon.get();
        call_soon.armed.store(true, Ordering::Relaxed);
        let task = class.call((coroutine,), Some(keywords));
        call_soon.armed.store(false, Ordering::Relaxed);
        let task = task?;
        let (step, context) = call_soon
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("the task did not schedule its first step"))?;
        match context {
            Some(context) => {
                context.bind(py).call_method1(intern!(py, "run"), (step,))?;
            }
            None => {
                step.bind(py).call0()?;
            }
        }
        Ok(task)
    }

    fn wait_for(&self, task: &Bound<'_, PyAny>) -> PyResult<(usize, u64)> {
        let py = task.py();
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let state = State::Waiting(None);
        let slot = Slot {
            id,
            task: task.clone().unbind(),
            state,
        };
        let key = self.waiting.borrow_mut().insert(slot);
        let ended = Bound::new(py, TaskEnded { key, id })?;
        task.call_method1(intern!(py, "add_done_callback"), (ended,))?;
        Ok((key, id))
    }

    /// Takes the slot of a task out, if it is still that task's.
    fn take(&self, key: usize, id: u64) -> Option<State> {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get(key) {
            Some(slot) if slot.id == id => Some(waiting.remove(key).state),
            _ => None,
        }
    }

    fn put(&self, key: usize, id: u64, state: State) {
        if let Some(slot) = self.waiting.borrow_mut().get_mut(key)
            && slot.id == id
        {
            slot.state = state;
        }
    }

    /// The tasks whose coroutine has not finished.
    pub(crate) fn unfinished(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let waiting = self.waiting.borrow();
        waiting
            .iter()
            .filter(|(_, slot)| !matches!(slot.state, State::Finished(_)))
            .map(|(_, slot)| slot.task.clone_ref(py))
            .collect()
    }

    /// Forgets all tasks and gives the loop its own `call_soon` back.
    pub(crate) fn close(&self, py: Python<'_>) {
        // Taken out first: what is dropped may start or end tasks.
        drop(self.waiting.take());
        if let Some(call_soon) = &self.call_soon {
            // Somebody who wrapped it after us keeps a callable that goes on working.
            let _ = call_soon.get().leave(py, call_soon);
        }
    }

    fn is_waiting(&self, key: usize, id: u64) -> bool {
        self.waiting
            .borrow()
            .get(key)
            .is_some_and(|slot| slot.id == id && matches!(slot.state, State::Waiting(_)))
    }
}

fn result(task: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    task.call_method0(intern!(task.py(), "result"))
        .map(Bound::unbind)
}

impl Task {
    /// The `asyncio.Task`.
    pub(crate) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.object.clone_ref(py)
    }

    /// Asks an `asyncio.Task` to end.
    pub(crate) fn cancel(core: &Core, task: &Bound<'_, PyAny>) {
        // Only a closed loop refuses, and then nothing runs any more.
        let _ = task.call_method0(intern!(task.py(), "cancel"));
        core.after_step(task.py());
    }

    /// Asks the task to end because its time is over; it sees `CancelledError("request timeout")`.
    pub(crate) fn expire(&mut self, py: Python<'_>) {
        self.ended = true;
        if let Some(State::Waiting(_)) = self.core.tasks.take(self.key, self.id) {
            let task = self.object.bind(py);
            // Only a closed loop refuses, and then nothing runs any more.
            let _ = task.call_method1(intern!(py, "cancel"), ("request timeout",));
            self.core.after_step(py);
        }
    }

    /// Lets the task run on by itself; `on_end` hears of its end.
    pub(crate) fn leave(mut self, on_end: OnEnd) {
        self.ended = true;
        self.core.tasks.put(self.key, self.id, State::Left(on_end));
    }
}

impl Future for Task {
    type Output = PyResult<Py<PyAny>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let tasks = &self.core.tasks;
        if tasks.is_waiting(self.key, self.id) {
            let waker = State::Waiting(Some(cx.waker().clone()));
            tasks.put(self.key, self.id, waker);
            return Poll::Pending;
        }
        let state = tasks.take(self.key, self.id);
        self.ended = true;
        match state {
            Some(State::Finished(result)) => Poll::Ready(result),
            _ => Poll::Ready(Err(PyRuntimeError::new_err("the task was awaited twice"))),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Some(state) = self.core.tasks.take(self.key, self.id) else {
            return;
        };
        if matches!(state, State::Waiting(_)) {
            Python::attach(|py| Self::cancel(&self.core, self.object.bind(py)));
        }
    }
}

/// The callback that asyncio calls when a task has ended.
#[pyclass(frozen)]
struct TaskEnded {
    key: usize,
    id: u64,
}

#[pymethods]
impl TaskEnded {
    fn __call__(&self, task: &Bound<'_, PyAny>) {
        let Some(core) = Core::current() else { return };
        let result = result(task);
        match core.tasks.take_or_finish(self.key, self.id, result) {
            Some(Told::Wake(waker)) => core.wake(&waker),
            Some(Told::Call(on_end, result)) => on_end(task.py(), result),
            None => {}
        }
    }
}

enum Told {
    Wake(Waker),
    Call(OnEnd, PyResult<Py<PyAny>>),
}

impl Tasks {
    fn take_or_finish(&self, key: usize, id: u64, result: PyResult<Py<PyAny>>) -> Option<Told> {
        let mut waiting = self.waiting.borrow_mut();
        let slot = waiting.get_mut(key).filter(|slot| slot.id == id)?;
        match std::mem::replace(&mut slot.state, State::Finished(result)) {
            State::Waiting(waker) => waker.map(Told::Wake),
            State::Left(on_end) => match waiting.remove(key).state {
                State::Finished(result) => Some(Told::Call(on_end, result)),
                _ => None,
            },
            State::Finished(_) => None,
        }
    }
}

/// A callback and the context to run it in.
type FirstStep = (Py<PyAny>, Option<Py<PyAny>>);

/// Stands in for `loop.call_soon` before Python 3.12 and catches the first step of a task.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct CallSoon {
    event_loop: Py<PyAny>,
    original: Py<PyAny>,
    /// Whether the original was an attribute of the loop itself, not of its class.
    was_own: bool,
    armed: AtomicBool,
    caught: Mutex<Option<FirstStep>>,
}

impl CallSoon {
    /// Takes the place of `event_loop.call_soon`.
    fn enter(event_loop: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        let call_soon = Py::new(
            py,
            Self {
                event_loop: event_loop.clone().unbind(),
                original: event_loop.getattr("call_soon")?.unbind(),
                was_own: own_attributes(event_loop)?.contains("call_soon")?,
                armed: AtomicBool::new(false),
                caught: Mutex::new(None),
            },
        )?;
        event_loop.setattr("call_soon", &call_soon)?;
        Ok(call_soon)
    }

    /// Gives the place back.
    fn leave(&self, py: Python<'_>, this: &Py<Self>) -> PyResult<()> {
        let event_loop = self.event_loop.bind(py);
        let current = own_attributes(event_loop)?.get_item("call_soon")?;
        if !current.is(this) {
            return Ok(());
        }
        if self.was_own {
            event_loop.setattr("call_soon", &self.original)
        } else {
            event_loop.delattr("call_soon")
        }
    }

    fn take(&self) -> Option<FirstStep> {
        self.caught.lock().ok()?.take()
    }
}

fn own_attributes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    object.getattr("__dict__")
}

#[pymethods]
impl CallSoon {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.original)
    }

    #[pyo3(signature = (callback, *args, context=None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.armed.swap(false, Ordering::Relaxed) {
            if let Ok(mut caught) = self.caught.lock() {
                *caught = Some((callback.unbind(), context.map(Bound::unbind)));
            }
            return Ok(py.None().into_bound(py));
        }
        let mut arguments = vec![callback];
        arguments.extend(args.iter());
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "context"), context)?;
        self.original
            .bind(py)
            .call(PyTuple::new(py, arguments)?, Some(&keywords))
    }
}
