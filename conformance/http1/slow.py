"""Group B: slow clients and many idle ones, against a server whose limits are a second or less."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.http1.suite import SUITE
from conformance.http2_client import INITIAL_WINDOW_SIZE, Http2
from conformance.server import Options
from conformance.verdict import broken, check, equal

if TYPE_CHECKING:
    from conformance.client import Connection
    from conformance.trial import Trial

SHRUNK = Options(shrunk_timers=True)
LIMIT_SECONDS = 0.8  # as conformance.server shrinks them
SLACK = 3.0
TICK_SECONDS = 1.1  # more than the grain of a server's coarse clock


def drip(connection: Connection, data: bytes, pause: float, *, within: float) -> bytes:
    """Send a byte every `pause` seconds until the peer ends the connection; return what it had sent."""
    end = time.monotonic() + within
    for index in range(len(data)):
        connection.send(data[index : index + 1])
        if connection.has_ended(pause):
            return bytes(connection.buffer)
        check(time.monotonic() < end, f"still open after {within:g} s")
    return broken("all data was taken")


@SUITE.case(
    "B01",
    MUST,
    "a connection that sends nothing is closed",
    needs={"timers"},
    on=SHRUNK,
    hostile=True,
)
def silence(trial: Trial) -> None:
    trial.connect().closed(within=LIMIT_SECONDS * SLACK)


@SUITE.case(
    "B02",
    MUST,
    "5,000 silent connections, or as many as the system lets be, leave room for a request",
    hostile=True,
)
def many_silent(trial: Trial) -> None:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(min(5_000, open_files // 2)):
        trial.connect()
    trial.server.ping(within=1.0)


@SUITE.case(
    "B04", MUST, "the time limit is for the whole head", needs={"timers"}, on=SHRUNK, hostile=True
)
def slow_head(trial: Trial) -> None:
    data = b"GET /scope/x HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100
    received = drip(trial.connect(), data, 0.1, within=LIMIT_SECONDS * SLACK)
    check(
        not received or received.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408")),
        f"answered {received[:40]!r}",
    )


@SUITE.case(
    "B05",
    MUST,
    "an idle kept-alive connection is closed",
    needs={"timers"},
    on=SHRUNK,
    hostile=True,
)
def idle(trial: Trial) -> None:
    connection = trial.connect()
    equal(connection.ask("/ping").status, 200, "status")
    connection.closed(within=LIMIT_SECONDS * SLACK)


@SUITE.case(
    "B05-use", MUST, "use renews a kept-alive connection", needs={"timers"}, on=SHRUNK, hostile=True
)
def kept_in_use(trial: Trial) -> None:
    connection = trial.connect()
    for _ in range(4):
        equal(connection.ask("/ping").status, 200, "status")
        connection.quiet(LIMIT_SECONDS / 2)


@SUITE.case(
    "B06",
    MUST,
    "a body that stops is a 408 and a disconnect",
    needs={"timers"},
    on=SHRUNK,
    hostile=True,
)
def stopped_body(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(
        f"POST {trial.target('receive-for-ever')} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx".encode()
    )
    equal(connection.outcome(within=LIMIT_SECONDS * SLACK), 408, "status")
    connection.closed()
    trial.seen("again")
    equal(
        trial.observer.all(trial.tag, "received")[-1], {"type": "http.disconnect"}, "last message"
    )


@SUITE.case(
    "B07", MUST, "a body below the minimum rate is ended", needs={"timers"}, on=SHRUNK, hostile=True
)
def slow_body(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(
        f"POST {trial.target('receive-for-ever')} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".encode()
    )
    drip(connection, b"x" * 1000, 0.3, within=8.0)
    trial.seen("again")


@SUITE.case(
    "B01-preface",
    MUST,
    "half a request line, or half an HTTP/2 preface, is given up",
    needs={"timers"},
    on=SHRUNK,
    hostile=True,
)
def half_preface(trial: Trial) -> None:
    for start in (b"P", b"PRI * HT", b"GET /pi"):
        connection = trial.connect()
        connection.send(start)
        status = connection.outcome(within=LIMIT_SECONDS * SLACK)
        check(status in (None, 408), f"{start!r} is answered {status}")
        connection.closed()


@SUITE.case(
    "B02-evict",
    MUST,
    "at the cap the longest idle connection makes room",
    needs={"timers"},
    on=Options(arguments=("--max-connections", "50")),
    hostile=True,
)
def eviction(trial: Trial) -> None:
    def idle_connection() -> Connection:
        connection = trial.connect()
        equal(connection.ask("/ping").status, 200, "status")
        return connection

    oldest = [idle_connection() for _ in range(5)]
    oldest[0].quiet(TICK_SECONDS)
    younger = [idle_connection() for _ in range(45)]
    equal(idle_connection().ask("/ping").status, 200, "status at the cap")
    check(any(connection.has_ended(0.2) for connection in oldest), "no old connection made room")
    younger[-1].quiet(0.01)


@SUITE.case(
    "B05-http2",
    MUST,
    "an idle HTTP/2 connection is ended by GOAWAY",
    needs={"timers", "http2"},
    on=SHRUNK,
    hostile=True,
)
def idle_http2(trial: Trial) -> None:
    client = Http2(trial)
    equal(client.ask("echo").status, 200, "status")
    equal(client.goaway(within=LIMIT_SECONDS * SLACK), 0, "code of GOAWAY")


@SUITE.case(
    "B08",
    MUST,
    "a client that never reads is given up, and the application told",
    needs={"timers"},
    on=SHRUNK,
    hostile=True,
)
def never_reads(trial: Trial) -> None:
    trial.connect(receive_buffer=65536).request(trial.target("flood"))
    error = trial.seen("flood-error", timeout=8)
    check(error["os_error"], f"send raised {error['class']}, not an OSError")


@SUITE.case(
    "B08-http2",
    MUST,
    "a stream whose window stays closed is reset, and the application told",
    needs={"timers", "http2"},
    on=SHRUNK,
    hostile=True,
)
def never_reads_http2(trial: Trial) -> None:
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 0})
    client.request("flood")
    error = trial.seen("flood-error", timeout=8)
    check(error["os_error"], f"send raised {error['class']}, not an OSError")
