//! The rows W3 to W13, W17 to W19 and E1 of the ASGI checklist.

use super::*;

fn conversation() -> Conversation {
    Conversation::new(vec!["chat".into(), "v2".into()], Version::HTTP_11)
}

fn open() -> Conversation {
    let mut conversation = conversation();
    conversation.send(accept(None, &[])).unwrap();
    conversation
}

fn accept(subprotocol: Option<&str>, fields: &[(&str, &str)]) -> SendEvent {
    let headers = Fields::from_pairs(fields.iter().copied()).unwrap();
    SendEvent::Accept {
        subprotocol: subprotocol.map(Into::into),
        headers,
    }
}

fn text(text: &'static str) -> SendEvent {
    SendEvent::Send {
        text: Some(text.into()),
        bytes: None,
    }
}

fn close(code: i64) -> SendEvent {
    SendEvent::Close {
        code,
        reason: "why".into(),
    }
}

fn start(status: i64, fields: &[(&str, &str)]) -> SendEvent {
    let headers = Fields::from_pairs(fields.iter().copied()).unwrap();
    SendEvent::ResponseStart { status, headers }
}

fn body(body: &'static str, more: bool) -> SendEvent {
    SendEvent::ResponseBody {
        body: body.into(),
        more,
    }
}

/// One line for what an event meant.
fn said(result: Result<Action, SendError>) -> String {
    match result {
        Err(SendError::Closed(kind)) => format!("gone: {kind}"),
        Err(error) => format!("error: {error}"),
        Ok(Action::Accept(fields)) => {
            let lines = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            format!("accept [{}]", lines.collect::<Vec<_>>().join(", "))
        }
        Ok(Action::Reject) => "403".into(),
        Ok(Action::Deny(response::Action::Hold)) => "hold".into(),
        Ok(Action::Deny(response::Action::Write(write))) => {
            let head = write.head.map_or(0, |head| head.status.as_u16());
            format!("{head} {:?} {:?}", write.content, write.then)
        }
        Ok(Action::Deny(action)) => format!("{action:?}"),
        Ok(Action::Text(bytes)) => format!("text {}", bytes.escape_ascii()),
        Ok(Action::Binary(bytes)) => format!("binary {}", bytes.escape_ascii()),
        Ok(Action::Close(close)) => format!("close {} {}", close.code, close.reason),
        Ok(Action::Ignore) => "ignore".into(),
    }
}

#[track_caller]
fn check(
    mut conversation: Conversation,
    events: Vec<SendEvent>,
    expected: &[&str],
) -> Conversation {
    let found: Vec<_> = events
        .into_iter()
        .map(|event| said(conversation.send(event)))
        .collect();
    assert_eq!(found, expected);
    conversation
}

#[test]
fn an_accepted_websocket_sends_messages_and_closes() {
    let binary = SendEvent::Send {
        text: None,
        bytes: Some("b".into()),
    };
    let fields = [("X", "1"), ("x", "2"), ("content-length", "3")];
    check(
        conversation(),
        vec![accept(Some("v2"), &fields), text("t"), binary, close(1000)],
        &[
            "accept [x: 1, x: 2, sec-websocket-protocol: v2]",
            "text t",
            "binary b",
            "close 1000 why",
        ],
    );
}

#[test]
fn only_an_offered_subprotocol_is_accepted() {
    check(
        conversation(),
        vec![
            accept(Some("other"), &[]),
            accept(Some("chat\r\nx: y"), &[]),
            accept(Some(""), &[]),
            accept(Some("chat"), &[]),
        ],
        &[
            "error: expected a subprotocol that the client offers (chat, v2), got 'other'",
            "error: expected a subprotocol that the client offers (chat, v2), got 'chat\r\nx: y'",
            "error: expected a subprotocol that the client offers (chat, v2), got ''",
            "accept [sec-websocket-protocol: chat]",
        ],
    );
}

#[test]
fn the_handshakes_own_fields_are_refused() {
    for name in [
        "Sec-WebSocket-Protocol",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
    ] {
        let mut conversation = conversation();
        for event in [accept(None, &[(name, "x")]), start(400, &[(name, "x")])] {
            let error = conversation.send(event).unwrap_err();
            assert!(
                matches!(error, SendError::Field(FieldError::Forbidden { .. })),
                "{error}"
            );
        }
        assert_eq!(said(conversation.send(accept(None, &[]))), "accept []");
    }
}

#[test]
fn close_before_accept_is_403_and_final() {
    let conversation = check(
        conversation(),
        vec![close(1000), close(1000), accept(None, &[]), text("x")],
        &[
            "403",
            "ignore",
            "gone: websocket.accept",
            "gone: websocket.send",
        ],
    );
    assert_eq!(conversation.finish(Ended::Returned), Unfinished::Complete);
}

#[test]
fn messages_before_accept_are_refused() {
    check(
        conversation(),
        vec![text("x"), body("x", false)],
        &[
            "error: expected 'websocket.accept', 'websocket.close' or a response, got 'websocket.send'",
            "error: expected 'websocket.accept', 'websocket.close' or a response, got 'websocket.http.response.body'",
        ],
    );
}

#[test]
fn a_message_is_exactly_one_of_text_and_bytes() {
    let both = SendEvent::Send {
        text: Some("".into()),
        bytes: Some("".into()),
    };
    check(
        open(),
        vec![
            SendEvent::Send {
                text: None,
                bytes: None,
            },
            both,
            text(""),
        ],
        &[
            "error: expected exactly one of 'text' and 'bytes' in 'websocket.send', got neither",
            "error: expected exactly one of 'text' and 'bytes' in 'websocket.send', got both",
            "text ",
        ],
    );
}

#[test]
fn the_handshake_ends_once() {
    check(
        open(),
        vec![accept(None, &[]), start(403, &[]), body("", false)],
        &[
            "error: expected 'websocket.send' or 'websocket.close', got 'websocket.accept' after the handshake",
            "error: expected 'websocket.send' or 'websocket.close', got 'websocket.http.response.start' after the handshake",
            "error: expected 'websocket.send' or 'websocket.close', got 'websocket.http.response.body' after the handshake",
        ],
    );
}

#[test]
fn a_close_that_cannot_be_sent_is_refused() {
    for code in [0, 999, 1005, 1006, 1015, 5000, -1] {
        assert!(matches!(
            open().send(close(code)),
            Err(SendError::Close(CloseError::Code(_)))
        ));
    }
    let long = SendEvent::Close {
        code: 1000,
        reason: "x".repeat(124),
    };
    assert!(matches!(
        open().send(long),
        Err(SendError::Close(CloseError::Reason(124)))
    ));
}

#[test]
fn sends_after_the_close_fail_and_closes_are_ignored() {
    check(
        open(),
        vec![close(4000), close(4000), text("x")],
        &["close 4000 why", "ignore", "gone: websocket.send"],
    );
    let mut gone = open();
    gone.peer_gone();
    let gone = check(
        gone,
        vec![text("x"), close(1000)],
        &["gone: websocket.send", "ignore"],
    );
    assert_eq!(gone.finish(Ended::Raised), Unfinished::Complete);
    let mut left = conversation();
    left.peer_gone();
    check(left, vec![accept(None, &[])], &["gone: websocket.accept"]);
}

#[test]
fn a_denial_is_an_http_response() {
    let denied = check(
        conversation(),
        vec![
            start(
                401,
                &[("set-cookie", "a"), ("set-cookie", "b"), ("upgrade", "x")],
            ),
            body("no", true),
            body("pe", false),
            body("late", false),
            close(1000),
            text("x"),
        ],
        &[
            "hold",
            "401 Bytes(b\"no\") More",
            "0 Bytes(b\"pe\") End",
            "ignore",
            "ignore",
            "gone: websocket.send",
        ],
    );
    assert_eq!(denied.finish(Ended::Returned), Unfinished::Complete);
    check(
        conversation(),
        vec![
            start(101, &[]),
            start(404, &[]),
            accept(None, &[]),
            start(404, &[]),
            close(1000),
        ],
        &[
            "error: expected a status from 200 to 599, got 101",
            "hold",
            "error: expected 'websocket.http.response.body', got 'websocket.accept' after the response began",
            "error: expected 'websocket.http.response.body', got 'websocket.http.response.start' after the response began",
            "error: expected 'websocket.http.response.body', got 'websocket.close' after the response began",
        ],
    );
}

#[test]
fn what_an_ended_application_leaves_is_named() {
    let closed = |code| {
        Unfinished::Close(Close {
            code,
            reason: String::new(),
        })
    };
    let cases = [
        (
            conversation(),
            vec![],
            Unfinished::ServerError,
            Unfinished::ServerError,
        ),
        (open(), vec![], closed(1000), closed(1011)),
        (
            conversation(),
            vec![start(400, &[])],
            Unfinished::ServerError,
            Unfinished::ServerError,
        ),
        (
            conversation(),
            vec![start(400, &[]), body("x", true)],
            Unfinished::Cut,
            Unfinished::Cut,
        ),
    ];
    for (mut conversation, events, returned, raised) in cases {
        for event in events {
            conversation.send(event).unwrap();
        }
        assert_eq!(conversation.finish(Ended::Returned), returned);
        assert_eq!(conversation.finish(Ended::Raised), raised);
    }
}

#[test]
fn receive_tells_of_the_connection_first() {
    let mut conversation = conversation();
    assert_eq!(conversation.receive(), Receive::Connect);
    assert_eq!(conversation.receive(), Receive::Handshake);
    conversation.send(accept(None, &[])).unwrap();
    assert_eq!(conversation.receive(), Receive::Message);
    conversation.peer_gone();
    assert_eq!(conversation.receive(), Receive::Disconnect);
    let mut open = open();
    assert_eq!(open.receive(), Receive::Connect);
    assert_eq!(open.receive(), Receive::Message);
}
