//! The life of one connection: wait for bytes, see which protocol they speak, serve it, close.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::application::{Application, UpgradedIo};
use super::http1::{self, Outcome, Shared};
use super::limits::Limits;
use super::shutdown::Stop;
use super::transport::Transport;
use super::watch::{Activity, Order, Phase};
use crate::message::head::Connection;

/// Bytes read and thrown away before a close, so that our last answer is not lost to a reset
/// (RFC 9112 §9.6).
const LINGER_BYTES: usize = 64 * 1024;
/// Time for the same.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves one connection until it ends.
pub async fn serve<A: Application>(
    mut transport: Transport,
    connection: Arc<Connection>,
    app: Rc<A>,
    limits: Rc<Limits>,
    activity: Rc<Activity>,
) {
    let shared = Rc::new(Shared::new(limits, Rc::clone(&activity), connection));
    loop {
        activity.set_parked(true);
        if !has_bytes(&mut transport, &activity).await {
            return;
        }
        // Boxed, so that an idle connection does not carry the room for it.
        let stretch = Box::pin(http1::run(
            transport,
            Bytes::new(),
            Rc::clone(&app),
            Rc::clone(&shared),
        ));
        match stretch.await {
            Outcome::Parked(idle) => transport = idle,
            Outcome::Upgraded(transport, read_ahead, handler) => {
                activity.enter(Phase::Handed);
                let io: Box<dyn UpgradedIo> = if read_ahead.is_empty() {
                    Box::new(transport)
                } else {
                    let (reader, writer) = tokio::io::split(transport);
                    let reader = std::io::Cursor::new(read_ahead).chain(reader);
                    Box::new(tokio::io::join(reader, writer))
                };
                handler(io).await;
                return;
            }
            Outcome::Ended { transport, status, peer_closed } => {
                close(transport, status, peer_closed).await;
                return;
            }
            Outcome::Cut => return,
        }
    }
}

/// Waits for the first byte of a message; `false` when the connection is to be closed instead.
async fn has_bytes(transport: &mut Transport, activity: &Activity) -> bool {
    poll_fn(|cx| {
        activity.set_waker(cx.waker());
        if activity.stop() != Stop::Running {
            return Poll::Ready(false);
        }
        match activity.take_order() {
            Some(Order::Close | Order::Cut) => Poll::Ready(false),
            _ => transport.poll_readable(cx).map(|ready| ready.is_ok()),
        }
    })
    .await
}

/// Says `status`, if there is one, and closes in a way that lets the peer read it.
async fn close(mut transport: Transport, status: Option<StatusCode>, peer_closed: bool) {
    let _ = tokio::time::timeout(LINGER_TIME, async {
        if let Some(status) = status {
            let line = status_line(status);
            transport.write_all(&line).await?;
        }
        transport.shutdown().await?;
        if !peer_closed {
            let mut scrap = vec![0; 4096];
            let mut read = 0;
            while read < LINGER_BYTES {
                match transport.read(&mut scrap).await? {
                    0 => break,
                    length => read += length,
                }
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .await;
}

/// A protocol error is a bare status line: nothing of it is known to be understood.
fn status_line(status: StatusCode) -> BytesMut {
    let reason = status.canonical_reason().unwrap_or_default();
    let code = status.as_str();
    BytesMut::from(
        format!("HTTP/1.1 {code} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
}
