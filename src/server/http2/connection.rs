//! One HTTP/2 connection: accepts streams, keeps its one timer, follows the server's stop.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, Method, Response, StatusCode};
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::message::head::{Connection, Head};
use crate::server::application::Application;
use crate::server::planted;
use crate::server::shutdown::Stop;
use crate::server::watch::{Activity, Order, Phase as Doing};

use super::exchange::{Http2Exchange, StreamState};
use super::frames::PREFACE;
use super::limits::Http2Limits;
use super::request::{self, Rejected};
use super::stream::{Stream, remove_connection_fields};
use super::wire::{IoState, Metered, Wire};

/// How often the clock looks while streams are open.
const TICK: Duration = Duration::from_secs(1);
/// How long an ending connection waits for the client: for the answer to the GOAWAY's ping when
/// no stream is open, and for the client to close after us.
const LINGER: Duration = Duration::from_secs(1);
/// Requests that one poll starts before other connections have their turn.
const STARTS_PER_POLL: usize = 64;
/// Who holds the [`Streams`] when no stream does: [`serve`] and its [`Driver`].
const STREAMS_OWNERS: usize = 2;

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
/// server's stop and, while no stream is open, the order to close.
pub async fn serve<A, IO>(
    io: IO,
    preface: Preface,
    app: Rc<A>,
    connection: Arc<Connection>,
    limits: Rc<Http2Limits>,
    activity: Rc<Activity>,
) where
    A: Application,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let prefix: &[u8] = match preface {
        Preface::Expected => &[],
        Preface::Read => PREFACE,
    };
    activity.enter(Doing::Handed);
    activity.set_parked(true);
    let wire = Wire::new(io, prefix, &limits);
    let io_state = wire.state();
    let wire = Rc::new(RefCell::new(wire));
    let streams = Rc::new(Streams::new(Rc::clone(&io_state), Rc::clone(&activity)));
    let mut beginning = Beginning::New;
    loop {
        // Boxed, so that an idle connection does not carry the room for it.
        let stretch = Box::pin(run(
            Rc::clone(&wire),
            beginning,
            Rc::clone(&app),
            Arc::clone(&connection),
            Rc::clone(&limits),
            Rc::clone(&streams),
        ));
        match stretch.await {
            Ending::Over => return,
            Ending::Parked => wire.borrow_mut().shrink(),
        }
        activity.set_parked(true);
        let Some(order) = woken(&wire, &activity).await else {
            return;
        };
        beginning = Beginning::Again(order);
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

/// How a stretch of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With the connection.
    Over,
    /// Idle: `h2` is gone, the socket is not.
    Parked,
}

/// Serves the connection with one `h2`, until it ends or has been idle for a while.
async fn run<A, IO>(
    wire: Rc<RefCell<Wire<IO>>>,
    beginning: Beginning,
    app: Rc<A>,
    connection: Arc<Connection>,
    limits: Rc<Http2Limits>,
    streams: Rc<Streams>,
) -> Ending
where
    A: Application,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let activity = Rc::clone(&streams.activity);
    let (http2, order) = match beginning {
        // Boxed, so that an open connection does not carry the room for the handshake.
        Beginning::New => {
            let http2 = Box::pin(shake_hands(Metered(Rc::clone(&wire)), &limits, &activity)).await;
            activity.enter(Doing::Idle);
            (http2, None)
        }
        Beginning::Again(order) => (Box::pin(resume(&wire, &limits)).await, order),
    };
    let Some(http2) = http2 else {
        return Ending::Over;
    };
    activity.set_parked(false);
    let now = Instant::now();
    let mut driver = Driver {
        http2,
        app,
        connection,
        limits,
        activity,
        io: Rc::clone(&streams.io),
        wire,
        order,
        streams,
        accepted: Vec::new(),
        phase: Phase::Open,
        keep_alive: KeepAlive::new(now),
        leftovers_since: None,
        timer: Timer::Off,
    };
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
async fn resume<IO>(
    wire: &Rc<RefCell<Wire<IO>>>,
    limits: &Http2Limits,
) -> Option<h2::server::Connection<Metered<IO>, Bytes>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let replay = wire.borrow().replay_for(limits)?;
    wire.borrow_mut().play(replay.opening);
    let handshake = builder(limits).handshake(Metered(Rc::clone(wire)));
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
    wire.borrow_mut().stop_playing(replay.top_up);
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

/// What the streams of a connection and its clock know of each other.
#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<usize>,
    /// The streams that wait for the client.
    watched: RefCell<Slab<Rc<StreamState>>>,
    requests: Cell<u64>,
    /// Streams that we reset for the client's errors; `h2` counts only its own.
    faults: Cell<usize>,
    io: Rc<IoState>,
    activity: Rc<Activity>,
}

impl Streams {
    fn new(io: Rc<IoState>, activity: Rc<Activity>) -> Self {
        Self {
            open: Cell::new(0),
            watched: RefCell::new(Slab::new()),
            requests: Cell::new(0),
            faults: Cell::new(0),
            io,
            activity,
        }
    }

    pub(super) fn opened(&self) {
        if self.open.replace(self.open.get() + 1) == 0 {
            self.activity.enter(Doing::Handed);
        }
    }

    pub(super) fn closed(&self, watched: Option<usize>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.activity.enter(Doing::Idle);
            self.activity.set_parked(false);
        }
        if let Some(key) = watched {
            self.watched.borrow_mut().remove(key);
        }
    }

    pub(super) fn completed(&self) {
        let completed = &self.io.completed;
        completed.set(completed.get().saturating_add(1));
    }

    pub(super) fn watch(&self, state: Rc<StreamState>) -> usize {
        self.watched.borrow_mut().insert(state)
    }
}

/// How far the connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A graceful GOAWAY is out; the streams may finish.
    Draining {
        since: Instant,
    },
    /// Only the last bytes have to go out.
    Closing {
        deadline: Instant,
    },
}

/// What the one timer is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Nothing; the watch over all connections keeps the idle time.
    Off,
    /// The next look at streams, pings and writes.
    Tick,
    /// The end of [`Phase::Closing`].
    Linger,
}

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

struct Driver<A, IO> {
    http2: h2::server::Connection<Metered<IO>, Bytes>,
    app: Rc<A>,
    connection: Arc<Connection>,
    limits: Rc<Http2Limits>,
    activity: Rc<Activity>,
    io: Rc<IoState>,
    wire: Rc<RefCell<Wire<IO>>>,
    /// An order that came before this.
    order: Option<Order>,
    streams: Rc<Streams>,
    /// Accepted, not yet started; empty between polls.
    accepted: Vec<Accepted>,
    phase: Phase,
    keep_alive: KeepAlive,
    /// Since when `h2` has had streams that have ended for us.
    leftovers_since: Option<Instant>,
    timer: Timer,
}

impl<A, IO> Driver<A, IO>
where
    A: Application,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// Drives the connection; ready when it is over or idle.
    fn poll(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<Ending> {
        self.activity.set_waker(cx.waker());
        self.io.begin_poll();
        loop {
            let order = self.order.take().or_else(|| self.activity.take_order());
            match (self.activity.stop(), order) {
                (Stop::Now, _) | (_, Some(Order::Cut)) => return Poll::Ready(Ending::Over),
                (Stop::Graceful, _) => self.drain(),
                (Stop::Running, Some(Order::Close)) if self.is_quiet() => {
                    self.close(Reason::NO_ERROR);
                }
                (Stop::Running, Some(Order::Park)) => {
                    if self.can_park() {
                        return Poll::Ready(Ending::Parked);
                    }
                    // Asking again helps only after another request.
                    self.activity.set_parked(true);
                }
                (Stop::Running, _) => {}
            }
            if self.poll_streams(cx).is_ready() {
                return Poll::Ready(Ending::Over);
            }
            if self.io.flooded.get() && !self.is_closing() {
                self.close(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if self.io.shutting.get() && !self.is_closing() {
                self.phase = Phase::Closing {
                    deadline: Instant::now() + LINGER,
                };
            }
            self.arm(sleep.as_mut());
            if self.timer == Timer::Off || sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.on_timer(sleep.as_mut()) == After::End {
                return Poll::Ready(Ending::Over);
            }
        }
    }

    /// Accepts what has come, starts it and flushes the answers, until there is nothing to do.
    /// All requests of one read start before the first flush, so their answers share a write.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut started = 0;
        loop {
            loop {
                match self.http2.poll_accept(cx) {
                    Poll::Ready(Some(Ok(accepted))) => self.accepted.push(accepted),
                    // An error has already been told to the client, if it can be told.
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if self.accepted.is_empty() {
                return Poll::Pending;
            }
            let mut accepted = std::mem::take(&mut self.accepted);
            started += accepted.len();
            for (request, respond) in accepted.drain(..) {
                self.start(request, respond, cx);
            }
            self.accepted = accepted;
            if self.streams.faults.get() > self.limits.max_local_error_reset && !self.is_closing() {
                self.close(Reason::ENHANCE_YOUR_CALM);
            }
            if started >= STARTS_PER_POLL {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn start(
        &mut self,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        cx: &mut Context<'_>,
    ) {
        planted::point("http2 request");
        let requests = &self.streams.requests;
        requests.set(requests.get() + 1);
        if self.limits.max_requests == requests.get() {
            self.drain();
        }
        let (parts, body) = request.into_parts();
        let request = match request::check(parts, &self.connection, &self.limits) {
            Ok(request) => request,
            Err(Rejected::Malformed) => {
                self.streams.faults.set(self.streams.faults.get() + 1);
                respond.send_reset(Rejected::REASON);
                return;
            }
            Err(Rejected::Status(status)) => {
                refuse(&mut respond, status, HeaderMap::new());
                return;
            }
            Err(Rejected::Handshake(error)) => {
                refuse(&mut respond, error.status(), error.headers());
                return;
            }
        };
        let headers = &request.head.headers;
        let grpc = headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let expects_continue = headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let state = StreamState::new(Rc::clone(&self.streams), !grpc);
        let (body, upgrade) = if request.websocket {
            (None, Some(body))
        } else {
            (Some(body), None)
        };
        let stream = Stream {
            app: Rc::clone(&self.app),
            respond,
            is_head: request.head.method == Method::HEAD,
            upgrade,
            state: Rc::clone(&state),
            entry: self.limits.access_log.as_ref().map(|log| {
                let Head {
                    method,
                    uri,
                    version,
                    ..
                } = &request.head;
                log.begin(&self.connection.peer, method, uri, *version)
            }),
        };
        let exchange = Http2Exchange::new(
            body,
            request.length,
            request.websocket,
            expects_continue,
            state,
        );
        let started = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Box::pin(stream.run(request.head, exchange));
            // Most requests are answered by their first poll and never become a task.
            run.as_mut().poll(cx).is_pending().then_some(run)
        }));
        // A panic has dropped the stream, which resets it.
        if let Ok(Some(run)) = started {
            tokio::task::spawn_local(run);
        }
    }

    /// Stops taking new streams and ends after the last one.
    fn drain(&mut self) {
        if self.phase == Phase::Open {
            self.http2.graceful_shutdown();
            self.phase = Phase::Draining {
                since: Instant::now(),
            };
        }
    }

    /// Ends the connection and all its streams.
    fn close(&mut self, reason: Reason) {
        self.http2.abrupt_shutdown(reason);
        self.phase = Phase::Closing {
            deadline: Instant::now() + LINGER,
        };
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Sets the timer for what is next, if it is not set for that already.
    fn arm(&mut self, sleep: Pin<&mut Sleep>) {
        let (timer, deadline) = match self.phase {
            Phase::Closing { deadline } => (Timer::Linger, deadline),
            Phase::Open if self.is_quiet() => return,
            Phase::Open | Phase::Draining { .. } if self.timer == Timer::Tick => return,
            Phase::Open | Phase::Draining { .. } => (Timer::Tick, Instant::now() + TICK),
        };
        if self.timer != timer {
            self.timer = timer;
            sleep.reset(deadline);
        }
    }

    /// No stream is open, in our eyes or in `h2`'s, and nothing waits to be written.
    fn is_quiet(&self) -> bool {
        self.streams.open.get() == 0
            && self.io.write_blocked.get().is_none()
            && !self.http2.has_streams()
    }

    /// Whether `h2` holds nothing that a new one could not be told.
    fn can_park(&self) -> bool {
        self.phase == Phase::Open
            && self.is_quiet()
            && !self.keep_alive.pinged
            && !self.io.flooded.get()
            && !self.io.shutting.get()
            // Nobody holds a stream that has ended: a body may be read after its response.
            && Rc::strong_count(&self.streams) == STREAMS_OWNERS
            && self.wire.borrow().can_replay(&self.limits)
    }

    fn on_timer(&mut self, sleep: Pin<&mut Sleep>) -> After {
        if self.timer == Timer::Linger {
            return After::End;
        }
        let now = Instant::now();
        self.tick(now);
        if self.phase == Phase::Open && self.is_quiet() {
            self.timer = Timer::Off;
        } else if !self.is_closing() {
            sleep.reset(now + TICK);
        }
        After::Continue
    }

    fn tick(&mut self, now: Instant) {
        let limits = Rc::clone(&self.limits);
        let grace = limits.rate_grace;
        for (_, stream) in self.streams.watched.borrow().iter() {
            let (sending, receiving) = (&stream.sending, &stream.receiving);
            sending.check(now, limits.write_stall, limits.min_write_rate, grace);
            if stream.body_timed {
                receiving.check(now, limits.body_idle, limits.min_body_rate, grace);
            }
        }
        let stalled = |since: Instant| now.saturating_duration_since(since) > limits.write_stall;
        let writing_stalled = self.io.write_blocked.get().is_some_and(stalled);
        // Data that `h2` holds behind a closed window, for streams that have ended for us.
        let leftovers = self.streams.open.get() == 0 && self.http2.has_streams();
        self.leftovers_since = leftovers.then(|| self.leftovers_since.unwrap_or(now));
        let leftover_stalled = self.leftovers_since.is_some_and(stalled);
        let drained = matches!(self.phase, Phase::Draining { since } if since + LINGER < now)
            && !self.http2.has_streams();
        let streaming = self.streams.open.get() > 0;
        let vanished = streaming && self.keep_alive.is_dead(now, &limits, &self.io);
        if writing_stalled || leftover_stalled || drained || vanished {
            self.close(Reason::NO_ERROR);
        } else if streaming {
            self.keep_alive.ping(&mut self.http2, now, &limits);
        }
    }
}

/// Whether the connection goes on after its timer rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Continue,
    End,
}

/// Notices a client that has vanished while streams are open.
struct KeepAlive {
    /// Bytes have come at this time, give or take a tick.
    heard: Instant,
    reads: u64,
    pinged: bool,
    ping_pong: Option<PingPong>,
}

impl KeepAlive {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            reads: 0,
            pinged: false,
            ping_pong: None,
        }
    }

    /// Anything that comes counts as an answer to the ping.
    fn is_dead(&mut self, now: Instant, limits: &Http2Limits, io: &IoState) -> bool {
        if self.reads != io.reads.get() {
            self.reads = io.reads.get();
            self.heard = now;
            self.pinged = false;
        }
        let Some(interval) = limits.ping_interval else {
            return false;
        };
        self.pinged && now.saturating_duration_since(self.heard) > interval + limits.ping_timeout
    }

    fn ping<IO>(
        &mut self,
        http2: &mut h2::server::Connection<Metered<IO>, Bytes>,
        now: Instant,
        limits: &Http2Limits,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(interval) = limits.ping_interval else {
            return;
        };
        if self.pinged || now.saturating_duration_since(self.heard) < interval {
            return;
        }
        if self.ping_pong.is_none() {
            self.ping_pong = http2.ping_pong();
        }
        if let Some(ping_pong) = &mut self.ping_pong {
            // Takes the answer to the last ping, without which the next one is refused.
            let _ = ping_pong.poll_pong(&mut Context::from_waker(std::task::Waker::noop()));
            self.pinged = ping_pong.send_ping(Ping::opaque()).is_ok();
        }
    }
}

/// Answers a request that the application does not see.
fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode, mut fields: HeaderMap) {
    remove_connection_fields(&mut fields);
    fields.insert(CONTENT_LENGTH, 0.into());
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    // It fails only when the client has already reset the stream.
    let _ = respond.send_response(response, true);
}
