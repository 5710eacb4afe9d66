"""`spikard._run`: the real server as a program, in one process and in several."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import httpx
import pytest

from spikard import config
from spikard._server import risks
from spikard.config import ApiKeyConfig, OpenApiConfig, ServerConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 20  # seconds, for anything that should happen at all

APPLICATION = """
import asyncio, os, signal

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        if "FAIL_STARTUP" in os.environ:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        if "HANG_STARTUP" in os.environ:
            print("starting", flush=True)
            await asyncio.Event().wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", os.getpid(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    loop = asyncio.get_running_loop()
    if scope["path"] == "/signal-twice":
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(3):
                await loop.run_in_executor(None, os.getpid)
    if scope["path"] == "/die":
        os._exit(0)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
SCRIPT = (
    APPLICATION
    + """
if __name__ == "__main__":
    from spikard._run import run_app
    from spikard.config import ServerConfig
    run_app(app, ServerConfig(port=0, workers={workers}))
"""
)


class Program:
    """A running server program, its URL and its log."""

    def __init__(self, arguments, cwd, environ, descriptors) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, **environ},
            pass_fds=descriptors,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self.url = ""
        self._is_up = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"serving on (\S+)", line):
                self.url = found[1]
                self._is_up.set()
        self._is_up.set()

    def wait_until_up(self) -> None:
        assert self._is_up.wait(PATIENCE), self.log
        assert self.url, self.log

    def get(self, path="/", **options):
        return httpx.get(self.url + path, timeout=PATIENCE, **options)

    def end(self, number=None) -> tuple[int, str]:
        """Send a signal, wait for the end; return exit code and standard output."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout
        return code, self.process.stdout.read()

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
    """Return a function that starts `python …` beside a module `site_main` with an application."""
    programs: list[Program] = []
    (tmp_path / "site_main.py").write_text(APPLICATION)

    def start(*arguments, cwd=tmp_path, environ=None, descriptors=()):
        programs.append(Program(arguments, cwd, environ or {}, descriptors))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


def command(*arguments: str, app: str = "site_main:app") -> tuple[str, ...]:
    return ("-m", "spikard", app, "--port", "0", *arguments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_command_serves_until_a_signal_and_exits_0(start, number, workers):
    program = start(*command("--workers", workers))
    program.wait_until_up()
    assert program.get().status_code == 200
    code, output = program.end(number)
    assert code == 0, program.log
    assert output.count("shut down") == int(workers)


def test_example_application_answers(start):
    program = start(*command(app="asgi_hello:app"), cwd=EXAMPLES)
    program.wait_until_up()
    assert program.get("/hi").text == "GET /hi\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_script_serves_its_own_application(start, tmp_path, workers):
    (tmp_path / "script.py").write_text(SCRIPT.replace("{workers}", str(workers)))
    program = start("script.py")
    program.wait_until_up()
    pid = int(program.get().text)
    assert (pid == program.process.pid) == (workers == 1)
    assert program.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_start_up_that_fails_ends_the_program_with_its_reason(start, workers):
    program = start(*command("--workers", workers), environ={"FAIL_STARTUP": "1"})
    code, _ = program.end()
    assert code == 1
    assert "no database" in program.log
    assert "serving on" not in program.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_start_up_that_hangs_is_cut_short_by_a_second_signal(start, workers):
    program = start(*command("--workers", workers), environ={"HANG_STARTUP": "1"})
    assert program.process.stdout
    # Two workers may write their words into one line.
    assert "starting" in program.process.stdout.readline()
    program.process.send_signal(signal.SIGINT)
    while "stopping" not in program.log:  # two signals that come at once may count as one
        assert program.process.poll() is None
    assert program.end(signal.SIGINT)[0] == 1
    assert "Traceback" not in program.log


def test_dead_worker_is_replaced_while_the_port_stays(start):
    program = start(*command("--workers", "2"))
    program.wait_until_up()
    with pytest.raises(httpx.RemoteProtocolError):
        program.get("/die")
    assert program.get().status_code == 200
    assert program.get().status_code == 200
    assert program.end(signal.SIGTERM)[0] == 0
    assert "exited with code 0, replacing it" in program.log


def test_worker_finishes_its_request_though_a_service_manager_signals_everybody(start):
    program = start(*command("--workers", "2"))
    program.wait_until_up()
    response = program.get("/signal-twice")
    assert response.status_code == 200
    assert int(response.text) != program.process.pid


def test_unix_socket_is_served_and_removed(start, tmp_path):
    path = tmp_path / "s"
    program = start(*command("--uds", str(path)))
    program.wait_until_up()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=PATIENCE) as client:
        assert client.get("http://server/").status_code == 200
    assert program.end(signal.SIGTERM)[0] == 0
    assert not path.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_inherited_socket_is_served(start, workers):
    with socket.create_server(("127.0.0.1", 0)) as given:
        number = given.fileno()
        program = start(*command("--fd", str(number), "--workers", workers), descriptors=(number,))
        program.wait_until_up()
    assert program.get().status_code == 200


@pytest.mark.parametrize(
    ("fields", "debug", "words"),
    [
        ({"host": "0.0.0.0"}, True, "debug is on"),
        ({"host": "0.0.0.0", "openapi": OpenApiConfig(enabled=True)}, False, "documentation"),
        ({"host": "0.0.0.0", "openapi": OpenApiConfig()}, False, None),
        ({"host": "127.0.0.1", "openapi": OpenApiConfig(enabled=True)}, True, None),
        (
            {
                "host": "::",
                "openapi": OpenApiConfig(enabled=True),
                "api_key_auth": ApiKeyConfig(keys=["k"]),
            },
            False,
            None,
        ),
    ],
)
def test_what_other_machines_should_not_see_is_warned_about(monkeypatch, fields, debug, words):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())
    found = risks(types.SimpleNamespace(debug=debug), ServerConfig(**fields))
    assert [words in sentence for sentence in found] == ([True] if words else [])
