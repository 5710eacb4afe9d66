"""One measured server: a process tree with its CPU time and its memory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self  # typing has it from 3.11 on

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 5  # after SIGTERM, before SIGKILL


class ServerError(Exception):
    """The server did not start, or does not answer as the workload says."""


def pinned(core: int) -> list[str]:
    """Return the command prefix that keeps a program on the nth core, if there are enough cores."""
    if not shutil.which("taskset"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running server on the first core; a context manager that ends the whole tree."""

    def __init__(self, command: list[str], port: int, environment: Mapping[str, str]) -> None:
        self.port = port
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._popen = subprocess.Popen(
            [*pinned(0), *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        self._log.close()

    def check_alive(self) -> None:
        """Raise ServerError with the end of its output if the server has exited."""
        if self._popen.poll() is not None:
            raise ServerError(f"exited with {self._popen.returncode}: {self.last_line()}")

    def last_line(self) -> str:
        """Return the line of its output that says most: the last exception, else the last line."""
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").split("\n")]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        return next(reversed(errors or [line for line in lines if line]), "no output")

    def cpu_seconds(self) -> float:
        """Return user + system time of the tree so far."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Return the resident memory of the tree; shared pages count once per process."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _tree(self) -> Iterator[psutil.Process]:
        parent = psutil.Process(self._popen.pid)
        yield parent
        yield from parent.children(recursive=True)
