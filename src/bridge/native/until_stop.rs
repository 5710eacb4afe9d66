//! A stream of events that ends when the server stops, so that its client comes back: to a client
//! a cut stream is an error, one that ends is not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::message::body::{Aborted, ResponseBody};
use crate::server::shutdown::{Stop, StopReceiver};

/// What is queued when the stop comes is still sent, up to this many pieces.
const LAST_PIECES: usize = 64;

/// A body that ends with the server's stop.
pub(super) struct UntilStop {
    inner: ResponseBody,
    /// `None` once the stop has come.
    stop: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pieces_left: usize,
}

impl UntilStop {
    pub(super) fn new(inner: ResponseBody, mut stop: StopReceiver) -> Self {
        let stop = async move {
            let mut latest = stop.current();
            while latest == Stop::Running {
                latest = stop.changed().await;
            }
        };
        Self {
            inner,
            stop: Some(Box::pin(stop)),
            pieces_left: LAST_PIECES,
        }
    }
}

impl Body for UntilStop {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            self.stop = None;
        }
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if self.stop.is_some() {
            return frame;
        }
        if frame.is_ready() && self.pieces_left > 0 {
            self.pieces_left -= 1;
            return frame;
        }
        // Dropping the stream closes its generator.
        self.inner = ResponseBody::Empty;
        self.pieces_left = 0;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
