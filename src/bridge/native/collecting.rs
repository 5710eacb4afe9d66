//! A request body that an endpoint wants whole.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::message::body::BodyError;
use crate::pipeline::BodyLimit;
use crate::server::Exchange;

/// Reads a body to its end.
pub(super) struct Collecting {
    limit: BodyLimit,
    pieces: BytesMut,
    whole: Option<Result<Bytes, BodyError>>,
}

impl Collecting {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit: BodyLimit::new(limit),
            pieces: BytesMut::new(),
            whole: None,
        }
    }

    pub(super) fn poll<E: Exchange>(&mut self, exchange: &mut E, cx: &mut Context<'_>) -> Poll<()> {
        if self.whole.is_none() {
            self.whole = Some(ready!(self.poll_whole(exchange, cx)));
        }
        Poll::Ready(())
    }

    fn poll_whole<E: Exchange>(
        &mut self,
        exchange: &mut E,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, BodyError>> {
        while !exchange.is_body_end() {
            let Some(piece) = ready!(exchange.poll_body(cx)) else {
                break;
            };
            let piece = piece?;
            self.limit.admit(&piece)?;
            if self.pieces.is_empty() && exchange.is_body_end() {
                return Poll::Ready(Ok(piece)); // nothing to copy
            }
            self.pieces.extend_from_slice(&piece);
        }
        Poll::Ready(Ok(self.pieces.split().freeze()))
    }

    /// What was read, once `poll` is ready.
    pub(super) fn finish(self) -> Result<Bytes, BodyError> {
        self.whole.unwrap_or(Err(BodyError::Gone))
    }
}
