"""X07 to X14: what an application does wrong costs its own request and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.asgi.apps import SCRIPTS
from conformance.case import MUST
from conformance.client import ClosedError, Connection
from conformance.faults.suite import SUITE
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.verdict import (
    BrokenError,
    NotApplicableError,
    check,
    equal,
    eventually,
)
from conformance.websocket_client import WebSocket

if TYPE_CHECKING:
    from conformance.server import Server
    from conformance.trial import Trial


@SUITE.case("X09", MUST, "whatever a handler does, it hears of its client's end within a second")
def disconnects(trial: Trial) -> None:
    for handler, head, label in (
        ("receive-for-ever", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "again"),
        ("receive-for-ever", "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", "again"),
        ("flood", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "flood-error"),
    ):
        for leave in (Connection.close, Connection.reset):
            trial.new_tag()
            connection = trial.connect(receive_buffer=65536)
            connection.send(head.format(trial.target(handler)).encode())
            trial.seen("called")
            leave(connection)
            trial.seen(label, timeout=1)
    if "websocket" in trial.capabilities:
        trial.new_tag()
        WebSocket(trial, "ws-echo").connection.close()
        trial.seen("disconnect", timeout=1)


@SUITE.case(
    "X07",
    MUST,
    "a handler that never answers is cancelled at the time limit",
    needs={"timers"},
    on=Options(arguments=("--request-timeout", "0.5")),
)
def never_answers(trial: Trial) -> None:
    answer = trial.ask("hang")
    equal(answer.status, 408, "status")
    trial.seen("cancelled")


@SUITE.case("X10", MUST, "sending to a client that has gone raises an OSError")
def send_after_disconnect(trial: Trial) -> None:
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("send-to-nobody"))
        trial.seen("called")
        leave(connection)
        error = trial.seen("send-error")
        check(error["os_error"], f"send raised {error['class']}, not an OSError")


@SUITE.case(
    "X11", MUST, "an exception before the head is a 500 without its text; the connection lives"
)
def exception_before_head(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask(trial.target("fail", "/before"))
    equal(answer.status, 500, "status")
    check(b"boom" not in answer.body and b"Traceback" not in answer.body, "the answer tells of it")
    check(f"boom {trial.tag}" in trial.server.log_since_mark(), "it is not logged")
    equal(connection.ask("/ping").status, 200, "status of the next request")


@SUITE.case("X13", MUST, "no sequence of messages panics, hangs or reaches the wire malformed")
def message_sequences(trial: Trial) -> None:
    for script in SCRIPTS:
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("send", f"/{script}"))
        status = connection.outcome()
        check(status in (None, 200, 204, 304, 500), f"{script} answers {status}")
    for suffix in ("/before", "/after-start", "/in-body"):
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("leave", suffix))
        check(connection.outcome() in (None, 500), f"returning at {suffix} looks complete")


PLANTED = (
    "accept",
    "http1 read",
    "http1 request",
    "http1 body",
    "http1 write",
    "batch",
    "http2 request",
    "http2 answer",
    "http2 batch",
    "websocket",
    "asgi send",
    "outlet",
    "access log",
    "watch",
)


@SUITE.case(
    "X15", MUST, "a panic of the server costs one connection, wherever it is", needs={"timers"}
)
def planted_panics(trial: Trial) -> None:
    for point in PLANTED:
        options = Options(
            access_log=True,
            # A debug build takes seconds to print a backtrace.
            environment=(("SPIKARD_PLANTED_PANIC", point), ("RUST_BACKTRACE", "0")),
            shrunk_timers=True,
        )
        server = trial.start(options)
        eventually(
            lambda server=server: _use_everything(trial, server),  # type: ignore[misc]
            f"{point}: the server never comes back to itself",
            within=20,
        )
        if point == PLANTED[0] and f"planted at {point}" not in server.log():
            raise NotApplicableError("only the debug build has panics to plant")
        eventually(
            lambda server=server, point=point: f"planted at {point}" in server.log(),  # type: ignore[misc]
            f"{point} is not reached",
        )
        equal(len(set(_pids(server))), 1, f"{point}: number of workers seen")
        check(_use_everything(trial, server), f"{point}: it fails again")
        trial.connect(server=server).closed(within=3)  # the clock still runs


def _pids(server: Server) -> list[str]:
    return [server.ping() for _ in range(2)]


def _use_everything(trial: Trial, server: Server) -> bool:
    """Tell whether all kinds of requests are answered, several times over."""
    try:
        return all(_use_each(trial, server) for _ in range(4))
    except (BrokenError, OSError, ClosedError):
        return False


def _use_each(trial: Trial, server: Server) -> bool:
    with server.connect() as connection:
        answers = [
            connection.ask("/echo/-", method="POST", body=b"x").status,
            connection.ask("/stream-headers/-").status,
        ]
    if "http2" in trial.capabilities:
        with server.connect() as connection:
            client = Http2(trial, connection=connection)
            answers += [client.ask("echo").status, client.ask("stream-headers").status]
    if "websocket" in trial.capabilities:
        with server.connect() as connection:
            socket_ = WebSocket(trial, "ws-echo", connection=connection)
            socket_.text("x")
            socket_.receive()
    return set(answers) == {200}


@SUITE.case("X14", MUST, "SystemExit, KeyboardInterrupt and their like are a 500; the worker lives")
def base_exceptions(trial: Trial) -> None:
    for kind in ("cancelled", "interrupt", "exit", "generator"):
        trial.new_tag()
        equal(trial.ask("raise-kind", f"/{kind}").status, 500, f"status after {kind}")
        trial.server.ping()
