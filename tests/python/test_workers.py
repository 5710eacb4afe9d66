"""`spikard._workers`: workers come and go, their parent and their sockets stay.

The parent runs as a program of its own (worker_parent.py). Nothing here waits for time to pass:
a connection to a socket whose worker died is answered by the successor as soon as there is one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spikard._workers import how_it_ended

PROGRAM = Path(__file__).with_name("worker_parent.py")
PATIENCE = 20  # seconds, for anything that should happen at all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers need POSIX")


class Parent:
    """The running program and what it said."""

    def __init__(self, fields, environ) -> None:
        self.path = str(fields["uds"])
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(fields)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )
        self.log = ""
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line

    def wait_until_ready(self) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().startswith("ready"), self.end()

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(self.path)
        return client

    def ask(self, order: str = "pid") -> list[int]:
        """Return process id and session of a worker that answered; [] if it died of the order."""
        with self.connect() as client:
            client.sendall(f"{order}\n".encode())
            try:
                return [int(word) for word in client.makefile().readline().split()]
            except ConnectionError:
                return []

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, wait for the program's end and return its exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the program; what it started is ended with the test."""
    parents: list[Parent] = []

    def start(*, environ=None, **fields):
        fields = {"uds": str(tmp_path / f"s{len(parents)}"), "workers": 1, **fields}
        parents.append(Parent(fields, environ or {}))
        return parents[-1]

    yield start
    for parent in parents:
        parent.close()


def is_closed(client: socket.socket) -> bool:
    """Return whether the peer's process has ended, waiting for it."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_all_workers_serve_when_the_program_says_it_is_ready(start):
    parent = start(workers=3)
    parent.wait_until_ready()
    pids: set[int] = set()
    clients = []
    while len(pids) < 3:  # ends by the test's timeout if one of them never answers
        clients.append(parent.connect())
        clients[-1].sendall(b"pid\n")
        pids.add(int(clients[-1].makefile().readline().split()[0]))
    for client in clients:
        client.close()
    assert parent.process.pid not in pids
    assert parent.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("order", "how"),
    [
        ("exit 0", "exited with code 0"),
        ("exit 1", "exited with code 1"),
        ("exit 3", "exited with code 3"),
        ("exit 255", "exited with code 255"),
        (f"signal {int(signal.SIGKILL)}", "was ended by SIGKILL"),
        (f"signal {int(signal.SIGABRT)}", "was ended by SIGABRT"),
        ("segfault", "was ended by SIGSEGV"),
    ],
)
def test_dead_worker_is_replaced_and_no_code_is_special(start, order, how):
    parent = start()
    parent.wait_until_ready()
    first, _ = parent.ask()
    parent.ask(order)
    second, _ = parent.ask()
    assert second != first
    assert parent.end(signal.SIGTERM) == 0
    assert f"worker 1 (pid {first}) {how}" in parent.log


def test_worker_may_die_any_number_of_times(start):
    parent = start()
    parent.wait_until_ready()
    pids = set()
    for _ in range(8):
        pids.add(parent.ask()[0])
        parent.ask("exit 4")
    assert len(pids) == 8
    assert parent.end(signal.SIGTERM) == 0


def test_connection_in_the_queue_of_a_dead_worker_is_served_by_its_successor(start):
    parent = start(target="serve_stubbornly")
    parent.wait_until_ready()
    first, _ = parent.ask()
    os.kill(first, signal.SIGSTOP)  # it cannot accept any more
    with parent.connect() as waiting:
        waiting.sendall(b"pid\n")
        os.kill(first, signal.SIGKILL)
        assert int(waiting.makefile().readline().split()[0]) != first


def test_worker_with_a_stuck_loop_is_replaced(start):
    parent = start(worker_heartbeat_timeout=1)
    parent.wait_until_ready()
    first, _ = parent.ask()
    with parent.connect() as client:
        client.sendall(b"stuck\n")
        assert is_closed(client)
    assert parent.ask()[0] != first
    assert parent.end(signal.SIGTERM) == 0
    assert "its event loop is stuck" in parent.log


def test_first_worker_that_cannot_start_ends_the_program_with_its_traceback(start):
    parent = start(target="fail", workers=3)
    assert parent.end() == 1
    assert "RuntimeError: no database" in parent.log
    assert 'raise RuntimeError("no database")' in parent.log


def test_first_worker_that_cannot_load_the_application_says_why(start):
    parent = start(source="worker_parent:ap")
    assert parent.end() == 1
    assert 'module "worker_parent" has no "ap", did you mean "app"?' in parent.log


def test_first_worker_that_just_leaves_ends_the_program_too(start):
    parent = start(target="leave")
    assert parent.end() == 1
    assert "could not start: it exited with code 0" in parent.log


def test_replacement_that_cannot_start_is_tried_again_ever_more_slowly(start, tmp_path):
    marker = tmp_path / "failures-left"
    parent = start(target="serve_unless_told", environ={"FAIL_WHILE": str(marker)})
    parent.wait_until_ready()
    marker.write_text("3")
    parent.ask("exit 1")
    assert parent.ask()
    assert parent.end(signal.SIGTERM) == 0
    delays = ["trying again in 0.1 s", "trying again in 0.2 s", "trying again in 0.4 s"]
    assert [delay for delay in delays if delay in parent.log] == delays
    assert "RuntimeError: no database" in parent.log


def test_replacement_that_the_system_refuses_to_create_is_tried_again(start):
    parent = start(spawn_failures=[2, 3])
    parent.wait_until_ready()
    parent.ask("exit 1")
    assert parent.ask()
    assert parent.end(signal.SIGTERM) == 0
    assert parent.log.count("was not created: [Errno 11] Resource temporarily unavailable") == 2


def test_first_worker_that_the_system_refuses_to_create_ends_the_program(start):
    parent = start(spawn_failures=[2], workers=3)
    assert parent.end() == 1
    assert "could not start: it was not created" in parent.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_workers_and_exits_0(start, number):
    parent = start(workers=2)
    parent.wait_until_ready()
    with parent.connect() as client:
        client.sendall(b"pid\n")
        assert client.makefile().readline()
        assert parent.end(number) == 0
        assert is_closed(client)
    assert not os.path.exists(parent.path)


@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]]
)
def test_second_signal_stops_at_once_and_exits_1(start, numbers):
    parent = start(target="serve_stubbornly", workers=2, shutdown_timeout=3600)
    parent.wait_until_ready()
    with parent.connect() as client:
        client.sendall(b"pid\n")
        assert client.makefile().readline()
        for number in numbers[:-1]:
            parent.process.send_signal(number)
            while "stopping the workers" not in parent.log:
                assert parent.process.poll() is None
        assert parent.end(numbers[-1]) == 1
        assert is_closed(client)


def test_worker_that_does_not_stop_in_time_is_killed(start):
    parent = start(target="serve_stubbornly", shutdown_timeout=0, cancel_grace=0)
    parent.wait_until_ready()
    assert parent.end(signal.SIGTERM) == 0
    assert "did not stop in time" in parent.log


def test_signal_while_workers_start_stops_the_program(start, tmp_path):
    parent = start(environ={"PYTHONSTARTUP": ""}, target="serve")
    parent.wait_until_ready()
    parent.ask("exit 1")  # its replacement is waited for or starting when the signal comes
    assert parent.end(signal.SIGTERM) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PDEATHSIG is Linux's")
def test_workers_end_with_a_parent_that_is_killed(start):
    parent = start(target="serve_stubbornly")
    parent.wait_until_ready()
    with parent.connect() as client:
        client.sendall(b"pid\n")
        assert client.makefile().readline()
        parent.process.kill()
        assert is_closed(client)


def test_workers_are_in_sessions_of_their_own(start):
    parent = start()
    parent.wait_until_ready()
    pid, session = parent.ask()
    assert pid == session  # so Ctrl-C in the terminal reaches only the parent


def test_run_without_a_main_guard_is_refused_in_the_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from spikard._run import run_app\n"
        "from spikard.config import ServerConfig\n"
        "async def app(scope, receive, send): pass\n"
        f"run_app(app, ServerConfig(uds={str(tmp_path / 's')!r}, workers=2))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert 'call run() under: if __name__ == "__main__"' in done.stderr


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exited with code 0"), (-9, "was ended by SIGKILL"), (-64, "was ended by SIGRTMAX"),
     (-99, "was ended by signal 99")],
)  # fmt: skip
def test_end_of_a_process_is_put_into_words(returncode, words):
    assert how_it_ended(returncode) == words
