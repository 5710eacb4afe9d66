//! HTTP/2 connections that idle, drop `h2`, and begin again at the next byte.

use super::*;

/// What holds the application while `h2` is there: the test, `serve` and what drives `h2`.
const OWNERS_AT_WORK: usize = 3;

impl Served {
    /// Lets the clock run, so that idle connections are parked.
    fn with_clock(self) -> Self {
        let watch = Rc::clone(&self.watch);
        spawn_local(async move { watch.run(|| ()).await });
        self
    }

    /// Waits until nothing is left of the connection but its socket and its ledger.
    async fn parked(&self) {
        until(|| Rc::strong_count(&self.app) < OWNERS_AT_WORK).await;
    }

    async fn at_work(&self) {
        until(|| Rc::strong_count(&self.app) == OWNERS_AT_WORK).await;
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn an_idle_connection_begins_again_with_the_next_request() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let served = served.with_clock();
        for _ in 0..3 {
            served.parked().await;
            let (_, body, _) = fetch(&mut client, get("/hello")).await.unwrap();
            assert_eq!(body, "hello");
        }
        assert_eq!(served.app.calls.get(), 3);
    });
}

#[test]
fn fields_are_understood_after_any_history_of_the_table() {
    local(async {
        let (served, mut client, _) = connect(Http2Limits::default()).await;
        let served = served.with_clock();
        let mut numbers = Numbers(7);
        for round in 0..120 {
            if numbers.below(3) == 0 {
                served.parked().await;
            }
            let mut request = get("/hello");
            for _ in 0..numbers.below(6) {
                let name = format!("x-{}", numbers.below(8)).parse().unwrap();
                let name: http::HeaderName = name;
                // Up to what alone is more than the table holds.
                let length = [3, 40, 700, 4_100][numbers.below(4)];
                let digit = [b'0', b'~', b'|', 0xff][numbers.below(4)];
                let value = [vec![digit; numbers.below(length)], b"a".to_vec()].concat();
                let value = HeaderValue::from_bytes(&value).unwrap();
                request.headers_mut().append(name, value);
            }
            let sent = request.headers().clone();
            fetch(&mut client, request).await.unwrap();
            let seen = served.app.heads.borrow().last().unwrap().headers.clone();
            for name in sent.keys() {
                let values = |headers: &HeaderMap| {
                    headers
                        .get_all(name)
                        .into_iter()
                        .cloned()
                        .collect::<Vec<_>>()
                };
                assert_eq!(values(&seen), values(&sent), "round {round}, {name}");
            }
        }
    });
}

#[test]
fn a_table_that_the_client_keeps_small_is_small_again() {
    local(async {
        for bytes in [0, 64, 200] {
            let (served, mut io) = start(Http2Limits::default());
            let served = served.with_clock();
            raw_start(&mut io, &[]).await;
            io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
            // Two fields of 36 bytes, then a table of this size.
            let first = b"\x82\x86\x84\x01\x01a\x40\x02xa\x021a\x40\x02xb\x021b";
            let update = match bytes {
                200 => vec![0x3f, 0xa9, 1],
                64 => vec![0x3f, 33],
                _ => vec![0x20],
            };
            let second = [&update[..], b"\x82\x86\x84\x01\x01a"].concat();
            for (stream, block) in [(1, &first[..]), (3, &second)] {
                let request = frame(1, END_STREAM | END_HEADERS, stream, block);
                io.write_all(&request).await.unwrap();
            }
            until(|| served.app.calls.get() == 2).await;
            served.parked().await;
            // Entries that are gone may not be named; those that are left may.
            let left: &[u8] = match bytes {
                200 => b"\x82\x86\x84\x01\x01a\xbe\xbf",
                64 => b"\x82\x86\x84\x01\x01a\xbe",
                _ => b"\x82\x86\x84\x01\x01a",
            };
            let request = frame(1, END_STREAM | END_HEADERS, 5, left);
            io.write_all(&request).await.unwrap();
            until(|| served.app.calls.get() == 3).await;
            let head = served.app.heads.borrow().last().unwrap().clone();
            assert_eq!(head.headers.contains_key("xa"), bytes == 200);
            assert_eq!(head.headers.contains_key("xb"), bytes > 0);
        }
    });
}

#[test]
fn a_block_in_padded_and_continued_frames_is_followed() {
    local(async {
        let (served, mut io) = start(Http2Limits::default());
        let served = served.with_clock();
        raw_start(&mut io, &[]).await;
        io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
        // PADDED | PRIORITY | END_STREAM, the block cut inside a field.
        let head = b"\x03\0\0\0\0\x0f\x82\x86\x84\x01\x01a\x40\x03x-a\0\0\0";
        io.write_all(&frame(1, 0x29, 1, head)).await.unwrap();
        for byte in b"\x03on" {
            io.write_all(&frame(9, 0, 1, &[*byte])).await.unwrap();
        }
        io.write_all(&frame(9, END_HEADERS, 1, b"e")).await.unwrap();
        until(|| served.app.calls.get() == 1).await;
        served.parked().await;
        let request = frame(1, END_STREAM | END_HEADERS, 3, b"\x82\x86\x84\x01\x01a\xbe");
        io.write_all(&request).await.unwrap();
        until(|| served.app.calls.get() == 2).await;
        let head = served.app.heads.borrow().last().unwrap().clone();
        assert_eq!(head.headers["x-a"], "one");
    });
}

#[test]
fn the_window_for_responses_is_remembered() {
    local(async {
        // Windows of the connection: smaller and larger than at first.
        for window in [65_535, 200_000] {
            let mut builder = h2::client::Builder::new();
            builder
                .initial_window_size(1024 * 1024)
                .initial_connection_window_size(window);
            let (served, mut client, connection) =
                connect_with(Http2Limits::default(), &mut builder).await;
            let served = served.with_clock();
            for size in [300, 100, 250_000, 15_000, 250_000] {
                let (_, body, _) = fetch(&mut client, get(&format!("/sized?{size}")))
                    .await
                    .unwrap();
                assert_eq!(body.len(), size);
                served.parked().await;
            }
            assert!(!connection.is_finished());
        }
    });
}

#[test]
fn the_window_for_requests_is_filled_again() {
    local(async {
        let limits = Http2Limits {
            connection_window: 65_535,
            stream_window: 65_535,
            ..Http2Limits::default()
        };
        let (served, mut client, _) = connect(limits).await;
        let served = served.with_clock();
        for size in [20_000, 10_000, 10_000, 10_000, 30_000, 100, 50_000, 20_000] {
            let request = Request::post("http://a/echo").body(()).unwrap();
            poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
            let (response, mut send) = client.send_request(request, false).unwrap();
            let body = Bytes::from(vec![b'x'; size]);
            send.send_data(body.clone(), true).unwrap();
            let mut response = response.await.unwrap().into_body();
            assert_eq!(drain(&mut response).await.unwrap().0, body);
            served.parked().await;
        }
    });
}

#[test]
fn a_parked_connection_says_goodbye() {
    type End = fn(&Served);
    let ends: [End; 2] = [
        |served| served.watch.stop(Stop::Graceful),
        |served| assert!(served.watch.evict_longest_idle()),
    ];
    for end in ends {
        local(async {
            let (served, mut io) = start(Http2Limits::default());
            let served = served.with_clock();
            raw_start(&mut io, &[]).await;
            io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
            io.write_all(&request_frame(7, "/hello")).await.unwrap();
            until(|| served.app.calls.get() == 1).await;
            served.parked().await;
            end(&served);
            let mut received = Vec::new();
            while let Some(frame) = read_frame(&mut io).await {
                if frame.kind == 6 {
                    let answer = super::frame(6, 1, 0, &frame.payload);
                    io.write_all(&answer).await.unwrap();
                }
                received.push(frame);
            }
            assert_eq!(goaway(&received), Some(Reason::NO_ERROR));
            let last = received.iter().rfind(|frame| frame.kind == 7).unwrap();
            assert_eq!(last.payload[..4], 7_u32.to_be_bytes());
            assert_eq!(resets(&received), []);
            drop(io);
            served.task.await.unwrap();
        });
    }
}

#[test]
fn a_client_that_leaves_a_parked_connection_ends_it() {
    local(async {
        let (served, client, connection) = connect(Http2Limits::default()).await;
        let served = served.with_clock();
        served.parked().await;
        connection.abort();
        drop(client);
        served.task.await.unwrap();
    });
}

#[test]
fn frames_for_streams_that_have_ended_stay_harmless() {
    local(async {
        let (served, mut io) = start(Http2Limits::default());
        let served = served.with_clock();
        raw_start(&mut io, &[]).await;
        io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
        io.write_all(&request_frame(1, "/hello")).await.unwrap();
        let entry = b"\x82\x86\x84\x01\x01a\x40\x02xa\x021a";
        let with_entry = frame(1, END_STREAM | END_HEADERS, 3, entry);
        io.write_all(&with_entry).await.unwrap();
        until(|| served.app.calls.get() == 2).await;
        served.parked().await;
        for (kind, stream) in [(8, 1), (3, 1), (8, 3), (3, 3)] {
            let late = frame(kind, 0, stream, &8_u32.to_be_bytes());
            io.write_all(&late).await.unwrap();
        }
        served.at_work().await;
        io.write_all(&request_frame(5, "/hello")).await.unwrap();
        until(|| served.app.calls.get() == 3).await;
    });
}

#[test]
fn a_size_of_our_table_that_the_client_lowers_is_said_to_it() {
    local(async {
        let (served, mut io) = start(Http2Limits::default());
        let served = served.with_clock();
        raw_start(&mut io, &[]).await;
        io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
        io.write_all(&request_frame(1, "/hello")).await.unwrap();
        while read_frame(&mut io).await.unwrap().kind != 0 {}
        io.write_all(&frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]))
            .await
            .unwrap();
        while read_frame(&mut io).await.unwrap().kind != 4 {}
        for stream in [3, 5] {
            if stream == 3 {
                // Longer than it takes to be parked.
                tokio::time::timeout(Duration::from_millis(600), served.parked())
                    .await
                    .unwrap_err();
            } else {
                served.parked().await;
            }
            let request = request_frame(stream, "/hello");
            io.write_all(&request).await.unwrap();
            let mut received = read_frame(&mut io).await.unwrap();
            while received.kind != 1 {
                received = read_frame(&mut io).await.unwrap();
            }
            // RFC 7541 §4.2: the first block after the change begins with the new size.
            assert_eq!(received.payload[0] == 0x20, stream == 3);
        }
    });
}

#[test]
fn settings_that_are_not_acknowledged_keep_the_connection_as_it_is() {
    local(async {
        let (served, mut io) = start(Http2Limits::default());
        let served = served.with_clock();
        raw_start(&mut io, &[]).await;
        io.write_all(&request_frame(1, "/hello")).await.unwrap();
        while read_frame(&mut io).await.unwrap().kind != 0 {}
        // Longer than it takes to be parked; the acknowledgement must still be awaited.
        tokio::time::timeout(Duration::from_millis(600), served.parked())
            .await
            .unwrap_err();
        io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
        io.write_all(&frame(6, 0, 0, b"8 bytes!")).await.unwrap();
        assert_eq!(read_frame(&mut io).await.unwrap().kind, 6);
    });
}
