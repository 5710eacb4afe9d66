//! WebSocket sessions over an in-memory pipe: hand-made frames for the cases of group E, and
//! tungstenite as a peer that was written by others.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Response};
use spikard::message::body::ResponseBody;
use spikard::message::head::Head;
use spikard::protocol::websocket::close::Close;
use spikard::protocol::websocket::frame;
use spikard::server::limits::Limits as ServerLimits;
use spikard::server::listener::{Listener, Server};
use spikard::server::shutdown::{self, Stop, StopReceiver, StopSender};
use spikard::server::websocket::{Closed, Driver, Incoming, Limits, Outgoing, Session, open};
use spikard::server::{Answer, Application, Called, Exchange, Fault, UpgradedIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

const MASK: [u8; 4] = [7, 0x80, 0x55, 1];
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// A time that passes in a test.
const SHORT: Duration = Duration::from_millis(30);

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

/// One session and the other end of its connection.
struct Pair {
    session: Rc<Session>,
    driver: JoinHandle<()>,
    peer: Peer,
    stop: StopSender,
}

struct Peer(DuplexStream);

/// A frame that the server sent.
#[derive(Debug, PartialEq, Eq)]
struct Sent(u8, Vec<u8>);

impl Pair {
    fn open() -> Self {
        Self::with(Limits::default(), 64 * 1024)
    }

    fn with(limits: Limits, pipe_bytes: usize) -> Self {
        let (ours, theirs) = duplex(pipe_bytes);
        let (stop, receiver) = shutdown::channel();
        let (session, driver) = open(Box::new(ours), limits, receiver);
        Self {
            session: Rc::new(session),
            driver: spawn_local(driver),
            peer: Peer(theirs),
            stop,
        }
    }
}

impl Peer {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.0.write_all(&masked(first, payload)).await.unwrap();
    }

    async fn recv(&mut self) -> Sent {
        self.next().await.expect("the server closed")
    }

    /// The next frame, `None` at the end of the connection.
    async fn next(&mut self) -> Option<Sent> {
        let first = self.0.read_u8().await.ok()?;
        let length = match self.0.read_u8().await.unwrap() {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        Some(Sent(first, payload))
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

fn close_frame(code: u16, reason: &str) -> Sent {
    Sent(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn closed(code: u16, reason: &str) -> Incoming {
    Incoming::Closed(Close {
        code,
        reason: reason.into(),
    })
}

fn close(code: u16) -> Close {
    Close {
        code,
        reason: String::new(),
    }
}

fn text(text: &'static str) -> Outgoing {
    Outgoing::Text(Bytes::from_static(text.as_bytes()))
}

fn code_of(incoming: &Incoming) -> u16 {
    match incoming {
        Incoming::Closed(close) => close.code,
        other => panic!("expected the end, got {other:?}"),
    }
}

/// Whether a future is pending after everything else has had its turn.
async fn is_pending<F: Future>(future: F) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..100 {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[test]
fn messages_go_both_ways_at_every_length() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::open();
        for length in [0, 1, 125, 126, 4095, 4096, 65535, 65536, 300_000] {
            let payload: Vec<u8> = (0..length)
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            let echo = async {
                let message = session.recv().await;
                let Incoming::Binary(bytes) = message else {
                    panic!("got {message:?}")
                };
                session.send(Outgoing::Binary(bytes)).await.unwrap();
            };
            let ask = async {
                peer.send(BINARY, &payload).await;
                peer.recv().await
            };
            let ((), sent) = tokio::join!(echo, ask);
            assert_eq!(sent, Sent(BINARY, payload.clone()), "{length} bytes");
        }
        session.send(text("é")).await.unwrap();
        assert_eq!(peer.recv().await, Sent(TEXT, "é".into()));
    });
}

#[test]
fn a_waiting_receive_does_not_stop_a_send() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::open();
        let receiver = Rc::clone(&session);
        let receiving = spawn_local(async move { receiver.recv().await });
        session.send(text("out")).await.unwrap();
        assert_eq!(peer.recv().await, Sent(TEXT, "out".into()));
        peer.send(TEXT, b"in").await;
        assert_eq!(receiving.await.unwrap(), Incoming::Text("in".into()));
    });
}

#[test]
fn fragments_are_joined_and_pings_between_them_are_answered() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::open();
        peer.send(0x01, &[0xe2]).await;
        peer.send(PING, b"now").await;
        assert_eq!(peer.recv().await, Sent(PONG, b"now".into()));
        peer.send(0x80, &[0x82, 0xac]).await;
        assert_eq!(session.recv().await, Incoming::Text("€".into()));
    });
}

#[test]
fn every_violation_is_closed_with_its_code() {
    let long = |first: u8, length: u64| [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat();
    let cases = [
        ("E01 unmasked", vec![TEXT, 1, b'a'], 1002),
        ("E01 rsv1", masked(0xc1, b"a"), 1002),
        ("E01 rsv2", masked(0xa1, b"a"), 1002),
        ("E01 rsv3", masked(0x91, b"a"), 1002),
        ("E01 opcode 3", masked(0x83, b"a"), 1002),
        ("E01 opcode 11", masked(0x8b, b"a"), 1002),
        ("E01 fragmented ping", masked(0x09, b"a"), 1002),
        ("E01 ping of 126 bytes", masked(PING, &[0; 126]), 1002),
        ("E01 continuation first", masked(0x80, b"a"), 1002),
        (
            "E01 text in text",
            [masked(0x01, b"a"), masked(TEXT, b"b")].concat(),
            1002,
        ),
        ("E02 ff fe", masked(TEXT, b"\xff\xfe"), 1007),
        ("E02 surrogate", masked(TEXT, b"\xed\xa0\x80"), 1007),
        ("E02 overlong", masked(TEXT, b"\xc0\xaf"), 1007),
        (
            "E02 split",
            [masked(0x01, b"\xed"), masked(0x00, b"\xa0")].concat(),
            1007,
        ),
        (
            "E02 fails before the end",
            masked(TEXT, b"\xff and more")[..7].into(),
            1007,
        ),
        ("E02 reason", masked(CLOSE, b"\x03\xe8\xff"), 1007),
        ("E03 close of one byte", masked(CLOSE, b"\x03"), 1002),
        ("E03 999", masked(CLOSE, &999_u16.to_be_bytes()), 1002),
        ("E03 1005", masked(CLOSE, &1005_u16.to_be_bytes()), 1002),
        ("E03 1006", masked(CLOSE, &1006_u16.to_be_bytes()), 1002),
        ("E03 1015", masked(CLOSE, &1015_u16.to_be_bytes()), 1002),
        ("E03 65535", masked(CLOSE, &65535_u16.to_be_bytes()), 1002),
        ("E04 2^63+5", long(BINARY, (1 << 63) + 5), 1002),
        (
            "E04 1 GiB and 3 bytes",
            [long(BINARY, 1 << 30), vec![1, 2, 3]].concat(),
            1009,
        ),
        ("E05 17 MiB", long(BINARY, 17 << 20), 1009),
    ];
    local(async {
        for (name, bytes, code) in cases {
            let Pair {
                session,
                driver,
                mut peer,
                stop: _stop,
                ..
            } = Pair::open();
            peer.0.write_all(&bytes).await.unwrap();
            let Sent(first, payload) = peer.recv().await;
            assert_eq!(first, CLOSE, "{name}");
            assert_eq!(payload[..2], u16::to_be_bytes(code), "{name}");
            assert_eq!(peer.next().await, None, "{name}: the server's half is shut");
            assert_eq!(code_of(&session.recv().await), code, "{name}");
            assert_eq!(session.send(text("x")).await, Err(Closed), "{name}");
            drop(peer);
            driver.await.unwrap();
        }
    });
}

#[test]
fn fragments_over_the_limit_in_bytes_or_number_are_1009() {
    let cases = [
        ("E05", vec![0; 1 << 20], 70),
        ("E06", vec![], 200_000),
        ("E06", vec![1], 200_000),
    ];
    local(async {
        for (name, payload, times) in cases {
            let Pair {
                session,
                peer,
                stop: _stop,
                ..
            } = Pair::open();
            let (mut reader, mut writer) = tokio::io::split(peer.0);
            let flood = spawn_local(async move {
                let mut frame = masked(0x02, &payload);
                for _ in 0..times {
                    if writer.write_all(&frame).await.is_err() {
                        return;
                    }
                    frame[0] = 0x00;
                }
            });
            assert_eq!(reader.read_u8().await.unwrap(), CLOSE, "{name}");
            reader.read_u8().await.unwrap();
            assert_eq!(reader.read_u16().await.unwrap(), 1009, "{name}");
            assert_eq!(code_of(&session.recv().await), 1009, "{name}");
            flood.abort();
        }
    });
}

#[test]
fn a_message_of_exactly_the_limits_is_taken() {
    let frames = frame::Limits {
        max_message_bytes: 1000,
        max_fragments: 4,
    };
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(
            Limits {
                frames,
                ..Limits::default()
            },
            4096,
        );
        for first in [0x02, 0x00, 0x00, 0x80] {
            peer.send(first, &[9; 250]).await;
        }
        assert_eq!(session.recv().await, Incoming::Binary(vec![9; 1000].into()));
        peer.send(BINARY, &[9; 1001]).await;
        assert_eq!(peer.recv().await, close_frame(1009, "message too big"));
    });
}

#[test]
fn a_peers_close_is_echoed_and_the_connection_closed() {
    let cases: [(&[u8], Sent, Incoming); 3] = [
        (b"\x03\xe8bye", close_frame(1000, ""), closed(1000, "bye")),
        (b"\x0f\xa1", close_frame(4001, ""), closed(4001, "")),
        (b"", Sent(CLOSE, vec![]), closed(1005, "")),
    ];
    let limits = Limits {
        close_timeout: SHORT,
        ..Limits::default()
    };
    local(async {
        for (payload, echo, end) in cases {
            let Pair {
                session,
                driver,
                mut peer,
                stop: _stop,
                ..
            } = Pair::with(limits, 4096);
            peer.send(TEXT, b"last").await;
            peer.send(CLOSE, payload).await;
            assert_eq!(peer.recv().await, echo);
            assert_eq!(peer.next().await, None);
            assert_eq!(session.recv().await, Incoming::Text("last".into()));
            assert_eq!(session.recv().await, end);
            assert_eq!(session.recv().await, end, "again");
            assert_eq!(session.send(text("x")).await, Err(Closed));
            // E12: the peer keeps its half open; the connection ends all the same.
            driver.await.unwrap();
        }
    });
}

#[test]
fn our_close_waits_for_the_peers() {
    local(async {
        let Pair {
            session,
            driver,
            mut peer,
            stop: _stop,
            ..
        } = Pair::open();
        session.send(text("before")).await.unwrap();
        session.close(Close {
            code: 4000,
            reason: "done".into(),
        });
        session.close(close(1000));
        assert_eq!(session.send(text("after")).await, Err(Closed));
        assert_eq!(peer.recv().await, Sent(TEXT, "before".into()));
        assert_eq!(peer.recv().await, close_frame(4000, "done"));
        peer.send(TEXT, b"dropped").await;
        peer.send(PING, b"not answered").await;
        peer.send(CLOSE, &4000_u16.to_be_bytes()).await;
        assert_eq!(peer.next().await, None);
        assert_eq!(session.recv().await, closed(4000, ""));
        drop(peer);
        driver.await.unwrap();
    });
}

#[test]
fn a_peer_that_does_not_close_is_left_in_the_end() {
    let limits = Limits {
        close_timeout: SHORT,
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            driver,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 4096);
        session.close(close(1000));
        assert_eq!(peer.recv().await, close_frame(1000, ""));
        driver.await.unwrap();
        assert_eq!(session.recv().await, closed(1006, ""));
        assert_eq!(peer.next().await, None);
    });
}

#[test]
fn what_comes_while_closing_is_dropped_and_not_kept() {
    let limits = Limits {
        close_timeout: SHORT,
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            driver,
            mut peer,
            stop,
        } = Pair::with(limits, 4096);
        for _ in 0..40 {
            peer.send(TEXT, b"x").await;
        }
        stop.send(Stop::Graceful);
        // More than pipe and queue hold: it only goes through if it is read and dropped.
        for _ in 0..5000 {
            if peer.0.write_all(&masked(TEXT, b"more")).await.is_err() {
                break;
            }
        }
        driver.await.unwrap();
        let mut received = 0;
        while let Incoming::Text(_) = session.recv().await {
            received += 1;
        }
        assert!(received <= 40, "{received} messages were kept");
    });
}

#[test]
fn a_lost_connection_is_1006() {
    local(async {
        let Pair {
            session,
            driver,
            peer,
            stop: _stop,
            ..
        } = Pair::open();
        let receiver = Rc::clone(&session);
        let receiving = spawn_local(async move { receiver.recv().await });
        drop(peer);
        assert_eq!(receiving.await.unwrap(), closed(1006, ""));
        assert_eq!(session.send(text("x")).await, Err(Closed));
        driver.await.unwrap();
    });
}

#[test]
fn a_dropped_driver_ends_the_session() {
    local(async {
        let Pair {
            session,
            driver,
            stop: _stop,
            ..
        } = Pair::open();
        driver.abort();
        assert_eq!(session.recv().await, closed(1006, ""));
    });
}

#[test]
fn a_dropped_session_closes_with_1011() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::open();
        drop(session);
        assert_eq!(peer.recv().await, close_frame(1011, ""));
    });
}

#[test]
fn a_stop_closes_with_its_code() {
    local(async {
        let Pair {
            session,
            driver,
            mut peer,
            stop,
        } = Pair::open();
        stop.send(Stop::Graceful);
        let close = close_frame(1001, "server shutting down");
        assert_eq!(peer.recv().await, close);
        assert_eq!(code_of(&session.recv().await), 1001);
        assert_eq!(session.send(text("x")).await, Err(Closed));
        peer.send(CLOSE, &1001_u16.to_be_bytes()).await;
        assert_eq!(peer.next().await, None);
        drop(peer);
        driver.await.unwrap();
        let Pair {
            session,
            driver,
            mut peer,
            stop,
        } = Pair::open();
        stop.send(Stop::Now);
        driver.await.unwrap();
        assert_eq!(peer.next().await, None);
        assert_eq!(code_of(&session.recv().await), 1001);
    });
}

#[test]
fn a_session_opened_during_a_stop_closes() {
    local(async {
        let (ours, theirs) = duplex(4096);
        let (stop, receiver) = shutdown::channel();
        stop.send(Stop::Graceful);
        let (session, driver) = open(Box::new(ours), Limits::default(), receiver);
        spawn_local(driver);
        assert_eq!(
            Peer(theirs).recv().await,
            close_frame(1001, "server shutting down")
        );
        assert_eq!(code_of(&session.recv().await), 1001);
    });
}

#[test]
fn silence_is_pinged_and_an_answer_keeps_the_connection() {
    let limits = Limits {
        ping_interval: Some(SHORT),
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 4096);
        for _ in 0..3 {
            assert_eq!(peer.recv().await, Sent(PING, vec![]));
            peer.send(PONG, b"").await;
        }
        peer.send(TEXT, b"here").await;
        assert_eq!(session.recv().await, Incoming::Text("here".into()));
    });
}

#[test]
fn no_answer_to_a_ping_ends_the_session() {
    let limits = Limits {
        ping_interval: Some(SHORT),
        ping_timeout: Some(SHORT),
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 4096);
        assert_eq!(peer.recv().await, Sent(PING, vec![]));
        assert_eq!(peer.recv().await, close_frame(1011, "no answer to ping"));
        assert_eq!(session.recv().await, closed(1006, ""));
    });
}

#[test]
fn a_slow_application_is_not_taken_for_a_silent_peer() {
    let brief = Duration::from_millis(1);
    let limits = Limits {
        ping_interval: Some(brief),
        ping_timeout: Some(brief),
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 4096);
        peer.send(TEXT, b"a").await;
        // Nobody receives for many ping times; the peer is not pinged and not given up.
        assert!(tokio::time::timeout(SHORT, peer.recv()).await.is_err());
        assert_eq!(session.recv().await, Incoming::Text("a".into()));
    });
}

#[test]
fn pongs_to_a_peer_that_does_not_read_are_coalesced() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(Limits::default(), 1024);
        let (mut reader, mut writer) = tokio::io::split(peer.0);
        for number in 0..50_000_u32 {
            writer
                .write_all(&masked(
                    PING,
                    &[&number.to_be_bytes()[..], &[0; 121]].concat(),
                ))
                .await
                .unwrap();
        }
        session.send(text("end")).await.unwrap();
        let mut answers = Vec::new();
        while reader.read_u8().await.unwrap() == PONG {
            reader.read_u8().await.unwrap();
            answers.push(reader.read_u32().await.unwrap());
            reader.read_exact(&mut [0; 121]).await.unwrap();
        }
        assert!(answers.len() < 20, "{} pongs were queued", answers.len());
        peer = Peer(reader.unsplit(writer));
        peer.0.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(
            peer.recv().await,
            Sent(PONG, [&49_999_u32.to_be_bytes()[..], &[0; 121]].concat())
        );
    });
}

#[test]
fn send_waits_while_the_peer_does_not_read() {
    local(async {
        let limits = Limits {
            max_queued_bytes: 10_000,
            ..Limits::default()
        };
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 1024);
        let message = || Outgoing::Binary(vec![1; 1000].into());
        let mut sent = 0;
        while !is_pending(session.send(message())).await {
            sent += 1;
            assert!(sent < 20, "send never waits");
        }
        let waiting = spawn_local({
            let session = Rc::clone(&session);
            async move { session.send(text("end")).await }
        });
        for _ in 0..=sent {
            assert_eq!(peer.recv().await, Sent(BINARY, vec![1; 1000]));
        }
        assert_eq!(peer.recv().await, Sent(TEXT, b"end".into()));
        waiting.await.unwrap().unwrap();
    });
}

#[test]
fn a_peer_that_never_reads_is_cut_off() {
    let limits = Limits {
        max_queued_bytes: 1000,
        write_stall_timeout: SHORT,
        ..Limits::default()
    };
    local(async {
        let Pair {
            session,
            driver,
            peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 1024);
        assert_eq!(
            session.send(Outgoing::Binary(vec![0; 9000].into())).await,
            Err(Closed)
        );
        assert_eq!(session.recv().await, closed(1006, ""));
        driver.await.unwrap();
        drop(peer);
    });
}

#[test]
fn a_waiting_send_fails_when_the_peer_goes() {
    local(async {
        let limits = Limits {
            max_queued_bytes: 1000,
            ..Limits::default()
        };
        let Pair {
            session,
            peer,
            stop: _stop,
            ..
        } = Pair::with(limits, 1024);
        let waiting = spawn_local({
            let session = Rc::clone(&session);
            async move { session.send(Outgoing::Binary(vec![0; 9000].into())).await }
        });
        tokio::task::yield_now().await;
        drop(peer);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    });
}

#[test]
fn a_peer_that_sends_faster_than_the_application_receives_is_stopped() {
    local(async {
        let Pair {
            session,
            mut peer,
            stop: _stop,
            ..
        } = Pair::with(Limits::default(), 1024);
        let frame = masked(TEXT, b"0123456789");
        let mut written = 0;
        while !is_pending(peer.0.write_all(&frame)).await {
            written += frame.len();
            assert!(written < 16 * 1024, "{written} bytes were read ahead");
        }
        // A frame may have been cut by the wait: none is lost, and the flow goes on.
        for _ in 0..written / frame.len() {
            assert_eq!(session.recv().await, Incoming::Text("0123456789".into()));
        }
    });
}

#[test]
fn an_independent_client_agrees() {
    local(async {
        let (ours, theirs) = duplex(8192);
        let (_stop, receiver) = shutdown::channel();
        let (session, driver) = open(Box::new(ours), Limits::default(), receiver);
        let driver = spawn_local(driver);
        let echo = spawn_local(async move {
            loop {
                let message = match session.recv().await {
                    Incoming::Text(text) => Outgoing::Text(text),
                    Incoming::Binary(bytes) => Outgoing::Binary(bytes),
                    Incoming::Closed(close) => return close,
                };
                session.send(message).await.unwrap();
            }
        });
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for length in [0, 5, 125, 126, 5000, 70_000, 2_000_000] {
            for message in [
                Message::text("é".repeat(length / 2)),
                Message::binary(vec![5; length]),
            ] {
                let (mut sink, mut stream) = (&mut client).split();
                let (sent, echoed) = tokio::join!(sink.send(message.clone()), stream.next());
                sent.unwrap();
                assert_eq!(echoed.unwrap().unwrap(), message);
            }
        }
        client.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Pong("p".into())
        );
        client.close(None).await.unwrap();
        while let Some(Ok(_)) = client.next().await {}
        assert_eq!(
            echo.await.unwrap(),
            Close {
                code: 1005,
                reason: String::new()
            }
        );
        drop(client);
        driver.await.unwrap();
    });
}

#[test]
fn an_idle_session_takes_little_memory() {
    // W04 allows 16 KiB a connection, sockets and Python included: without buffers, which are
    // there only while something is under way, the two ends are well under one.
    assert!(size_of::<Driver>() < 768, "{}", size_of::<Driver>());
}

/// Echoes what comes over a WebSocket and answers 200 to everything else.
struct Echo(StopReceiver);

impl Application for Echo {
    fn call<E: Exchange>(self: &Rc<Self>, _head: Head, exchange: E) -> Called {
        let stop = self.0.clone();
        Called::waiting(async move {
            if !exchange.capabilities().websocket {
                return Answer::Response(Response::new(ResponseBody::Empty));
            }
            let handler = move |io: Box<dyn UpgradedIo>| {
                let (session, driver) = open(io, Limits::default(), stop);
                let echo = async move {
                    while let Incoming::Text(text) = session.recv().await {
                        session.send(Outgoing::Text(text)).await.unwrap();
                    }
                };
                Box::pin(async move {
                    tokio::join!(driver, echo);
                }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
            };
            Answer::Upgrade(HeaderMap::new(), Box::new(handler))
        })
    }

    fn report(&self, fault: Fault) {
        panic!("{fault}");
    }
}

/// A server on a free port, and a connection to it.
async fn serve() -> (Rc<Server<Echo>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = shutdown::channel();
    let app = Rc::new(Echo(receiver));
    let server = Rc::new(Server::new(app, ServerLimits::default(), None, sender));
    server.listen(Listener::Tcp(listener));
    (server, TcpStream::connect(address).await.unwrap())
}

#[test]
fn a_server_that_stops_closes_its_websockets() {
    local(async {
        let (server, stream) = serve().await;
        let (mut client, _) = client_async("ws://localhost/", stream).await.unwrap();
        let stopping = server.stop(Duration::from_secs(30));
        let closed = async move {
            let message = client.next().await.unwrap().unwrap();
            // The answer to the close goes out with the next read.
            assert!(client.next().await.is_none());
            message
        };
        let (cut, message) = tokio::join!(stopping, closed);
        let Message::Close(Some(close)) = message else {
            panic!("expected a close frame, got {message:?}");
        };
        assert_eq!((u16::from(close.code), cut), (1001, 0));
    });
}

#[test]
fn a_client_upgrades_over_http1_and_talks() {
    local(async {
        let (_server, stream) = serve().await;
        let (mut client, response) = client_async("ws://localhost/", stream).await.unwrap();
        assert_eq!(response.status(), 101);
        client.send(Message::text("over TCP")).await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::text("over TCP")
        );
        client.close(None).await.unwrap();
        while let Some(Ok(_)) = client.next().await {}
    });
}

#[test]
fn a_frame_right_behind_the_handshake_is_not_lost() {
    local(async {
        let (_server, mut stream) = serve().await;
        let head = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        let bytes = [head.as_bytes(), &masked(TEXT, b"early")].concat();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\x81\x05early") {
            assert_ne!(
                stream.read_buf(&mut answer).await.unwrap(),
                0,
                "the server closed"
            );
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
    });
}

#[test]
fn an_invalid_handshake_is_refused_before_the_application() {
    let key = "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let version = "sec-websocket-version: 13\r\n";
    let cases = [
        ("GET", version.to_owned(), "400"),
        (
            "GET",
            format!("{version}sec-websocket-key: AAAA\r\n"),
            "400",
        ),
        ("GET", format!("{version}{key}{key}"), "400"),
        ("GET", key.to_owned(), "426"),
        ("GET", format!("{key}sec-websocket-version: 12\r\n"), "426"),
        (
            "POST",
            format!("{version}{key}content-length: 0\r\n"),
            "400",
        ),
    ];
    local(async {
        for (method, fields, status) in cases {
            let (_server, mut stream) = serve().await;
            let head = format!(
                "{method} / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n{fields}\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                assert_ne!(
                    stream.read_buf(&mut answer).await.unwrap(),
                    0,
                    "the server closed"
                );
            }
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{fields}: {answer}"
            );
            let names_version = answer.contains("sec-websocket-version: 13");
            assert_eq!(names_version, status == "426", "{answer}");
        }
    });
}

#[test]
fn other_upgrades_are_ordinary_requests() {
    local(async {
        for fields in [
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n",
            "upgrade: websocket\r\n",
        ] {
            let (_server, mut stream) = serve().await;
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"HTTP/1.1 200", "{fields}");
        }
    });
}
