//! A response body that is encoded as it is sent, large pieces on Tokio's blocking pool.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::task::JoinHandle;

use super::encoder::BodyOut;
use crate::message::body::{Aborted, ResponseBody};

/// The coded form of another body; its trailers pass unchanged.
#[derive(Debug)]
pub(super) struct EncodedBody {
    inner: ResponseBody,
    /// Pieces longer than this many bytes are encoded off this thread.
    inline_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waiting for a piece of the inner body.
    Reading(BodyOut),
    /// A piece is being encoded elsewhere; the encoder comes back with it.
    Encoding(JoinHandle<(BodyOut, io::Result<Bytes>)>),
    /// All bytes are out; trailers may follow.
    Ending(Option<HeaderMap>),
    /// Nothing follows.
    Ended,
}

impl EncodedBody {
    pub(super) fn new(inner: ResponseBody, encoder: BodyOut, inline_bytes: usize) -> Self {
        Self {
            inner,
            inline_bytes,
            state: State::Reading(encoder),
        }
    }

    /// Takes in the inner body's next frame; a frame to send, if it makes one.
    fn advance(
        &mut self,
        mut encoder: BodyOut,
        frame: Option<Frame<Bytes>>,
    ) -> Result<Option<Bytes>, Aborted> {
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(piece)) if piece.is_empty() => {
                self.state = State::Reading(encoder);
                return Ok(None);
            }
            Some(Ok(piece)) if piece.len() > self.inline_bytes => {
                self.state = State::Encoding(tokio::task::spawn_blocking(move || {
                    let coded = encoder.push(&piece);
                    (encoder, coded)
                }));
                return Ok(None);
            }
            Some(Ok(piece)) => {
                let coded = encoder.push(&piece).map_err(|_| Aborted)?;
                self.state = State::Reading(encoder);
                return Ok(Some(coded));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        let last = encoder.finish().map_err(|_| Aborted)?;
        self.state = State::Ending(trailers);
        Ok(Some(last))
    }
}

impl Body for EncodedBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = &mut *self;
        loop {
            let outcome = match std::mem::replace(&mut this.state, State::Ended) {
                State::Reading(encoder) => match Pin::new(&mut this.inner).poll_frame(cx) {
                    Poll::Pending => {
                        this.state = State::Reading(encoder);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Err(aborted))) => Err(aborted),
                    Poll::Ready(Some(Ok(frame))) => this.advance(encoder, Some(frame)),
                    Poll::Ready(None) => this.advance(encoder, None),
                },
                State::Encoding(mut encoding) => match Pin::new(&mut encoding).poll(cx) {
                    Poll::Pending => {
                        this.state = State::Encoding(encoding);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((encoder, Ok(coded)))) => {
                        this.state = State::Reading(encoder);
                        Ok(Some(coded))
                    }
                    Poll::Ready(Ok((_, Err(_))) | Err(_)) => Err(Aborted),
                },
                State::Ending(trailers) => {
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                State::Ended => return Poll::Ready(None),
            };
            match outcome {
                Ok(Some(coded)) if coded.is_empty() => {}
                Ok(Some(coded)) => return Poll::Ready(Some(Ok(Frame::data(coded)))),
                Ok(None) => {}
                Err(aborted) => return Poll::Ready(Some(Err(aborted))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended | State::Ending(None))
    }
}
