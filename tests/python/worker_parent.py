"""A program with several workers for test_workers.py: `python worker_parent.py JSON`.

Its workers answer each line of a connection: `pid`, or an order to come to grief.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

from spikard import _listen, _logging, _workers
from spikard._importer import Source
from spikard.config import ServerConfig


async def app(scope, receive, send):
    """Stand in for an application: the workers here do not call it."""


def obey(order: str) -> None:
    name, _, argument = order.partition(" ")
    if name == "exit":
        os._exit(int(argument))
    elif name == "signal":
        os.kill(os.getpid(), int(argument))
    elif name == "segfault":
        ctypes.string_at(0)
    elif name == "stuck":
        while True:
            time.sleep(3600)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        obey(line.decode().strip())
        writer.write(f"{os.getpid()} {os.getsid(0)}\n".encode())
        await writer.drain()


def serve(load, config, sockets, on_ready, *, is_supervised) -> int:
    """Serve until SIGTERM, in place of the real server."""
    load()

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        for listening in sockets:
            await asyncio.start_server(answer, sock=listening)
        on_ready()
        await stop.wait()

    asyncio.run(main())
    return 0


def serve_stubbornly(load, config, sockets, on_ready, *, is_supervised) -> int:
    """Serve, and do not stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def main() -> None:
        for listening in sockets:
            await asyncio.start_server(answer, sock=listening)
        on_ready()
        await asyncio.Event().wait()

    asyncio.run(main())
    return 0


def fail(load, config, sockets, on_ready, *, is_supervised) -> int:
    raise RuntimeError("no database")


def leave(load, config, sockets, on_ready, *, is_supervised) -> int:
    os._exit(0)


def serve_unless_told(load, config, sockets, on_ready, *, is_supervised) -> int:
    """Serve, or fail as long as the file named by FAIL_WHILE exists; count the failures in it."""
    marker = Path(os.environ["FAIL_WHILE"])
    if marker.exists():
        left = int(marker.read_text()) - 1
        if left:
            marker.write_text(str(left))
        else:
            marker.unlink()
        raise RuntimeError("no database")
    return serve(load, config, sockets, on_ready, is_supervised=is_supervised)


def spawn_with_failures(failing) -> None:
    """Have the operating system refuse to create these processes, counted from 1."""
    spawn, calls = _workers._spawn, itertools.count(1)

    def refuse_some(orders):
        if next(calls) in failing:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return spawn(orders)

    _workers._spawn = refuse_some


def main() -> int:
    given = json.loads(sys.argv[1])
    target = given.pop("target", "serve")
    source = given.pop("source", None)
    _workers.CANCEL_GRACE = given.pop("cancel_grace", _workers.CANCEL_GRACE)
    if failing := given.pop("spawn_failures", ()):
        spawn_with_failures(failing)
    config = ServerConfig(**given)
    _logging.configure(config)
    listeners = _listen.bind(config)

    def announce() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    try:
        return _workers.Supervisor(
            Source.parse(source) if source else Source.of(app),
            config,
            listeners.per_worker,
            announce,
            target=f"worker_parent:{target}",
        ).run()
    finally:
        listeners.close()


if __name__ == "__main__":
    sys.exit(main())
