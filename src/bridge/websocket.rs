//! One WebSocket between a Python application and its connection, for ASGI and native handlers.
//!
//! How this works: a [`Channel`] begins with the handshake. What the application sends goes
//! through the [`Conversation`], which knows the order of things. Accepting gives the connection an
//! [`Answer::Upgrade`]; its future, [`Upgraded`], then runs the session's driver and looks after
//! each poll whether a waiting `receive` or `send` can go on: everything is one task, so nothing
//! has to wake it. What is sent before the session is open waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use http::{Response, StatusCode, Version};
use pyo3::prelude::*;

use super::awaitable;
use super::outlet::{Driven, Outlet};
use super::reactor::Core;
use super::registry::{Key, Registry};
use crate::message::body::ResponseBody;
use crate::protocol::asgi::http::{Action as ResponseAction, Content, Then, Write};
use crate::protocol::asgi::websocket::{
    Action, Conversation, Ended, Receive, SendError, SendEvent, Unfinished,
};
use crate::protocol::websocket::close::{ABNORMAL, Close};
use crate::server::response::bare;
use crate::server::shutdown::StopReceiver;
use crate::server::websocket::{Closed, Incoming, Limits, Outgoing, Session, open};
use crate::server::{Answer, UpgradeHandler, UpgradedIo};

thread_local! {
    static CHANNELS: Registry<Channel> = const { Registry::new() };
}

/// What a server settles for all its `WebSocket`s.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) stop: StopReceiver,
}

/// How an application hears of what happens.
pub(super) trait Dialect {
    /// What the first `receive` gives.
    fn connect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;

    /// A message, or the end: a value or an exception.
    fn incoming<'py>(&self, py: Python<'py>, incoming: Incoming) -> PyResult<Bound<'py, PyAny>>;

    /// The exception for what cannot be sent; `close` is how the session ended, if it has.
    fn refused(&self, py: Python<'_>, error: &SendError, close: Option<Close>) -> PyErr;
}

/// A WebSocket from its handshake to its end.
pub(super) struct Channel {
    core: Rc<Core>,
    dialect: &'static dyn Dialect,
    settings: Settings,
    conversation: RefCell<Conversation>,
    answer: RefCell<Option<Answer>>,
    /// The body of a denial response.
    outlet: RefCell<Option<Rc<Outlet>>>,
    /// The task of the handshake, which has to look when an answer is there.
    connection: RefCell<Option<Waker>>,
    stage: RefCell<Stage>,
    /// Futures of `receive` calls that wait.
    receivers: RefCell<VecDeque<Py<PyAny>>>,
    /// Futures of `send` calls that wait.
    senders: RefCell<Vec<Py<PyAny>>>,
    key: Cell<Option<Key>>,
    /// Whether the application knows of the end, or made it.
    knows_end: Cell<bool>,
    /// Called once when the WebSocket is over.
    on_over: RefCell<Option<Box<dyn FnOnce()>>>,
}

/// How far the connection has come.
enum Stage {
    /// The handshake's answer has not gone out: what the application sends waits.
    Handshake {
        messages: Vec<Outgoing>,
        bytes: usize,
        close: Option<Close>,
    },
    Open(Session),
    /// There will be no session.
    Never,
}

impl Channel {
    /// A WebSocket whose client waits for an answer.
    pub(super) fn new(
        core: &Rc<Core>,
        dialect: &'static dyn Dialect,
        settings: Settings,
        offered: Vec<String>,
        version: Version,
    ) -> Rc<Self> {
        let channel = Rc::new(Self {
            core: Rc::clone(core),
            dialect,
            settings,
            conversation: RefCell::new(Conversation::new(offered, version)),
            answer: RefCell::new(None),
            outlet: RefCell::new(None),
            connection: RefCell::new(None),
            stage: RefCell::new(Stage::Handshake {
                messages: Vec::new(),
                bytes: 0,
                close: None,
            }),
            receivers: RefCell::new(VecDeque::new()),
            senders: RefCell::new(Vec::new()),
            key: Cell::new(None),
            knows_end: Cell::new(false),
            on_over: RefCell::new(None),
        });
        let key = CHANNELS.with(|channels| channels.add(Rc::clone(&channel)));
        channel.key.set(Some(key));
        channel
    }

    /// The name that Python's objects know it by.
    pub(super) fn key(&self) -> Key {
        self.key.get().expect("it is set when the channel is made")
    }

    /// The channel of this key, while its application runs.
    pub(super) fn of(key: Key) -> Option<Rc<Self>> {
        CHANNELS.with(|channels| channels.thing(key))
    }

    /// Whether a key is one of another thread.
    pub(super) fn is_elsewhere(key: Key) -> bool {
        !CHANNELS.with(|channels| channels.gave(key))
    }

    /// Sets who is woken when there is an answer.
    pub(super) fn set_connection(&self, waker: &Waker) {
        self.connection.replace(Some(waker.clone()));
    }

    /// The answer to the handshake, once the application has given one.
    pub(super) fn take_answer(&self) -> Option<Answer> {
        self.answer.take()
    }

    /// Whether the session has ended, or will never be.
    pub(super) fn is_over(&self) -> bool {
        match &*self.stage.borrow() {
            Stage::Handshake { .. } => false,
            Stage::Open(session) => session.is_closed(),
            Stage::Never => true,
        }
    }

    /// Whether the application knows of the end, by an exception or an event or its own doing.
    pub(super) fn knows_end(&self) -> bool {
        self.knows_end.get()
    }

    /// Has `call` called once, when the session has ended or there will be none.
    pub(super) fn on_over(&self, call: Box<dyn FnOnce()>) {
        self.on_over.replace(Some(call));
    }

    /// Passes over `connect`, for applications that have no event for it.
    pub(super) fn skip_connect(&self) {
        self.conversation.borrow_mut().receive();
    }

    /// An awaitable of what comes next.
    pub(super) fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let wanted = self.conversation.borrow_mut().receive();
        let next = match wanted {
            Receive::Connect => return awaitable::ready(&self.dialect.connect(py)?),
            Receive::Message | Receive::Disconnect if self.receivers.borrow().is_empty() => {
                self.incoming()
            }
            // A call that came earlier has the first claim.
            Receive::Handshake | Receive::Message | Receive::Disconnect => None,
        };
        if let Some(incoming) = next {
            return awaitable::ready(&self.dialect.incoming(py, incoming)?);
        }
        let future = awaitable::future(&self.core, py)?;
        self.receivers
            .borrow_mut()
            .push_back(future.clone().unbind());
        awaitable::waiting(future)
    }

    /// The next message or the end, if it is there.
    fn incoming(&self) -> Option<Incoming> {
        let incoming = match &*self.stage.borrow() {
            Stage::Handshake { .. } => None,
            Stage::Open(session) => session.try_recv(),
            Stage::Never => Some(Incoming::Closed(lost())),
        };
        if let Some(Incoming::Closed(_)) = incoming {
            self.knows_end.set(true);
            self.conversation.borrow_mut().peer_gone();
        }
        incoming
    }

    /// Takes an event of the application; the awaitable is ready when there is room for more.
    pub(super) fn send<'py>(
        self: &Rc<Self>,
        py: Python<'py>,
        event: SendEvent,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = event.kind();
        let action = self.conversation.borrow_mut().send(event);
        match action.map_err(|error| self.refused(py, &error))? {
            Action::Accept(fields) => self.give(Answer::Upgrade(fields, self.handler())),
            Action::Reject => {
                self.knows_end.set(true);
                self.give(Answer::Response(bare(StatusCode::FORBIDDEN)));
                self.never();
            }
            Action::Deny(action) => return self.deny(py, action),
            Action::Text(text) => return self.push(py, Outgoing::Text(text), kind),
            Action::Binary(bytes) => return self.push(py, Outgoing::Binary(bytes), kind),
            Action::Close(close) => self.close(close),
            Action::Ignore => {}
        }
        awaitable::done(py)
    }

    /// Takes note that the application has ended. Returns what was missing.
    pub(super) fn ended(&self, ended: Ended) -> Unfinished {
        self.forget();
        let unfinished = self.conversation.borrow().finish(ended);
        match &unfinished {
            Unfinished::Complete => {}
            Unfinished::ServerError => {
                self.give(Answer::Response(bare(StatusCode::INTERNAL_SERVER_ERROR)));
                self.never();
            }
            Unfinished::Cut => {
                if let Some(outlet) = &*self.outlet.borrow() {
                    outlet.abort();
                }
                self.never();
            }
            Unfinished::Close(close) => self.close(close.clone()),
        }
        unfinished
    }

    /// Takes note that the peer has gone before the handshake's end.
    pub(super) fn lost(&self) {
        // An answer that nobody took holds the channel.
        drop(self.answer.take());
        self.conversation.borrow_mut().peer_gone();
        self.never();
    }

    /// Answers the handshake without the application, whose words count no more.
    pub(super) fn refuse(&self, answer: Answer) {
        self.forget();
        self.give(answer);
        self.never();
    }

    /// Python's objects no longer find it.
    fn forget(&self) {
        drop(self.on_over.take());
        if let Some(key) = self.key.take() {
            CHANNELS.with(|channels| channels.remove(key));
        }
    }

    fn refused(&self, py: Python<'_>, error: &SendError) -> PyErr {
        if let SendError::Closed(_) = error {
            self.knows_end.set(true);
        }
        let close = match &*self.stage.borrow() {
            Stage::Open(session) => session.closed(),
            Stage::Handshake { .. } | Stage::Never => None,
        };
        self.dialect.refused(py, error, close)
    }

    fn give(&self, answer: Answer) {
        self.answer.replace(Some(answer));
        if let Some(connection) = &*self.connection.borrow() {
            self.core.wake(connection);
        }
    }

    fn push<'py>(
        &self,
        py: Python<'py>,
        message: Outgoing,
        kind: &'static str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let pushed = match &mut *self.stage.borrow_mut() {
            Stage::Handshake {
                messages, bytes, ..
            } => {
                *bytes += match &message {
                    Outgoing::Text(payload) | Outgoing::Binary(payload) => payload.len(),
                };
                messages.push(message);
                Ok(())
            }
            Stage::Open(session) => session.push(message),
            Stage::Never => Err(Closed),
        };
        match pushed.and_then(|()| self.has_room()) {
            Ok(true) => awaitable::done(py),
            Ok(false) => {
                let future = awaitable::future(&self.core, py)?;
                self.senders.borrow_mut().push(future.clone().unbind());
                awaitable::waiting(future)
            }
            Err(_) => Err(self.refused(py, &SendError::Closed(kind))),
        }
    }

    fn has_room(&self) -> Result<bool, Closed> {
        match &*self.stage.borrow() {
            Stage::Handshake { bytes, .. } => Ok(*bytes <= self.settings.limits.max_queued_bytes),
            Stage::Open(session) => session.has_room(),
            Stage::Never => Err(Closed),
        }
    }

    fn close(&self, with: Close) {
        self.knows_end.set(true);
        match &mut *self.stage.borrow_mut() {
            Stage::Handshake { close, .. } => *close = Some(with),
            Stage::Open(session) => session.close(with),
            Stage::Never => {}
        }
    }

    /// There will be no session any more.
    fn never(&self) {
        self.stage.replace(Stage::Never);
        self.settle();
    }

    /// Lets waiting calls go on whose time has come.
    fn settle(&self) {
        if self.is_over()
            && let Some(call) = self.on_over.take()
        {
            call();
        }
        if !self.senders.borrow().is_empty() {
            match self.has_room() {
                Ok(false) => {}
                room => self.release_senders(room.is_ok()),
            }
        }
        if self.receivers.borrow().is_empty() || !self.has_incoming() {
            return;
        }
        Python::attach(|py| {
            while let Some(receiver) = self.awaited_receiver(py) {
                let Some(incoming) = self.incoming() else {
                    return self.receivers.borrow_mut().push_front(receiver.unbind());
                };
                let value = self.dialect.incoming(py, incoming);
                awaitable::complete(&self.core, &receiver, value);
            }
        });
    }

    fn has_incoming(&self) -> bool {
        match &*self.stage.borrow() {
            Stage::Handshake { .. } => false,
            Stage::Open(session) => session.has_incoming(),
            Stage::Never => true,
        }
    }

    /// The next `receive` call that was not cancelled.
    fn awaited_receiver<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        loop {
            let receiver = self.receivers.borrow_mut().pop_front()?.into_bound(py);
            if awaitable::is_awaited(&receiver) {
                return Some(receiver);
            }
        }
    }

    fn release_senders(&self, sent: bool) {
        let senders = self.senders.take();
        Python::attach(|py| {
            for sender in senders {
                let value = if sent {
                    Ok(py.None().into_bound(py))
                } else {
                    Err(self.refused(py, &SendError::Closed("websocket.send")))
                };
                awaitable::complete(&self.core, sender.bind(py), value);
            }
        });
    }

    fn deny<'py>(
        self: &Rc<Self>,
        py: Python<'py>,
        action: ResponseAction,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ResponseAction::Write(Write {
            head,
            content,
            then,
            ..
        }) = action
        else {
            return awaitable::done(py);
        };
        let Content::Bytes(bytes) = content else {
            return awaitable::done(py);
        };
        if let Some(head) = head {
            let body = if let Then::End = then {
                ResponseBody::from_bytes(bytes.clone())
            } else {
                let driven = Rc::clone(self) as Rc<dyn Driven>;
                let outlet = Outlet::new(&self.core, Some(driven));
                let body = outlet.body();
                self.outlet.replace(Some(outlet));
                ResponseBody::Stream(Box::pin(body))
            };
            let mut response = Response::new(body);
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            self.give(Answer::Response(response));
        }
        let outlet = self.outlet.borrow().clone();
        if let Some(outlet) = &outlet {
            outlet.push(bytes);
            match then {
                Then::More => return outlet.room(py),
                Then::End | Then::Trailers(_) => outlet.end(None),
                Then::Short { .. } => outlet.abort(),
            }
        }
        if !matches!(then, Then::More) {
            self.never();
        }
        match outlet {
            Some(outlet) => outlet.room(py),
            None => awaitable::done(py),
        }
    }

    fn handler(self: &Rc<Self>) -> UpgradeHandler {
        let upgraded = Upgraded(Rc::clone(self));
        Box::new(move |io| Box::pin(upgraded.run(io)) as Pin<Box<dyn Future<Output = ()>>>)
    }

    fn opened(&self, session: Session) {
        let early = self.stage.replace(Stage::Never);
        if let Stage::Handshake {
            messages, close, ..
        } = early
        {
            for message in messages {
                // It is not closed: it is new.
                let _ = session.push(message);
            }
            if let Some(close) = close {
                session.close(close);
            }
        }
        self.stage.replace(Stage::Open(session));
    }
}

/// A denial response whose client leaves.
impl Driven for Channel {
    fn drive(&self, _: &mut Context<'_>) {}

    fn peer_gone(&self) {
        self.lost();
    }
}

/// The connection's side of an accepted WebSocket; dropped, the peer has gone.
struct Upgraded(Rc<Channel>);

impl Upgraded {
    async fn run(self, io: Box<dyn UpgradedIo>) {
        let channel = &self.0;
        let Settings { limits, stop } = channel.settings.clone();
        let (session, mut driver) = open(io, limits, stop);
        channel.opened(session);
        let mut waker = None;
        poll_fn(|cx| {
            let waker = deferring(&mut waker, cx.waker());
            let poll = Pin::new(&mut driver).poll(&mut Context::from_waker(waker));
            channel.settle();
            poll
        })
        .await;
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        let is_open = matches!(&*self.0.stage.borrow(), Stage::Open(_));
        if is_open {
            self.0.settle();
        } else {
            self.0.lost();
        }
    }
}

/// A waker that is kept until `select` when it is woken from Python: waking a task from outside
/// the runtime costs a system call.
struct Deferring(Waker);

impl Wake for Deferring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match Core::current() {
            Some(core) => core.wake(&self.0),
            None => self.0.wake_by_ref(),
        }
    }
}

fn deferring<'a>(kept: &'a mut Option<(Waker, Waker)>, waker: &Waker) -> &'a Waker {
    if !matches!(kept, Some((known, _)) if known.will_wake(waker)) {
        let deferring = Waker::from(Arc::new(Deferring(waker.clone())));
        *kept = Some((waker.clone(), deferring));
    }
    let (_, deferring) = kept.as_ref().expect("it was set just now");
    deferring
}

fn lost() -> Close {
    Close::of(ABNORMAL, "")
}

/// Tells the application that the peer has gone when the answer is no longer awaited.
pub(super) struct Awaited(pub(super) Option<Rc<Channel>>);

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            channel.lost();
        }
    }
}
