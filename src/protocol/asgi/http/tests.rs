//! The rows B6 to B11, H24 to H36, E2, E3, E5 and E6 of the ASGI checklist.

use super::*;

const FACTS: RequestFacts = RequestFacts {
    is_head: false,
    version: Version::HTTP_11,
    trailers: true,
    early_hints: true,
};

fn responder() -> Responder {
    Responder::new(FACTS)
}

fn start_with(status: i64, fields: &[(&str, &str)], trailers: bool) -> SendEvent {
    let headers = Fields::from_pairs(fields.iter().copied()).unwrap();
    SendEvent::Start {
        status,
        headers,
        trailers,
    }
}

fn start() -> SendEvent {
    start_with(200, &[], false)
}

fn body(bytes: &'static str, more: bool) -> SendEvent {
    SendEvent::Body {
        body: Bytes::from_static(bytes.as_bytes()),
        more,
    }
}

fn trailers(fields: &[(&str, &str)], more: bool) -> SendEvent {
    SendEvent::Trailers {
        headers: Fields::from_pairs(fields.iter().copied()).unwrap(),
        more,
    }
}

fn pathsend(length: u64) -> SendEvent {
    SendEvent::PathSend {
        path: "/tmp/x".into(),
        length,
    }
}

fn zerocopy(count: u64, more: bool) -> SendEvent {
    SendEvent::ZeroCopySend {
        offset: None,
        count,
        more,
    }
}

fn hint(link: &'static str) -> SendEvent {
    SendEvent::EarlyHint {
        links: vec![Bytes::from_static(link.as_bytes())],
    }
}

/// One line for what an event meant: `head`, the bytes, what follows.
fn said(result: Result<Action, SendError>) -> String {
    let write = match result {
        Err(error) => return format!("error: {error}"),
        Ok(Action::Hold) => return "hold".into(),
        Ok(Action::Ignore) => return "ignore".into(),
        Ok(Action::EarlyHint(fields)) => return format!("103 {}", listed(&fields)),
        Ok(Action::Write(write)) => write,
    };
    let mut parts = Vec::new();
    if let Some(head) = write.head {
        parts.push(format!(
            "{} [{}]",
            head.status.as_u16(),
            listed(&head.headers)
        ));
    }
    parts.push(match write.content {
        Content::Bytes(bytes) => format!("'{}'", bytes.escape_ascii()),
        Content::Path { path, length } => format!("{} {length}", path.display()),
        Content::File { offset, count } => format!("file {offset:?} {count}"),
    });
    if write.excess > 0 {
        parts.push(format!("excess {}", write.excess));
    }
    parts.push(match write.then {
        Then::More => "more".into(),
        Then::End => "end".into(),
        Then::Trailers(fields) => format!("trailers [{}]", listed(&fields)),
        Then::Short { declared, got } => format!("short {got}/{declared}"),
    });
    parts.join(" ")
}

fn listed(fields: &HeaderMap) -> String {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    lines.collect::<Vec<_>>().join(", ")
}

fn run(responder: &mut Responder, events: Vec<SendEvent>) -> Vec<String> {
    events
        .into_iter()
        .map(|event| said(responder.send(event)))
        .collect()
}

/// Each case: what the application sends, what comes of it and what its return leaves to do.
#[track_caller]
fn check(facts: RequestFacts, events: Vec<SendEvent>, expected: &[&str], end: Unfinished) {
    let mut responder = Responder::new(facts);
    assert_eq!(run(&mut responder, events), expected);
    assert_eq!(responder.finish(), end);
    assert_eq!(responder.is_complete(), end == Unfinished::Complete);
}

#[test]
fn start_is_held_until_the_body() {
    check(
        FACTS,
        vec![start_with(201, &[("a", "b")], false), body("hi", false)],
        &["hold", "201 [a: b] 'hi' end"],
        Unfinished::Complete,
    );
}

#[test]
fn a_stream_is_passed_on_piece_by_piece() {
    check(
        FACTS,
        vec![
            start(),
            body("", true),
            body("a", true),
            body("b", true),
            body("", false),
        ],
        &["hold", "200 [] '' more", "'a' more", "'b' more", "'' end"],
        Unfinished::Complete,
    );
}

#[test]
fn events_after_the_last_piece_are_ignored() {
    check(
        FACTS,
        vec![
            start(),
            body("a", false),
            body("b", false),
            start(),
            hint("<x>"),
            trailers(&[], false),
        ],
        &[
            "hold",
            "200 [] 'a' end",
            "ignore",
            "ignore",
            "ignore",
            "ignore",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn an_early_end_is_named() {
    let cases = [
        (vec![], Unfinished::NothingSent),
        (vec![hint("<x>")], Unfinished::NothingSent),
        (vec![start()], Unfinished::HeldStart),
        (vec![start(), body("a", true)], Unfinished::Cut),
        (
            vec![start_with(200, &[], true), body("a", false)],
            Unfinished::Cut,
        ),
        (vec![start(), body("a", false)], Unfinished::Complete),
        (
            vec![
                start_with(200, &[("content-length", "1")], true),
                body("a", false),
            ],
            Unfinished::Complete,
        ),
    ];
    for (events, expected) in cases {
        let mut responder = responder();
        let said = run(&mut responder, events);
        assert_eq!(responder.finish(), expected, "{said:?}");
    }
}

#[test]
fn what_only_ends_a_body_is_told_from_what_is_lost() {
    let last = || body("", false);
    let mut open = responder();
    assert!(!open.only_ends(&last()), "nothing was started");
    open.send(start()).unwrap();
    assert!(!open.only_ends(&last()), "the head is still held");
    open.send(body("all", true)).unwrap();
    assert!(open.only_ends(&last()));
    assert!(!open.only_ends(&body("more", false)));
    assert!(!open.only_ends(&body("", true)));

    let mut declared = responder();
    declared
        .send(start_with(200, &[("content-length", "4")], false))
        .unwrap();
    declared.send(body("ab", true)).unwrap();
    assert!(!declared.only_ends(&last()), "two bytes are missing");
    declared.send(body("cd", true)).unwrap();
    assert!(declared.only_ends(&last()));
}

#[test]
fn events_out_of_order_are_refused() {
    let cases = [
        (
            vec![body("a", false)],
            "error: expected 'http.response.start', got 'http.response.body'",
        ),
        (
            vec![pathsend(1)],
            "error: expected 'http.response.start', got 'http.response.pathsend'",
        ),
        (
            vec![zerocopy(1, true)],
            "error: expected 'http.response.start', got 'http.response.zerocopysend'",
        ),
        (
            vec![trailers(&[], false)],
            "error: expected 'http.response.start', got 'http.response.trailers'",
        ),
        (
            vec![start(), start()],
            "error: expected 'http.response.body', got a second 'http.response.start'",
        ),
        (
            vec![start(), body("a", true), start()],
            "error: expected 'http.response.body', got a second 'http.response.start'",
        ),
        (
            vec![start(), body("a", true), pathsend(1)],
            "error: expected 'http.response.body', got 'http.response.pathsend' after the body began",
        ),
        (
            vec![
                start_with(200, &[], true),
                body("a", true),
                trailers(&[], false),
            ],
            "error: expected the rest of the body, got 'http.response.trailers'",
        ),
        (
            vec![start_with(200, &[], true), trailers(&[], false)],
            "error: expected the rest of the body, got 'http.response.trailers'",
        ),
        (
            vec![start(), body("a", true), trailers(&[], false)],
            "error: expected 'trailers' to be True in 'http.response.start', got trailers without it",
        ),
        (
            vec![
                start_with(200, &[], true),
                body("a", false),
                body("b", false),
            ],
            "error: expected 'http.response.trailers' after the last piece of the body, got 'http.response.body'",
        ),
    ];
    for (events, expected) in cases {
        let said = run(&mut responder(), events);
        assert_eq!(said.last().unwrap(), expected);
    }
}

#[test]
fn a_refused_event_leaves_the_state_as_it_was() {
    let mut responder = responder();
    assert!(responder.send(body("x", false)).is_err());
    assert!(responder.send(start_with(99, &[], false)).is_err());
    assert_eq!(responder.finish(), Unfinished::NothingSent);
    responder.send(start()).unwrap();
    assert!(responder.send(start()).is_err());
    assert_eq!(said(responder.send(body("a", true))), "200 [] 'a' more");
    assert!(responder.send(pathsend(3)).is_err());
    assert_eq!(said(responder.send(body("b", false))), "'b' end");
}

#[test]
fn only_a_final_status_is_sent() {
    for status in [
        i64::MIN,
        -1,
        0,
        99,
        100,
        101,
        103,
        199,
        600,
        999,
        1000,
        70_000,
        i64::MAX,
    ] {
        let result = said(responder().send(start_with(status, &[], false)));
        assert_eq!(
            result,
            format!("error: expected a status from 200 to 599, got {status}")
        );
    }
    for status in [200, 204, 418, 451, 500, 599] {
        assert_eq!(
            said(responder().send(start_with(status, &[], false))),
            "hold"
        );
    }
}

#[test]
fn connection_close_reaches_http1_only() {
    for (version, fields) in [
        (Version::HTTP_10, "connection: close"),
        (Version::HTTP_11, "connection: close"),
        (Version::HTTP_2, ""),
    ] {
        check(
            RequestFacts { version, ..FACTS },
            vec![
                start_with(200, &[("connection", "close")], false),
                body("a", false),
            ],
            &["hold", &format!("200 [{fields}] 'a' end")],
            Unfinished::Complete,
        );
    }
}

#[test]
fn a_body_over_its_declared_length_is_cut_to_it() {
    check(
        FACTS,
        vec![
            start_with(200, &[("content-length", "3")], false),
            body("abcdef", false),
        ],
        &[
            "hold",
            "200 [content-length: 3, connection: close] 'abc' excess 3 end",
        ],
        Unfinished::Complete,
    );
    check(
        FACTS,
        vec![
            start_with(200, &[("content-length", "3")], false),
            body("ab", true),
            body("cd", true),
            body("ef", false),
        ],
        &[
            "hold",
            "200 [content-length: 3] 'ab' more",
            "'c' excess 1 end",
            "ignore",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn a_body_short_of_its_declared_length_is_cut_off() {
    check(
        FACTS,
        vec![
            start_with(200, &[("content-length", "100")], false),
            body("hello", false),
        ],
        &["hold", "200 [content-length: 100] 'hello' short 5/100"],
        Unfinished::Complete,
    );
    check(
        FACTS,
        vec![
            start_with(200, &[("content-length", "3")], false),
            body("a", true),
            zerocopy(1, true),
            body("", false),
        ],
        &[
            "hold",
            "200 [content-length: 3] 'a' more",
            "file None 1 more",
            "'' short 2/3",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let facts = RequestFacts {
        is_head: true,
        ..FACTS
    };
    for (events, expected) in [
        (
            vec![start(), body("hello", false)],
            "200 [content-length: 5] '' end",
        ),
        (
            vec![
                start_with(200, &[("content-length", "9")], false),
                body("", false),
            ],
            "200 [content-length: 9] '' end",
        ),
        (vec![start(), body("a", true)], "200 [] '' end"),
        (vec![start(), pathsend(7)], "200 [content-length: 7] '' end"),
        (
            vec![start_with(200, &[], true), body("a", false)],
            "200 [content-length: 1] '' end",
        ),
    ] {
        check(facts, events, &["hold", expected], Unfinished::Complete);
    }
}

#[test]
fn statuses_without_a_body_have_neither_bytes_nor_length() {
    for status in [204, 304] {
        for is_head in [false, true] {
            let fields = [
                ("content-length", "5"),
                ("etag", "x"),
                ("transfer-encoding", "chunked"),
            ];
            check(
                RequestFacts { is_head, ..FACTS },
                vec![start_with(status, &fields, false), body("hello", false)],
                &["hold", &format!("{status} [etag: x] '' end")],
                Unfinished::Complete,
            );
        }
    }
}

#[test]
fn pathsend_is_a_whole_body_with_its_length() {
    check(
        FACTS,
        vec![start(), pathsend(7), pathsend(7)],
        &["hold", "200 [content-length: 7] /tmp/x 7 end", "ignore"],
        Unfinished::Complete,
    );
    check(
        FACTS,
        vec![
            start_with(200, &[("content-length", "3")], false),
            pathsend(7),
        ],
        &[
            "hold",
            "200 [content-length: 3, connection: close] /tmp/x 3 excess 4 end",
        ],
        Unfinished::Complete,
    );
    let relative = SendEvent::PathSend {
        path: "x".into(),
        length: 1,
    };
    check(
        FACTS,
        vec![start(), relative],
        &[
            "hold",
            "error: expected an absolute path in 'http.response.pathsend', got 'x'",
        ],
        Unfinished::HeldStart,
    );
}

#[test]
fn zerocopysend_mixes_with_body_and_repeats() {
    let ranged = SendEvent::ZeroCopySend {
        offset: Some(4),
        count: 2,
        more: true,
    };
    check(
        FACTS,
        vec![
            start(),
            body("a", true),
            zerocopy(3, true),
            ranged,
            body("z", false),
        ],
        &[
            "hold",
            "200 [] 'a' more",
            "file None 3 more",
            "file Some(4) 2 more",
            "'z' end",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn early_hints_go_out_until_the_head_does() {
    check(
        FACTS,
        vec![
            hint("<a>"),
            start(),
            hint("<b>"),
            body("x", true),
            hint("<c>"),
            body("", false),
        ],
        &[
            "103 link: <a>",
            "hold",
            "103 link: <b>",
            "200 [] 'x' more",
            "ignore",
            "'' end",
        ],
        Unfinished::Complete,
    );
    check(
        RequestFacts {
            early_hints: false,
            ..FACTS
        },
        vec![hint("<a>"), SendEvent::EarlyHint { links: vec![] }],
        &["ignore", "ignore"],
        Unfinished::NothingSent,
    );
    assert!(responder().send(hint("<a>\r\nx: y")).is_err());
}

#[test]
fn trailers_follow_the_body() {
    check(
        FACTS,
        vec![
            start_with(200, &[("trailer", "a")], true),
            body("x", false),
            trailers(&[("a", "1")], true),
            trailers(&[("b", "2"), ("a", "3")], false),
            trailers(&[("c", "4")], false),
        ],
        &[
            "hold",
            "200 [trailer: a] 'x' more",
            "hold",
            "'' trailers [a: 1, a: 3, b: 2]",
            "ignore",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn trailers_that_cannot_reach_the_client_are_dropped() {
    let length: &[(&str, &str)] = &[("content-length", "1")];
    let cases = [
        (
            RequestFacts {
                trailers: false,
                ..FACTS
            },
            &[][..],
            "200 [] 'x' end",
        ),
        (FACTS, length, "200 [content-length: 1] 'x' end"),
        (
            RequestFacts {
                trailers: false,
                version: Version::HTTP_10,
                ..FACTS
            },
            &[][..],
            "200 [] 'x' end",
        ),
    ];
    for (facts, fields, expected) in cases {
        check(
            facts,
            vec![
                start_with(200, fields, true),
                body("x", false),
                trailers(&[("a", "1")], true),
                trailers(&[("b", "1")], false),
            ],
            &["hold", expected, "ignore", "ignore"],
            Unfinished::Complete,
        );
    }
    check(
        RequestFacts {
            version: Version::HTTP_2,
            ..FACTS
        },
        vec![
            start_with(200, length, true),
            body("x", false),
            trailers(&[("a", "1")], false),
        ],
        &[
            "hold",
            "200 [content-length: 1] 'x' more",
            "'' trailers [a: 1]",
        ],
        Unfinished::Complete,
    );
}

#[test]
fn fields_that_may_not_trail_are_refused() {
    for name in [
        "content-length",
        "content-type",
        "set-cookie",
        "authorization",
    ] {
        let events = vec![
            start_with(200, &[], true),
            body("x", false),
            trailers(&[(name, "1")], false),
        ];
        let said = run(&mut responder(), events);
        let expected =
            format!("error: expected no '{name}' among the headers of the trailers, got one");
        assert_eq!(said[2], expected);
    }
}
