//! The limit: what HTTP itself costs on one thread, with no Python and no framework behind it.
//!
//! `bare_hyper PORT [h1|h2] [BODY_BYTES]` answers every request with 200 `text/plain`: `Hello, World!`, or `BODY_BYTES`
//! bytes. HTTP/1.1 is hyper as a server would set it up, HTTP/2 (prior knowledge) is the `h2` crate; both on Tokio's
//! one-thread `LocalRuntime`. A request body is read to its end before the answer, as every measured application does.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::{env, io};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

/// The command line, parsed.
struct Arguments {
    port: u16,
    protocol: Protocol,
    body: Bytes,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse(env::args().skip(1)).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "usage: bare_hyper PORT [h1|h2] [BODY_BYTES]",
        )
    })?;
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?
        .block_on(serve(arguments))
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let port = words.next()?.parse().ok()?;
        let protocol = match words.next().as_deref() {
            None | Some("h1") => Protocol::Http1,
            Some("h2") => Protocol::Http2,
            Some(_) => return None,
        };
        let body = match words.next() {
            None => Bytes::from_static(b"Hello, World!"),
            Some(size) => vec![b'x'; size.parse().ok()?].into(),
        };
        Some(Self {
            port,
            protocol,
            body,
        })
    }
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = arguments.body.clone();
        // A client that leaves is no event for a benchmark's server, so neither connection's result is looked at.
        match arguments.protocol {
            Protocol::Http1 => drop(spawn_local(http1_connection(stream, body))),
            Protocol::Http2 => drop(spawn_local(http2_connection(stream, body))),
        }
    }
}

async fn http1_connection(stream: TcpStream, body: Bytes) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let body = body.clone();
        async move {
            let mut incoming = request.into_body();
            while !incoming.is_end_stream() && incoming.frame().await.is_some() {}
            Ok::<_, Infallible>(answer(Full::new(body)))
        }
    });
    http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn http2_connection(stream: TcpStream, body: Bytes) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        // GET only: nothing to read before the answer.
        let (_, mut respond) = request?;
        let mut send = respond.send_response(answer(()), false)?;
        send.send_data(body.clone(), true)?;
    }
    Ok(())
}

fn answer<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
