//! Drives one `h2` connection: starts its streams, keeps its one timer, follows the server's stop.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::message::head::Head;
use crate::server::application::Application;
use crate::server::planted;
use crate::server::shutdown::Stop;
use crate::server::watch::Order;

use super::connection::Service;
use super::exchange::{Http2Exchange, StreamState};
use super::keep_alive::KeepAlive;
use super::request::{self, Rejected};
use super::stream::{Open, Stream, remove_connection_fields};
use super::waker::DriverWaker;
use super::wire::Metered;

/// How often the clock looks while streams are open.
const TICK: Duration = Duration::from_secs(1);
/// How long an ending connection waits for the client: for the answer to the GOAWAY's ping when
/// no stream is open, and for the client to close after us.
const LINGER: Duration = Duration::from_secs(1);
/// Requests that one poll starts before other connections have their turn.
const STARTS_PER_POLL: usize = 64;

/// How a stretch of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the connection.
    Over,
    /// Idle: `h2` is gone, the socket is not.
    Parked,
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

/// One `h2` connection at work.
pub(super) struct Driver<A, IO> {
    http2: h2::server::Connection<Metered<IO>, Bytes>,
    app: Rc<A>,
    service: Rc<Service<A, IO>>,
    waker: DriverWaker,
    /// An order that came before this.
    order: Option<Order>,
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
    /// Drives `http2` from `now` on; `order` has come meanwhile.
    pub(super) fn new(
        http2: h2::server::Connection<Metered<IO>, Bytes>,
        service: Rc<Service<A, IO>>,
        order: Option<Order>,
        now: Instant,
    ) -> Self {
        Self {
            http2,
            app: Rc::clone(&service.app),
            service,
            waker: DriverWaker::new(Waker::noop()),
            order,
            accepted: Vec::new(),
            phase: Phase::Open,
            keep_alive: KeepAlive::new(now),
            leftovers_since: None,
            timer: Timer::Off,
        }
    }

    /// Drives the connection; ready when it is over or idle.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
    ) -> Poll<Ending> {
        self.service.activity.set_waker(cx.waker());
        self.waker.follow(cx.waker());
        self.service.io.begin_poll();
        loop {
            let order = self
                .order
                .take()
                .or_else(|| self.service.activity.take_order());
            match (self.service.activity.stop(), order) {
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
                    self.service.activity.set_parked(true);
                }
                (Stop::Running, _) => {}
            }
            if self.poll_streams(cx).is_ready() {
                return Poll::Ready(Ending::Over);
            }
            if self.service.io.flooded.get() && !self.is_closing() {
                self.close(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if self.service.io.shutting.get() && !self.is_closing() {
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
                let mut context = Context::from_waker(self.waker.waker());
                match self.http2.poll_accept(&mut context) {
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
            self.waker.set_quiet(true);
            for (request, respond) in accepted.drain(..) {
                self.start(request, respond, cx);
            }
            self.waker.set_quiet(false);
            self.accepted = accepted;
            if self.service.streams.faults.get() > self.service.limits.max_local_error_reset
                && !self.is_closing()
            {
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
        let requests = &self.service.streams.requests;
        requests.set(requests.get() + 1);
        if self.service.limits.max_requests == requests.get() {
            self.drain();
        }
        let (parts, body) = request.into_parts();
        let request = match request::check(parts, &self.service.connection, &self.service.limits) {
            Ok(request) => request,
            Err(Rejected::Malformed) => {
                self.service
                    .streams
                    .faults
                    .set(self.service.streams.faults.get() + 1);
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
        let state = StreamState::new(Rc::clone(&self.service.streams), !grpc);
        let (body, upgrade) = if request.websocket {
            (None, Some(body))
        } else {
            (Some(body), None)
        };
        let stream = Stream {
            state: Open(Rc::clone(&state)),
            app: Rc::clone(&self.app),
            respond,
            is_head: request.head.method == Method::HEAD,
            upgrade,
            entry: self.service.limits.access_log.as_ref().map(|log| {
                let Head {
                    method,
                    uri,
                    version,
                    ..
                } = &request.head;
                log.begin(&self.service.connection.peer, method, uri, *version)
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
            let mut rest = stream.start(request.head, exchange)?;
            // A task is made only of what does not end with its first poll.
            rest.as_mut().poll(cx).is_pending().then_some(rest)
        }));
        // A panic has dropped the stream, which resets it.
        if let Ok(Some(rest)) = started {
            tokio::task::spawn_local(rest);
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
        self.service.streams.open.get() == 0
            && self.service.io.write_blocked.get().is_none()
            && !self.http2.has_streams()
    }

    /// Whether `h2` holds nothing that a new one could not be told.
    fn can_park(&self) -> bool {
        self.phase == Phase::Open
            && self.is_quiet()
            && !self.keep_alive.pinged
            && !self.service.io.flooded.get()
            && !self.service.io.shutting.get()
            // Nobody holds a stream that has ended: a body may be read after its response.
            && Rc::strong_count(&self.service.streams) == 1
            && self.service.wire.borrow().can_replay(&self.service.limits)
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
        let limits = Rc::clone(&self.service.limits);
        let grace = limits.rate_grace;
        for (_, stream) in self.service.streams.watched.borrow().iter() {
            let (sending, receiving) = (&stream.sending, &stream.receiving);
            sending.check(now, limits.write_stall, limits.min_write_rate, grace);
            if stream.body_timed {
                receiving.check(now, limits.body_idle, limits.min_body_rate, grace);
            }
        }
        let stalled = |since: Instant| now.saturating_duration_since(since) > limits.write_stall;
        let writing_stalled = self.service.io.write_blocked.get().is_some_and(stalled);
        // Data that `h2` holds behind a closed window, for streams that have ended for us.
        let leftovers = self.service.streams.open.get() == 0 && self.http2.has_streams();
        self.leftovers_since = leftovers.then(|| self.leftovers_since.unwrap_or(now));
        let leftover_stalled = self.leftovers_since.is_some_and(stalled);
        let drained = matches!(self.phase, Phase::Draining { since } if since + LINGER < now)
            && !self.http2.has_streams();
        let streaming = self.service.streams.open.get() > 0;
        let vanished = streaming && self.keep_alive.is_dead(now, &limits, &self.service.io);
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
