//! What the guard lets through and what it refuses, whole and in every split.

use super::*;

fn judge(bytes: &[u8]) -> Verdict {
    Guard::new().feed(bytes, &Limits::default())
}

fn judge_split(bytes: &[u8], at: usize) -> Option<StatusCode> {
    let mut guard = Guard::new();
    let limits = Limits::default();
    for part in [&bytes[..at], &bytes[at..]] {
        if let Verdict::Refuse { status, .. } = guard.feed(part, &limits) {
            return Some(status);
        }
    }
    None
}

const OK: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://other/zz HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx: y\r\n\r\n",
    "get / HTTP/1.1\r\nHost: a\r\nX_Custom: 1\r\n\r\n",
];

const REFUSED: &[(&str, u16)] = &[
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabc",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        413,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        501,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        400,
    ),
    (
        "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b@c d\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\r\nHost: a\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(a: 1\r\n\r\n", 400),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-foo\r\nContent-Length: 1\r\n\r\n",
        417,
    ),
    ("\u{16}\u{3}\u{1}\u{2}", 400),
];

const REFUSED_CHUNKS: &[&str] = &[
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "3;a\0b\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcX",
    "3\r\nabcdef\r\n",
    "0\r\nbadtrailer\r\n\r\n",
    "fffffffffffffffff\r\n",
];

#[test]
fn well_formed_messages_pass() {
    for message in OK {
        assert_eq!(judge(message.as_bytes()), Verdict::Pass, "{message:?}");
        for at in 0..message.len() {
            if message.is_char_boundary(at) {
                assert_eq!(
                    judge_split(message.as_bytes(), at),
                    None,
                    "{message:?} at {at}"
                );
            }
        }
    }
}

#[test]
fn ambiguous_heads_are_refused_whole_and_in_every_split() {
    for (message, status) in REFUSED {
        let expected = StatusCode::from_u16(*status).unwrap();
        let verdict = judge(message.as_bytes());
        assert!(
            matches!(verdict, Verdict::Refuse { status, in_body: false, .. } if status == expected),
            "{message:?}: {verdict:?}"
        );
        for at in 0..message.len() {
            assert_eq!(
                judge_split(message.as_bytes(), at),
                Some(expected),
                "{message:?} at {at}"
            );
        }
    }
}

#[test]
fn bad_chunk_framing_is_refused_as_a_fault_of_the_body() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in REFUSED_CHUNKS {
        let message = format!("{head}{body}");
        for at in 0..message.len() {
            let status = judge_split(message.as_bytes(), at);
            assert_eq!(status, Some(StatusCode::BAD_REQUEST), "{body:?} at {at}");
        }
        let verdict = judge(message.as_bytes());
        assert!(
            matches!(verdict, Verdict::Refuse { in_body: true, .. }),
            "{body:?}: {verdict:?}"
        );
    }
}

#[test]
fn bytes_before_a_bad_message_go_on() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = format!("{good}{good}GET / HTTP/1.1\r\n\r\n{good}");
    let verdict = judge(stream.as_bytes());
    assert!(matches!(verdict, Verdict::Refuse { deliver, .. } if deliver == 2 * good.len()));
}

#[test]
fn heads_over_the_limits_are_431_or_414() {
    let cases = [
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
            414,
        ),
        (format!("GET /{}", "a".repeat(20_000)), 414),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "a".repeat(20_000)
            ),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(60_000)),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(17_000)),
            431,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: a\r\n".repeat(101)
            ),
            431,
        ),
    ];
    for (message, status) in cases {
        let verdict = judge(message.as_bytes());
        assert!(
            matches!(verdict, Verdict::Refuse { status: got, .. } if got.as_u16() == status),
            "{status}: {verdict:?}"
        );
    }
}

#[test]
fn bytes_behind_an_upgrade_request_are_held_until_it_is_settled() {
    let mut guard = Guard::new();
    let limits = Limits::default();
    let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(guard.feed(head, &limits), Verdict::Pass);
    assert!(guard.is_held());
    guard.release();
    assert!(guard.is_between_messages());
}
