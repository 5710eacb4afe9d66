"""X09 to X14: what an application does wrong costs its own request and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.asgi.apps import SCRIPTS
from conformance.case import MUST
from conformance.client import Connection
from conformance.faults.suite import SUITE
from conformance.verdict import check, equal
from conformance.websocket_client import WebSocket

if TYPE_CHECKING:
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


@SUITE.case("X14", MUST, "SystemExit, KeyboardInterrupt and their like are a 500; the worker lives")
def base_exceptions(trial: Trial) -> None:
    for kind in ("cancelled", "interrupt", "exit", "generator"):
        trial.new_tag()
        equal(trial.ask("raise-kind", f"/{kind}").status, 500, f"status after {kind}")
        trial.server.ping()
