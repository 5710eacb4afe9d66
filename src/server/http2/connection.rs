//! The life of one HTTP/2 connection: stretches with an `h2` of their own, and the waits between.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::Builder;
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use crate::message::head::Connection;
use crate::server::application::Application;
use crate::server::batch::Batch;
use crate::server::shutdown::Stop;
use crate::server::watch::{Activity, Order, Phase};

use super::driver::{Driver, Ending};
use super::frames::PREFACE;
use super::limits::Http2Limits;
use super::streams::Streams;
use super::wire::{HeldFrames, IoState, Metered, Wire};

/// Whether the client's connection preface (RFC 9113 §3.4) is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// It has yet to be read.
    Expected,
    /// It has been read, all of it and nothing more.
    Read,
}

/// Serves one HTTP/2 connection until it ends.
///
/// Runs on a `LocalSet` or `LocalRuntime`: requests that wait become local tasks. Dropping the
/// future cuts the connection and, at their next poll, all its streams. `activity` brings the
/// server's stop and, while no stream is open, the order to close. `batch` has to be run.
pub async fn serve<A, IO>(
    io: IO,
    preface: Preface,
    app: Rc<A>,
    connection: Arc<Connection>,
    limits: Rc<Http2Limits>,
    activity: Rc<Activity>,
    batch: Rc<Batch<HeldFrames<IO>>>,
) where
    A: Application,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let prefix: &[u8] = match preface {
        Preface::Expected => &[],
        Preface::Read => PREFACE,
    };
    activity.enter(Phase::Handed);
    activity.set_parked(true);
    let wire = Wire::new(io, prefix, &limits, Rc::clone(&activity));
    let io = wire.state();
    let service = Rc::new(Service {
        app,
        connection,
        limits,
        wire: Rc::new(RefCell::new(wire)),
        streams: Rc::new(Streams::new(Rc::clone(&io), Rc::clone(&activity))),
        io,
        activity,
        batch,
    });
    let mut beginning = Beginning::New;
    loop {
        // Boxed, so that an idle connection does not carry the room for it.
        match Box::pin(run(Rc::clone(&service), beginning)).await {
            Ending::Over => return,
            Ending::Parked => service.wire.borrow_mut().shrink(),
        }
        service.activity.set_parked(true);
        let Some(order) = woken(&service.wire, &service.activity).await else {
            return;
        };
        beginning = Beginning::Again(order);
    }
}

/// What a connection keeps from its beginning to its end.
pub(super) struct Service<A, IO> {
    pub(super) app: Rc<A>,
    pub(super) connection: Arc<Connection>,
    pub(super) limits: Rc<Http2Limits>,
    pub(super) activity: Rc<Activity>,
    pub(super) wire: Rc<RefCell<Wire<IO>>>,
    pub(super) io: Rc<IoState>,
    batch: Rc<Batch<HeldFrames<IO>>>,
    /// Held by this and by the streams that are open.
    pub(super) streams: Rc<Streams>,
}

impl<A, IO> Service<A, IO> {
    /// The connection's wire, for an `h2`.
    fn metered(&self) -> Metered<IO> {
        Metered::new(Rc::clone(&self.wire), Rc::clone(&self.batch))
    }
}

/// How a stretch of a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// With the client's preface.
    New,
    /// Where the stretch before has ended; and what is to be done at once.
    Again(Option<Order>),
}

/// Serves the connection with one `h2`, until it ends or has been idle for a while.
async fn run<A, IO>(service: Rc<Service<A, IO>>, beginning: Beginning) -> Ending
where
    A: Application,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Service {
        limits, activity, ..
    } = &*service;
    let (http2, order) = match beginning {
        // Boxed, so that an open connection does not carry the room for the handshake.
        Beginning::New => {
            let http2 = Box::pin(shake_hands(service.metered(), limits, activity)).await;
            activity.enter(Phase::Idle);
            (http2, None)
        }
        Beginning::Again(order) => (Box::pin(resume(&service)).await, order),
    };
    let Some(http2) = http2 else {
        return Ending::Over;
    };
    activity.set_parked(false);
    let now = Instant::now();
    let mut driver = Driver::new(http2, service, order, now);
    let mut sleep = pin!(sleep_until(now));
    poll_fn(|cx| driver.poll(cx, sleep.as_mut())).await
}

/// Waits until a parked connection has something to do: bytes have come, the server stops, or
/// there is the order that is returned. `None` when the connection is over.
async fn woken<IO>(wire: &RefCell<Wire<IO>>, activity: &Activity) -> Option<Option<Order>>
where
    IO: AsyncRead + Unpin,
{
    poll_fn(|cx| {
        activity.set_waker(cx.waker());
        match (activity.stop(), activity.take_order()) {
            (Stop::Now, _) | (_, Some(Order::Cut)) => Poll::Ready(None),
            (Stop::Graceful, order) | (Stop::Running, order @ Some(Order::Close)) => {
                Poll::Ready(Some(order))
            }
            (Stop::Running, _) => {
                let polled = wire.borrow_mut().poll_wake(cx);
                polled.map(|has_bytes| has_bytes.then_some(None))
            }
        }
    })
    .await
}

/// Begins again with a new `h2`, which is told what the one before knew; see `ledger`. Waits for
/// nothing: the wire plays the client. `None` when `h2` does not follow.
async fn resume<A, IO>(
    service: &Service<A, IO>,
) -> Option<h2::server::Connection<Metered<IO>, Bytes>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Service { limits, wire, .. } = service;
    let replay = wire.borrow().replay_for(limits)?;
    wire.borrow_mut().play(replay.opening);
    let handshake = builder(limits).handshake(service.metered());
    let mut http2 = handshake.await.ok()?;
    let played = poll_fn(|cx| {
        while let Poll::Ready(accepted) = http2.poll_accept(cx) {
            let Some(Ok((_, mut respond))) = accepted else {
                return Poll::Ready(None);
            };
            let owed = Bytes::from(vec![0; replay.owed_bytes]);
            let answered = respond
                .send_response(Response::new(()), owed.is_empty())
                .and_then(|mut stream| {
                    if owed.is_empty() {
                        Ok(())
                    } else {
                        stream.send_data(owed, true)
                    }
                });
            if answered.is_err() {
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(()))
    });
    played.await?;
    wire.borrow_mut().play(replay.table);
    let played = poll_fn(|cx| Poll::Ready(http2.poll_accept(cx).is_pending()));
    if !played.await || http2.has_streams() {
        return None;
    }
    wire.borrow_mut().stop_playing(&replay.top_up);
    Some(http2)
}

/// Exchanges prefaces; `None` when there is no connection after it.
async fn shake_hands<IO>(
    io: Metered<IO>,
    limits: &Http2Limits,
    activity: &Activity,
) -> Option<h2::server::Connection<Metered<IO>, Bytes>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = builder(limits).handshake(io);
    let handshake = poll_fn(|cx| {
        activity.set_waker(cx.waker());
        match activity.stop() {
            Stop::Now => Poll::Ready(None),
            _ => Pin::new(&mut handshake).poll(cx).map(Result::ok),
        }
    });
    timeout(limits.preface_timeout, handshake)
        .await
        .ok()
        .flatten()
}

fn builder(limits: &Http2Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        // Unread small frames: about 4,000, so that a burst of messages is not taken for an attack.
        .data_frame_budget(limits.connection_window as usize)
        .max_send_buffer_size(limits.send_buffer as usize)
        .max_pending_accept_reset_streams(limits.max_pending_accept_reset)
        .max_local_error_reset_streams(Some(limits.max_local_error_reset));
    if limits.websocket {
        builder.enable_connect_protocol();
    }
    builder
}
