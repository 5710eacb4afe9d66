//! HTTP/1 through [`spikard::server::http1::run`], over a socket pair: what an idle connection holds.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use spikard::message::body::ResponseBody;
use spikard::message::head::{Connection, Endpoint, Head, Memo, Scheme};
use spikard::server::batch::Batch;
use spikard::server::http1::{Outcome, Shared, run};
use spikard::server::limits::Limits;
use spikard::server::transport::Transport;
use spikard::server::watch::{Phase, Watch};
use spikard::server::{Answer, Application, Called, Exchange, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{LocalSet, spawn_local};

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

struct Hello;

impl Application for Hello {
    fn call<E: Exchange>(self: &Rc<Self>, _: Head, _: E) -> Called {
        let body = ResponseBody::Full(Bytes::from_static(b"hello"));
        Called::Answered(Answer::Response(Response::new(body)))
    }

    fn report(&self, fault: Fault) {
        panic!("{fault}");
    }
}

/// A connection whose client is the other end of a socket pair.
struct Served {
    shared: Rc<Shared>,
    transport: Transport,
    client: UnixStream,
}

impl Served {
    fn new(limits: Limits) -> Self {
        let limits = Rc::new(limits);
        let watch = Rc::new(Watch::new(Rc::clone(&limits)));
        let (_, activity) = watch.add();
        spawn_local(async move { watch.run(|| ()).await });
        let batch = Rc::new(Batch::default());
        let batching = Rc::clone(&batch);
        spawn_local(async move { batching.run().await });
        let connection = Arc::new(Connection {
            peer: Endpoint::Unix(None),
            local: Endpoint::Unix(None),
            scheme: Scheme::Http,
            tls: None,
            memo: Memo::default(),
        });
        let (client, server) = UnixStream::pair().unwrap();
        Self {
            shared: Rc::new(Shared::new(limits, activity, connection, batch)),
            transport: Transport::Unix(server),
            client,
        }
    }

    /// Asks, reads the answer, and lets the connection idle until it gives its socket back.
    async fn ask_and_idle(self) -> Self {
        let Self {
            shared,
            transport,
            mut client,
        } = self;
        let stretch = spawn_local(run(
            transport,
            Bytes::new(),
            Rc::new(Hello),
            Rc::clone(&shared),
        ));
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        match stretch.await.unwrap() {
            Outcome::Parked(transport) => Self {
                shared,
                transport,
                client,
            },
            other => panic!("expected an idle connection, got {other:?}"),
        }
    }
}

#[test]
fn an_idle_connection_keeps_its_socket_and_nothing_of_hyper() {
    local(async {
        let served = Served::new(Limits::default()).ask_and_idle().await;
        // `run` has returned, so that hyper's state is gone; nobody else holds the connection's.
        assert_eq!(Rc::strong_count(&served.shared), 1);
        assert_eq!(served.shared.activity.phase(), Phase::Idle);
        // The next request finds everything as if nothing had happened.
        served.ask_and_idle().await;
    });
}

#[test]
fn the_time_limit_of_a_head_does_not_run_between_requests() {
    local(async {
        let limits = Limits {
            header_timeout: Duration::from_millis(20),
            ..Limits::default()
        };
        // Idling until the socket is given back takes fifty times as long.
        let served = Served::new(limits).ask_and_idle().await;
        served.ask_and_idle().await;
    });
}
