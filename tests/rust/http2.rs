//! HTTP/2 through its front door, [`spikard::server::http2::serve`], over an in-memory pipe: with
//! the `h2` client where the client is well-behaved, with hand-made frames where it is not.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod idle;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use spikard::message::body::{Aborted, BodyError, ResponseBody};
use spikard::message::head::{Connection, Endpoint, Head, Memo, Scheme};
use spikard::server::batch::Batch;
use spikard::server::http2::{Budget, HeldFrames, Http2Limits, PREFACE, Preface, serve};
use spikard::server::limits::Limits;
use spikard::server::shutdown::Stop;
use spikard::server::watch::Watch;
use spikard::server::{Answer, Application, Called, Exchange, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const PIPE_BYTES: usize = 64 * 1024;

/// Runs `test` where local tasks can be spawned; nothing may take longer than ten seconds.
fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(10), test)
            .await
            .expect("the test hangs");
    };
    LocalSet::new().block_on(&runtime, limited);
}

/// What the application has seen.
#[derive(Default)]
struct App {
    calls: Cell<usize>,
    /// Requests whose future or body is alive.
    live: Rc<Cell<usize>>,
    most_live: Cell<usize>,
    heads: RefCell<Vec<Head>>,
    body_pieces: Rc<RefCell<Vec<usize>>>,
    body_errors: Rc<RefCell<Vec<BodyError>>>,
    produced: Rc<Cell<usize>>,
    faults: RefCell<Vec<Fault>>,
}

struct Alive(Rc<Cell<usize>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Application for App {
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, exchange: E) -> Called {
        self.calls.set(self.calls.get() + 1);
        self.live.set(self.live.get() + 1);
        self.most_live
            .set(self.most_live.get().max(self.live.get()));
        self.heads.borrow_mut().push(head.clone());
        let mut answer = Box::pin(answer(Rc::clone(self), head, exchange));
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => Called::Answered(answer),
            Poll::Pending => Called::Waiting(answer),
        }
    }

    fn report(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }
}

#[expect(clippy::too_many_lines, reason = "one line a path")]
async fn answer<E: Exchange>(app: Rc<App>, head: Head, mut exchange: E) -> Answer {
    let alive = Alive(Rc::clone(&app.live));
    let frames = |frames: Vec<Result<Frame<Bytes>, Aborted>>, last| {
        let frames = frames.into();
        respond(ResponseBody::Stream(Box::pin(Script {
            frames,
            last,
            _alive: Alive(bump(&app.live)),
        })))
    };
    let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    match head.raw_path() {
        "/hello" => respond(ResponseBody::Full("hello".into())),
        "/empty" => respond(ResponseBody::Empty),
        "/later" => {
            tokio::task::yield_now().await;
            respond(ResponseBody::Full("later".into()))
        }
        "/hang" => pending().await,
        "/echo" => match read(&app, &mut exchange).await {
            Ok(body) => respond(ResponseBody::from_bytes(body)),
            Err(_) => Answer::Abort,
        },
        "/sized" => {
            let size = head.query().parse().unwrap();
            respond(ResponseBody::Full(vec![b'x'; size].into()))
        }
        "/endless" => respond(ResponseBody::Stream(Box::pin(Endless {
            produced: Rc::clone(&app.produced),
            _alive: alive,
        }))),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            frames(
                vec![data("a"), data("b"), Ok(Frame::trailers(trailers))],
                Last::End,
            )
        }
        "/stream-then-wait" => frames(vec![data("first")], Last::Wait),
        "/stream-then-abort" => frames(vec![data("first"), Err(Aborted)], Last::End),
        "/abort" => Answer::Abort,
        "/panic" => panic!("planted"),
        "/panic-later" => {
            tokio::task::yield_now().await;
            panic!("planted")
        }
        "/panic-in-body" => frames(vec![data("first")], Last::Panic),
        "/too-long" => declared(3, frames(vec![data("123456")], Last::End)),
        "/too-short" => declared(10, frames(vec![data("123")], Last::End)),
        "/full-mismatch" => declared(10, respond(ResponseBody::Full("123".into()))),
        "/http1-fields" => {
            let mut answer = respond(ResponseBody::Full("x".into()));
            if let Answer::Response(response) = &mut answer {
                for (name, value) in [
                    ("connection", "close"),
                    ("transfer-encoding", "chunked"),
                    ("keep-alive", "timeout=5"),
                    ("x-kept", "yes"),
                ] {
                    let value = HeaderValue::from_static(value);
                    response.headers_mut().insert(name, value);
                }
            }
            answer
        }
        "/hints" => {
            let mut fields = HeaderMap::new();
            fields.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
            exchange.early_hints(fields);
            tokio::task::yield_now().await;
            respond(ResponseBody::Full("hinted".into()))
        }
        "/ws" if exchange.capabilities().websocket => {
            let mut fields = HeaderMap::new();
            fields.insert("sec-websocket-protocol", HeaderValue::from_static("echo"));
            Answer::Upgrade(
                fields,
                Box::new(move |mut io| {
                    Box::pin(async move {
                        let _alive = alive;
                        let mut buffer = [0; 1000];
                        loop {
                            match io.read(&mut buffer).await {
                                Ok(0) | Err(_) => break,
                                Ok(n) => {
                                    if io.write_all(&buffer[..n]).await.is_err() {
                                        break;
                                    }
                                }
                            }
                        }
                        let _ = io.shutdown().await;
                    })
                }),
            )
        }
        _ => {
            let mut response = Response::new(ResponseBody::Empty);
            *response.status_mut() = StatusCode::NOT_FOUND;
            Answer::Response(response)
        }
    }
}

fn bump(live: &Rc<Cell<usize>>) -> Rc<Cell<usize>> {
    live.set(live.get() + 1);
    Rc::clone(live)
}

fn respond(body: ResponseBody) -> Answer {
    Answer::Response(Response::new(body))
}

fn declared(length: u64, mut answer: Answer) -> Answer {
    if let Answer::Response(response) = &mut answer {
        response
            .headers_mut()
            .insert("content-length", length.into());
    }
    answer
}

async fn read<E: Exchange>(app: &App, exchange: &mut E) -> Result<Bytes, BodyError> {
    let mut all = BytesMut::new();
    while let Some(piece) = poll_fn(|cx| exchange.poll_body(cx)).await {
        match piece {
            Ok(piece) => {
                app.body_pieces.borrow_mut().push(piece.len());
                all.extend_from_slice(&piece);
            }
            Err(error) => {
                app.body_errors.borrow_mut().push(error);
                return Err(error);
            }
        }
    }
    assert!(exchange.is_body_end());
    Ok(all.freeze())
}

#[derive(Clone, Copy)]
enum Last {
    End,
    Wait,
    Panic,
}

struct Script {
    frames: VecDeque<Result<Frame<Bytes>, Aborted>>,
    last: Last,
    _alive: Alive,
}

impl Body for Script {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match (self.frames.pop_front(), self.last) {
            (Some(frame), _) => Poll::Ready(Some(frame)),
            (None, Last::End) => Poll::Ready(None),
            (None, Last::Wait) => Poll::Pending,
            (None, Last::Panic) => panic!("planted"),
        }
    }
}

struct Endless {
    produced: Rc<Cell<usize>>,
    _alive: Alive,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.produced.set(self.produced.get() + 10_000);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 10_000])))))
    }
}

/// A connection that is being served.
struct Served {
    app: Rc<App>,
    watch: Rc<Watch>,
    task: JoinHandle<()>,
}

fn start(limits: Http2Limits) -> (Served, DuplexStream) {
    start_with(limits, Preface::Expected)
}

fn start_with(limits: Http2Limits, preface: Preface) -> (Served, DuplexStream) {
    let batch = Rc::default();
    let started = start_in(&batch, PIPE_BYTES, limits, preface);
    spawn_local(async move { batch.run().await });
    started
}

/// Starts one of the connections that write with `batch`, over a pipe of this size.
fn start_in(
    batch: &Rc<Batch<HeldFrames<DuplexStream>>>,
    pipe_bytes: usize,
    limits: Http2Limits,
    preface: Preface,
) -> (Served, DuplexStream) {
    let (ours, theirs) = duplex(pipe_bytes);
    let watch = Rc::new(Watch::new(Rc::new(Limits {
        park_after: Duration::from_millis(10),
        ..Limits::default()
    })));
    let (_, activity) = watch.add();
    let app = Rc::new(App::default());
    let connection = Arc::new(Connection {
        peer: Endpoint::Unix(None),
        local: Endpoint::Unix(None),
        scheme: Scheme::Http,
        tls: None,
        memo: Memo::default(),
    });
    let task = spawn_local(serve(
        ours,
        preface,
        Rc::clone(&app),
        connection,
        Rc::new(limits),
        activity,
        Rc::clone(batch),
    ));
    (Served { app, watch, task }, theirs)
}

async fn connect(limits: Http2Limits) -> (Served, SendRequest<Bytes>, JoinHandle<Option<Reason>>) {
    connect_with(limits, &mut h2::client::Builder::new()).await
}

async fn connect_with(
    limits: Http2Limits,
    builder: &mut h2::client::Builder,
) -> (Served, SendRequest<Bytes>, JoinHandle<Option<Reason>>) {
    let (served, io) = start(limits);
    let (client, connection) = builder.handshake(io).await.unwrap();
    let connection =
        spawn_local(async move { connection.await.err().and_then(|error| error.reason()) });
    (served, client.ready().await.unwrap(), connection)
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).unwrap()
}

/// Sends a request without a body and reads the whole answer.
async fn fetch(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(http::response::Parts, Bytes, Option<HeaderMap>), h2::Error> {
    poll_fn(|cx| client.poll_ready(cx)).await?;
    let (response, _) = client.send_request(request, true)?;
    let (parts, mut body) = response.await?.into_parts();
    let (bytes, trailers) = drain(&mut body).await?;
    Ok((parts, bytes, trailers))
}

async fn drain(body: &mut RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all.freeze(), body.trailers().await?))
}

/// Waits until the server's tasks have done what they can.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn answers_of_many_connections_that_are_written_together_come_whole() {
    local(async {
        let batch = Rc::default();
        let mut clients = Vec::new();
        for number in 0..8 {
            // Some take only a part of what was held back for them.
            let pipe_bytes = [PIPE_BYTES, 128][number % 2];
            let limits = Http2Limits::default();
            let (served, io) = start_in(&batch, pipe_bytes, limits, Preface::Expected);
            let shaking_hands = h2::client::handshake(io);
            clients.push((served, spawn_local(shaking_hands)));
        }
        let running = Rc::clone(&batch);
        spawn_local(async move { running.run().await });
        let mut fetching = Vec::new();
        for (served, shaking_hands) in clients {
            let (mut client, connection) = shaking_hands.await.unwrap().unwrap();
            spawn_local(connection);
            fetching.push(spawn_local(async move {
                for size in (0..1_000).step_by(30) {
                    let request = get(&format!("/sized?{size}"));
                    let (_, body, _) = fetch(&mut client, request).await.unwrap();
                    assert_eq!(body.len(), size);
                }
                served
            }));
        }
        for fetched in fetching {
            fetched.await.unwrap();
        }
    });
}

#[test]
fn an_answer_that_waits_for_its_turn_is_written_before_the_connection_ends() {
    local(async {
        // Nobody runs it: what it is given stays with it.
        let batch = Rc::new(Batch::default());
        let mut served = Vec::new();
        for _ in 0..3 {
            let limits = Http2Limits::default();
            let (each, mut io) = start_in(&batch, PIPE_BYTES, limits, Preface::Expected);
            raw_start(&mut io, &[]).await;
            io.write_all(&request_frame(1, "/hello")).await.unwrap();
            until(|| each.app.calls.get() == 1).await;
            io.shutdown().await.unwrap();
            served.push((each, io));
        }
        for (each, mut io) in served {
            each.task.await.unwrap();
            let mut received = Vec::new();
            io.read_to_end(&mut received).await.unwrap();
            let is_there = received.windows(5).any(|bytes| bytes == b"hello");
            assert!(is_there, "{received:?}");
        }
    });
}

#[test]
fn a_request_is_answered() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        for path in ["/hello", "/later"] {
            let (parts, body, _) = fetch(&mut client, get(path)).await.unwrap();
            assert_eq!(parts.status, 200);
            assert_eq!(body, path[1..]);
            assert_eq!(parts.headers["content-length"], "5");
            assert!(parts.headers.contains_key("date"));
        }
        let head = &served.app.heads.borrow()[0];
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.uri, "/hello");
        assert_eq!(head.headers["host"], "a");
        assert_eq!(served.app.live.get(), 0);
    });
}

#[test]
fn streams_are_served_concurrently() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (hung, _) = client.send_request(get("/hang"), true).unwrap();
        let (_, body, _) = fetch(&mut client, get("/hello")).await.unwrap();
        assert_eq!(body, "hello");
        assert_eq!(served.app.live.get(), 1);
        drop(hung);
    });
}

#[test]
fn a_body_larger_than_every_window_is_echoed() {
    local(async {
        let (_served, client, _) = connect(Http2Limits::default()).await;
        let mut client = client.ready().await.unwrap();
        let request = Request::post("http://a/echo").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        let sender = spawn_local(async move {
            for _ in 0..300 {
                let mut data = Bytes::from(vec![b'y'; 10_000]);
                while !data.is_empty() {
                    send.reserve_capacity(data.len());
                    let granted = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
                    send.send_data(data.split_to(granted.min(data.len())), false)
                        .unwrap();
                }
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
        let (parts, mut body) = response.await.unwrap().into_parts();
        let (bytes, _) = drain(&mut body).await.unwrap();
        sender.await.unwrap();
        assert_eq!(parts.status, 200);
        assert_eq!(bytes.len(), 3_000_000);
    });
}

#[test]
fn a_burst_of_small_frames_is_no_attack_when_it_is_read() {
    local(async {
        let mut bytes = frame(1, END_HEADERS, 1, &encode(&pseudo("/echo")));
        for _ in 0..20_000 {
            bytes.extend(frame(0, 0, 1, b"ten bytes."));
        }
        bytes.extend(frame(0, END_STREAM, 1, b"end"));
        let (served, received) = attack(Http2Limits::default(), bytes).await;
        assert_eq!(goaway(&received), None);
        until(|| served.app.live.get() == 0).await;
        let pieces = served.app.body_pieces.borrow();
        assert_eq!(pieces.iter().sum::<usize>(), 200_003);
        assert!(pieces.len() < 1_000, "{}", pieces.len());
    });
}

#[test]
fn a_body_that_nobody_reads_stops_the_client() {
    local(async {
        let limits = Http2Limits::default();
        let window = limits.stream_window as usize;
        let (_served, client, _) = connect(limits).await;
        let mut client = client.ready().await.unwrap();
        let request = Request::post("http://a/hang").body(()).unwrap();
        let (_response, mut body) = client.send_request(request, false).unwrap();
        let mut sent = 0;
        loop {
            body.reserve_capacity(10_000);
            let granted = tokio::time::timeout(
                Duration::from_millis(100),
                poll_fn(|cx| body.poll_capacity(cx)),
            );
            let Ok(granted) = granted.await else { break };
            let granted = granted.unwrap().unwrap();
            body.send_data(vec![0; granted].into(), false).unwrap();
            sent += granted;
        }
        assert_eq!(sent, window);
    });
}

#[test]
fn a_body_that_the_client_does_not_take_stops_the_application() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (response, _) = client.send_request(get("/endless"), true).unwrap();
        let body = response.await.unwrap().into_body();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let produced = served.app.produced.get();
        // the client's window of 65,535 bytes and one piece that waits
        assert!((65_535..=80_000).contains(&produced), "{produced}");
        assert_eq!(served.app.live.get(), 1);
        drop(body);
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_wide_window_buffers_at_most_64_kib_of_a_stream() {
    local(async {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 30);
        builder.initial_connection_window_size(1 << 30);
        let (served, mut io) = start(Http2Limits::default());
        // nobody reads the pipe, so the socket blocks while the windows stay open
        let mut settings = vec![0, 4];
        settings.extend(0x3fff_ffff_u32.to_be_bytes());
        raw_start(&mut io, &settings).await;
        let window = 0x3fff_0000_u32.to_be_bytes();
        io.write_all(&frame(8, 0, 0, &window)).await.unwrap();
        io.write_all(&request_frame(1, "/endless")).await.unwrap();
        until(|| served.app.produced.get() > 0).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let produced = served.app.produced.get();
        assert!(produced <= PIPE_BYTES + 64 * 1024 + 48 * 1024, "{produced}");
    });
}

#[test]
fn heads_and_statuses_without_a_body_get_none() {
    local(async {
        let (_served, mut client, _) = connect(Http2Limits::default()).await;
        let mut request = get("/sized?70000");
        *request.method_mut() = Method::HEAD;
        let (parts, body, _) = fetch(&mut client, request).await.unwrap();
        assert_eq!((parts.status.as_u16(), body.len()), (200, 0));
        let (parts, body, _) = fetch(&mut client, get("/empty")).await.unwrap();
        assert_eq!(parts.headers["content-length"], "0");
        assert!(body.is_empty());
    });
}

#[test]
fn trailers_follow_the_body() {
    local(async {
        let (_served, mut client, _) = connect(Http2Limits::default()).await;
        let (_, body, trailers) = fetch(&mut client, get("/trailers")).await.unwrap();
        assert_eq!(body, "ab");
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn early_hints_come_before_the_response() {
    local(async {
        let (_served, mut client, _) = connect(Http2Limits::default()).await;
        let (mut response, _) = client.send_request(get("/hints"), true).unwrap();
        let hint = poll_fn(|cx| response.poll_informational(cx)).await;
        let hint = hint.unwrap().unwrap();
        assert_eq!(hint.status(), StatusCode::EARLY_HINTS);
        assert_eq!(hint.headers()["link"], "</a.css>; rel=preload");
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn a_client_that_waits_is_told_to_continue_when_the_body_is_read() {
    local(async {
        let (_served, mut client, _) = connect(Http2Limits::default()).await;
        let request = Request::post("http://a/echo").header("expect", "100-continue");
        let (mut response, mut send) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        let interim = poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), StatusCode::CONTINUE);
        send.send_data("body".into(), true).unwrap();
        let (bytes, _) = drain(&mut response.await.unwrap().into_body())
            .await
            .unwrap();
        assert_eq!(bytes, "body");
    });
}

#[test]
fn fields_of_http_1_are_removed_from_responses() {
    local(async {
        let (_served, mut client, _) = connect(Http2Limits::default()).await;
        let (parts, _, _) = fetch(&mut client, get("/http1-fields")).await.unwrap();
        let names: Vec<_> = parts.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-kept", "content-length", "date"]);
    });
}

#[test]
fn a_response_that_cannot_be_finished_resets_its_stream() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        for path in [
            "/abort",
            "/stream-then-abort",
            "/too-short",
            "/full-mismatch",
        ] {
            let error = fetch(&mut client, get(path)).await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
            assert!(error.is_reset(), "{path}");
        }
        let (_, body, _) = fetch(&mut client, get("/hello")).await.unwrap();
        assert_eq!(body, "hello");
        until(|| served.app.live.get() == 0).await;
        let missing = [7, 7].map(|missing| Fault::BodyTooShort { missing });
        assert_eq!(*served.app.faults.borrow(), missing);
    });
}

#[test]
fn bytes_beyond_the_declared_length_are_left_out() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (_, body, _) = fetch(&mut client, get("/too-long")).await.unwrap();
        assert_eq!(body, "123");
        let faults = [Fault::BodyTooLong { declared: 3 }];
        assert_eq!(*served.app.faults.borrow(), faults);
    });
}

#[test]
fn a_panic_is_a_500_and_ends_nothing_else() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (hung, _) = client.send_request(get("/hang"), true).unwrap();
        for path in ["/panic", "/panic-later"] {
            let (parts, _, _) = fetch(&mut client, get(path)).await.unwrap();
            assert_eq!(parts.status, 500, "{path}");
        }
        let error = fetch(&mut client, get("/panic-in-body")).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(*served.app.faults.borrow(), [Fault::Panicked; 3]);
        assert_eq!(served.app.live.get(), 1);
        drop(hung);
    });
}

#[test]
fn a_reset_ends_the_application_of_that_stream_only() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (kept, _) = client.send_request(get("/hang"), true).unwrap();
        for path in ["/hang", "/stream-then-wait", "/endless"] {
            let (_response, mut send) = client.send_request(get(path), true).unwrap();
            let calls = served.app.calls.get();
            until(|| served.app.calls.get() > calls).await;
            assert_eq!(served.app.live.get(), 2, "{path}");
            send.send_reset(Reason::CANCEL);
            until(|| served.app.live.get() == 1).await;
        }
        drop(kept);
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_reset_while_the_body_is_read_ends_the_application() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let request = Request::post("http://a/echo").body(()).unwrap();
        let (_response, mut send) = client.send_request(request, false).unwrap();
        send.send_data("part".into(), false).unwrap();
        until(|| !served.app.body_pieces.borrow().is_empty()).await;
        send.send_reset(Reason::CANCEL);
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_vanished_client_ends_its_applications() {
    local(async {
        let (served, io) = start(Http2Limits::default());
        let (mut client, connection) = h2::client::handshake(io).await.unwrap();
        let connection = spawn_local(connection);
        let (_response, _) = client.send_request(get("/hang"), true).unwrap();
        until(|| served.app.live.get() == 1).await;
        connection.abort();
        served.task.await.unwrap();
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_websocket_is_a_byte_stream_both_ways() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        until(|| client.is_extended_connect_protocol_enabled()).await;
        let request = Request::connect("http://a/ws?x")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "echo");
        let mut body = response.into_body();
        for text in ["one", "two"] {
            send.send_data(text.into(), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), text);
        }
        assert_eq!(served.app.heads.borrow()[0].method, Method::GET);
        send.send_data(Bytes::new(), true).unwrap();
        assert!(drain(&mut body).await.unwrap().0.is_empty());
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_handshake_that_is_not_a_websocket_of_version_13_is_refused() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        until(|| client.is_extended_connect_protocol_enabled()).await;
        for (protocol, version, status) in [("websocket", "8", 426), ("connect-udp", "13", 501)] {
            let request = Request::connect("http://a/ws")
                .extension(h2::ext::Protocol::from(protocol))
                .header("sec-websocket-version", version)
                .body(())
                .unwrap();
            let (parts, _, _) = fetch(&mut client, request).await.unwrap();
            assert_eq!(parts.status.as_u16(), status, "{protocol}");
        }
        assert_eq!(served.app.calls.get(), 0);
    });
}

#[test]
fn a_graceful_stop_lets_streams_finish_and_refuses_new_ones() {
    local(async {
        let (served, mut client, connection) = connect(Http2Limits::default()).await;
        let request = Request::post("http://a/echo").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        until(|| served.app.calls.get() == 1).await;
        served.watch.stop(Stop::Graceful);
        while fetch(&mut client, get("/hello")).await.is_ok() {}
        send.send_data("done".into(), true).unwrap();
        let (bytes, _) = drain(&mut response.await.unwrap().into_body())
            .await
            .unwrap();
        assert_eq!(bytes, "done");
        assert_eq!(connection.await.unwrap(), None);
        served.task.await.unwrap();
    });
}

#[test]
fn an_idle_connection_ends_at_a_graceful_stop() {
    local(async {
        let (served, _client, connection) = connect(Http2Limits::default()).await;
        served.watch.stop(Stop::Graceful);
        served.task.await.unwrap();
        assert_eq!(connection.await.unwrap(), None);
    });
}

#[test]
fn a_client_that_ignores_the_graceful_stop_is_left() {
    local(async {
        let (served, mut io) = start(Http2Limits::default());
        raw_start(&mut io, &[]).await;
        served.watch.stop(Stop::Graceful);
        served.task.await.unwrap();
    });
}

#[test]
fn a_stop_now_ends_everything() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let (_response, _) = client.send_request(get("/hang"), true).unwrap();
        until(|| served.app.live.get() == 1).await;
        served.watch.stop(Stop::Now);
        served.task.await.unwrap();
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_connection_ends_after_its_last_request() {
    local(async {
        let limits = Http2Limits {
            max_requests: 3,
            ..Http2Limits::default()
        };
        let (served, mut client, connection) = connect(limits).await;
        for _ in 0..3 {
            fetch(&mut client, get("/hello")).await.unwrap();
        }
        assert_eq!(connection.await.unwrap(), None);
        served.task.await.unwrap();
        assert_eq!(served.app.calls.get(), 3);
    });
}

#[test]
fn only_an_idle_connection_makes_room() {
    local(async {
        let (served, mut client, connection) = connect(Http2Limits::default()).await;
        let (hung, mut send) = client.send_request(get("/hang"), true).unwrap();
        until(|| served.app.live.get() == 1).await;
        assert!(!served.watch.evict_longest_idle());
        send.send_reset(Reason::CANCEL);
        drop(hung);
        until(|| served.app.live.get() == 0).await;
        assert!(served.watch.evict_longest_idle());
        assert_eq!(connection.await.unwrap(), None);
        served.task.await.unwrap();
    });
}

#[test]
fn a_preface_that_was_read_before_is_not_expected_again() {
    local(async {
        let (served, mut io) = start_with(Http2Limits::default(), Preface::Read);
        io.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        io.write_all(&request_frame(1, "/hello")).await.unwrap();
        while read_frame(&mut io).await.unwrap().kind != 0 {}
        assert_eq!(served.app.calls.get(), 1);
    });
}

#[test]
fn a_silent_client_is_given_up_before_its_preface() {
    local(async {
        let limits = Http2Limits {
            preface_timeout: Duration::from_millis(20),
            ..Http2Limits::default()
        };
        let (served, _io) = start(limits);
        served.task.await.unwrap();
    });
}

#[test]
fn a_client_that_answers_no_ping_is_given_up() {
    local(async {
        let limits = Http2Limits {
            ping_interval: Some(Duration::from_millis(100)),
            ping_timeout: Duration::from_millis(100),
            ..Http2Limits::default()
        };
        let (served, mut io) = start(limits);
        raw_start(&mut io, &[]).await;
        io.write_all(&request_frame(1, "/hang")).await.unwrap();
        served.task.await.unwrap();
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_response_behind_a_closed_window_is_given_up() {
    local(async {
        let limits = Http2Limits {
            write_stall: Duration::from_millis(100),
            ..Http2Limits::default()
        };
        let mut builder = h2::client::Builder::new();
        let builder = builder.initial_window_size(0);
        let (served, mut client, _) = connect_with(limits, builder).await;
        let (response, _) = client.send_request(get("/endless"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn a_client_that_takes_a_response_by_drips_is_given_up() {
    local(async {
        let limits = Http2Limits {
            min_write_rate: 1_000_000_000,
            rate_grace: Duration::from_millis(10),
            ..Http2Limits::default()
        };
        let mut builder = h2::client::Builder::new();
        let builder = builder.initial_window_size(10);
        let (_served, mut client, _) = connect_with(limits, builder).await;
        let (response, _) = client.send_request(get("/endless"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let error = drain(&mut body).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    });
}

#[test]
fn a_body_that_does_not_come_is_too_slow() {
    local(async {
        let limits = Http2Limits {
            body_idle: Duration::from_millis(100),
            ..Http2Limits::default()
        };
        let (served, mut client, _) = connect(limits).await;
        let request = Request::post("http://a/echo").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data("x".into(), false).unwrap();
        response.await.unwrap_err();
        assert_eq!(*served.app.body_errors.borrow(), [BodyError::TooSlow]);
    });
}

#[test]
fn a_grpc_call_may_be_silent() {
    local(async {
        let limits = Http2Limits {
            body_idle: Duration::from_millis(1),
            ..Http2Limits::default()
        };
        let (_served, mut client, _) = connect(limits).await;
        let call = Request::post("http://a/echo").header("content-type", "application/grpc");
        let (response, mut send) = client.send_request(call.body(()).unwrap(), false).unwrap();
        let plain = Request::post("http://a/echo").body(()).unwrap();
        let (timed, _send) = client.send_request(plain, false).unwrap();
        timed.await.unwrap_err();
        send.send_data("late".into(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// HPACK: literals without indexing and without Huffman coding, so that anything can be said.
fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let string = |bytes: &mut Vec<u8>, text: &[u8]| {
        if text.len() < 127 {
            bytes.push(u8::try_from(text.len()).unwrap());
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend(text);
    };
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, value);
    }
    bytes
}

fn pseudo(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (":method", b"GET".to_vec()),
        (":scheme", b"http".to_vec()),
        (":authority", b"a".to_vec()),
        (":path", path.as_bytes().to_vec()),
    ]
}

fn encode(fields: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(n, v)| (*n, v.as_slice())).collect();
    block(&fields)
}

fn request_frame(stream: u32, path: &str) -> Vec<u8> {
    let block = encode(&pseudo(path));
    frame(1, END_STREAM | END_HEADERS, stream, &block)
}

async fn raw_start(io: &mut DuplexStream, settings: &[u8]) {
    io.write_all(PREFACE).await.unwrap();
    io.write_all(&frame(4, 0, 0, settings)).await.unwrap();
}

#[derive(Debug, PartialEq, Eq)]
struct Received {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Received {
    fn reason(&self) -> Option<Reason> {
        let at = match self.kind {
            3 => 0,
            7 => 4,
            _ => return None,
        };
        let code: [u8; 4] = self.payload[at..at + 4].try_into().unwrap();
        Some(u32::from_be_bytes(code).into())
    }
}

async fn read_frame(io: &mut (impl AsyncReadExt + Unpin)) -> Option<Received> {
    let mut header = [0; 9];
    io.read_exact(&mut header).await.ok()?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; length as usize];
    io.read_exact(&mut payload).await.ok()?;
    Some(Received {
        kind: header[3],
        stream: u32::from_be_bytes(header[5..9].try_into().unwrap()),
        payload,
    })
}

/// Sends `bytes` to a fresh connection while reading what it says, until it closes or has
/// answered a PING that followed everything else that it had to say.
async fn attack(limits: Http2Limits, bytes: Vec<u8>) -> (Served, Vec<Received>) {
    let (served, mut io) = start(limits);
    raw_start(&mut io, &[]).await;
    let (mut reader, mut writer) = tokio::io::split(io);
    let answered = Rc::new(Notify::new());
    let first_answered = Rc::clone(&answered);
    let sender = spawn_local(async move {
        let _ = writer.write_all(&bytes).await;
        let _ = writer.write_all(&frame(6, 0, 0, b"received")).await;
        // an answer to a PING overtakes resets; the answer to the next one does not
        first_answered.notified().await;
        let _ = writer.write_all(&frame(6, 0, 0, b"said all")).await;
        writer
    });
    let mut received = Vec::new();
    while let Some(frame) = read_frame(&mut reader).await {
        let ping = frame.kind == 6;
        if ping && frame.payload == b"received" {
            answered.notify_one();
        }
        let last = ping && frame.payload == b"said all";
        received.push(frame);
        if last {
            break;
        }
    }
    answered.notify_one();
    drop(reader);
    drop(sender.await);
    (served, received)
}

fn goaway(received: &[Received]) -> Option<Reason> {
    let goaway = received.iter().find(|frame| frame.kind == 7);
    goaway.and_then(Received::reason)
}

fn resets(received: &[Received]) -> Vec<Reason> {
    received
        .iter()
        .filter(|frame| frame.kind == 3)
        .filter_map(Received::reason)
        .collect()
}

#[test]
fn floods_end_the_connection_with_enhance_your_calm() {
    let hung = || request_frame(1, "/hang");
    let window = 100_u32.to_be_bytes();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>, usize)> = vec![
        ("D05 ping", vec![], frame(6, 0, 0, &[0; 8]), 100_000),
        ("D05 ping ack", vec![], frame(6, 1, 0, &[0; 8]), 100_000),
        ("D06 settings", vec![], frame(4, 0, 0, &[]), 100_000),
        (
            "D08 empty data",
            {
                let block = encode(&pseudo("/hang"));
                frame(1, END_HEADERS, 1, &block)
            },
            frame(0, 0, 1, &[]),
            300_000,
        ),
        (
            "D09 tiny data unread",
            {
                let block = encode(&pseudo("/hang"));
                frame(1, END_HEADERS, 1, &block)
            },
            frame(0, 0, 1, b"x"),
            60_000,
        ),
        (
            "D09 tiny data read",
            {
                let block = encode(&pseudo("/echo"));
                frame(1, END_HEADERS, 1, &block)
            },
            frame(0, 0, 1, b"x"),
            60_000,
        ),
        ("window update", hung(), frame(8, 0, 1, &window), 100_000),
        (
            "priority",
            hung(),
            frame(2, 0, 1, &[0, 0, 0, 0, 1]),
            100_000,
        ),
        ("unknown", vec![], frame(0x42, 0, 0, &[]), 100_000),
        (
            "D04 continuation",
            frame(1, 0, 1, &[]),
            frame(9, 0, 1, &[]),
            5_000,
        ),
        (
            "D04 large continuation",
            frame(1, 0, 1, &[]),
            frame(9, 0, 1, &block(&[("x", &[b'y'; 8_000])])),
            1_000,
        ),
    ];
    for (name, first, each, count) in cases {
        local(async move {
            let mut bytes = first;
            for _ in 0..count {
                bytes.extend(&each);
            }
            let (served, received) = attack(Http2Limits::default(), bytes).await;
            assert_eq!(goaway(&received), Some(Reason::ENHANCE_YOUR_CALM), "{name}");
            served.task.await.unwrap();
            until(|| served.app.live.get() == 0).await;
            let pieces = served.app.body_pieces.borrow().len();
            assert!(pieces < 1_000, "{name}: {pieces} pieces");
        });
    }
}

#[test]
fn rapid_resets_end_the_connection_d01() {
    // all in one write, and one read at a time
    for piece in [usize::MAX, 1] {
        local(async move {
            let (served, mut io) = start(Http2Limits::default());
            raw_start(&mut io, &[]).await;
            let (mut reader, mut writer) = tokio::io::split(io);
            let app = Rc::clone(&served.app);
            let sender = spawn_local(async move {
                for number in 0..20_000_u32 {
                    let stream = number * 2 + 1;
                    let mut bytes = request_frame(stream, "/hang");
                    if piece == 1 {
                        if writer.write_all(&bytes).await.is_err() {
                            break;
                        }
                        let calls = app.calls.get();
                        for _ in 0..10 {
                            if app.calls.get() > calls {
                                break;
                            }
                            tokio::task::yield_now().await;
                        }
                        bytes.clear();
                    }
                    bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
                    if writer.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                writer
            });
            let mut received = Vec::new();
            while let Some(frame) = read_frame(&mut reader).await {
                received.push(frame);
            }
            assert_eq!(goaway(&received), Some(Reason::ENHANCE_YOUR_CALM));
            served.task.await.unwrap();
            drop(reader);
            drop(sender.await);
            assert!(served.app.calls.get() <= 110, "{}", served.app.calls.get());
            until(|| served.app.live.get() == 0).await;
        });
    }
}

/// What is sent after a stream was opened.
type Second = Box<dyn Fn(u32) -> Vec<u8>>;

#[test]
fn a_client_that_makes_the_server_reset_is_cut_off_d02() {
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let seconds: Vec<(&str, Second)> = vec![
        (
            "window overflow",
            Box::new(move |s| frame(8, 0, s, &overflow)),
        ),
        ("zero window update", Box::new(|s| frame(8, 0, s, &[0; 4]))),
        ("data after the end", Box::new(|s| frame(0, 0, s, b"x"))),
        (
            "self dependency",
            Box::new(|s| {
                let mut payload = s.to_be_bytes().to_vec();
                payload.push(1);
                frame(2, 0, s, &payload)
            }),
        ),
    ];
    for (name, second) in seconds {
        local(async move {
            let mut bytes = Vec::new();
            for number in 0..5_000_u32 {
                let stream = number * 2 + 1;
                bytes.extend(request_frame(stream, "/hang"));
                bytes.extend(second(stream));
            }
            let (served, received) = attack(Http2Limits::default(), bytes).await;
            assert!(goaway(&received).is_some(), "{name}");
            assert!(resets(&received).len() <= 40, "{name}");
            served.task.await.unwrap();
            assert!(served.app.calls.get() <= 100, "{name}");
            until(|| served.app.live.get() == 0).await;
        });
    }
}

#[test]
fn our_own_resets_for_malformed_requests_count_too() {
    local(async {
        let mut bytes = Vec::new();
        for number in 0..1_000_u32 {
            let mut fields = pseudo("/hello");
            fields.push(("x", b" padded".to_vec()));
            let block = encode(&fields);
            bytes.extend(frame(1, END_STREAM | END_HEADERS, number * 2 + 1, &block));
        }
        let (served, received) = attack(Http2Limits::default(), bytes).await;
        assert_eq!(goaway(&received), Some(Reason::ENHANCE_YOUR_CALM));
        served.task.await.unwrap();
        assert_eq!(served.app.calls.get(), 0);
    });
}

#[test]
fn more_streams_than_allowed_are_refused() {
    local(async {
        let mut bytes = Vec::new();
        for number in 0..110_u32 {
            bytes.extend(request_frame(number * 2 + 1, "/hang"));
        }
        let (served, received) = attack(Http2Limits::default(), bytes).await;
        assert_eq!(resets(&received), vec![Reason::REFUSED_STREAM; 10]);
        assert_eq!(served.app.most_live.get(), 100);
    });
}

#[test]
fn malformed_requests_never_reach_the_application() {
    let with = |name: &'static str, value: &[u8]| {
        let mut fields = pseudo("/hello");
        fields.push((name, value.to_vec()));
        encode(&fields)
    };
    let replaced = |name: &'static str, value: &[u8]| {
        let mut fields = pseudo("/hello");
        for field in &mut fields {
            if field.0 == name {
                field.1 = value.to_vec();
            }
        }
        encode(&fields)
    };
    let without = |name: &'static str| {
        let mut fields = pseudo("/hello");
        fields.retain(|field| field.0 != name);
        encode(&fields)
    };
    let late = {
        let mut fields = pseudo("/hello");
        fields.insert(0, ("x", b"y".to_vec()));
        encode(&fields)
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("D17 upper case", with("X", b"y")),
        ("D17 connection", with("connection", b"close")),
        ("D17 te", with("te", b"gzip")),
        (
            "D17 transfer-encoding",
            with("transfer-encoding", b"chunked"),
        ),
        ("D17 upgrade", with("upgrade", b"h2c")),
        ("D17 keep-alive", with("keep-alive", b"x")),
        ("D17 CR in value", with("x", b"a\rb")),
        ("D17 LF in value", with("x", b"a\nb")),
        ("D17 NUL in value", with("x", b"a\0b")),
        ("D17 colon in name", with("x:y", b"z")),
        ("D17 space in name", with("x y", b"z")),
        ("D17 LF in name", with("x\ny", b"z")),
        ("D17 empty name", with("", b"z")),
        ("D18 no method", without(":method")),
        ("D18 no scheme", without(":scheme")),
        ("D18 no path", without(":path")),
        ("D18 two paths", with(":path", b"/")),
        ("D18 unknown", with(":secret", b"x")),
        ("D18 status", with(":status", b"200")),
        ("D18 late", late),
        (
            "D18 protocol without CONNECT",
            with(":protocol", b"websocket"),
        ),
        ("D19 relative", replaced(":path", b"foo")),
        ("D19 empty", replaced(":path", b"")),
        ("D19 space", replaced(":path", b"/a b")),
        ("D19 absolute", replaced(":path", b"http://evil/x")),
        ("D19 line break", replaced(":path", b"/\r\nx")),
        ("D19 8-bit", replaced(":path", "/\u{fc}".as_bytes())),
        ("D21 method", replaced(":method", b"GET / HTTP/1.1")),
        ("D21 scheme", replaced(":scheme", b"http://x")),
        ("authority with user", replaced(":authority", b"u@a")),
        ("authority empty", replaced(":authority", b"")),
        ("host differs", with("host", b"b")),
        ("no authority", without(":authority")),
        ("D22 length without a body", with("content-length", b"5")),
        ("D22 length not a number", with("content-length", b"x")),
        ("D22 length signed", with("content-length", b"+0")),
        ("D23 leading space", with("x", b" y")),
        ("D23 trailing tab", with("x", b"y\t")),
    ];
    for (name, block) in cases {
        local(async move {
            let bytes = frame(1, END_STREAM | END_HEADERS, 1, &block);
            let (served, received) = attack(Http2Limits::default(), bytes).await;
            let refused = goaway(&received).is_some()
                || !resets(&received).is_empty()
                || received.iter().any(|frame| frame.kind == 1);
            assert!(refused, "{name}: {received:?}");
            assert_eq!(served.app.calls.get(), 0, "{name}");
        });
    }
}

#[test]
fn a_body_of_another_length_than_declared_is_malformed_d22() {
    for (declared, sent) in [("3", "123456"), ("10", "123")] {
        local(async move {
            let mut fields = pseudo("/echo");
            fields.push(("content-length", declared.as_bytes().to_vec()));
            let mut bytes = frame(1, END_HEADERS, 1, &encode(&fields));
            bytes.extend(frame(0, END_STREAM, 1, sent.as_bytes()));
            let (served, received) = attack(Http2Limits::default(), bytes).await;
            assert_eq!(resets(&received), [Reason::PROTOCOL_ERROR]);
            until(|| served.app.live.get() == 0).await;
        });
    }
}

#[test]
fn protocol_errors_end_the_stream_or_connection() {
    let open = || frame(1, END_HEADERS, 1, &encode(&pseudo("/hang")));
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        (
            "D03",
            [open(), frame(8, 0, 1, &[0; 4])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        ("D15", frame(8, 0, 0, &overflow), Reason::FLOW_CONTROL_ERROR),
        (
            "D24 pad",
            [open(), frame(0, 8, 1, &[200, 0])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "continuation alone",
            frame(9, 4, 1, &[]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "data on stream 0",
            frame(0, 0, 0, b"x"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "even stream",
            request_frame(2, "/hello"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "frame too large",
            frame(0x42, 0, 0, &[0; 16_385]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "bad index",
            frame(1, 5, 1, &[0xff, 0xff, 0xff, 0x7f]),
            Reason::PROTOCOL_ERROR,
        ),
    ];
    for (name, bytes, reason) in cases {
        local(async move {
            let (_served, received) = attack(Http2Limits::default(), bytes).await;
            let told = goaway(&received).or_else(|| resets(&received).first().copied());
            let told = told.unwrap_or_else(|| panic!("{name}: {received:?}"));
            let compression = name == "bad index" && told == Reason::COMPRESSION_ERROR;
            assert!(told == reason || compression, "{name}: {told:?}");
        });
    }
}

#[test]
fn a_head_of_too_many_or_too_large_fields_is_refused() {
    let crumbs = |count: usize| {
        let mut fields = pseudo("/hello");
        fields.extend((0..count).map(|_| ("cookie", b"a=1".to_vec())));
        encode(&fields)
    };
    let large = |size: usize| {
        let mut fields = pseudo("/hello");
        fields.push(("x", vec![b'y'; size]));
        encode(&fields)
    };
    // `accept-encoding: gzip, deflate` by its index in the static table, again and again
    let bomb = |count: usize| [encode(&pseudo("/hello")), vec![0x90; count]].concat();
    // name, header block, whether it may be answered with 431 (else the connection ends)
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("D12 1,000 crumbs", crumbs(1_000), true),
        ("101 crumbs", crumbs(101), true),
        ("one field of 40 KB", large(40_000), true),
        ("D11 bomb", bomb(16_000), false),
    ];
    for (name, block, answered) in cases {
        local(async move {
            let mut pieces = block.chunks(16_384).peekable();
            let flags = if pieces.len() == 1 { 5 } else { 1 };
            let mut bytes = frame(1, flags, 1, pieces.next().unwrap());
            while let Some(piece) = pieces.next() {
                let flags = if pieces.peek().is_none() { 4 } else { 0 };
                bytes.extend(frame(9, flags, 1, piece));
            }
            let (served, received) = attack(Http2Limits::default(), bytes).await;
            assert_eq!(served.app.calls.get(), 0, "{name}");
            if answered {
                let head = received.iter().find(|frame| frame.kind == 1).expect(name);
                let text = String::from_utf8_lossy(&head.payload).into_owned();
                assert!(
                    text.contains("431") || head.payload.len() < 60,
                    "{name}: {text}"
                );
            } else {
                assert_eq!(goaway(&received), Some(Reason::ENHANCE_YOUR_CALM), "{name}");
            }
        });
    }
}

#[test]
fn a_hundred_fields_are_fine_and_cookies_are_joined() {
    local(async {
        let mut fields = pseudo("/hello");
        fields.extend((0..100).map(|_| ("cookie", b"a=1".to_vec())));
        let bytes = frame(1, END_STREAM | END_HEADERS, 1, &encode(&fields));
        let (served, _) = attack(Http2Limits::default(), bytes).await;
        let heads = served.app.heads.borrow();
        assert_eq!(heads[0].headers["cookie"].len(), 100 * 3 + 99 * 2);
        let first = heads[0].headers.iter().next().unwrap();
        assert_eq!((first.0.as_str(), first.1.as_bytes()), ("host", &b"a"[..]));
    });
}

#[test]
fn a_window_may_become_negative_d14() {
    local(async {
        let limits = Http2Limits {
            write_stall: Duration::from_millis(100),
            ..Http2Limits::default()
        };
        let (served, mut io) = start(limits);
        raw_start(&mut io, &[]).await;
        io.write_all(&request_frame(1, "/endless")).await.unwrap();
        let mut taken = 0;
        while taken < 30_000 {
            let received = read_frame(&mut io).await.unwrap();
            taken += if received.kind == 0 {
                received.payload.len()
            } else {
                0
            };
        }
        io.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]))
            .await
            .unwrap();
        io.write_all(&frame(8, 0, 1, &1_u32.to_be_bytes()))
            .await
            .unwrap();
        let reset = loop {
            let received = read_frame(&mut io).await.unwrap();
            if let Some(reason) = received.reason() {
                break reason;
            }
        };
        assert_eq!(reset, Reason::CANCEL);
        until(|| served.app.live.get() == 0).await;
    });
}

#[test]
fn extended_connect_is_refused_when_it_was_not_offered_d27() {
    local(async {
        let limits = Http2Limits {
            websocket: false,
            ..Http2Limits::default()
        };
        let mut fields = pseudo("/ws");
        fields[0].1 = b"CONNECT".to_vec();
        fields.push((":protocol", b"websocket".to_vec()));
        let bytes = frame(1, END_HEADERS, 1, &encode(&fields));
        let (served, received) = attack(limits, bytes).await;
        assert_eq!(resets(&received), [Reason::PROTOCOL_ERROR]);
        assert_eq!(served.app.calls.get(), 0);
    });
}

#[test]
fn padding_is_charged_and_harmless_d24() {
    local(async {
        let mut payload = vec![255, b'x'];
        payload.extend([0; 255]);
        let mut bytes = frame(1, END_HEADERS, 1, &encode(&pseudo("/echo")));
        for _ in 0..1_000 {
            bytes.extend(frame(0, 8, 1, &payload));
        }
        bytes.extend(frame(0, END_STREAM, 1, b"end"));
        let (served, received) = attack(Http2Limits::default(), bytes).await;
        assert_eq!(goaway(&received), None);
        until(|| served.app.live.get() == 0).await;
        assert_eq!(served.app.body_pieces.borrow().iter().sum::<usize>(), 1_003);
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    local(async {
        let limits = Http2Limits {
            write_stall: Duration::from_millis(100),
            ..Http2Limits::default()
        };
        let (served, mut io) = start(limits);
        raw_start(&mut io, &[]).await;
        for stream in [1, 3, 5] {
            io.write_all(&request_frame(stream, "/sized?60000"))
                .await
                .unwrap();
        }
        served.task.await.unwrap();
    });
}

#[test]
fn pings_within_the_budget_are_answered() {
    local(async {
        let limits = Http2Limits {
            ping_budget: Budget {
                burst: 11,
                per_second: 0,
            },
            ..Http2Limits::default()
        };
        let (_served, received) = attack(limits, frame(6, 0, 0, &[7; 8]).repeat(9)).await;
        assert_eq!(received.iter().filter(|frame| frame.kind == 6).count(), 11);
        assert_eq!(goaway(&received), None);
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    // a small xorshift: the same bytes in every run
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    for round in 0..300 {
        let mut bytes = Vec::new();
        for number in 0..20 {
            let choice = random() % 3;
            if choice == 0 {
                bytes.extend(request_frame(number * 2 + 1, "/later"));
            } else if choice == 1 {
                let mut valid = request_frame(number * 2 + 1, "/echo");
                let at = usize::from(random()) % valid.len();
                valid[at] = random();
                bytes.extend(valid);
            } else {
                let (kind, flags, stream) = (random() % 11, random(), u32::from(random() % 12));
                let payload: Vec<u8> = (0..random() % 40).map(|_| random()).collect();
                bytes.extend(frame(kind, flags, stream, &payload));
            }
        }
        local(async move {
            let (served, mut io) = start(Http2Limits::default());
            raw_start(&mut io, &[]).await;
            let (mut reader, mut writer) = tokio::io::split(io);
            let reading =
                spawn_local(async move { while read_frame(&mut reader).await.is_some() {} });
            let _ = writer.write_all(&bytes).await;
            let _ = writer.shutdown().await;
            served
                .task
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            reading.await.unwrap();
            until(|| served.app.live.get() == 0).await;
        });
    }
}
