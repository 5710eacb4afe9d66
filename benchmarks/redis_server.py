"""A Redis of our own for one run, beside the load generator's core so that its time is nobody's."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.environment import SetupError
from benchmarks.server import free_port, pinned
from benchmarks.workloads import HELLO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_SECONDS = 10
RETRY_SECONDS = 0.05


@contextmanager
def running_redis(folder: Path) -> Iterator[int]:
    """Start Redis with the key `greeting`, yield its port and stop it."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    redis = subprocess.Popen(
        [*pinned(1), "redis-server", *options],
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the run's alone
    )
    try:
        set_greeting(port)
        yield port
    finally:
        redis.terminate()
        redis.wait()


def set_greeting(port: int) -> None:
    """Set the key once Redis answers."""
    deadline = time.monotonic() + READY_SECONDS
    while (answer := ask(port, b'SET greeting "' + HELLO + b'"\r\n')) != b"+OK\r\n":
        if time.monotonic() > deadline:
            raise SetupError(f"redis-server did not start: it answered {answer!r}")
        time.sleep(RETRY_SECONDS)


def ask(port: int, command: bytes) -> bytes | None:
    """Return Redis's answer to an inline command, None while it does not listen."""
    try:
        with socket.create_connection(("127.0.0.1", port), READY_SECONDS) as connection:
            connection.sendall(command)
            return connection.recv(64)
    except OSError:
        return None
