"""X22 for streams: what a server that stops does to events, endless responses and uploads."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.streams.suite import NATIVE, NEEDS, SUITE
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

STOPPING = Options(app=NATIVE.app, shrunk_timers=True)
EXIT_SECONDS = 8  # two of grace, and what a loaded machine takes


@SUITE.case("X22-events", MUST, "SIGTERM: event streams end as if complete", needs=NEEDS)
def events(trial: Trial) -> None:
    server = trial.start(STOPPING)
    connection = trial.connect(server=server)
    connection.request(trial.target("events"))
    trial.seen("called")
    server.signal(signal.SIGTERM)
    outcome = connection.outcome(within=EXIT_SECONDS)
    check(outcome is not None, "the stream was cut, so that the client takes it for an error")
    trial.seen("closed")
    trial.seen("released")
    equal(server.wait_exit(within=EXIT_SECONDS), 0, "exit code")


@SUITE.case(
    "X22-endless", MUST, "SIGTERM: endless responses are cut, their generators closed", needs=NEEDS
)
def endless(trial: Trial) -> None:
    server = trial.start(STOPPING)
    connections = []
    for handler in ("endless", "hang", "blocking"):
        connections.append(trial.connect(server=server))
        connections[-1].request(trial.target(handler))
    upload = trial.connect(server=server)
    upload.send(
        f"POST {trial.target('raw')} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx".encode()
    )
    trial.seen("called", count=4)
    server.signal(signal.SIGTERM)
    equal(server.wait_exit(within=EXIT_SECONDS), 0, "exit code")
    for label in ("closed", "cancelled", "ended"):
        trial.seen(label)
    trial.seen("released", count=3)


@SUITE.case(
    "X22-events-http2",
    MUST,
    "SIGTERM: the same over HTTP/2, after GOAWAY",
    needs=NEEDS | {"http2"},
)
def events_http2(trial: Trial) -> None:
    server = trial.start(STOPPING)
    client = Http2(trial, connection=trial.connect(server=server))
    stream = client.request("events")
    trial.seen("called")
    server.signal(signal.SIGTERM)
    client.until(lambda: client.went_away is not None)
    equal(client.ending(stream), "200", "end of the stream")
    trial.seen("released")
    equal(server.wait_exit(within=EXIT_SECONDS), 0, "exit code")
