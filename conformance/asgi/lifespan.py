"""Rows L1 to L11: the lifespan protocol. Each case runs a server of its own."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.asgi.suite import SUITE
from conformance.case import MUST, USED
from conformance.server import Options, Server
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

TAG = "lifespan"  # under which the lifespan handler of conformance.asgi.apps reports
STOP_SECONDS = 8.0  # the shrunk limit of two, and what comes after it


def app(
    name: str,
    *,
    lifespan: str = "auto",
    shrunk_timers: bool = False,
    environment: tuple[tuple[str, str], ...] = (),
) -> Options:
    """Return options for one of the applications of another shape."""
    return Options(
        app=f"conformance.asgi.apps:{name}",
        lifespan=lifespan,
        shrunk_timers=shrunk_timers,
        environment=environment,
    )


def end(server: Server) -> int:
    """Send SIGTERM and return the exit code."""
    server.signal(signal.SIGTERM)
    code = server.wait_exit(within=STOP_SECONDS)
    check(code is not None, f"still running {STOP_SECONDS:g} s after SIGTERM")
    return code or 0


@SUITE.case("L1", MUST, "one lifespan call per event loop, on the loop that serves requests")
def same_loop(trial: Trial) -> None:
    before = len(trial.observer.all(TAG, "scope"))
    server = trial.start(Options())
    trial.connect(server=server).ask(trial.target("scope"))
    equal(len(trial.observer.all(TAG, "scope")), before + 1, "number of lifespan calls")
    equal(
        trial.seen("loop"), trial.observer.wait(TAG, "loop", count=before + 1), "loop of a request"
    )


@SUITE.case("L2", MUST, "scope: type lifespan, spec_version 2.0, an empty state")
def lifespan_scope(trial: Trial) -> None:
    scope = trial.observer.wait(TAG, "scope")
    equal(scope["type"], "lifespan", "type")
    equal(scope["asgi"]["version"], "3.0", "asgi.version")
    equal(scope["asgi"].get("spec_version"), "2.0", "asgi.spec_version")
    equal(scope.get("state"), {}, "state")


@SUITE.case("L3", MUST, "no request is served before startup is complete")
def startup_first(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as directory:
        gate = Path(directory, "gate")
        server = trial.start(
            app("startup_waits", environment=(("CONFORMANCE_GATE", str(gate)),)), ready=False
        )
        trial.observer.wait("startup-waits", "starting", timeout=10)
        with contextlib.suppress(ConnectionRefusedError):
            connection = trial.connect(server=server)
            connection.request("/ping")
            connection.quiet()
        trial.observer.never("startup-waits", "request")
        gate.touch()
        server.wait_ready()
        server.ping()


@SUITE.case("L4", MUST, "an exception at startup means no lifespan, unless lifespan is demanded")
def startup_raises(trial: Trial) -> None:
    server = trial.start(app("startup_raises"))
    server.ping()
    end(server)
    equal(trial.observer.all("startup-raises", "message"), ["lifespan.startup"], "messages")
    if "lifespan-mode" in trial.capabilities:
        server = trial.start(app("startup_raises", lifespan="on"), ready=False)
        code = server.wait_exit(within=10)
        check(
            code not in (0, None),
            f"with lifespan demanded it {'goes on' if code is None else 'exits 0'}",
        )


@SUITE.case("L5", MUST, "startup.failed: its message is logged and the server exits other than 0")
def startup_failed(trial: Trial) -> None:
    for workers in (1, 2):
        if workers > 1 and "workers" not in trial.capabilities:
            continue
        server = trial.start(
            Options(app="conformance.asgi.apps:startup_failed", workers=workers), ready=False
        )
        code = server.wait_exit(within=10)
        check(code is not None, f"{workers} workers: still running")
        check(code != 0, f"{workers} workers: exits 0")
        check(
            "the database is away" in server.log(), f"{workers} workers: the message is not logged"
        )


@SUITE.case("L6", MUST, "what startup stored in state reaches HTTP and WebSocket scopes")
def state(trial: Trial) -> None:
    equal((trial.scope().get("state") or {}).get("answer"), 42, "state['answer'] of a request")
    if "websocket" in trial.capabilities:
        from conformance.websocket_client import WebSocket

        trial.new_tag()
        WebSocket(trial, "ws-scope")
        equal(
            (trial.seen("scope").get("state") or {}).get("answer"),
            42,
            "state['answer'] of a WebSocket",
        )


@SUITE.case("L7", MUST, "shutdown comes after the last response and is waited for")
def shutdown_last(trial: Trial) -> None:
    before = len(trial.observer.all(TAG, "message"))
    server = trial.start(Options(shrunk_timers=True))
    connection = trial.connect(server=server)
    connection.request(trial.target("part-then-wait"))
    trial.seen("sent-first")
    releaser = trial.connect(server=server)
    releaser.ask("/ping")
    server.signal(signal.SIGTERM)
    trial.observer.settled(TAG, "message")
    equal(
        trial.observer.all(TAG, "message")[before:],
        ["lifespan.startup"],
        "lifespan messages during a response",
    )
    check(server.wait_exit(within=0) is None, "it did not wait for the response")
    connection.close()
    trial.observer.wait(TAG, "message", count=before + 2, timeout=STOP_SECONDS)
    equal(trial.observer.all(TAG, "message")[before + 1], "lifespan.shutdown", "message")
    code = server.wait_exit(within=STOP_SECONDS)
    check(code is not None, "still running after the shutdown is complete")


@SUITE.case("L8", MUST, "shutdown.failed is logged and the server ends")
def shutdown_failed(trial: Trial) -> None:
    server = trial.start(app("shutdown_failed"))
    server.ping()
    end(server)
    check("the flush went wrong" in server.log(), "the message is not logged")


@SUITE.case("L9", USED, "returning right after startup is no error at shutdown")
def startup_only(trial: Trial) -> None:
    server = trial.start(app("startup_only"))
    server.ping()
    check(end(server) in (0, -signal.SIGTERM), "the exit code tells of an error")
    check("Traceback" not in server.log(), "a traceback is logged")


@SUITE.case(
    "L10", USED, "context variables of the lifespan are not visible in requests, or in all of them"
)
def lifespan_context(trial: Trial) -> None:
    server = trial.start(app("startup_only"))
    seen = set()
    for _ in range(3):
        trial.new_tag()
        trial.connect(server=server).ask(trial.target("context"))
        seen.add(trial.seen("context"))
    equal(len(seen), 1, f"number of different values {seen}")


@SUITE.case(
    "L11", USED, "a shutdown that never completes is ended by the time limit", needs={"timers"}
)
def shutdown_hangs(trial: Trial) -> None:
    server = trial.start(app("shutdown_hangs", shrunk_timers=True))
    server.ping()
    end(server)
