"""The three doors into an application: in process, on our server, under uvicorn."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from spikard.testing import TestClient, serve_in_thread
from spikard.testing.connection import exchanged
from spikard.testing.live_websocket import LiveWebSocket
from spikard.testing.session import Session, SyncSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikard import Spikard
    from spikard.testing.outgoing import Outgoing
    from spikard.testing.stream import Incoming
    from spikard.testing.websocket import TestWebSocket

DOORS = ("process", "server", "uvicorn")


class Url:
    """A transport to a server that runs already."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    async def start(self) -> None:
        """Do nothing: it runs."""

    async def stop(self) -> None:
        """Do nothing: somebody else stops it."""

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Return the response once its head has come."""
        return await exchanged(self.base_url, outgoing)

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet."""
        return LiveWebSocket(outgoing, subprotocols)


class Doors:
    """Opens clients; uvicorn runs once for all applications."""

    def __init__(self) -> None:
        self._current: Any = None
        self._stack = contextlib.ExitStack()
        self._uvicorn = self._stack.enter_context(_uvicorn(self._switch))

    def close(self) -> None:
        """Stop uvicorn."""
        self._stack.close()

    async def _switch(self, scope: Any, receive: Any, send: Any) -> None:
        await self._current(scope, receive, send)

    @contextlib.contextmanager
    def client(self, door: str, app: Spikard) -> Iterator[SyncSession]:
        """Open a client that does not follow redirects."""
        if door == "process":
            with TestClient(app, follow_redirects=False) as client:
                yield client
        elif door == "server":
            with serve_in_thread(app, config=app.config) as url, _speaking_to(url) as client:
                yield client
        else:
            self._current = app
            with _speaking_to(self._uvicorn) as client:
                yield client


def _speaking_to(url: str) -> SyncSession:
    return SyncSession(Session(Url(url), follow_redirects=False))


@contextlib.contextmanager
def _uvicorn(app: Any) -> Iterator[str]:
    config = uvicorn.Config(
        app, interface="asgi3", lifespan="off", log_level="critical", access_log=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield url  # the socket listens: a request waits until uvicorn takes it
        finally:
            server.should_exit = True
            thread.join(timeout=10)
