//! HTTP/1 over real sockets: what the batch of small responses must not change.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use spikard::message::body::ResponseBody;
use spikard::message::head::Head;
use spikard::server::limits::Limits;
use spikard::server::listener::{Listener, Server};
use spikard::server::shutdown;
use spikard::server::{Answer, Application, Called, Exchange, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, yield_now};

/// Answers with its path: at once, or for `/later…` in another turn.
struct Paths;

impl Application for Paths {
    fn call<E: Exchange>(self: &Rc<Self>, head: Head, _exchange: E) -> Called {
        let path = Bytes::copy_from_slice(head.raw_path().as_bytes());
        let is_later = path.starts_with(b"/later");
        let answer = Answer::Response(Response::new(ResponseBody::Full(path)));
        if !is_later {
            return Called::Answered(answer);
        }
        Called::waiting(async {
            yield_now().await;
            answer
        })
    }

    fn report(&self, fault: Fault) {
        panic!("{fault}");
    }
}

fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(20), test)
            .await
            .expect("the test hangs");
    };
    LocalSet::new().block_on(&runtime, limited);
}

async fn serve() -> (Rc<Server<Paths>>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, _) = shutdown::channel();
    let server = Rc::new(Server::new(Rc::new(Paths), Limits::default(), None, stop));
    server.listen(Listener::Tcp(listener));
    (server, address)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// Reads the body of one answer, whose path has `length` bytes.
async fn body(stream: &mut TcpStream, length: usize) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 OK"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn connections_that_are_ready_together_all_get_their_own_answers() {
    local(async {
        let (_server, address) = serve().await;
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        for turn in 0..5 {
            let path = |client: usize| match (client + turn) % 3 {
                0 => format!("/later/{turn}/{client:02}"),
                _ => format!("/{turn}/{client:02}"),
            };
            for (index, client) in clients.iter_mut().enumerate() {
                client
                    .write_all(request(&path(index)).as_bytes())
                    .await
                    .unwrap();
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let expected = path(index);
                assert_eq!(body(client, expected.len()).await, expected);
            }
        }
    });
}

#[test]
fn pipelined_answers_keep_their_order_though_the_client_reads_none_of_them_for_long() {
    local(async {
        let (_server, address) = serve().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = client.split();
        // More than both socket buffers hold, so that the server has to wait in between.
        let count = 9_000;
        let filler = "x".repeat(1_000);
        let sending = async {
            for number in 0..count {
                let request = request(&format!("/{number:04}{filler}"));
                writer.write_all(request.as_bytes()).await.unwrap();
            }
        };
        let reading = async {
            for _ in 0..1_000 {
                yield_now().await;
            }
            let mut text = Vec::new();
            let mut seen = 0;
            while seen < count {
                let more = reader.read_buf(&mut text).await.unwrap();
                assert!(more > 0, "closed after {seen} answers");
                let mut at = 0;
                while let Some(end) = find(&text[at..], b"\r\n\r\n") {
                    let body = at + end + 4;
                    let Some(path) = text.get(body..body + 5 + filler.len()) else {
                        break;
                    };
                    assert_eq!(&path[..5], format!("/{seen:04}").as_bytes());
                    at = body + path.len();
                    seen += 1;
                }
                text.drain(..at);
            }
        };
        tokio::join!(sending, reading);
    });
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn clients_that_leave_before_their_answer_disturb_nobody() {
    local(async {
        let (server, address) = serve().await;
        for _ in 0..20 {
            let mut leaver = TcpStream::connect(address).await.unwrap();
            let mut stayer = TcpStream::connect(address).await.unwrap();
            leaver.set_zero_linger().unwrap();
            leaver
                .write_all(request("/later/a").as_bytes())
                .await
                .unwrap();
            stayer.write_all(request("/b").as_bytes()).await.unwrap();
            drop(leaver);
            assert_eq!(body(&mut stayer, 2).await, "/b");
        }
        while server.connections() > 0 {
            yield_now().await;
        }
    });
}

#[test]
fn an_answer_that_waits_for_its_turn_is_written_before_the_server_stops() {
    local(async {
        let (server, address) = serve().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(request("/first").as_bytes())
            .await
            .unwrap();
        assert_eq!(body(&mut client, 6).await, "/first");
        client
            .write_all(request("/later/x").as_bytes())
            .await
            .unwrap();
        client.write_all(request("/then").as_bytes()).await.unwrap();
        let stopping = server.stop(Duration::from_secs(10));
        let reading = async {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            // A request that came before the stop is answered, or the connection closed clean.
            assert!(text.is_empty() || text.contains("/later/x"), "{text}");
        };
        let (cut, ()) = tokio::join!(stopping, reading);
        assert_eq!(cut, 0);
    });
}
