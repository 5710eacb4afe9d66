//! Listening sockets, the accept loop, and the stop of a whole server.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle, spawn_local};

use super::application::{Application, Fault};
use super::connection::{self, Batches};
use super::limits::Limits;
use super::planted;
use super::room::{self, Spare};
use super::shutdown::{Stop, StopSender};
use super::tls::{TlsAcceptor, TlsError};
use super::transport::Transport;
use super::watch::Watch;
use crate::message::head::{Connection, Endpoint, Memo, Scheme};

/// Pause after an accept that failed, doubling: no descriptors left is no reason to spin.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest such pause.
const LAST_BACKOFF: Duration = Duration::from_secs(1);
/// Connections that are turned away between two such pauses.
const TURNED_AWAY: usize = 16;

/// A socket that connections arrive at.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes over a listening socket of either family; call it inside the runtime.
    ///
    /// # Errors
    ///
    /// When the descriptor is no listening stream socket.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(descriptor);
        socket.set_nonblocking(true)?;
        match socket.domain()? {
            socket2::Domain::UNIX => {
                let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(socket));
                Ok(Self::Unix(UnixListener::from_std(listener)?))
            }
            _ => Ok(Self::Tcp(TcpListener::from_std(socket.into())?)),
        }
    }

    async fn accept(&self) -> io::Result<(Transport, Connection)> {
        let (transport, peer, local) = match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let local = Endpoint::Tcp(stream.local_addr()?);
                (
                    Transport::Tcp(stream),
                    Endpoint::Tcp(canonical(peer)),
                    local,
                )
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let path = listener.local_addr()?.as_pathname().map(Into::into);
                (
                    Transport::Unix(stream),
                    Endpoint::Unix(None),
                    Endpoint::Unix(path),
                )
            }
        };
        let connection = Connection {
            peer,
            local,
            scheme: Scheme::Http,
            tls: None,
            memo: Memo::default(),
        };
        Ok((transport, connection))
    }
}

/// `::ffff:1.2.3.4` is `1.2.3.4`, in logs and for limits.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// One server: an application, its listeners and their connections, on one thread.
#[derive(Debug)]
pub struct Server<A> {
    app: Rc<A>,
    limits: Rc<Limits>,
    tls: Option<Rc<TlsAcceptor>>,
    watch: Rc<Watch>,
    batches: Rc<Batches>,
    /// Told when a connection has ended.
    ended: Rc<Notify>,
    listeners: RefCell<Vec<AbortHandle>>,
    /// The tasks of the watch and the batches.
    chores: RefCell<Vec<AbortHandle>>,
    /// Tells those who have taken a connection over: `WebSocket`s.
    stop: StopSender,
    stopping: Cell<bool>,
    /// The most connections at once.
    room: Cell<usize>,
    spare: Spare,
    /// When it was logged last that there is no room.
    told: Cell<Option<Instant>>,
}

impl<A: Application> Server<A> {
    /// A server without listeners; with `tls` it speaks nothing else. `stop` is told how far the
    /// stop has come: the application has its receivers, for the `WebSocket`s that it accepts.
    pub fn new(app: Rc<A>, limits: Limits, tls: Option<TlsAcceptor>, stop: StopSender) -> Self {
        let limits = Rc::new(limits);
        Self {
            app,
            watch: Rc::new(Watch::new(Rc::clone(&limits))),
            limits,
            batches: Rc::default(),
            tls: tls.map(Rc::new),
            ended: Rc::new(Notify::new()),
            listeners: RefCell::new(Vec::new()),
            chores: RefCell::new(Vec::new()),
            stop,
            stopping: Cell::new(false),
            room: Cell::new(usize::MAX),
            spare: Spare::new(),
            told: Cell::new(None),
        }
    }

    /// Accepts connections from `listener` until the stop; call it inside the runtime.
    pub fn listen(self: &Rc<Self>, listener: Listener) {
        if self.chores.borrow().is_empty() {
            self.room
                .set(self.limits.max_connections.min(room::connections()));
            let watch = Rc::clone(&self.watch);
            let http1 = Rc::clone(&self.batches.http1);
            let http2 = Rc::clone(&self.batches.http2);
            let app = Rc::clone(&self.app);
            let watching = spawn_local(async move { watch.run(|| app.rested()).await });
            let chores = [
                watching,
                spawn_local(async move { http1.run().await }),
                spawn_local(async move { http2.run().await }),
            ];
            let chores = chores.iter().map(JoinHandle::abort_handle).collect();
            self.chores.replace(chores);
            if let Some(log) = self.limits.access_log.clone() {
                spawn_local(async move { log.run().await });
            }
        }
        let server = Rc::clone(self);
        let accepting = spawn_local(async move { server.accept(listener).await });
        self.listeners.borrow_mut().push(accepting.abort_handle());
    }

    /// Reads the certificates again, for new connections; a server without TLS has none.
    ///
    /// # Errors
    ///
    /// What is wrong with them; the old ones stay in force then.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.watch.len()
    }

    /// Stops: closes the listeners, lets requests in flight finish for up to `grace`, then cuts
    /// what is left. Returns how many connections were cut.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.begin_stop();
        let _ = tokio::time::timeout(grace, self.all_ended()).await;
        let cut = self.watch.len();
        self.cut();
        // What is left only has to drop its future: no application code holds it up.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.all_ended()).await;
        for chore in self.chores.take() {
            chore.abort();
        }
        if let Some(log) = &self.limits.access_log {
            log.flush();
        }
        cut
    }

    /// Closes the listeners and tells connections to finish.
    pub fn begin_stop(&self) {
        self.stopping.set(true);
        for listener in self.listeners.take() {
            listener.abort();
        }
        self.watch.stop(Stop::Graceful);
        self.stop.send(Stop::Graceful);
    }

    /// Cuts everything.
    pub fn stop_now(&self) {
        self.begin_stop();
        self.cut();
    }

    fn cut(&self) {
        self.watch.stop(Stop::Now);
        self.stop.send(Stop::Now);
    }

    async fn all_ended(&self) {
        while !self.watch.is_empty() {
            self.ended.notified().await;
        }
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match listener.accept().await {
                Ok((transport, connection)) => {
                    backoff = FIRST_BACKOFF;
                    // One connection's trouble must not make the server deaf.
                    let admit = || self.admit(transport, connection);
                    let _ = catch_unwind(AssertUnwindSafe(admit));
                }
                // The peer gave up before we took it; nothing is wrong with us.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let number = error.raw_os_error().unwrap_or_default();
                    self.tell(Fault::CannotAccept { number });
                    // With no descriptor left, whoever has been idle for longest makes room.
                    if !self.watch.evict_longest_idle() {
                        self.turn_away(&listener).await;
                    }
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    /// Accepts some of those who wait with the spare descriptor, and tells them to go.
    async fn turn_away(&self, listener: &Listener) {
        let _lent = self.spare.lend();
        for _ in 0..TURNED_AWAY {
            let accepted = poll_fn(|cx| Poll::Ready(pin!(listener.accept()).poll(cx))).await;
            let Poll::Ready(Ok((transport, _))) = accepted else {
                break;
            };
            self.say_no(&transport);
        }
    }

    fn say_no(&self, transport: &Transport) {
        if self.tls.is_none() {
            room::turn_away(transport);
        }
    }

    /// Reports a fault, not more than once a second.
    fn tell(&self, fault: Fault) {
        let told = self.told.get();
        if told.is_none_or(|at| at.elapsed() >= LAST_BACKOFF) {
            self.told.set(Some(Instant::now()));
            self.app.report(fault);
        }
    }

    fn admit(&self, transport: Transport, connection: Connection) {
        planted::point("accept");
        let room = self.room.get();
        if self.watch.len() >= room && !self.watch.evict_longest_idle() {
            self.tell(Fault::Full { room });
            self.say_no(&transport);
            return;
        }
        let (key, activity) = self.watch.add();
        let serving = connection::serve(
            transport,
            connection,
            self.tls.clone(),
            Rc::clone(&self.app),
            Rc::clone(&self.limits),
            activity,
            Rc::clone(&self.batches),
        );
        let leave = Leave {
            key,
            watch: Rc::clone(&self.watch),
            ended: Rc::clone(&self.ended),
        };
        spawn_local(async move {
            let _leave = leave;
            serving.await;
        });
    }
}

/// Takes a connection out of the watch however its task ends.
struct Leave {
    key: usize,
    watch: Rc<Watch>,
    ended: Rc<Notify>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.watch.remove(self.key);
        self.ended.notify_waiters();
    }
}
