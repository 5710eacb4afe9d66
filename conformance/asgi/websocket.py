"""Rows W1 to W25: the WebSocket scope and its messages."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from conformance.asgi.suite import SUITE
from conformance.case import MUST, SHOULD, USED
from conformance.client import Connection
from conformance.http2_client import ENABLE_CONNECT_PROTOCOL, Http2, WebSocketStream
from conformance.server import Options
from conformance.verdict import NotApplicableError, check, equal
from conformance.websocket_client import (
    BINARY,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocket,
    frame,
    handshake,
    refusal,
)

if TYPE_CHECKING:
    from conformance.trial import Trial

NEEDS = {"websocket"}
MIB = 1 << 20
BUFFERED_MIB = 24


def scripted(trial: Trial, script: str, *headers: str) -> WebSocket:
    """Follow a script of `conformance.asgi.apps.WS_SCRIPTS` that accepts."""
    trial.new_tag()
    return WebSocket(trial, "ws-send", f"/{script}", headers=headers)


def refused_by_send(trial: Trial, *scripts: str, headers: tuple[str, ...] = ()) -> None:
    """Follow each script: its last message raises out of `send`."""
    for script in scripts:
        trial.new_tag()
        handshake(trial, "ws-send", f"/{script}", headers=headers)
        trial.seen("done")
        *earlier, last = trial.observer.all(trial.tag, "sent")
        check(last is not None, f"{script}: send took it")
        check(not any(earlier), f"{script}: an earlier message was refused: {earlier}")


@SUITE.case("W1", MUST, "scope: as HTTP's, type websocket, scheme ws, no method", needs=NEEDS)
def websocket_scope(trial: Trial) -> None:
    WebSocket(trial, "ws-scope", "/a%2Fb?x=%20", headers=["X-A: 1", "X-A: 2"])
    scope = trial.seen("scope")
    equal(scope["type"], "websocket", "type")
    equal(scope["asgi"]["version"], "3.0", "asgi.version")
    check(
        scope["asgi"].get("spec_version") in ("2.4", "2.5"),
        f"spec_version is {scope['asgi'].get('spec_version')!r}",
    )
    equal(scope["http_version"], "1.1", "http_version")
    equal(scope["scheme"], "ws", "scheme")
    equal(scope["path"], trial.target("ws-scope", "/a/b"), "path")
    equal(scope.get("raw_path"), trial.target("ws-scope", "/a%2Fb").encode(), "raw_path")
    equal(scope["query_string"], b"x=%20", "query_string")
    equal(scope["root_path"], "", "root_path")
    equal([value for name, value in scope["headers"] if name == b"x-a"], [b"1", b"2"], "headers")
    equal(scope["client"][0], "127.0.0.1", "client host")
    equal(tuple(scope["server"]), trial.server.address, "server")
    check("method" not in scope, "the scope has a method")
    equal((scope.get("state") or {}).get("answer"), 42, "state['answer']")


@SUITE.case("W2", MUST, "subprotocols is the list that the client offers", needs=NEEDS)
def subprotocols(trial: Trial) -> None:
    for header, expected in (
        (["Sec-WebSocket-Protocol: one, two,three"], ["one", "two", "three"]),
        (["Sec-WebSocket-Protocol: one", "Sec-WebSocket-Protocol: two"], ["one", "two"]),
        ([], []),
    ):
        trial.new_tag()
        WebSocket(trial, "ws-scope", headers=header)
        equal(list(trial.seen("scope")["subprotocols"]), expected, "subprotocols")


@SUITE.case("W3", MUST, "connect comes first; the handshake waits for the application", needs=NEEDS)
def connect_first(trial: Trial) -> None:
    connection, _ = handshake(trial, "ws-wait")
    equal(trial.seen("first"), {"type": "websocket.connect"}, "first message")
    connection.quiet()
    trial.connect().ask(trial.target("release"))
    equal(connection.response().status, 101, "status")


@SUITE.case("W4", MUST, "a second receive before accept blocks, or disconnects", needs=NEEDS)
def second_receive(trial: Trial) -> None:
    connection, _ = handshake(trial, "ws-wait")
    trial.seen("first")
    trial.observer.never(trial.tag, "second")
    connection.close()
    equal(trial.seen("second")["type"], "websocket.disconnect", "message after the client has gone")


@SUITE.case("W5", MUST, "accept: subprotocol and headers are in the answer", needs=NEEDS)
def accept(trial: Trial) -> None:
    answer = scripted(trial, "accept-subprotocol", "Sec-WebSocket-Protocol: one, two").answer
    equal(answer.all(b"sec-websocket-protocol"), [b"two"], "subprotocol")
    answer = scripted(trial, "accept-headers").answer
    equal(answer.all(b"x-a"), [b"1", b"2"], "values of x-a")
    equal(answer.all(b"set-cookie"), [b"a=1", b"b=2"], "values of set-cookie")
    for script in ("accept", "accept-none"):
        answer = scripted(trial, script, "Sec-WebSocket-Protocol: one").answer
        equal(answer.all(b"sec-websocket-protocol"), [], f"{script}: subprotocol")


@SUITE.case("W5-order", MUST, "the order of all headers of accept is kept", needs=NEEDS)
def accept_order(trial: Trial) -> None:
    answer = scripted(trial, "accept-headers").answer
    ours = [pair for pair in answer.headers if pair[0] in (b"x-a", b"set-cookie")]
    expected = [(b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"x-a", b"2"), (b"set-cookie", b"b=2")]
    equal(ours, expected, "headers")


@SUITE.case("W6", MUST, "accept refuses sec-websocket-protocol and pseudo headers", needs=NEEDS)
def accept_headers(trial: Trial) -> None:
    refused_by_send(trial, "accept-protocol-header", "accept-pseudo-header", "accept-str-header")


@SUITE.case("W7", USED, "accept refuses a subprotocol that was not offered", needs=NEEDS)
def foreign_subprotocol(trial: Trial) -> None:
    refused_by_send(
        trial, "accept-foreign-subprotocol", headers=("Sec-WebSocket-Protocol: one, two",)
    )


@SUITE.case("W8", USED, "accept refuses CR and LF", needs=NEEDS)
def line_breaks(trial: Trial) -> None:
    refused_by_send(trial, "accept-crlf-subprotocol", "accept-crlf-header")


@SUITE.case("W9", MUST, "close before accept is a 403 at once", needs=NEEDS)
def reject(trial: Trial) -> None:
    answer = refusal(trial, "ws-send", "/reject")
    equal(answer.status, 403, "status")
    refused_by_send(trial, "reject-then-accept")


@SUITE.case("W10", USED, "returning or raising before accept is a 500", needs=NEEDS)
def ends_before_accept(trial: Trial) -> None:
    for suffix in ("/before-return", "/before-raise"):
        trial.new_tag()
        answer = refusal(trial, "ws-end", suffix)
        check(
            answer.status == 500 or (suffix == "/before-return" and answer.status == 403),
            f"{suffix} answers {answer.status}",
        )


@SUITE.case("W11", MUST, "messages before accept are refused", needs=NEEDS)
def send_before_accept(trial: Trial) -> None:
    refused_by_send(trial, "send-first")


@SUITE.case("W12", MUST, "receive holds either bytes or text", needs=NEEDS)
def receive_kinds(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-accept")
    socket.text("é")
    socket.send(BINARY, b"\xff")
    socket.text("")
    socket.send(BINARY, b"")
    for count, (key, value) in enumerate(
        (("text", "é"), ("bytes", b"\xff"), ("text", ""), ("bytes", b"")), 2
    ):
        message = trial.seen("message", count=count)
        equal(message["type"], "websocket.receive", "type")
        equal(message.get(key), value, key)
        equal(message.get("bytes" if key == "text" else "text"), None, "the other key")


@SUITE.case("W13", MUST, "send refuses neither, both and wrong types", needs=NEEDS)
def send_kinds(trial: Trial) -> None:
    refused_by_send(
        trial,
        "send-neither",
        "send-nones",
        "send-both",
        "send-text-bytes",
        "send-bytes-text",
        "unknown-type",
        "accept-twice",
    )
    equal(scripted(trial, "send-one-none").message(), "x", "message with the other key None")


@SUITE.case(
    "W14", MUST, "pings are answered, fragments joined, control frames between them", needs=NEEDS
)
def pings_and_fragments(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-echo")
    socket.send(PING, b"hello")
    equal(socket.receive(), _pong(b"hello"), "answer to a ping")
    socket.send(PONG, b"unasked")
    socket.send(TEXT, "a é"[:1].encode(), fin=False)
    socket.send(PING, b"between")
    socket.send(CONTINUATION, " é".encode()[:2], fin=False)
    socket.send(CONTINUATION, " é".encode()[2:])
    equal(socket.receive(), _pong(b"between"), "answer to a ping between fragments")
    equal(socket.message(), "a é", "joined message")


def _pong(payload: bytes) -> Frame:
    return Frame(PONG, payload)


@SUITE.case(
    "W14-keep-alive", MUST, "the server pings by itself", needs={"websocket", "timers"},
    on=Options(shrunk_timers=True),
)  # fmt: skip
def server_pings(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-echo")
    for _ in range(2):
        received = socket.receive()
        equal(received.opcode, PING, "opcode")
        socket.send(PONG, received.payload)
    socket.text("alive")
    equal(socket.message(), "alive", "message")
    trial.new_tag()
    socket = WebSocket(trial, "ws-echo")
    equal(trial.seen("disconnect")["code"], 1006, "code of a peer that answers no ping")


@SUITE.case("W15", MUST, "disconnect has the peer's code, 1005 or 1006", needs=NEEDS)
def disconnect_code(trial: Trial) -> None:
    for code, expected in ((4321, 4321), (1000, 1000), (None, NO_CODE)):
        trial.new_tag()
        socket = WebSocket(trial, "ws-echo")
        socket.close(code)
        equal(trial.seen("disconnect")["code"], expected, f"code after a close with {code}")
        equal(socket.closed(reply=False)[0], expected, "code of the echoed close")
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        socket = WebSocket(trial, "ws-echo")
        leave(socket.connection)
        equal(trial.seen("disconnect", timeout=1)["code"], 1006, "code after a lost connection")


@SUITE.case("W16", MUST, "disconnect has the peer's reason", needs=NEEDS)
def disconnect_reason(trial: Trial) -> None:
    for reason in ("going", ""):
        trial.new_tag()
        WebSocket(trial, "ws-echo").close(1000, reason)
        equal(trial.seen("disconnect").get("reason"), reason, "reason")


@SUITE.case("W17", MUST, "close sends code and reason, 1000 and '' by default", needs=NEEDS)
def close(trial: Trial) -> None:
    equal(scripted(trial, "close").closed(), (1000, ""), "close frame")
    equal(scripted(trial, "close-code").closed(), (4001, "enough"), "close frame")
    refused_by_send(trial, "close-bad-code", "close-then-send")


@SUITE.case("W18", SHOULD, "send to a peer that has closed raises OSError, unlogged", needs=NEEDS)
def send_after_close(trial: Trial) -> None:
    def polite(socket: WebSocket) -> None:
        socket.close(1000)

    def rude(socket: WebSocket) -> None:
        socket.connection.reset()

    for leave in (polite, rude):
        trial.new_tag()
        socket = WebSocket(trial, "ws-send-to-nobody")
        leave(socket)
        error = trial.seen("send-error")
        check(error and error["os_error"], f"send raised {error}")
    trial.server.ping()
    check("Traceback" not in trial.server.log_since_mark(), "the error is logged")


@SUITE.case("W19", MUST, "returning closes with 1000, raising with 1011", needs=NEEDS)
def ends_after_accept(trial: Trial) -> None:
    for suffix, code in (("/after-return", 1000), ("/after-raise", 1011)):
        trial.new_tag()
        found, reason = WebSocket(trial, "ws-end", suffix).closed()
        equal(found, code, f"{suffix}: close code")
        check("boom" not in reason, "the exception's text is in the close reason")


@SUITE.case("W20", USED, "violations close with 1002, 1007 or 1009", needs=NEEDS)
def violations(trial: Trial) -> None:
    for payload, opcode, masked, code in (
        (b"\xff\xfe", TEXT, True, 1007),
        (b"x" * (17 * MIB), BINARY, True, 1009),
        (b"x", 0x3, True, 1002),
        (b"x", TEXT, False, 1002),
    ):
        trial.new_tag()
        socket = WebSocket(trial, "ws-accept")
        socket.send(opcode, payload, masked=masked)
        equal(socket.closed()[0], code, "close code")
        equal(trial.seen("message", count=2)["type"], "websocket.disconnect", "message")


@SUITE.case("W21", USED, "shutdown closes each socket with 1012 or 1001", needs=NEEDS)
def shutdown(trial: Trial) -> None:
    server = trial.start(Options(shrunk_timers=True))
    sockets = []
    for _ in range(3):
        trial.new_tag()
        socket = WebSocket(trial, "ws-echo", connection=trial.connect(server=server))
        sockets.append((socket, trial.tag))
    server.signal(signal.SIGTERM)
    for socket, tag in sockets:
        code, _ = socket.closed()
        check(code in (1001, 1012), f"close code is {code}")
        equal(trial.observer.wait(tag, "disconnect")["code"], code, "code in the application")
    check(server.wait_exit(within=5) is not None, "still running")


@SUITE.case("W22", USED, "both directions have backpressure", needs=NEEDS)
def backpressure(trial: Trial) -> None:
    before = trial.server.memory()
    socket = WebSocket(trial, "ws-deaf")
    message = frame(BINARY, b"x" * 65536)
    sent = socket.connection.send_until_blocked(message * 1024)
    check(sent < BUFFERED_MIB * MIB, f"{sent >> 20} MiB that nobody receives were taken")
    trial.connect().ask(trial.target("release"))
    socket.connection.reset()
    trial.seen("disconnect", timeout=10)
    trial.new_tag()
    WebSocket(trial, "ws-flood", connection=trial.connect(receive_buffer=65536))
    trial.observer.never(trial.tag, "flood-done", window=0.2)
    mib = max(trial.observer.settled(trial.tag, "mib"), default=0)
    check(mib < BUFFERED_MIB, f"send took {mib} MiB that nobody reads")
    grown = trial.server.memory() - before
    check(grown < 12 * MIB, f"memory grew by {grown >> 20} MiB")


@SUITE.case("W23", USED, "handshake errors are plain HTTP answers", needs=NEEDS)
def handshake_errors(trial: Trial) -> None:
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    upgrade = ["Connection: Upgrade", "Upgrade: websocket"]
    version = "Sec-WebSocket-Version: 13"
    target = trial.target("ws-echo")
    for name, headers, statuses in (
        ("no key", [*upgrade, version], (400,)),
        ("short key", [*upgrade, version, "Sec-WebSocket-Key: AAAA"], (400,)),
        ("key not base64", [*upgrade, version, "Sec-WebSocket-Key: !!!!"], (400,)),
        ("two keys", [*upgrade, version, key, key], (400,)),
        ("no version", [*upgrade, key], (400, 426)),
        ("version 12", [*upgrade, key, "Sec-WebSocket-Version: 12"], (426,)),
    ):
        answer = trial.connect().ask(target, headers=headers)
        check(answer.status in statuses, f"{name} answers {answer.status}")
        if answer.status == 426:
            equal(answer.all(b"sec-websocket-version"), [b"13"], "sec-websocket-version")
    answer = trial.connect().ask(target, method="POST", headers=[*upgrade, version, key])
    check(answer.status in (400, 405), f"POST answers {answer.status}")
    equal(trial.observer.all(trial.tag, "called"), [], "calls of the application")


@SUITE.case("W24", USED, "RFC 8441: WebSocket over HTTP/2", needs={"websocket", "http2"})
def over_http2(trial: Trial) -> None:
    client = Http2(trial)
    if not client.settings.get(ENABLE_CONNECT_PROTOCOL):
        raise NotApplicableError("SETTINGS_ENABLE_CONNECT_PROTOCOL is not sent")
    stream = WebSocketStream(client, "ws-echo", headers=[("sec-websocket-protocol", "one")])
    equal(stream.status, 200, "status")
    stream.text("over h2")
    equal(stream.text_received(), "over h2", "message")
    client.reset(stream.stream)
    equal(trial.seen("disconnect")["code"], 1006, "code after RST_STREAM")
    trial.new_tag()
    WebSocketStream(client, "ws-scope")
    scope = trial.seen("scope")
    equal(scope["http_version"], "2", "http_version")
    equal(scope["type"], "websocket", "type")
    trial.new_tag()
    stream = WebSocketStream(client, "ws-send", "/close-code")
    equal(stream.closed(), (4001, "enough"), "close frame")
    trial.new_tag()
    equal(WebSocketStream(client, "ws-send", "/reject").status, 403, "status of a rejection")


SUITE.left_out("W25", "permessage-deflate", "not due yet: the extension is not offered")
