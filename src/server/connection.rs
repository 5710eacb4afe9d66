//! The life of one connection: wait for bytes, see which protocol they speak, serve it, close.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::application::{Application, UpgradedIo};
use super::batch::Batch;
use super::http1::{self, HeldResponse, Outcome, Shared};
use super::http2::{self, HeldFrames, PREFACE, Preface};
use super::limits::{HttpVersions, Limits};
use super::shutdown::Stop;
use super::tls::{Accepted, HandshakeError, Protocol, TlsAcceptor};
use super::transport::Transport;
use super::watch::{Activity, Order, Phase};
use crate::message::head::{Connection, Endpoint, Scheme};

/// Bytes read and thrown away before a close, so that our last answer is not lost to a reset
/// (RFC 9112 §9.6).
const LINGER_BYTES: usize = 64 * 1024;
/// Time for the same.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What the connections of one server write at the end of a turn.
#[derive(Debug, Default)]
pub struct Batches {
    /// Responses over HTTP/1.
    pub http1: Rc<Batch<HeldResponse>>,
    /// Frames of HTTP/2.
    pub http2: Rc<Batch<HeldFrames<Transport>>>,
}

/// Serves one connection until it ends. `connection` is as it was accepted: before TLS.
pub async fn serve<A: Application>(
    transport: Transport,
    connection: Connection,
    tls: Option<Rc<TlsAcceptor>>,
    app: Rc<A>,
    limits: Rc<Limits>,
    activity: Rc<Activity>,
    batches: Rc<Batches>,
) {
    let opened = match tls {
        None => Some((transport, connection, None)),
        // Boxed, so that an open connection does not carry the room for the handshake.
        Some(tls) => Box::pin(secure(transport, connection, &tls, &activity)).await,
    };
    let Some((mut transport, connection, settled)) = opened else {
        return;
    };
    activity.set_parked(true);
    let connection = Arc::new(connection);
    match spoken(&mut transport, settled, &limits, &connection, &activity).await {
        Spoken::Http1(prefix) => {
            let batch = Rc::clone(&batches.http1);
            let shared = Shared::new(limits, activity, connection, batch);
            serve_http1(transport, prefix, app, Rc::new(shared)).await;
        }
        Spoken::Http2(preface) => {
            let limits = Rc::clone(&limits.http2);
            let batch = Rc::clone(&batches.http2);
            let serving =
                http2::serve(transport, preface, app, connection, limits, activity, batch);
            Box::pin(serving).await;
        }
        Spoken::Nothing => {}
    }
}

async fn serve_http1<A: Application>(
    mut transport: Transport,
    mut prefix: Bytes,
    app: Rc<A>,
    shared: Rc<Shared>,
) {
    let activity = Rc::clone(&shared.activity);
    loop {
        activity.set_parked(true);
        if prefix.is_empty() && !has_bytes(&mut transport, &activity).await {
            return;
        }
        // Boxed, so that an idle connection does not carry the room for it.
        let stretch = Box::pin(http1::run(
            transport,
            std::mem::take(&mut prefix),
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
            Outcome::Ended {
                transport,
                status,
                peer_closed,
            } => {
                // Boxed for the same reason.
                Box::pin(close(transport, status, peer_closed)).await;
                return;
            }
            Outcome::Cut => return,
        }
    }
}

/// Does the TLS handshake; `None` when there is no connection after it.
async fn secure(
    transport: Transport,
    connection: Connection,
    tls: &TlsAcceptor,
    activity: &Activity,
) -> Option<(Transport, Connection, Option<Protocol>)> {
    // The acceptor keeps the time.
    activity.enter(Phase::Handed);
    let (transport, facts, settled) = match transport {
        Transport::Tcp(stream) => {
            let accepted = unless_stopped(tls.accept(stream), activity).await?;
            let stream = Box::new(accepted.stream);
            (Transport::TlsTcp(stream), accepted.tls, accepted.protocol)
        }
        Transport::Unix(stream) => {
            let accepted = unless_stopped(tls.accept(stream), activity).await?;
            let stream = Box::new(accepted.stream);
            (Transport::TlsUnix(stream), accepted.tls, accepted.protocol)
        }
        secured @ (Transport::TlsTcp(_) | Transport::TlsUnix(_)) => {
            return Some((secured, connection, None));
        }
    };
    activity.enter(Phase::FirstByte);
    let connection = Connection {
        scheme: Scheme::Https,
        tls: Some(facts),
        ..connection
    };
    Some((transport, connection, settled))
}

/// Waits for a handshake, but not when the server stops: no request is lost by that.
async fn unless_stopped<IO>(
    handshake: impl Future<Output = Result<Accepted<IO>, HandshakeError>>,
    activity: &Activity,
) -> Option<Accepted<IO>> {
    let mut handshake = pin!(handshake);
    poll_fn(|cx| {
        activity.set_waker(cx.waker());
        if activity.stop() != Stop::Running {
            return Poll::Ready(None);
        }
        handshake.as_mut().poll(cx).map(Result::ok)
    })
    .await
}

/// What a connection turns out to speak.
enum Spoken {
    /// HTTP/1; these bytes have been read.
    Http1(Bytes),
    Http2(Preface),
    /// The connection is over.
    Nothing,
}

async fn spoken(
    transport: &mut Transport,
    settled: Option<Protocol>,
    limits: &Limits,
    connection: &Connection,
    activity: &Activity,
) -> Spoken {
    match (limits.http, settled) {
        (HttpVersions::Http2, _) | (_, Some(Protocol::Http2)) => Spoken::Http2(Preface::Expected),
        // RFC 9113 §3.3: HTTP/2 over TLS needs ALPN. Without TLS only neighbours may assume it:
        // it is one more protocol to attack, and browsers never speak it.
        (HttpVersions::Auto, None) if connection.tls.is_none() && is_local(&connection.local) => {
            sniff(transport, activity).await
        }
        (HttpVersions::Auto | HttpVersions::Http1, _) => Spoken::Http1(Bytes::new()),
    }
}

fn is_local(end: &Endpoint) -> bool {
    match end {
        Endpoint::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Endpoint::Unix(_) => true,
    }
}

/// Reads until the bytes are the preface of HTTP/2 or can no longer become it.
async fn sniff(transport: &mut Transport, activity: &Activity) -> Spoken {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let mut buf = ReadBuf::new(&mut bytes[length..]);
        let read = unless_ordered(activity, |cx| {
            Pin::new(&mut *transport).poll_read(cx, &mut buf)
        });
        match read.await.map(|()| buf.filled().len()) {
            None | Some(0) => return Spoken::Nothing,
            Some(more) => length += more,
        }
        if bytes[..length] != PREFACE[..length] {
            return Spoken::Http1(Bytes::copy_from_slice(&bytes[..length]));
        }
    }
    Spoken::Http2(Preface::Read)
}

/// Waits for the first byte of a message; `false` when the connection is to be closed instead.
async fn has_bytes(transport: &mut Transport, activity: &Activity) -> bool {
    unless_ordered(activity, |cx| transport.poll_readable(cx))
        .await
        .is_some()
}

/// Polls until `work` is done; `None` when it fails or the connection is to be closed instead.
async fn unless_ordered(
    activity: &Activity,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<std::io::Result<()>>,
) -> Option<()> {
    poll_fn(|cx| {
        activity.set_waker(cx.waker());
        if activity.stop() != Stop::Running {
            return Poll::Ready(None);
        }
        match activity.take_order() {
            Some(Order::Close | Order::Cut) => Poll::Ready(None),
            _ => work(cx).map(Result::ok),
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
pub(super) fn status_line(status: StatusCode) -> BytesMut {
    let reason = status.canonical_reason().unwrap_or_default();
    let code = status.as_str();
    BytesMut::from(
        format!("HTTP/1.1 {code} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
}
