//! A response body that something follows.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pyo3::prelude::*;
use tokio::task::spawn_local;

use super::Native;
use super::inlet::Inlet;
use crate::bridge::errors;
use crate::bridge::outlet::Driven;
use crate::bridge::reactor::Core as Reactor;
use crate::bridge::task::{Started, Tasks};
use crate::message::body::{Aborted, ResponseBody};

/// A body with something to do once it has been sent, or could not be.
pub(super) struct Followed {
    pub(super) inner: ResponseBody,
    pub(super) then: Option<Py<PyAny>>,
    pub(super) native: Arc<Native>,
    pub(super) reactor: Rc<Reactor>,
    pub(super) inlet: Option<Rc<Inlet>>,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(inlet) = &self.inlet {
            inlet.drive(cx);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(inlet) = self.inlet.take() {
            inlet.close();
        }
        let Some(then) = self.then.take() else { return };
        let (native, reactor) = (Arc::clone(&self.native), Rc::clone(&self.reactor));
        let piece = reactor.afterwork.begin();
        // In a task of its own: this runs while the connection is at work.
        spawn_local(async move {
            let _piece = piece;
            let step = Python::attach(|py| {
                let awaitable = then.bind(py).call0()?;
                let coroutine = native.names.as_coroutine.bind(py).call1((awaitable,))?;
                PyResult::Ok(Tasks::start(&reactor, &coroutine))
            });
            let result = match step {
                Ok(Started::Waiting(task)) => task.await,
                Ok(Started::Finished(result)) => result,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                Python::attach(|py| errors::log(py, &native.names.log, &error));
            }
        });
    }
}
