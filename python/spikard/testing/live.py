"""`LiveTestClient`: the real server in a process of its own, spoken to over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

from spikard import _loop
from spikard._importer import LoadError, Source
from spikard.app import Spikard
from spikard.config import ServerConfig
from spikard.testing.connection import exchanged
from spikard.testing.live_websocket import LiveWebSocket
from spikard.testing.session import Session, SyncSession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from spikard.testing.outgoing import Outgoing
    from spikard.testing.stream import Incoming
    from spikard.testing.websocket import TestWebSocket

__all__ = ["LiveTestClient", "SyncLiveTestClient"]

START_SECONDS = 30.0
"""For the server to import the application and run its start-up."""

STOP_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""

LOG_BYTES = 8000
"""The end of the server's log that a failure shows."""


class ServerFailedError(RuntimeError):
    """The server could not start, or does not answer; the message has its log."""


class SyncLiveTestClient(SyncSession):
    """What a plain ``with LiveTestClient(app)`` gives: the methods return responses at once."""

    def __init__(self, session: LiveTestClient) -> None:
        super().__init__(session)
        self._live = session

    @property
    def base_url(self) -> str:
        """See `LiveTestClient`."""
        return self._live.base_url

    @property
    def ws_url(self) -> str:
        """See `LiveTestClient`."""
        return self._live.ws_url

    @property
    def log(self) -> str:
        """See `LiveTestClient`."""
        return self._live.log

    @property
    def pid(self) -> int | None:
        """See `LiveTestClient`."""
        return self._live.pid


class LiveTestClient(Session):
    """A client of an application on a real server: a sub-process on a free port.

    The server imports the module that has `app` as an attribute, once more. An application that
    no module has (one made inside a test) is served by a fork of this process. What a failure
    shows ends with the server's log.

    Args:
        app: A `Spikard` object or any ASGI application.
        config: Of the server, in place of the application's own; host, port and workers do not
            count.
        headers: Sent with every request that does not say otherwise.
        cookies: To begin with.
        follow_redirects: Whether redirects within the application are followed.
    """

    def __init__(
        self,
        app: Any,
        *,
        config: ServerConfig | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
    ) -> None:
        own = app.config if isinstance(app, Spikard) else None
        config = config or own or ServerConfig()
        self._server = _Server(
            app, config if isinstance(app, Spikard) else config.for_foreign_app()
        )
        super().__init__(
            self._server, headers=headers, cookies=cookies, follow_redirects=follow_redirects
        )
        self.app = app
        self._sync: SyncLiveTestClient | None = None

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT`` of the running server."""
        return self._server.base_url

    @property
    def ws_url(self) -> str:
        """``ws://127.0.0.1:PORT`` of the running server."""
        return self._server.base_url.replace("http", "ws", 1)

    @property
    def log(self) -> str:
        """The end of what the server has written to stdout and stderr."""
        return self._server.log()

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._server.pid

    def __enter__(self) -> SyncLiveTestClient:
        self._sync = SyncLiveTestClient(self)
        self._sync.__enter__()
        return self._sync

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sync is not None:
            self._sync.__exit__(kind, error, trace)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if error is not None and self.log:
            # pytest shows what a failed test wrote.
            sys.stderr.write(f"--- log of the server at {self.base_url} ---\n{self.log}\n")


class _Server:
    """The process, and the connections to it."""

    def __init__(self, app: Any, config: ServerConfig) -> None:
        self.base_url = ""
        self.pid: int | None = None
        self._app = app
        self._config = config.copy(host="127.0.0.1", port=0, uds=None, fd=None, workers=1)
        self._process: subprocess.Popen[bytes] | _Fork | None = None
        self._log: Any = None
        self._last_log = ""

    async def start(self) -> None:
        """Start the process and wait until it serves.

        Raises:
            ServerFailedError: It ended first.
        """
        listener = socket.create_server(("127.0.0.1", 0), backlog=self._config.backlog)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open while the server runs
        ready, announce = os.pipe()
        try:
            self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._process = self._started(listener, announce)
            self.pid = self._process.pid
        except BaseException:
            os.close(ready)
            self._log.close()
            self._log = None
            raise
        finally:
            os.close(announce)
            listener.close()
        try:
            word = await asyncio.wait_for(asyncio.to_thread(os.read, ready, 1), START_SECONDS)
        except asyncio.TimeoutError:
            self._process.kill()
            word = b""
        finally:
            os.close(ready)
        if word:
            return
        await self.stop()
        raise ServerFailedError(f"the server could not start\n{self.log()}")

    def _started(self, listener: socket.socket, announce: int) -> subprocess.Popen[bytes] | _Fork:
        try:
            source = Source.of(self._app)
        except LoadError:
            return self._forked(listener, announce)
        descriptors = (listener.fileno(), announce)
        file = getattr(sys.modules[source.module], "__file__", None)
        task = pickle.dumps((sys.path, source, file, self._config, *descriptors))
        process = subprocess.Popen(
            [sys.executable, "-m", "spikard.testing.live_server"],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the tests; they stop the server
        )
        if process.stdin is not None:
            with process.stdin as stdin:
                stdin.write(task)
        return process

    def _forked(self, listener: socket.socket, announce: int) -> _Fork:
        if not hasattr(os, "fork"):
            raise ServerFailedError(
                "no module has the application, and this system cannot fork: assign it to a "
                "global name of an importable module"
            )
        if _loop.is_any_reactor_running():
            raise ServerFailedError(
                "no module has the application, and a process in which a server runs cannot be "
                "forked: assign it to a global name of an importable module"
            )
        from spikard.testing.live_server import serve

        log = self._log.fileno()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads. The child touches no lock of theirs: it goes on with a
            # loop of its own and ends without the interpreter's shutdown.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            return _Fork(pid)
        code = 1
        try:
            os.setsid()
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            code = serve(lambda: self._app, self._config, listener, announce)
        finally:
            os._exit(code)

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when that takes too long."""
        process, self._process, self.pid = self._process, None, None
        if process is not None:
            await asyncio.to_thread(_ended, process)
        self._last_log = self.log()
        self._log.close()
        self._log = None

    def log(self) -> str:
        """Return the end of what the server has written."""
        if self._log is None:
            return self._last_log
        descriptor = self._log.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, LOG_BYTES, max(0, size - LOG_BYTES)).decode("utf-8", "replace")

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Return the response once its head has come.

        Raises:
            ServerFailedError: The connection broke.
        """
        try:
            return await exchanged(self.base_url, outgoing, self.log)
        except (OSError, http.client.HTTPException) as error:
            request = f"{outgoing.method} {outgoing.url}"
            raise ServerFailedError(f"{request}: {error!r}\n{self.log()}") from error

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet.

        Raises:
            NotAvailableError: There is no client of WebSockets.
        """
        return LiveWebSocket(outgoing, subprotocols)


class _Fork:
    """A forked child, as `subprocess` has processes."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        child = os.pidfd_open(self.pid)
        try:
            import select

            if not select.select([child], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the forked server", timeout)
        finally:
            os.close(child)
        return os.waitpid(self.pid, 0)[1]


def _ended(process: subprocess.Popen[bytes] | _Fork) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=STOP_SECONDS)
