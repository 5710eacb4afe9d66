//! WebSocket sessions over an upgraded connection (RFC 6455).
//!
//! How this works: [`open`] makes two ends of one session. The [`Driver`] owns the connection and
//! is the future that the connection lives as long as: it reads, writes, pings, keeps time and
//! finishes the closing handshake by itself. The [`Session`] is the application's end: messages
//! that have come, and the queue of those that go. They share plain cells, as everything runs on
//! one thread, and wake each other.
//!
//! The driver reads while no message waits for the application, so a lost peer is noticed early
//! and a peer that sends faster than the application takes is stopped by its own TCP.

mod driver;
mod limits;
mod outbox;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use thiserror::Error;

pub use self::driver::Driver;
pub use self::limits::Limits;
use self::outbox::Outbox;
use super::application::UpgradedIo;
use super::shutdown::StopReceiver;
use crate::protocol::websocket::close::{self, Close};
use crate::protocol::websocket::frame::Opcode;

/// What the application receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message; the bytes are valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The end: the peer's close frame, [`close::NO_STATUS`] when it had no code; our own when
    /// the peer broke a rule or the server stops; [`close::ABNORMAL`] when the connection was
    /// lost.
    Closed(Close),
}

/// What the application sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message; the bytes have to be valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// The session is closed, or closing: no message can be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the websocket is closed")]
pub struct Closed;

/// The application's end of a session. All calls may overlap.
///
/// Dropping it closes the session with [`close::INTERNAL_ERROR`] unless it is closed already.
pub struct Session {
    shared: Rc<Shared>,
}

/// Opens a session on the byte stream after a handshake.
pub fn open(io: Box<dyn UpgradedIo>, limits: Limits, stop: StopReceiver) -> (Session, Driver) {
    let shared = Rc::new(Shared {
        max_queued_bytes: limits.max_queued_bytes,
        state: RefCell::new(State {
            inbox: VecDeque::new(),
            outbox: Outbox::default(),
            sending: Sending::Open,
            closed: None,
        }),
        driver: Cell::new(None),
        receiver: Cell::new(None),
        senders: RefCell::new(Vec::new()),
    });
    let driver = Driver::new(io, limits, stop, Rc::clone(&shared));
    (Session { shared }, driver)
}

impl Session {
    /// Waits for the next message or the end, which it then returns again and again. Cancel safe.
    ///
    /// Only one call may wait at a time: of several the last is woken.
    pub async fn recv(&self) -> Incoming {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`Session::recv`], for one poll.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(message);
        }
        self.shared.receiver.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// The next message or the end, if it is there; for a task that polls the driver itself and
    /// looks after each poll.
    pub fn try_recv(&self) -> Option<Incoming> {
        let mut state = self.shared.state.borrow_mut();
        let Some(message) = state.inbox.pop_front() else {
            return state.closed.clone().map(Incoming::Closed);
        };
        let empty = state.inbox.is_empty();
        drop(state);
        if empty {
            self.shared.wake_driver();
        }
        Some(message)
    }

    /// Whether [`Session::try_recv`] has something.
    pub fn has_incoming(&self) -> bool {
        let state = self.shared.state.borrow();
        !state.inbox.is_empty() || state.closed.is_some()
    }

    /// Sends a message, in the order of the calls; it waits while the peer does not read and more
    /// than [`Limits::max_queued_bytes`] are queued. A call that is dropped while it waits may or
    /// may not have sent its message, but never a part of it.
    ///
    /// # Errors
    /// When the session is closed, also while it waits.
    pub async fn send(&self, message: Outgoing) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_room(cx)).await?;
        self.push(message)?;
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Polls until at most [`Limits::max_queued_bytes`] are queued.
    ///
    /// # Errors
    /// When the session is closed.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self.has_room() {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                self.shared.senders.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            Err(closed) => Poll::Ready(Err(closed)),
        }
    }

    /// Whether at most [`Limits::max_queued_bytes`] are queued; for the same task as
    /// [`Session::try_recv`].
    ///
    /// # Errors
    /// When the session is closed.
    pub fn has_room(&self) -> Result<bool, Closed> {
        let state = self.shared.state.borrow();
        if state.sending != Sending::Open {
            return Err(Closed);
        }
        Ok(state.outbox.bytes() <= self.shared.max_queued_bytes)
    }

    /// Queues a message at once, however many are queued: [`Session::poll_room`] before and after
    /// keeps them few.
    ///
    /// # Errors
    /// When the session is closed.
    pub fn push(&self, message: Outgoing) -> Result<(), Closed> {
        let mut state = self.shared.state.borrow_mut();
        if state.sending != Sending::Open {
            return Err(Closed);
        }
        match message {
            Outgoing::Text(text) => state.outbox.push(Opcode::Text, text),
            Outgoing::Binary(bytes) => state.outbox.push(Opcode::Binary, bytes),
        }
        drop(state);
        self.shared.wake_driver();
        Ok(())
    }

    /// Closes the session after the messages that are queued; the driver finishes the handshake.
    /// Messages not received yet are dropped. Does nothing when it is closed already.
    pub fn close(&self, close: Close) {
        let mut state = self.shared.state.borrow_mut();
        if state.sending != Sending::Open {
            return;
        }
        state.sending = Sending::Asked(close);
        state.inbox.clear();
        drop(state);
        self.shared.wake_senders();
        self.shared.wake_driver();
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.state.borrow().closed.is_some()
    }

    /// How the session ended, once it has.
    pub fn closed(&self) -> Option<Close> {
        self.shared.state.borrow().closed.clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close(Close::of(close::INTERNAL_ERROR, ""));
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.shared.state)
            .finish_non_exhaustive()
    }
}

/// What session and driver share.
struct Shared {
    max_queued_bytes: usize,
    state: RefCell<State>,
    driver: Cell<Option<Waker>>,
    receiver: Cell<Option<Waker>>,
    senders: RefCell<Vec<Waker>>,
}

#[derive(Debug)]
struct State {
    /// Messages that have come; never [`Incoming::Closed`].
    inbox: VecDeque<Incoming>,
    outbox: Outbox,
    sending: Sending,
    /// How the session ended.
    closed: Option<Close>,
}

/// Whether the application may send.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// The application wants this close; the driver has not queued it yet.
    Asked(Close),
    Over,
}

impl Shared {
    fn wake_driver(&self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    fn wake_receiver(&self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    fn wake_senders(&self) {
        let senders = std::mem::take(&mut *self.senders.borrow_mut());
        for waker in senders {
            waker.wake();
        }
    }

    /// Ends the application's sending, and its receiving with `close` if it has no end yet.
    fn end(&self, close: Close) {
        let mut state = self.state.borrow_mut();
        state.sending = Sending::Over;
        state.closed.get_or_insert(close);
        drop(state);
        self.wake_receiver();
        self.wake_senders();
    }
}
