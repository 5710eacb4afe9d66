//! Bodies: the one that a response carries and what can go wrong with a request's.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

/// The body of a response.
pub enum ResponseBody {
    /// No bytes at all.
    Empty,
    /// All bytes at once.
    Full(Bytes),
    /// Bytes that come as they are made; trailers may follow. Dropping it before its end means
    /// that the peer has gone.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = Aborted>>>),
}

/// The response cannot be finished: the connection (HTTP/1) or stream (HTTP/2) is cut, so that
/// the peer sees that something is missing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the application ended the response before it was complete")]
pub struct Aborted;

/// Why a request's body could not be read to its end.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// The peer went, or reset the stream.
    #[error("the peer closed the connection before the request body was complete")]
    Gone,
    /// The peer broke the framing rules.
    #[error("the request body is not framed as its head says")]
    Malformed,
    /// Longer than the limit in force.
    #[error("the request body is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not what its `content-encoding` says.
    #[error("the request body does not decode as its content-encoding says")]
    Undecodable,
    /// Larger when decoded than its coded form allows.
    #[error("the request body grows to more than {ratio} times its size when decoded")]
    Inflated {
        /// How many times its size is allowed.
        ratio: u32,
    },
    /// No bytes for too long, or too few.
    #[error("the request body did not arrive in time")]
    TooSlow,
}

impl ResponseBody {
    /// A body of these bytes.
    pub fn from_bytes(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes)
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
