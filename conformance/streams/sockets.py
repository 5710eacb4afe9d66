"""Group E on a native application: what its policies, and its handlers' mistakes, do to WebSockets."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.server import Options
from conformance.streams.suite import NATIVE, NEEDS, SECURED, SUITE
from conformance.verdict import check, equal
from conformance.websocket_client import BINARY, WebSocket, frame, handshake

if TYPE_CHECKING:
    from conformance.trial import Trial

KIB = 1 << 10


@SUITE.case("E14", MUST, "a stop closes native sockets with 1001", needs=NEEDS)
def stopping(trial: Trial) -> None:
    server = trial.start(Options(app=NATIVE.app, shrunk_timers=True))
    sockets = [
        WebSocket(trial, handler, connection=trial.connect(server=server))
        for handler in ("ws-echo", "ws-hang")
    ]
    trial.seen("called", count=2)
    server.signal(signal.SIGTERM)
    for socket in sockets:
        equal(socket.closed()[0], 1001, "close code")
    equal(server.wait_exit(within=8), 0, "exit code")
    trial.seen("released", count=2)


@SUITE.case("E16", MUST, "pages of other hosts are refused", needs=NEEDS, on=NATIVE, hostile=True)
def origins(trial: Trial) -> None:
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("http://a", 101),
        ("http://a:81", 403),
        ("", 101),
    ):
        trial.new_tag()
        headers = [f"Origin: {origin}", "Cookie: session=1"] if origin else []
        connection, _ = handshake(trial, "ws-echo", headers=headers)
        equal(connection.response().status, status, f"status for origin {origin!r}")


@SUITE.case(
    "E18", MUST, "a handler that fails closes its own socket with 1011", needs=NEEDS, on=NATIVE
)
def failing(trial: Trial) -> None:
    other = WebSocket(trial, "ws-echo")
    for handler in ("ws-raise", "ws-unsayable"):
        trial.new_tag()
        code, reason = WebSocket(trial, handler).closed()
        equal(code, 1011, f"close code of {handler}")
        check("boom" not in reason, "the reason tells of it")
        trial.seen("released")
        equal(len(trial.observer.settled(trial.tag, "released", window=0.05)), 1, "releases")
    other.text("still here")
    equal(other.message(), "still here", "message on another socket")


@SUITE.case(
    "E18-message",
    MUST,
    "a message that does not fit is answered, not fatal",
    needs=NEEDS,
    on=NATIVE,
)
def bad_messages(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-typed")
    for sent, loc in (
        ('{"text":1}', ["message", "text"]),
        ('{"text":"a","count":"b"}', ["message", "count"]),
    ):
        socket.text(sent)
        refusal = json.loads(socket.message())
        equal(refusal["type"], "error", "type")
        equal([error["loc"] for error in refusal["errors"]], [loc], "places")
    for sent in ("{", "", "[" * 100_000):
        socket.text(sent)
        equal(json.loads(socket.message()), {"message": "Invalid JSON", "type": "error"}, "answer")
    socket.send(BINARY, b'{"text":"b"}')
    equal(json.loads(socket.message()), {"text": "b"}, "answer to bytes")
    equal(trial.observer.all(trial.tag, "message"), ["b"], "messages of the handler")


@SUITE.case("E19", MUST, "a handler that reads nothing stops its peer", needs=NEEDS, on=NATIVE)
def unread(trial: Trial) -> None:
    before = trial.server.memory()
    socket = WebSocket(trial, "ws-slow")
    trial.seen("called")
    message = frame(BINARY, bytes(64 * KIB))
    total = len(message) * 1000
    taken = socket.connection.send_until_blocked(message * 1000)
    check(taken < total, "all messages were taken")
    grown = trial.server.memory() - before
    check(grown < 8 << 20, f"memory grew by {grown >> 20} MiB")
    trial.ask("go-on")
    rest = (message * 1000)[taken:]
    for start in range(0, len(rest), 1 << 20):
        socket.connection.send(rest[start : start + (1 << 20)])
    socket.close(1000)
    equal(trial.seen("received"), 1000, "messages")


@SUITE.case(
    "E20",
    MUST,
    "a subprotocol that was not offered, or breaks the head, is a 500",
    needs=NEEDS,
    on=NATIVE,
)
def subprotocols(trial: Trial) -> None:
    for chosen, offers in (("b", ["a"]), ("b", []), ("a%0D%0AX-Evil:%201", ["a"])):
        trial.new_tag()
        headers = [f"Sec-WebSocket-Protocol: {offer}" for offer in offers]
        connection, _ = handshake(trial, "ws-subprotocol", f"?chosen={chosen}", headers=headers)
        answer = connection.response()
        equal(answer.status, 500, f"status for {chosen!r} of {offers}")
        check(not answer.all(b"x-evil"), "a header was smuggled in")
    connection, _ = handshake(
        trial, "ws-subprotocol", "?chosen=b", headers=["Sec-WebSocket-Protocol: a, b"]
    )
    answer = connection.response()
    equal(answer.header(b"sec-websocket-protocol"), b"b", "chosen subprotocol")


@SUITE.case(
    "E21", MUST, "without credentials there is no handshake", needs=NEEDS, on=SECURED, hostile=True
)
def unauthorized(trial: Trial) -> None:
    for headers in ([], ["Authorization: Bearer a.b.c"]):
        connection, _ = handshake(trial, "ws-echo", headers=headers)
        answer = connection.response()
        equal(answer.status, 401, "status")
        check(answer.header(b"www-authenticate"), "no www-authenticate")
    trial.observer.never(trial.tag, "called", window=0)
