"""X01 to X26: workers that die, ports that are taken, descriptors that run out, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from conformance.case import MUST, SHOULD, USED
from conformance.client import ClosedError
from conformance.faults.suite import SUITE
from conformance.http2_client import Http2
from conformance.server import Options, Server
from conformance.verdict import BrokenError, check, equal, eventually
from conformance.websocket_client import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.trial import Trial

WORKERS = {"workers"}
SHRUNK = Options(shrunk_timers=True)
TWO = Options(workers=2, shrunk_timers=True)
RESPAWN_SECONDS = 4.0  # a worker's Python takes half of it to start on a loaded machine
STOP_SECONDS = 8.0


def worker_pids(server: Server, count: int) -> set[str]:
    """Return the ids of `count` workers, asking until each has answered."""
    found: set[str] = set()

    def complete() -> bool:
        with contextlib.suppress(BrokenError):
            found.add(server.ping())
        return len(found) >= count

    eventually(complete, f"only {len(found)} of {count} workers answered", within=10)
    return found


def exit_code(server: Server, *, within: float = STOP_SECONDS) -> int:
    """Wait for the end of the parent and return its code."""
    code = server.wait_exit(within=within)
    check(code is not None, f"still running after {within:g} s")
    return code or 0


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _replaced(trial: Trial, kill: Callable[[Server, str], None]) -> None:
    server = trial.start(TWO)
    before = worker_pids(server, 2)
    kill(server, min(before))
    eventually(
        lambda: len(before & _answering(server)) < 2,
        "no worker was replaced",
        within=RESPAWN_SECONDS,
    )
    after = worker_pids(server, 2)
    check(after - before, "no new worker")
    check(server.wait_exit(within=0) is None, "the parent followed its worker")


def _answering(server: Server) -> set[str]:
    found = set()
    for _ in range(8):
        with contextlib.suppress(BrokenError):
            found.add(server.ping())
    return found


@SUITE.case("X01", MUST, "a killed worker is replaced; the parent stays", needs=WORKERS)
def killed_worker(trial: Trial) -> None:
    _replaced(trial, lambda _, pid: os.kill(int(pid), signal.SIGKILL))


@SUITE.case(
    "X02", MUST, "a worker that exits or crashes is replaced, whatever its code", needs=WORKERS
)
def crashed_worker(trial: Trial) -> None:
    server = trial.start(TWO)
    worker_pids(server, 2)
    for suffix in ("/0", "/1", "/3", "/255", "/segfault", "/abort"):
        trial.new_tag()
        connection = trial.connect(server=server)
        connection.request(trial.target("die", suffix))
        pid = trial.seen("dying")
        check(connection.outcome() is None, f"{suffix} is answered")
        eventually(lambda pid=pid: not alive(pid), "the worker lives", within=3)  # type: ignore[misc]
        eventually(lambda: _pings(server), "nobody answers", within=RESPAWN_SECONDS)
        check(server.wait_exit(within=0) is None, f"the parent followed a worker's {suffix}")
    worker_pids(server, 2)


def _pings(server: Server) -> bool:
    try:
        return bool(server.ping())
    except BrokenError:
        return False


@SUITE.case(
    "X03", MUST, "workers that never start end the server, with the traceback", needs=WORKERS
)
def never_starts(trial: Trial) -> None:
    for workers in (1, 2):
        options = Options(app="conformance.faults.broken_import:app", workers=workers)
        server = trial.start(options, ready=False)
        check(exit_code(server, within=10) != 0, f"{workers} workers: exits 0")
        check(
            "this module never imports" in server.log(),
            f"{workers} workers: the reason is not logged",
        )


@SUITE.case("X04", SHOULD, "a handler without memory is a 500, and the server lives on")
def out_of_memory(trial: Trial) -> None:
    connection = trial.connect()
    equal(connection.ask(trial.target("allocate")).status, 500, "answer")
    equal(connection.ask("/ping").status, 200, "answer to the next request")


@SUITE.case("X30", USED, "ten thousand tasks that were left behind do not hold the end up")
def tasks_left_behind(trial: Trial) -> None:
    server = trial.start(SHRUNK)
    with trial.connect(server=server) as connection:
        equal(connection.ask(trial.target("leave-tasks")).body, b"left", "answer")
    server.signal(signal.SIGTERM)
    equal(exit_code(server), 0, "exit code")


@SUITE.case("X31", USED, "asyncio's debug mode changes nothing")
def debug_mode(trial: Trial) -> None:
    server = trial.start(Options(environment=(("PYTHONASYNCIODEBUG", "1"),)))
    connection = trial.connect(server=server)
    equal(connection.ask(trial.target("echo"), method="POST", body=b"x").body, b"x", "body")
    equal(connection.ask(trial.target("release-later")).body, b"late", "body of one that waited")
    server.signal(signal.SIGTERM)
    equal(exit_code(server), 0, "exit code")
    check("Traceback" not in server.log(), "something was raised")


@SUITE.case("X29", SHOULD, "a second server on a Unix socket in use refuses", needs={"uds"})
def second_server(trial: Trial) -> None:
    first = trial.start(Options(uds=True))
    path = str(first.address)
    second = trial.start(Options(arguments=("--uds", path)), ready=False)
    equal(exit_code(second, within=5), 1, "exit code")
    check(path in second.log(), "the path is not named")
    first.ping()


@SUITE.case("X17", MUST, "what cannot be listened on is one line and exit 1")
def cannot_listen(trial: Trial) -> None:
    port = trial.server.address[1]
    lifespans = len(trial.observer.all("lifespan", "message"))
    server = trial.start(Options(port=int(port)), ready=False)
    equal(exit_code(server, within=5), 1, "exit code for a port in use")
    log = server.log()
    check("Traceback" not in log, "a traceback for a port in use")
    check(str(port) in log, "the port is not named")
    started = trial.observer.all("lifespan", "message")[lifespans:]
    check(
        started in ([], ["lifespan.startup", "lifespan.shutdown"]),
        f"the lifespan is left half-run: {started}",
    )


@SUITE.case("X18", MUST, "running out of descriptors is survived")
def out_of_descriptors(trial: Trial) -> None:
    server = trial.start(Options(open_files=64))
    server.ping()
    connections = []
    for _ in range(150):
        with contextlib.suppress(OSError):
            connections.append(trial.connect(server=server))
    check(server.wait_exit(within=0.3) is None, "the server ended")
    eventually(lambda: _pings(server), "silent connections make no room", within=10)
    lines = len(server.log().splitlines())
    check(lines < 20, f"{lines} log lines")
    for connection in connections:
        connection.close()
    eventually(lambda: _pings(server), "no recovery", within=4)


@SUITE.case("X18-files", MUST, "connections leave descriptors to the application")
def files_beside_connections(trial: Trial) -> None:
    server = trial.start(Options(open_files=64))
    server.ping()
    kept = trial.connect(server=server)
    for _ in range(150):
        with contextlib.suppress(OSError):
            trial.connect(server=server)
        with contextlib.suppress(BrokenError):  # it may have made room for another
            kept.ask(trial.target("open-files"))
    with trial.connect(server=server) as connection:
        answer = connection.ask(trial.target("open-files"))
    equal((answer.status, answer.body), (200, b"opened"), "answer beside 150 connections")


@SUITE.case("X18-busy", MUST, "who finds every connection at work hears so, and may come back")
def all_at_work(trial: Trial) -> None:
    server = trial.start(Options(open_files=64))
    server.ping()
    busy = []
    for number in range(1, 60):
        connection = trial.connect(server=server)
        connection.request(trial.target("receive-for-ever"))
        while not (ended := connection.has_ended(0.05)):
            if len(trial.observer.all(trial.tag, "called")) == number:
                break
        if ended:
            equal(connection.outcome(), 503, "answer to one too many")
            break
        busy.append(connection)
    check(10 < len(busy) < 50, f"{len(busy)} connections with 64 descriptors")
    lines = len(server.log().splitlines())
    check(lines < 20, f"{lines} log lines")
    for connection in busy:
        connection.close()
    eventually(lambda: _pings(server), "no recovery", within=4)


@SUITE.case(
    "X22", MUST, "SIGTERM: work is finished, idle connections end, exit code 0", needs={"timers"}
)
def graceful_stop(trial: Trial) -> None:
    server = trial.start(Options(environment=(("SPIKARD_TIMEOUT_GRACEFUL_SHUTDOWN", "5"),)))
    idle = trial.connect(server=server)
    idle.ask("/ping")
    working = trial.connect(server=server)
    working.request(trial.target("release-later"))
    trial.seen("called")
    with contextlib.ExitStack() as stack:
        stack.callback(server.signal, signal.SIGTERM)
    idle.closed(within=2)
    with contextlib.suppress(ConnectionRefusedError, ClosedError, ConnectionResetError):
        late = trial.connect(server=server)
        late.request("/ping")
        check(not late.rest(), "a request after SIGTERM is answered")
    answer = working.response(within=4)
    equal((answer.status, answer.body), (200, b"late"), "answer of the work in flight")
    working.closed()
    equal(exit_code(server), 0, "exit code")


@SUITE.case(
    "X22-hung",
    MUST,
    "SIGTERM: a handler that never ends is ended by the time limit",
    needs={"timers"},
)
def hung_stop(trial: Trial) -> None:
    server = trial.start(SHRUNK)
    trial.connect(server=server).request(trial.target("receive-for-ever"))
    trial.seen("called")
    trial.new_tag()
    trial.connect(server=server).request(trial.target("part-then-wait"))
    trial.seen("called")
    server.signal(signal.SIGTERM)
    equal(exit_code(server), 0, "exit code")


@SUITE.case(
    "X22-http2", MUST, "SIGTERM: GOAWAY, and streams in flight finish", needs={"timers", "http2"}
)
def http2_stop(trial: Trial) -> None:
    server = trial.start(Options(environment=(("SPIKARD_TIMEOUT_GRACEFUL_SHUTDOWN", "5"),)))
    client = Http2(trial, connection=trial.connect(server=server))
    stream = client.request("release-later")
    trial.seen("called")
    server.signal(signal.SIGTERM)
    client.until(lambda: client.went_away is not None)
    equal(client.went_away, 0, "code of GOAWAY")
    equal(client.response(stream).body, b"late", "body")
    equal(exit_code(server), 0, "exit code")


@SUITE.case(
    "X22-websocket", MUST, "SIGTERM: sockets are closed with 1001", needs={"timers", "websocket"}
)
def websocket_stop(trial: Trial) -> None:
    server = trial.start(SHRUNK)
    sockets = [
        WebSocket(trial, "ws-echo", connection=trial.connect(server=server)) for _ in range(3)
    ]
    deaf = WebSocket(trial, "ws-echo", connection=trial.connect(server=server))
    server.signal(signal.SIGTERM)
    for socket_ in sockets:
        equal(socket_.closed()[0], 1001, "close code")
    equal(exit_code(server), 0, "exit code beside a peer that does not answer")
    deaf.connection.close()


@SUITE.case(
    "X22-workers", MUST, "SIGTERM: all workers stop, exit code 0", needs={"timers", "workers"}
)
def workers_stop(trial: Trial) -> None:
    server = trial.start(TWO)
    pids = worker_pids(server, 2)
    server.signal(signal.SIGTERM)
    equal(exit_code(server), 0, "exit code")
    check(not any(alive(int(pid)) for pid in pids), "a worker outlived the parent")


@SUITE.case("X23", MUST, "a second signal stops at once", needs={"timers"})
def second_signal(trial: Trial) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        server = trial.start(Options())
        trial.new_tag()
        waiting = trial.connect(server=server)
        waiting.request(trial.target("part-then-wait"))
        trial.seen("sent-first")
        idle = trial.connect(server=server)
        idle.ask("/ping")
        server.signal(number)
        idle.closed(within=3)  # the first signal has been seen
        check(server.wait_exit(within=0.2) is None, "it does not wait for the response")
        server.signal(number)
        equal(exit_code(server, within=3), 1, "exit code")


@SUITE.case("X23-quit", MUST, "SIGQUIT stops at once", needs={"timers", "workers"})
def quit_signal(trial: Trial) -> None:
    for workers in (1, 2):
        server = trial.start(Options(workers=workers))
        trial.new_tag()
        waiting = trial.connect(server=server)
        waiting.request(trial.target("part-then-wait"))
        trial.seen("sent-first")
        server.signal(signal.SIGQUIT)
        equal(exit_code(server, within=3), 1, f"exit code with {workers} workers")


@SUITE.case(
    "X26", MUST, "workers end when the parent is killed, and the port is free", needs=WORKERS
)
def killed_parent(trial: Trial) -> None:
    server = trial.start(TWO)
    pids = worker_pids(server, 2)
    server.signal(signal.SIGKILL)
    eventually(lambda: not any(alive(int(pid)) for pid in pids), "a worker lives", within=3)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(server.address)


@SUITE.case(
    "X06",
    MUST,
    "a worker whose event loop is stuck is replaced",
    needs={"timers", "workers"},
    on=Options(workers=2, environment=(("SPIKARD_WORKER_HEARTBEAT_TIMEOUT", "1"),)),
)
def stuck_worker(trial: Trial) -> None:
    worker_pids(trial.server, 2)
    connection = trial.connect()
    connection.request(trial.target("block"))
    stuck = trial.seen("blocking")
    eventually(lambda: not alive(stuck), "the stuck worker lives", within=6)
    check(connection.outcome() is None, "the request is answered")
    worker_pids(trial.server, 2)


@SUITE.case(
    "X08",
    SHOULD,
    "a handler that ignores its cancellation does not keep the server from stopping",
    needs={"timers"},
)
def stubborn_handler(trial: Trial) -> None:
    server = trial.start(SHRUNK)
    trial.connect(server=server).request(trial.target("hang", "/stubborn"))
    trial.seen("called")
    server.signal(signal.SIGTERM)
    trial.seen("cancelled", timeout=STOP_SECONDS)
    exit_code(server, within=2 * STOP_SECONDS)


@SUITE.case("X20", MUST, "a full or closed standard output stops nothing")
def deaf_output(trial: Trial) -> None:
    for output in ("full", "closed"):
        server = trial.start(Options(access_log=True, output=output))
        connection = trial.connect(server=server)
        for _ in range(2_000):
            equal(connection.ask("/ping").status, 200, f"status with a {output} output")
        server.signal(signal.SIGTERM)
        equal(exit_code(server), 0, f"exit code with a {output} output")


@SUITE.case(
    "E14",
    MUST,
    "a stop is 1001 to the client of a WebSocket and to its application",
    needs={"timers", "websocket"},
)
def websocket_told(trial: Trial) -> None:
    server = trial.start(SHRUNK)
    socket_ = WebSocket(trial, "ws-accept", connection=trial.connect(server=server))
    server.signal(signal.SIGTERM)
    equal(socket_.closed()[0], 1001, "close code")
    message = trial.all_seen("message", count=2)[-1]
    equal((message["type"], message["code"]), ("websocket.disconnect", 1001), "disconnect")
    equal(exit_code(server), 0, "exit code")


SUITE.left_out("X24", "reload under load", "rolling reload is a later issue")
