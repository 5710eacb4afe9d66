//! Frames that wait for the connection to take them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::protocol::websocket::frame::{Opcode, encode_head};

/// Payloads from this size on, in bytes, are queued as they are instead of being copied together.
const OWN_CHUNK_BYTES: usize = 4096;
/// The most memory, in bytes, that is kept for the next frames when nothing is queued.
const KEPT_BYTES: usize = 4096;
/// The most chunks in one vectored write.
const MAX_SLICES: usize = 16;

/// A queue of encoded frames.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// What comes after the chunks.
    tail: BytesMut,
    bytes: usize,
    queued: u64,
    flushed: bool,
}

impl Outbox {
    /// Queues a frame.
    pub(super) fn push(&mut self, opcode: Opcode, payload: Bytes) {
        let before = self.tail.len();
        encode_head(opcode, payload.len(), &mut self.tail);
        let length = self.tail.len() - before + payload.len();
        if payload.len() < OWN_CHUNK_BYTES {
            self.tail.extend_from_slice(&payload);
        } else {
            self.chunks.push_back(self.tail.split().freeze());
            self.chunks.push_back(payload);
        }
        self.bytes += length;
        self.queued += length as u64;
        self.flushed = false;
    }

    /// Bytes that the connection has not taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes queued since the beginning: the position after the last frame.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Bytes taken by the connection since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.queued - self.bytes as u64
    }

    /// Writes until all is taken and flushed.
    ///
    /// # Errors
    /// When the connection fails, also when it takes nothing for ever.
    pub(super) fn poll_flush<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        mut io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.bytes > 0 {
            let taken = if self.chunks.is_empty() {
                ready!(Pin::new(&mut io).poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let chunks = self
                    .chunks
                    .iter()
                    .map(Bytes::as_ref)
                    .chain([self.tail.as_ref()]);
                let mut count = 0;
                for (slice, chunk) in slices.iter_mut().zip(chunks) {
                    *slice = IoSlice::new(chunk);
                    count += 1;
                }
                ready!(Pin::new(&mut io).poll_write_vectored(cx, &slices[..count]))?
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        if !self.flushed {
            ready!(Pin::new(&mut io).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(chunk) = self.chunks.front_mut() {
            if taken < chunk.len() {
                chunk.advance(taken);
                return;
            }
            taken -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail.advance(taken);
        if self.bytes == 0 {
            if self.tail.capacity() > KEPT_BYTES {
                self.tail = BytesMut::new();
            }
            if self.chunks.capacity() > MAX_SLICES {
                self.chunks = VecDeque::new();
            }
        }
    }
}
