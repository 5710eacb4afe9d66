//! The server's two seams: the [`Application`] that answers and the [`Exchange`] it answers in.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::body::{BodyError, ResponseBody};
use crate::message::head::{Endpoint, Head};

/// What answers requests: a native application, an ASGI application, a test's closure.
pub trait Application: 'static {
    /// Answers one request, at once if nothing has to be waited for.
    ///
    /// Dropping the future before it is ready, or the body of its response before that body's
    /// end, tells the application that the peer has gone (HTTP/1: the connection, HTTP/2: this
    /// stream).
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, exchange: E) -> Called;

    /// Hears of a mistake of its own that the server had to make good.
    fn report(&self, fault: Fault);

    /// Hears that many connections have given memory back, by ending or by idling.
    fn rested(&self) {}
}

/// How far a call of an [`Application`] came. Most requests are answered at once; those pay for
/// no future, and no future is moved from hand to hand.
pub enum Called {
    /// To its end.
    Answered(Answer),
    /// To something that it waits for.
    Waiting(AnswerFuture),
}

/// The rest of the way to an answer.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer>>>;

impl Called {
    /// A call that has to wait.
    pub fn waiting(rest: impl Future<Output = Answer> + 'static) -> Self {
        Self::Waiting(Box::pin(rest))
    }

    /// The call whose answer is what `change` makes of this one's.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Answer) -> Answer + 'static) -> Self {
        match self {
            Self::Answered(answer) => Self::Answered(change(answer)),
            Self::Waiting(rest) => Self::waiting(async move { change(rest.await) }),
        }
    }

    /// Waits for the answer.
    pub async fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) => answer,
            Self::Waiting(rest) => rest.await,
        }
    }
}

/// What the server has to say beside its answers: mostly a mistake of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// More bytes than `content-length` says; the rest was left out.
    #[error("the response body is longer than its content-length of {declared} bytes")]
    BodyTooLong {
        /// The declared length in bytes.
        declared: u64,
    },
    /// Fewer bytes than `content-length` says; the connection was cut.
    #[error("the response body ended {missing} bytes short of its content-length")]
    BodyTooShort {
        /// Bytes that did not come.
        missing: u64,
    },
    /// The system gave no connection, and maybe more since: usually no descriptor is left.
    #[error("cannot accept connections: {}", io::Error::from_raw_os_error(*number))]
    CannotAccept {
        /// The system's number of the error.
        number: i32,
    },
    /// A connection was turned away, and maybe more since: all are at work.
    #[error("turned a connection away: all {room} that there is room for are at work")]
    Full {
        /// The most connections at once.
        room: usize,
    },
    /// Our own code panicked; the request was answered with 500.
    #[error("a request ended in a panic, which is a bug of the server")]
    Panicked,
}

/// One request's body and the way to say something before the response; the same on every
/// protocol version.
pub trait Exchange: 'static {
    /// Polls for the next piece of the request body; `None` at its end. Pieces are never empty.
    ///
    /// On HTTP/1.1 the first poll releases `100 Continue` when the client waits for it. Not
    /// polling stops the peer by flow control.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Whether the body has ended, or there never was one: nothing is left to poll.
    fn is_body_end(&self) -> bool;

    /// The length that the request declared, in bytes; `None` when it declared none.
    fn body_length(&self) -> Option<u64>;

    /// Sends `103 Early Hints` with these fields (RFC 8297), if the connection can still do so;
    /// a hint that comes too late is dropped.
    fn early_hints(&mut self, fields: HeaderMap);

    /// Says on whose behalf a proxy sent the request, for the access log.
    fn came_for(&mut self, client: &Endpoint);

    /// Closes the connection once the response has been sent: the peer may take what follows for
    /// something else. Nothing to do where a stream ends by itself.
    fn close_after(&mut self) {}

    /// What this connection can do beyond a plain response.
    fn capabilities(&self) -> Capabilities;
}

/// What a connection can do beyond a plain response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// 103 can be sent.
    pub early_hints: bool,
    /// Trailer fields reach the client (HTTP/1.1: it sent `TE: trailers`).
    pub trailers: bool,
    /// The request asks for a WebSocket with a valid handshake; [`Answer::Upgrade`] is allowed.
    pub websocket: bool,
}

/// What an application answers.
pub enum Answer {
    /// A response.
    Response(Response<ResponseBody>),
    /// A WebSocket handshake that the application accepts. The status is the protocol's business
    /// (101 or, on HTTP/2, 200); the fields are the application's.
    Upgrade(HeaderMap, UpgradeHandler),
    /// Nothing more can be said: the connection (HTTP/1) or stream (HTTP/2) is cut.
    Abort,
}

/// Takes over the byte stream after a handshake; the connection ends with its future.
pub type UpgradeHandler = Box<dyn FnOnce(Box<dyn UpgradedIo>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A byte stream after a handshake.
pub trait UpgradedIo: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> UpgradedIo for T {}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => f.debug_tuple("Answered").field(answer).finish(),
            Self::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(response) => write!(f, "Response({})", response.status()),
            Self::Upgrade(..) => f.write_str("Upgrade"),
            Self::Abort => f.write_str("Abort"),
        }
    }
}
