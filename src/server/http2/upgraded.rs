//! A stream's two halves as one byte stream: a WebSocket over HTTP/2 (RFC 8441 §5).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::StreamState;
use super::stream::{Capacity, PIECE_BYTES, poll_capacity};

/// Reads and writes the DATA frames of one stream.
#[derive(Debug)]
pub(super) struct Upgraded {
    receive: RecvStream,
    /// What the reader has not taken yet of the last frame.
    rest: Bytes,
    send: SendStream<Bytes>,
    ended: bool,
    state: Rc<StreamState>,
}

impl Upgraded {
    pub(super) fn new(
        receive: RecvStream,
        send: SendStream<Bytes>,
        state: Rc<StreamState>,
    ) -> Self {
        Self {
            receive,
            rest: Bytes::new(),
            send,
            ended: false,
            state,
        }
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            // It fails only on a stream that is over already.
            let _ = self.send.send_data(Bytes::new(), true);
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.rest = data,
                // RFC 8441 §5: RST_STREAM(CANCEL) stands for a TCP reset
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..taken]);
        this.rest.advance(taken);
        this.receive
            .flow_control()
            .release_capacity(taken)
            .map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = buf.len().min(PIECE_BYTES);
        match ready!(poll_capacity(&mut this.send, wanted, &this.state, cx)) {
            Capacity::Bytes(length) => {
                let data = Bytes::copy_from_slice(&buf[..length]);
                this.send
                    .send_data(data, false)
                    .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
                Poll::Ready(Ok(length))
            }
            Capacity::Gone => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Capacity::Stalled => {
                this.ended = true;
                this.send.send_reset(Reason::CANCEL);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes; `poll_write` waits while it cannot.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.end();
    }
}
