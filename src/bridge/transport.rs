//! The socket transports of asyncio that a handler awaits its databases through, read and written
//! here.
//!
//! How this works: a `spikard._transport.SocketTransport` is asyncio's own transport, with two
//! things done by a [`SocketIo`]. While it reads, its descriptor is one of the runtime's, so what
//! arrives goes from the socket to `data_received` without a round of asyncio's own selector and
//! its queue of callbacks. And small writes are kept until the end of the turn, when those of all
//! transports are made one after the other (see [`Batch`](crate::server::batch::Batch)), those of
//! one transport with one system call. All else, what the socket does not take, errors, the end,
//! is asyncio's code.
//!
//! Things that are easy to get wrong here:
//! - The transport closes its descriptor after it has stopped reading. [`SocketIo::stop`] takes
//!   the registration away at once, or the next socket of the same number would lose its own.
//! - `data_received` may pause, close or hand the transport over: nothing that was known before
//!   the call holds after it.
//! - Whatever looks at the transport's buffer or ends the transport comes after the writes that
//!   are kept: the class calls [`SocketIo::flush`] first. A transport that has failed has nothing
//!   left to write: [`SocketIo::forget`].
//! - A read that fills less than the buffer has emptied the socket. The runtime is edge-triggered:
//!   readiness is cleared then and only then.

#![expect(
    unsafe_code,
    reason = "asyncio owns the sockets, known here by their numbers"
)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use pyo3::{PyTraverseError, PyVisit};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use super::confined::Confined;
use super::reactor::{Core, Reactor};
use crate::server::batch::Held;

/// Bytes asked of a socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// What a transport keeps for the end of the turn; with more it writes at once.
const HELD_BYTES: usize = 16 * 1024;
/// The same, in pieces: what one system call takes.
const HELD_PIECES: usize = 64;

thread_local! {
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads and writes the socket of one transport.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct SocketIo {
    transport: Py<PyAny>,
    event_loop: Py<PyAny>,
    /// `write` and `writelines` of asyncio's transport, unbound.
    slow_write: Py<PyAny>,
    slow_writelines: Py<PyAny>,
    descriptor: RawFd,
    state: Confined<State>,
}

#[derive(Default)]
struct State {
    reading: RefCell<Option<Rc<Reading>>>,
    held: RefCell<Pieces>,
}

/// What is to be written, in order.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Py<PyBytes>>,
    bytes: usize,
}

/// A transport whose writes wait for the end of the turn.
pub(super) struct HeldWrite(Py<SocketIo>);

impl Held for HeldWrite {
    /// A handler rarely computes for as long between two awaits.
    const MAX_WAIT: Duration = Duration::from_millis(1);

    fn release(&self) {
        Python::attach(|py| {
            let core = Core::current();
            if let Err(error) = self.0.get().flush(py) {
                match &core {
                    Some(core) if leaves_the_loop(py, &error) => core.raise(error),
                    _ => error.write_unraisable(py, Some(self.0.bind(py))),
                }
            }
            if let Some(core) = core {
                core.after_step(py);
            }
        });
    }
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
        event_loop: Py<PyAny>,
        descriptor: RawFd,
        slow_write: Py<PyAny>,
        slow_writelines: Py<PyAny>,
    ) -> Self {
        Self {
            transport,
            event_loop,
            slow_write,
            slow_writelines,
            descriptor,
            state: Confined::new(State::default()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        visit.call(&self.event_loop)?;
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
        this.state.get()?.reading.replace(Some(Rc::clone(&reading)));
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
        let Some(reading) = self.state.get()?.reading.take() else {
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
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        if let Ok(bytes) = data.cast_exact::<PyBytes>()
            && !bytes.as_bytes().is_empty()
            && let Ok(state) = this.state.get()
            && this.is_idle(slf.py())?
        {
            return Self::hold(slf, state, [bytes.clone()]);
        }
        this.pass_on(slf.py(), &this.slow_write, data)
    }

    /// `Transport.writelines`.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        if let Ok(list) = list_of_data.cast_exact::<PyList>()
            && (1..HELD_PIECES).contains(&list.len())
            && list.iter().all(|each| is_piece(&each))
            && let Ok(state) = this.state.get()
            && this.is_idle(slf.py())?
        {
            let pieces = list.iter().filter_map(|each| each.cast_into_exact().ok());
            return Self::hold(slf, state, pieces);
        }
        this.pass_on(slf.py(), &this.slow_writelines, list_of_data)
    }

    /// Writes what is kept; what the socket does not take is left to asyncio.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let Ok(state) = self.state.get() else {
            return Ok(()); // only its own thread keeps anything
        };
        let held = state.held.take();
        if held.pieces.is_empty() {
            return Ok(());
        }
        let sent = match self.send(py, &held.pieces) {
            Ok(sent) if sent == held.bytes => return Ok(()),
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => {
                let message = "Fatal write error on socket transport";
                return fail(self.transport.bind(py), os_error(&error.into()), message);
            }
        };
        let rest = PyBytes::new_with(py, held.bytes - sent, |room| {
            held.copy_from(py, sent, room);
            Ok(())
        })?;
        self.slow_write.call1(py, (&self.transport, rest)).map(drop)
    }

    /// Drops what is kept.
    fn forget(&self) -> PyResult<()> {
        self.state.get()?.held.take();
        Ok(())
    }
}

/// Whether something is written as it is. asyncio passes an empty piece over.
fn is_piece(data: &Bound<'_, PyAny>) -> bool {
    data.cast_exact::<PyBytes>()
        .is_ok_and(|bytes| !bytes.as_bytes().is_empty())
}

impl Pieces {
    /// Copies everything behind the first `skip` bytes to `room`, which has their size.
    fn copy_from(&self, py: Python<'_>, mut skip: usize, mut room: &mut [u8]) {
        for piece in &self.pieces {
            let piece = piece.as_bytes(py);
            let left = &piece[skip.min(piece.len())..];
            skip = skip.saturating_sub(piece.len());
            let (place, rest) = room.split_at_mut(left.len());
            place.copy_from_slice(left);
            room = rest;
        }
    }
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

    /// Keeps pieces for the end of the turn, or writes them: a lot, or without a reactor in the
    /// loop.
    fn hold<'py>(
        slf: &Bound<'py, Self>,
        state: &State,
        pieces: impl IntoIterator<Item = Bound<'py, PyBytes>>,
    ) -> PyResult<()> {
        let this = slf.get();
        let (is_new, is_small) = {
            let mut held = state.held.borrow_mut();
            let is_new = held.pieces.is_empty();
            for piece in pieces {
                held.bytes += piece.as_bytes().len();
                held.pieces.push(piece.unbind());
            }
            (
                is_new,
                held.bytes <= HELD_BYTES && held.pieces.len() <= HELD_PIECES,
            )
        };
        let core = Core::current().filter(|core| core.event_loop.is(&this.event_loop));
        match core {
            Some(core) if is_small => {
                if is_new {
                    let held = HeldWrite(slf.clone().unbind());
                    core.writes.add(held, |task| core.wake(task));
                }
                core.writes.flush_if_due();
                Ok(())
            }
            _ => this.flush(slf.py()),
        }
    }

    /// Has asyncio write, behind what is kept.
    fn pass_on(&self, py: Python<'_>, write: &Py<PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.flush(py)?;
        write.call1(py, (&self.transport, data)).map(drop)
    }

    fn send(&self, py: Python<'_>, pieces: &[Py<PyBytes>]) -> rustix::io::Result<usize> {
        // SAFETY: the transport is open: it was (`is_idle`), and flushes before it closes its
        // socket, on this thread.
        let socket = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        if let [piece] = pieces {
            return send(socket, piece.as_bytes(py), SendFlags::NOSIGNAL);
        }
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| IoSlice::new(piece.as_bytes(py)))
            .collect();
        let mut ancillary = SendAncillaryBuffer::default();
        sendmsg(socket, &pieces, &mut ancillary, SendFlags::NOSIGNAL)
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
