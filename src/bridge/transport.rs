//! The socket transports of asyncio that a handler awaits its databases through, read and written
//! here.
//!
//! How this works: a `spikard._transport.SocketTransport` is asyncio's own transport, with two
//! things done by a [`SocketIo`]. While it reads, its descriptor is one of the runtime's, so what
//! arrives goes from the socket to `data_received` without a round of asyncio's own selector and
//! its queue of callbacks. And a `write` that the socket takes as a whole is one `send`. All else,
//! what is left of a write, errors, the end, is asyncio's code.
//!
//! Things that are easy to get wrong here:
//! - The transport closes its descriptor after it has stopped reading. [`SocketIo::stop`] takes
//!   the registration away at once, or the next socket of the same number would lose its own.
//! - `data_received` may pause, close or hand the transport over: nothing that was known before
//!   the call holds after it.
//! - A read that fills less than the buffer has emptied the socket. The runtime is edge-triggered:
//!   readiness is cleared then and only then.

#![expect(
    unsafe_code,
    reason = "asyncio owns the sockets, known here by their numbers"
)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};
use pyo3::{PyTraverseError, PyVisit};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use super::confined::Confined;
use super::reactor::{Core, Reactor};

/// Bytes asked of a socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// The longest list of pieces that is copied together to be written at once.
const GATHERED_BYTES: usize = 16 * 1024;

thread_local! {
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads and writes the socket of one transport.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct SocketIo {
    transport: Py<PyAny>,
    /// `write` and `writelines` of asyncio's transport, unbound.
    slow_write: Py<PyAny>,
    slow_writelines: Py<PyAny>,
    descriptor: RawFd,
    reading: Confined<RefCell<Option<Rc<Reading>>>>,
}

/// A registration of the descriptor with the runtime, and who waits for it.
struct Reading {
    socket: RefCell<Option<AsyncFd<RawFd>>>,
    waiting: RefCell<Option<Waker>>,
}

/// What a read of the socket came to.
enum Received {
    Bytes(Py<PyBytes>),
    /// The socket may hold more than these.
    Full(Py<PyBytes>),
    Eof,
    Failed(io::Error),
}

#[pymethods]
impl SocketIo {
    /// For a transport of asyncio whose socket has this descriptor.
    #[new]
    fn new(
        transport: Py<PyAny>,
        descriptor: RawFd,
        slow_write: Py<PyAny>,
        slow_writelines: Py<PyAny>,
    ) -> Self {
        Self {
            transport,
            slow_write,
            slow_writelines,
            descriptor,
            reading: Confined::new(RefCell::new(None)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        visit.call(&self.slow_write)?;
        visit.call(&self.slow_writelines)
    }

    /// Hands what arrives to `data_received` in `context`, until [`stop`](Self::stop) or the end.
    ///
    /// # Errors
    ///
    /// `OSError` for a descriptor that cannot be watched.
    fn start(
        slf: &Bound<'_, Self>,
        reactor: &Bound<'_, Reactor>,
        context: Py<PyAny>,
        data_received: Py<PyAny>,
    ) -> PyResult<()> {
        let reactor = reactor.borrow();
        let core = Rc::clone(reactor.core()?);
        let this = slf.get();
        this.stop()?;
        let socket = reactor.enter(|| {
            // SAFETY: the transport has its socket open now, and stops before it closes it.
            unsafe { AsyncFd::register_with_interest(this.descriptor, Interest::READABLE) }
                .map_err(|error| io::Error::from(error).into())
        })?;
        let reading = Rc::new(Reading {
            socket: RefCell::new(Some(socket)),
            waiting: RefCell::new(None),
        });
        this.reading.get()?.replace(Some(Rc::clone(&reading)));
        let transport = this.transport.clone_ref(slf.py());
        let reader = Reader {
            reading,
            core,
            transport,
            context,
            data_received,
        };
        reactor.enter(|| {
            spawn_local(reader.run());
            Ok(())
        })
    }

    /// Reads no more. Idempotent.
    fn stop(&self) -> PyResult<()> {
        let Some(reading) = self.reading.get()?.take() else {
            return Ok(());
        };
        drop(reading.socket.take());
        let waiting = reading.waiting.take();
        if let (Some(waiting), Some(core)) = (waiting, Core::current()) {
            core.wake(&waiting);
        }
        Ok(())
    }

    /// `Transport.write`.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(bytes) = data.cast_exact::<PyBytes>()
            && !bytes.as_bytes().is_empty()
            && self.is_idle(py)?
        {
            return self.send(bytes);
        }
        self.slow_write.call1(py, (&self.transport, data)).map(drop)
    }

    /// `Transport.writelines`.
    fn writelines(&self, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = list_of_data.py();
        if let Ok(list) = list_of_data.cast_exact::<PyList>()
            && let Some(gathered) = gather(list)
            && self.is_idle(py)?
        {
            return self.send(&gathered);
        }
        let arguments = (&self.transport, list_of_data);
        self.slow_writelines.call1(py, arguments).map(drop)
    }
}

/// The pieces of a list as one, if all are `bytes`, there are some, and they are few.
fn gather<'py>(list: &Bound<'py, PyList>) -> Option<Bound<'py, PyBytes>> {
    let mut total = 0;
    for each in list.iter() {
        total += each.cast_exact::<PyBytes>().ok()?.as_bytes().len();
    }
    if !(1..=GATHERED_BYTES).contains(&total) {
        return None;
    }
    if list.len() == 1 {
        return list.get_item(0).ok()?.cast_into_exact().ok();
    }
    PyBytes::new_with(list.py(), total, |mut room| {
        for each in list.iter() {
            let (piece, rest) = room.split_at_mut(each.cast_exact::<PyBytes>()?.as_bytes().len());
            piece.copy_from_slice(each.cast_exact::<PyBytes>()?.as_bytes());
            room = rest;
        }
        Ok(())
    })
    .ok()
}

impl SocketIo {
    /// Whether nothing stands before a write: none is waiting, and the transport is open.
    fn is_idle(&self, py: Python<'_>) -> PyResult<bool> {
        let transport = self.transport.bind(py);
        Ok(transport.getattr(intern!(py, "_buffer"))?.is_empty()?
            && !transport.getattr(intern!(py, "_conn_lost"))?.is_truthy()?
            && !transport.getattr(intern!(py, "_eof"))?.is_truthy()?
            && transport.getattr(intern!(py, "_empty_waiter"))?.is_none())
    }

    /// Sends at once; what the socket does not take is left to asyncio.
    fn send(&self, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        let py = data.py();
        // SAFETY: the transport is open (`is_idle`), and closes its socket on this thread.
        let socket = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        let sent = match send(socket, data.as_bytes(), SendFlags::NOSIGNAL) {
            Ok(sent) if sent == data.as_bytes().len() => return Ok(()),
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => {
                let message = "Fatal write error on socket transport";
                return fail(self.transport.bind(py), os_error(&error.into()), message);
            }
        };
        let rest = PySlice::new(py, sent.try_into()?, isize::MAX, 1);
        let rest = PyMemoryView::from(data)?.get_item(rest)?;
        self.slow_write.call1(py, (&self.transport, rest)).map(drop)
    }
}

/// Ends a transport as asyncio does: its protocol hears of the error, in a later callback.
fn fail(transport: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = transport.py();
    let error = error.into_value(py);
    transport.call_method1(intern!(py, "_fatal_error"), (error, message))?;
    Ok(())
}

/// An `OSError` with its number, which makes it a `ConnectionResetError` and the like.
fn os_error(error: &io::Error) -> PyErr {
    PyOSError::new_err((error.raw_os_error(), error.to_string()))
}

/// One stretch of reading, between `start` and `stop`.
struct Reader {
    reading: Rc<Reading>,
    core: Rc<Core>,
    transport: Py<PyAny>,
    context: Py<PyAny>,
    data_received: Py<PyAny>,
}

impl Reader {
    async fn run(self) {
        while let Some(received) = poll_fn(|cx| self.reading.poll_receive(cx)).await {
            let is_full = matches!(received, Received::Full(_));
            let is_last = matches!(received, Received::Eof | Received::Failed(_));
            Python::attach(|py| {
                if let Err(error) = self.hand_over(py, received) {
                    self.core.raise(error);
                }
                self.core.after_step(py);
            });
            if is_last {
                return;
            }
            if is_full {
                tokio::task::yield_now().await;
            }
        }
        // Dropped with the GIL, which the runtime's tasks hold while they run.
    }

    fn hand_over(&self, py: Python<'_>, received: Received) -> PyResult<()> {
        let transport = self.transport.bind(py);
        let run = intern!(py, "run");
        match received {
            Received::Bytes(data) | Received::Full(data) => {
                let arguments = (&self.data_received, data);
                match self.context.call_method1(py, run, arguments) {
                    Ok(_) => Ok(()),
                    Err(error) if leaves_the_loop(py, &error) => Err(error),
                    Err(error) => {
                        let message = "Fatal error: protocol.data_received() call failed.";
                        fail(transport, error, message)
                    }
                }
            }
            Received::Eof => {
                let on_eof = transport.getattr(intern!(py, "_read_ready__on_eof"))?;
                self.context.call_method1(py, run, (on_eof,)).map(drop)
            }
            Received::Failed(error) => fail(
                transport,
                os_error(&error),
                "Fatal read error on socket transport",
            ),
        }
    }
}

/// Whether asyncio lets an exception of a callback out of `run_forever`.
fn leaves_the_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

impl Reading {
    /// What arrives next; `None` once reading is over.
    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let socket = self.socket.borrow();
        let Some(registered) = &*socket else {
            return Poll::Ready(None);
        };
        while let Poll::Ready(ready) = registered.poll_read_ready(cx) {
            let mut guard = match ready {
                Ok(guard) => guard,
                Err(error) => return Poll::Ready(Some(Received::Failed(error))),
            };
            match receive(*registered.get_ref()) {
                Ok(Received::Bytes(data)) => {
                    guard.clear_ready();
                    return Poll::Ready(Some(Received::Bytes(data)));
                }
                Ok(received) => return Poll::Ready(Some(received)),
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Some(Received::Failed(error.into()))),
            }
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting
            .as_ref()
            .is_none_or(|waker| !waker.will_wake(cx.waker()))
        {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn receive(descriptor: RawFd) -> rustix::io::Result<Received> {
    // SAFETY: the descriptor is registered, and the transport takes that away before it closes it.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    RECEIVED.with_borrow_mut(|room| {
        room.resize(READ_BYTES, 0);
        let (count, _) = recv(socket, &mut room[..], RecvFlags::DONTWAIT)?;
        let data = || Python::attach(|py| PyBytes::new(py, &room[..count]).unbind());
        Ok(match count {
            0 => Received::Eof,
            READ_BYTES => Received::Full(data()),
            _ => Received::Bytes(data()),
        })
    })
}
