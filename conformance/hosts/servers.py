"""The hosts of the matrix: servers in processes of their own, forked from one that has imported what they need."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.client import Connection
from conformance.hosts import applications
from conformance.verdict import broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Channel
    from types import TracebackType

    from typing_extensions import Self

START_SECONDS = 120.0  # daphne imports much, on a machine that may be busy

# Not daphne: importing it makes an event loop, which a fork must not share.
PRELOADED = [
    "conformance.hosts.servers",
    "django.core.asgi",
    "django.urls",
    "fastapi",
    "fastapi.responses",
    "granian.server.embed",
    "hypercorn.asyncio",
    "spikard.app",
    "spikard.testing",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
]


class Host:
    """A server with an application, in a process, for the time of a `with` block."""

    def __init__(self, host: str, application: str, root_path: str = "") -> None:
        self._log = Path(tempfile.mkstemp(prefix="conformance-", suffix=".log")[1])
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._ours, theirs = context.Pipe()
        arguments = (host, application, root_path, str(self._log), theirs)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.port = 0

    def __enter__(self) -> Self:
        if not self._ours.poll(START_SECONDS):
            broken(f"it did not start: {self.log()[-500:]}")
        try:
            self.port = self._ours.recv()
        except EOFError:
            broken(f"it did not start: {self.log()[-500:]}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()
        self._log.unlink()

    def connect(self) -> Connection:
        """Return a new connection; a server that says where it listens may be about to."""
        end = time.monotonic() + START_SECONDS
        pause = threading.Event()
        while True:
            try:
                return Connection(("127.0.0.1", self.port))
            except ConnectionRefusedError:  # noqa: PERF203 - it has to be tried again
                if time.monotonic() > end or not self._process.is_alive():
                    broken(f"it does not listen: {self.log()[-500:]}")
                pause.wait(0.02)

    def log(self) -> str:
        """Return what the server has written."""
        return self._log.read_text(errors="replace")


def serve(host: str, application: str, root_path: str, log: str, channel: Channel) -> None:
    """Run a server in this process until it is killed."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not host.startswith("spikard"):
        # What the host writes about exceptions is asked for, not what Spikard does.
        logging.getLogger("spikard").addHandler(logging.NullHandler())
        logging.getLogger("spikard").propagate = False
    HOSTS[host].run(applications.make(application), root_path, channel.send)


def _listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.set_inheritable(True)
    return listener


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _uvicorn(http: str) -> Callable[[Any, str, Callable[[int], None]], None]:
    def run(application: Any, root_path: str, announce: Callable[[int], None]) -> None:
        import uvicorn

        listener = _listen()
        config = uvicorn.Config(
            application,
            http=http,  # type: ignore[arg-type]
            interface="asgi3",
            root_path=root_path,
            log_level="error",
            ws="websockets-sansio",
        )
        announce(_port(listener))
        uvicorn.Server(config).run([listener])

    return run


def _hypercorn(application: Any, root_path: str, announce: Callable[[int], None]) -> None:
    from hypercorn.asyncio import serve as serve_hypercorn
    from hypercorn.config import Config

    listener = _listen()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.root_path = root_path
    config.loglevel = "ERROR"
    announce(_port(socket.socket(fileno=os.dup(int(config.bind[0][5:])))))
    asyncio.run(serve_hypercorn(application, config))


def _granian(application: Any, root_path: str, announce: Callable[[int], None]) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    with _listen() as listener:  # it takes a number only
        port = _port(listener)

    async def run() -> None:
        server = Server(
            application,
            port=port,
            interface=Interfaces.ASGI,
            url_path_prefix=root_path or None,
        )
        await server.serve()

    announce(port)
    asyncio.run(run())


def _daphne(application: Any, root_path: str, announce: Callable[[int], None]) -> None:
    from daphne.server import Server

    listener = _listen()
    announce(_port(listener))
    endpoint = f"fd:fileno={listener.detach()}"
    Server(application, endpoints=[endpoint], root_path=root_path, verbosity=0).run()


def _spikard(**options: Any) -> Callable[[Any, str, Callable[[int], None]], None]:
    def run(application: Any, root_path: str, announce: Callable[[int], None]) -> None:
        from spikard import ServerConfig
        from spikard_asgi.server import serve as serve_spikard

        config = ServerConfig(port=0, root_path=root_path, access_log=False, **options)

        def ready(url: str) -> None:
            announce(int(url.rpartition(":")[2]))

        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_spikard(application, config=config, on_ready=ready))

    return run


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a host is run, and which protocol it is asked in."""

    run: Callable[[Any, str, Callable[[int], None]], None]
    http: int = 1


HOSTS = {
    "uvicorn h11": Kind(_uvicorn("h11")),
    "uvicorn httptools": Kind(_uvicorn("httptools")),
    "hypercorn h1": Kind(_hypercorn),
    "hypercorn h2": Kind(_hypercorn, http=2),
    "granian": Kind(_granian),
    "daphne": Kind(_daphne),
    "spikard": Kind(_spikard()),
    "spikard, cancelling": Kind(_spikard(cancel_abandoned_streams=True)),
}
