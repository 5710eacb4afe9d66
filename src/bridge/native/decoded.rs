//! A request body that is decoded on its way to whoever reads it.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge::errors;
use crate::message::body::BodyError;
use crate::message::head::Endpoint;
use crate::pipeline::BodyIn;
use crate::server::{Capabilities, Exchange};

/// An exchange whose body comes out of its coding.
pub(super) struct Decoded<E> {
    inner: E,
    decoder: BodyIn,
    is_ended: bool,
}

impl<E: Exchange> Decoded<E> {
    pub(super) fn new(inner: E, decoder: BodyIn) -> Self {
        Self {
            inner,
            decoder,
            is_ended: false,
        }
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            if let Some(piece) = self.decoder.decoded()? {
                return Poll::Ready(Ok(Some(piece)));
            }
            let coded = if self.inner.is_body_end() {
                None
            } else {
                ready!(self.inner.poll_body(cx)).transpose()?
            };
            match coded {
                Some(coded) => self.decoder.feed(coded),
                None => return Poll::Ready(self.decoder.end()),
            }
        }
    }
}

impl<E: Exchange> Exchange for Decoded<E> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_decoded(cx));
        // What is left in the decoder after the inner end is its last piece, or an error.
        self.is_ended = !matches!(piece, Ok(Some(_)));
        Poll::Ready(piece.transpose())
    }

    fn is_body_end(&self) -> bool {
        self.is_ended
    }

    fn body_length(&self) -> Option<u64> {
        None
    }

    fn early_hints(&mut self, fields: HeaderMap) {
        self.inner.early_hints(fields);
    }

    fn came_for(&mut self, client: &Endpoint) {
        self.inner.came_for(client);
    }

    fn close_after(&mut self) {
        self.inner.close_after();
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// The same for a door that reads the body in Python.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct BodyDecoder {
    decoder: Mutex<BodyIn>,
}

impl BodyDecoder {
    pub(super) fn new(decoder: BodyIn) -> Self {
        Self {
            decoder: Mutex::new(decoder),
        }
    }
}

#[pymethods]
impl BodyDecoder {
    /// The plain bytes of the next chunk, with `is_last` those that were left too. It stops once
    /// they are more than `limit`.
    #[pyo3(signature = (chunk, limit, *, is_last))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        chunk: &Bound<'py, PyBytes>,
        limit: Option<u64>,
        is_last: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let chunk = Bytes::copy_from_slice(chunk.as_bytes());
        let decoded = py.detach(|| {
            let mut decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
            let mut plain = Vec::new();
            decoder.feed(chunk);
            while let Some(piece) = decoder.decoded()? {
                plain.extend_from_slice(&piece);
                if limit.is_some_and(|limit| plain.len() as u64 > limit) {
                    return Ok(plain);
                }
            }
            if is_last && let Some(piece) = decoder.end()? {
                plain.extend_from_slice(&piece);
            }
            Ok(plain)
        });
        match decoded {
            Ok(plain) => Ok(PyBytes::new(py, &plain)),
            Err(error) => Err(errors::body_error(py, error)),
        }
    }
}
