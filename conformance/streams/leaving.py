"""X09, X12 and W06: peers that leave in the middle, and streams that end badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.client import Connection
from conformance.http2_client import Http2
from conformance.streams.suite import NATIVE, NEEDS, SUITE
from conformance.streams.uploads import FORM, nothing_left, send_file, stats
from conformance.verdict import check, equal, eventually
from conformance.websocket_client import WebSocket, handshake

if TYPE_CHECKING:
    from conformance.trial import Trial

MIB = 1 << 20
CONNECTIONS = 10_000  # that break off, eleven a round
NOTICE_SECONDS = 3.0  # one second is the claim; a loaded machine gets three

# handler, request, what the application reports, whether it holds a dependency
REQUESTS = [
    ("hang", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "cancelled", True),
    ("endless", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "closed", True),
    ("events", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "closed", True),
    ("blocking", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "closed", False),
    ("raw", "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", "ended", True),
]


@SUITE.case(
    "X09",
    MUST,
    "when a client goes its handler ends, generators close, dependencies are given back once",
    needs=NEEDS,
    on=NATIVE,
)
def clients_leave(trial: Trial) -> None:
    for handler, request, label, holds in REQUESTS:
        for leave in (Connection.close, Connection.reset):
            trial.new_tag()
            connection = trial.connect()
            connection.send(request.format(trial.target(handler)).encode())
            trial.seen("called")
            leave(connection)
            _ended(trial, label, holds=holds)


@SUITE.case(
    "X09-http2", MUST, "the same when an HTTP/2 stream is reset", needs=NEEDS | {"http2"}, on=NATIVE
)
def streams_reset(trial: Trial) -> None:
    client = Http2(trial)
    for handler, _, label, holds in REQUESTS[:4]:
        trial.new_tag()
        stream = client.request(handler)
        trial.seen("called")
        client.reset(stream)
        _ended(trial, label, holds=holds)
    client.alive()


@SUITE.case(
    "X09-websocket", MUST, "the same for WebSockets, busy or listening", needs=NEEDS, on=NATIVE
)
def sockets_leave(trial: Trial) -> None:
    for handler, label in (("ws-echo", "disconnect"), ("ws-hang", "cancelled")):
        for leave in (Connection.close, Connection.reset):
            trial.new_tag()
            socket = WebSocket(trial, handler)
            trial.seen("called")
            leave(socket.connection)
            _ended(trial, label, holds=True)


@SUITE.case(
    "X09-upload", MUST, "the same while a form arrives, and its files go", needs=NEEDS, on=NATIVE
)
def uploads_leave(trial: Trial) -> None:
    connection = trial.connect()
    send_file(connection, trial.target("keep"), 4 * MIB)
    trial.seen("called")
    connection.close()
    trial.seen("cancelled", timeout=NOTICE_SECONDS)
    nothing_left(trial)


def _ended(trial: Trial, label: str, *, holds: bool) -> None:
    trial.seen(label, timeout=NOTICE_SECONDS)
    if holds:
        trial.seen("released", timeout=NOTICE_SECONDS)
        equal(len(trial.observer.settled(trial.tag, "released", window=0.05)), 1, "releases")
    equal(len(trial.observer.all(trial.tag, label)), 1, label)


@SUITE.case(
    "X12", MUST, "a stream that raises after its head is cut, and logged", needs=NEEDS, on=NATIVE
)
def stream_raises(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(trial.target("breaks"))
    check(connection.outcome() is None, "the response looks complete")
    log = trial.server.log_since_mark()
    check(f"boom {trial.tag}" in log, "it is not logged")
    trial.server.ping()


@SUITE.case(
    "X12-http2",
    MUST,
    "over HTTP/2 such a stream is reset, and the others go on",
    needs=NEEDS | {"http2"},
    on=NATIVE,
)
def stream_raises_http2(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.request("breaks")
    check(client.ending(stream) != "200", "the response looks complete")
    client.alive()


@SUITE.case(
    "X12-replay", MUST, "a client that comes back hears what it missed", needs=NEEDS, on=NATIVE
)
def replay(trial: Trial) -> None:
    def heard(last: str, until: bytes) -> bytes:
        connection = trial.connect()
        connection.request(
            trial.target("events"), headers=[f"Last-Event-ID: {last}"] if last else []
        )
        connection.head()
        return connection.until(until, _soon())

    check(heard("", b'data: {"number":2}\n\n').count(b"id:") == 3, "the first client hears less")
    missed = heard("0", b'data: {"number":2}\n\n')
    check(b'"number":0' not in missed, "an event comes twice")
    check(missed.count(b"id:") == 2, f"heard {missed!r}")


def _soon() -> float:
    import time

    return time.monotonic() + 3


@SUITE.case(
    "W06",
    MUST,
    "connections that break off in every state leave tasks, descriptors and files as they were",
    needs=NEEDS,
    on=NATIVE,
    hostile=True,
)
def breaking_off(trial: Trial) -> None:
    _break_off(trial)  # whatever is made once
    eventually(lambda: stats(trial)["spools"] == 0, "uploads stay on disk")
    before = stats(trial)
    memory = trial.server.memory()
    for _ in range(CONNECTIONS // 11):
        _break_off(trial)

    def settled() -> bool:
        now = stats(trial)
        return all(now[name] <= before[name] + 1 for name in before)

    eventually(settled, f"{stats(trial)}, before {before}", within=10)
    grown = trial.server.memory() - memory
    check(grown < 8 * MIB, f"memory grew by {grown / MIB:.1f} MiB")


def _break_off(trial: Trial) -> None:
    target = trial.target
    for index, data in enumerate(
        (
            b"",
            b"GET /pi",
            f"GET {target('hang')} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"GET {target('endless')} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"GET {target('events')} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"GET {target('download')}?mebibytes=64 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"POST {target('raw')} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx".encode(),
            f"POST {target('form')} HTTP/1.1\r\nHost: a\r\n{FORM}\r\nContent-Length: 9\r\n\r\n--b".encode(),
        )
    ):
        connection = trial.connect()
        connection.send(data)
        (connection.reset if index % 2 else connection.close)()
    connection, _ = handshake(trial, "ws-echo")
    connection.reset()
    socket = WebSocket(trial, "ws-hang")
    socket.connection.reset()
    connection = trial.connect()
    send_file(connection, target("hash"), 3 * MIB // 2, until=5 * MIB // 4)
    connection.reset()
