//! The reactor of one worker: asyncio's selector, which runs the server inside `select`.
//!
//! How this works: asyncio calls `select(timeout)` when it has nothing to run. We run a Tokio
//! runtime until one of asyncio's own descriptors is readable, the time is up, or a step into
//! Python put something on the loop. asyncio's descriptors stay in an ordinary selector whose
//! epoll or kqueue descriptor Tokio watches.
//!
//! Things that are easy to get wrong here:
//! - Nested epoll is edge-triggered for us. Readiness is cleared only after `poll` has shown that
//!   nothing is left, so a callback that reads 1 of 10 bytes loses no wake-up.
//! - Tokio swallows EINTR, so Python's signal handlers need `signal.set_wakeup_fd`, with the other
//!   end among asyncio's own descriptors (`spikard._loop`).
//! - A handler that has returned may have scheduled something: [`Core::after_step`] looks.
//! - asyncio replaces its heap of timers by a new list when many were cancelled, so each `select`
//!   asks the loop for it again.
//! - Waking a task from outside the runtime costs a system call. What asyncio completes between
//!   two `select`s is kept and woken from the inside by the next one.

#![expect(unsafe_code, reason = "the runtime crosses `detach` on its own thread")]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySequence};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::{Instant, Sleep, sleep_until};

use super::afterwork::Afterwork;
use super::confined::Confined;
use super::gil;
use super::task::Tasks;
use super::transport::HeldWrite;
use crate::server::batch::Batch;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// asyncio's selector and the runtime behind it, of one thread.
#[pyclass(module = "spikard._spikard")]
pub(crate) struct Reactor(Confined<Running>);

struct Running {
    runtime: Option<LocalRuntime>,
    core: Rc<Core>,
}

/// What the parts of the bridge on this thread share.
pub(crate) struct Core {
    /// Tasks whose coroutine has not finished.
    pub(crate) tasks: Tasks,
    /// What is still to be done after responses.
    pub(super) afterwork: Rc<Afterwork>,
    /// Transports whose writes wait for the end of the turn.
    pub(super) writes: Batch<HeldWrite>,
    /// The running event loop.
    pub(crate) event_loop: Py<PyAny>,
    /// `loop._ready`, a deque.
    ready: Py<PySequence>,
    /// `loop._scheduled`, a heap of timer handles, as it was when `select` began.
    scheduled: RefCell<Py<PyList>>,
    /// The earliest timer when `select` began, as an address to compare with.
    earliest: Cell<usize>,
    /// Whether `select` is running, so that wakers may be woken directly.
    inside: Cell<bool>,
    /// Whether Python put something on the loop.
    pending: Cell<bool>,
    /// What a callback raised that asyncio lets out of `run_forever`.
    raised: Cell<Option<PyErr>>,
    root: RefCell<Option<Waker>>,
    woken: RefCell<Vec<Waker>>,
    inner: RefCell<Option<AsyncFd<OwnedFd>>>,
    sleep: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Core {
    /// The core of the reactor that runs on this thread.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Wakes a task of the runtime, at the latest when `select` is entered.
    pub(crate) fn wake(&self, waker: &Waker) {
        if self.inside.get() {
            waker.wake_by_ref();
        } else {
            self.woken.borrow_mut().push(waker.clone());
        }
    }

    /// Looks whether a step into Python left something for the loop to do; call it after each.
    pub(crate) fn after_step(&self, py: Python<'_>) {
        if self.pending.get() || !self.inside.get() {
            return;
        }
        let has_work = self.ready.bind(py).len().is_ok_and(|length| length > 0)
            || self.earliest_timer(py) != self.earliest.get();
        if has_work {
            self.leave();
        }
    }

    /// Lets an exception out of `select`, and so of the loop.
    pub(super) fn raise(&self, error: PyErr) {
        self.raised.set(Some(error));
        self.leave();
    }

    /// Makes `select` return.
    fn leave(&self) {
        self.pending.set(true);
        if let Some(root) = &*self.root.borrow() {
            root.wake_by_ref();
        }
    }

    fn earliest_timer(&self, py: Python<'_>) -> usize {
        let scheduled = self.scheduled.borrow();
        let scheduled = scheduled.bind(py);
        if scheduled.is_empty() {
            return 0; // asking an empty list for its first item would make an exception
        }
        scheduled
            .get_item(0)
            .map_or(0, |handle| handle.as_ptr() as usize)
    }

    /// The future that `select` blocks on: ready when asyncio has to go on, with whether its own
    /// selector has events.
    async fn turn(&self, timeout: Option<f64>) -> bool {
        for waker in self.woken.borrow_mut().drain(..) {
            waker.wake();
        }
        let at_once = timeout.is_some_and(|seconds| seconds <= 0.0);
        let has_events = poll_fn(|cx| Poll::Ready(self.poll_events(cx))).await;
        if at_once || has_events {
            // The sockets get their turn also when asyncio is always busy.
            tokio::task::yield_now().await;
            return has_events || poll_fn(|cx| Poll::Ready(self.poll_events(cx))).await;
        }
        let mut sleep = self.sleep.take();
        if let Some(seconds) = timeout {
            // A timer too far away to be represented is as good as none.
            let until = Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|timeout| Instant::now().checked_add(timeout));
            match (&mut sleep, until) {
                (Some(sleep), Some(until)) => sleep.as_mut().reset(until),
                (slot, Some(until)) => *slot = Some(Box::pin(sleep_until(until))),
                (slot, None) => *slot = None,
            }
        }
        let has_timeout = timeout.is_some();
        let has_events = poll_fn(|cx| {
            self.set_root(cx.waker());
            if self.poll_events(cx) {
                return Poll::Ready(true);
            }
            if self.pending.get() {
                return Poll::Ready(false);
            }
            match &mut sleep {
                Some(sleep) if has_timeout => sleep.as_mut().poll(cx).map(|()| false),
                _ => Poll::Pending,
            }
        })
        .await;
        self.sleep.replace(sleep);
        has_events
    }

    /// Whether asyncio's selector has events; else `cx` hears of it.
    fn poll_events(&self, cx: &mut Context<'_>) -> bool {
        let inner = self.inner.borrow();
        inner.as_ref().is_some_and(|inner| poll_readable(inner, cx))
    }

    fn set_root(&self, waker: &Waker) {
        let mut root = self.root.borrow_mut();
        if root.as_ref().is_none_or(|root| !root.will_wake(waker)) {
            *root = Some(waker.clone());
        }
    }
}

/// Whether the descriptor is readable now; else `cx` is woken once it is.
fn poll_readable(descriptor: &AsyncFd<OwnedFd>, cx: &mut Context<'_>) -> bool {
    while let Poll::Ready(Ok(mut guard)) = descriptor.poll_read_ready(cx) {
        let mut fds = [PollFd::new(descriptor.get_ref(), PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match rustix::event::poll(&mut fds, Some(&at_once)) {
            Ok(0) => guard.clear_ready(),
            _ => return true,
        }
    }
    false
}

/// Carries values across `detach`, which asks for `Send` to keep `Py` references out.
struct SameThread<T>(T);

// SAFETY: `detach` runs its closure on the calling thread; nothing is sent anywhere.
unsafe impl<T> Send for SameThread<T> {}

impl<T> SameThread<T> {
    fn get(&self) -> &T {
        &self.0
    }
}

#[pymethods]
impl Reactor {
    /// A reactor for `event_loop`, to be used on this thread only.
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(16)
            .on_thread_park(gil::release)
            .on_thread_unpark(gil::hold)
            .build_local(LocalOptions::default())?;
        let core = Rc::new(Core {
            tasks: Tasks::new(event_loop)?,
            afterwork: Rc::default(),
            writes: Batch::default(),
            event_loop: event_loop.clone().unbind(),
            ready: event_loop
                .getattr("_ready")?
                .cast_into::<PySequence>()?
                .unbind(),
            scheduled: RefCell::new(scheduled_of(event_loop)?),
            earliest: Cell::new(0),
            inside: Cell::new(false),
            pending: Cell::new(false),
            raised: Cell::new(None),
            root: RefCell::new(None),
            woken: RefCell::new(Vec::new()),
            inner: RefCell::new(None),
            sleep: RefCell::new(None),
        });
        CURRENT.with_borrow_mut(|current| {
            if current.is_some() {
                return Err(PyRuntimeError::new_err("this thread has a reactor already"));
            }
            *current = Some(Rc::clone(&core));
            Ok(())
        })?;
        let writing = Rc::clone(&core);
        runtime.spawn_local(async move { writing.writes.run().await });
        Ok(Self(Confined::new(Running {
            runtime: Some(runtime),
            core,
        })))
    }

    /// Watches asyncio's own selector by its descriptor, which is duplicated.
    fn watch_selector(&self, descriptor: RawFd) -> PyResult<()> {
        if descriptor < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        // SAFETY: the caller owns the descriptor and keeps it open during this call.
        let owned = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
        let _context = self.runtime()?.enter();
        // SAFETY: the `AsyncFd` owns the descriptor, which is closed only after it is deregistered.
        let watched = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        self.core()?.inner.replace(Some(watched));
        Ok(())
    }

    /// Serves until asyncio has to go on; `True` when its own selector may have events.
    ///
    /// `timeout` is in seconds; `None` waits for ever, 0 or less does not wait.
    fn select(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let runtime = self.runtime()?;
        let core = self.core()?;
        core.pending.set(false);
        core.scheduled
            .replace(scheduled_of(core.event_loop.bind(py))?);
        core.earliest.set(core.earliest_timer(py));
        let crossing = SameThread((runtime, core));
        let has_events = py.detach(move || {
            let (runtime, core) = crossing.get();
            gil::hold();
            core.inside.set(true);
            let has_events = runtime.block_on(core.turn(timeout));
            core.inside.set(false);
            gil::release();
            has_events
        });
        core.raised.take().map_or(Ok(has_events), Err)
    }

    /// Writes what asyncio's transports keep for the end of the turn.
    fn flush(&self) -> PyResult<()> {
        self.core()?.writes.flush();
        Ok(())
    }

    /// The tasks of handlers that have not finished.
    fn tasks(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        Ok(self.core()?.tasks.unfinished(py))
    }

    /// Ends the runtime with everything that still runs in it. Idempotent; call it before the
    /// interpreter finalises.
    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        self.0.get_mut()?.close(py);
        Ok(())
    }
}

impl Running {
    fn close(&mut self, py: Python<'_>) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        {
            let _context = runtime.enter();
            self.core.inner.take();
            self.core.sleep.take();
        }
        // Futures of the runtime are dropped here, on this thread, with the GIL: they cancel tasks.
        runtime.shutdown_background();
        CURRENT.with_borrow_mut(Option::take);
        self.core.root.take();
        self.core.woken.take();
        self.core.tasks.close(py);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

fn scheduled_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Py<PyList>> {
    let scheduled = event_loop.getattr(intern!(event_loop.py(), "_scheduled"))?;
    Ok(scheduled.cast_into::<PyList>()?.unbind())
}

impl Reactor {
    /// The runtime to spawn on.
    ///
    /// # Errors
    ///
    /// `RuntimeError` once the reactor is closed.
    pub(crate) fn runtime(&self) -> PyResult<&LocalRuntime> {
        let runtime = self.0.get()?.runtime.as_ref();
        runtime.ok_or_else(|| PyRuntimeError::new_err("the reactor is closed"))
    }

    /// What this thread's parts of the bridge share.
    ///
    /// # Errors
    ///
    /// `RuntimeError` on another thread.
    pub(crate) fn core(&self) -> PyResult<&Rc<Core>> {
        Ok(&self.0.get()?.core)
    }

    /// Runs `work` where sockets and tasks of the runtime can be made.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        let _context = self.runtime()?.enter();
        work()
    }
}
