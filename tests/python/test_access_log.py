"""The access log: one line for each request, for every kind of application, never in the way."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
from typing import Any

import httpx
import pytest

from spikard import Spikard
from spikard.config import ServerConfig
from spikard.testing import serve_in_thread

PATIENCE = 20  # seconds, for anything that should happen at all

PROGRAM = """
from spikard import ServerConfig, Spikard
app = Spikard(config=ServerConfig(port=0))
@app.get("/{rest:path}")
async def hello(rest: str) -> str:
    return rest
if __name__ == "__main__":
    app.run()
"""


def native() -> Any:
    app = Spikard()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    return app


async def other(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    status = 200 if scope["path"] == "/hello" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("app", [native(), other], ids=["native", "asgi"])
def test_each_request_is_one_record_without_its_query(app, caplog):
    caplog.set_level(logging.INFO, "spikard.access")
    with serve_in_thread(app) as url:
        httpx.get(f"{url}/hello?api_key=secret", timeout=PATIENCE)
        httpx.get(f"{url}/nothing%0a%22", timeout=PATIENCE)
    lines = [record.getMessage() for record in caplog.records if record.name == "spikard.access"]
    assert [re.sub(r"^127\.0\.0\.1:\d+ - ", "", line) for line in lines] == [
        '"GET /hello HTTP/1.1" 200',
        '"GET /nothing%0a%22 HTTP/1.1" 404',
    ]


def test_switched_off_it_is_silent(caplog):
    caplog.set_level(logging.INFO, "spikard.access")
    with serve_in_thread(native(), config=ServerConfig(access_log=False)) as url:
        httpx.get(f"{url}/hello", timeout=PATIENCE)
    assert not [record for record in caplog.records if record.name == "spikard.access"]


class Program:
    """A server process whose standard output is a pipe."""

    def __init__(self, path, *arguments: str) -> None:
        path.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, *arguments, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        found = None
        while found is None:
            line = self.process.stderr.readline()
            assert line, f"the program ended with {self.process.wait(timeout=PATIENCE)}"
            found = re.search(r"serving on (http://\S+)", line)
        self.url = found[1]

    def stop(self) -> tuple[int, str]:
        """Return the exit code and what is left in the pipe."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output


def test_a_program_writes_it_to_standard_output(tmp_path):
    program = Program(tmp_path / "program.py")
    httpx.get(f"{program.url}/a", timeout=PATIENCE)
    code, output = program.stop()
    assert code == 0
    assert re.fullmatch(r'127\.0\.0\.1:\d+ - "GET /a HTTP/1\.1" 200\n', output)


@pytest.mark.parametrize("reader", ["slow", "gone"])
def test_a_reader_of_the_log_cannot_stop_the_server(reader, tmp_path):
    program = Program(tmp_path / "program.py")
    assert program.process.stdout is not None
    if reader == "gone":
        program.process.stdout.close()
    long = "x" * 8000  # a pipe holds 64 KiB, the queue half a megabyte
    with httpx.Client(base_url=program.url, timeout=PATIENCE) as client:
        for _ in range(200):
            assert client.get(f"/{long}").status_code == 200
    if reader == "gone":
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(timeout=PATIENCE) == 0
        assert program.process.stderr is not None
        program.process.stderr.close()
    else:
        assert program.stop()[0] == 0
