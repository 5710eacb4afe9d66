//! One stretch of HTTP/1 on a connection: hyper, with our guard under it and our timers around it.
//!
//! How this works: [`run`] drives hyper's connection inside the connection's own task. hyper reads
//! and writes through a `GuardedIo`, which checks every byte and keeps the [`Activity`] of the
//! connection true; orders of the watch arrive by its waker. Dropping hyper's connection drops the
//! future of the request in flight, and that is how an application learns that its peer has gone.
//! When a connection idles, `run` ends and gives the transport back, so that nothing but the socket
//! is held; it is entered again at the next byte.

mod exchange;
mod respond;
mod wire;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper_util::rt::TokioIo;

use super::application::{Application, UpgradeHandler};
use super::batch::Batch;
use super::limits::Limits;
use super::shutdown::Stop;
use super::transport::Transport;
use super::watch::{Activity, Order, Phase};
use crate::message::body::BodyError;
use crate::message::head::{Connection, Endpoint};
use respond::Answerer;
use wire::{GuardedIo, Wire};

pub use wire::HeldResponse;

/// How a stretch of HTTP/1 ended.
pub enum Outcome {
    /// Idle: wait for the next byte.
    Parked(Transport),
    /// The application took the connection over; the bytes were read too far.
    Upgraded(Transport, Bytes, UpgradeHandler),
    /// Nothing more will be read as HTTP: answer with this status if there is one, then close.
    Ended {
        /// The connection.
        transport: Transport,
        /// What to answer a message that was refused.
        status: Option<StatusCode>,
        /// Whether the peer has closed its side already.
        peer_closed: bool,
    },
    /// Over, at once.
    Cut,
}

/// What all parts of one connection share.
pub struct Shared {
    /// Limits of the server.
    pub limits: Rc<Limits>,
    /// The connection's cells in the watch.
    pub activity: Rc<Activity>,
    /// Facts for the application.
    pub connection: Arc<Connection>,
    batch: Rc<Batch<HeldResponse>>,
    /// Whether bytes that hyper has written wait here.
    unsent: Cell<bool>,
    /// Whether a request is being answered.
    in_flight: Cell<bool>,
    /// Requests so far, over all stretches.
    requests: Cell<u64>,
    /// What is wrong with the body of the request in flight.
    fault: Cell<Option<BodyError>>,
    /// The request whose body breaks the framing rules.
    broken: Cell<Option<u64>>,
    /// Set when the connection is not worth keeping after the response in flight.
    close_after: Cell<bool>,
    /// Set when the guard refused a message that has not reached the application.
    refused: Cell<Option<StatusCode>>,
    /// Interim responses to write before anything else.
    interim: RefCell<BytesMut>,
    upgrade: RefCell<Option<UpgradeHandler>>,
    /// On whose behalf a proxy sent the request in flight, for the access log.
    client: RefCell<Option<Endpoint>>,
}

impl Shared {
    /// The state of a new connection.
    pub fn new(
        limits: Rc<Limits>,
        activity: Rc<Activity>,
        connection: Arc<Connection>,
        batch: Rc<Batch<HeldResponse>>,
    ) -> Self {
        Self {
            limits,
            activity,
            connection,
            batch,
            unsent: Cell::new(false),
            in_flight: Cell::new(false),
            requests: Cell::new(0),
            fault: Cell::new(None),
            refused: Cell::new(None),
            close_after: Cell::new(false),
            broken: Cell::new(None),
            interim: RefCell::new(BytesMut::new()),
            upgrade: RefCell::new(None),
            client: RefCell::new(None),
        }
    }

    fn begin_request(&self) {
        self.in_flight.set(true);
        self.requests.set(self.requests.get() + 1);
        let is_broken = self.broken.get() == Some(self.requests.get());
        self.fault.set(is_broken.then_some(BodyError::Malformed));
        self.activity.reset_body();
        self.activity.enter(Phase::Handling);
    }

    /// Notes that the body of a request, counted from 1, breaks the framing rules.
    fn break_request(&self, request: u64) {
        self.broken.set(Some(request));
        if self.requests.get() == request {
            self.fault.set(Some(BodyError::Malformed));
        }
    }

    fn end_request(&self) {
        self.in_flight.set(false);
        self.activity.enter(Phase::Idle);
    }

    /// Whether the response must say that it is the last.
    fn is_last(&self) -> bool {
        self.requests.get() >= self.limits.max_requests_per_connection
            || self.activity.stop() != Stop::Running
    }
}

/// Serves HTTP/1 until the connection idles, ends or is taken over. `prefix` was read already.
pub async fn run<A: Application>(
    transport: Transport,
    prefix: Bytes,
    app: Rc<A>,
    shared: Rc<Shared>,
) -> Outcome {
    let wire = Rc::new(RefCell::new(Wire::new(
        transport,
        prefix,
        Rc::clone(&shared),
    )));
    let service = Answerer::new(app, Rc::clone(&shared));
    let io = GuardedIo::new(Rc::clone(&wire), Rc::clone(&shared.batch));
    let mut connection = hyper::server::conn::http1::Builder::new()
        // Ours are checked before; hyper's are out of the way, so that there is one answer.
        .max_headers(shared.limits.max_headers + 1)
        .max_buf_size(shared.limits.max_header_size.max(MAX_UNSENT))
        .serve_connection(TokioIo::new(io), service);
    shared.activity.set_parked(false);
    let mut stopping = false;
    let end = poll_fn(|cx| {
        shared.activity.set_waker(cx.waker());
        match shared.activity.stop() {
            Stop::Running => {}
            Stop::Graceful if stopping => {}
            Stop::Graceful if shared.is_idle() => return Poll::Ready(End::Close(None)),
            Stop::Graceful => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Stop::Now => return Poll::Ready(End::Cut),
        }
        match shared.activity.take_order() {
            Some(Order::Close) => return Poll::Ready(End::Close(None)),
            Some(Order::Cut) => return Poll::Ready(End::Cut),
            Some(Order::CheckPeer) if wire.borrow().has_hung_up() => {
                return Poll::Ready(End::Cut);
            }
            Some(Order::HeadTooSlow) => shared.refused.set(Some(StatusCode::REQUEST_TIMEOUT)),
            Some(Order::BodyTooSlow) => shared.fault.set(Some(BodyError::TooSlow)),
            Some(Order::Park) if shared.is_idle() && wire.borrow().is_between_messages() => {
                return Poll::Ready(End::Park);
            }
            Some(Order::CheckPeer | Order::Park) | None => {}
        }
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(End::Finished);
        }
        let mut wire = wire.borrow_mut();
        wire.settle(cx);
        if wire.has_failed() {
            return Poll::Ready(End::Cut);
        }
        match shared.refused.get() {
            _ if !shared.is_quiet() => Poll::Pending,
            // hyper may still hold whole requests that came before the bad one.
            Some(status) if shared.requests.get() == wire.requests() => {
                Poll::Ready(End::Close(Some(status)))
            }
            None if shared.close_after.get() => Poll::Ready(End::Close(None)),
            _ => Poll::Pending,
        }
    })
    .await;
    let parts = connection.into_parts();
    drop(parts.io);
    let Some(wire) = Rc::into_inner(wire) else {
        return Outcome::Cut;
    };
    let mut wire = wire.into_inner();
    // hyper hands an upgraded connection over without a last flush.
    if !matches!(end, End::Cut) && poll_fn(|cx| wire.poll_outgoing(cx)).await.is_err() {
        return Outcome::Cut;
    }
    let (transport, peer_closed) = wire.into_parts();
    match end {
        End::Park => Outcome::Parked(transport),
        End::Cut => Outcome::Cut,
        End::Close(status) => Outcome::Ended {
            transport,
            status,
            peer_closed,
        },
        End::Finished => match shared.upgrade.take() {
            Some(handler) => {
                // Copied: even empty it would keep all of hyper's read buffer.
                let read_ahead = Bytes::copy_from_slice(&parts.read_buf);
                Outcome::Upgraded(transport, read_ahead, handler)
            }
            None => Outcome::Ended {
                transport,
                status: shared.refused.get(),
                peer_closed,
            },
        },
    }
}

/// Bytes of a response that hyper may hold before the application has to wait.
const MAX_UNSENT: usize = 64 * 1024;

enum End {
    Park,
    Cut,
    Close(Option<StatusCode>),
    Finished,
}

impl Shared {
    /// Whether no request is being answered and all output has gone.
    fn is_quiet(&self) -> bool {
        !self.in_flight.get() && !self.unsent.get() && !self.activity.is_write_blocked()
    }

    fn is_idle(&self) -> bool {
        !self.in_flight.get()
            && self.activity.phase() == Phase::Idle
            && !self.unsent.get()
            && !self.activity.is_write_blocked()
            && self.refused.get().is_none()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("connection", &self.connection)
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parked(_) => "Parked",
            Self::Upgraded(..) => "Upgraded",
            Self::Ended { .. } => "Ended",
            Self::Cut => "Cut",
        })
    }
}
