"""Applications without sockets: `Spikard` through its own pipeline, any other through ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from spikard import _spikard
from spikard._door import answer
from spikard._exchange import AsgiExchange
from spikard.testing.websocket import TestWebSocket
from spikard_asgi.application import log_failure, single_callable
from spikard_asgi.lifespan import Lifespan

if TYPE_CHECKING:
    from spikard.app import Spikard
    from spikard.testing.outgoing import Outgoing
    from spikard.testing.session import Received

__all__ = ["AsgiTransport", "NativeTransport"]

CLIENT = ("127.0.0.1", 50000)
SERVER = ("127.0.0.1", 80)

_BODILESS = (204, 304)


class NativeTransport:
    """A `Spikard` application: pipeline, endpoint and hooks as the server runs them."""

    def __init__(self, app: Spikard, base_url: str) -> None:
        self.base_url = base_url
        self._app = app
        self._life: asyncio.Task[None] | None = None
        self._end = asyncio.Event()

    async def start(self) -> None:
        """Run the application's start-up; whatever it raises is raised."""
        self._app._core()  # noqa: SLF001 - declarations are checked before anything starts
        self._end = asyncio.Event()
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(started), name="spikard lifespan")
        await asyncio.wait([started, self._life], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            await self._life

    async def _live(self, started: asyncio.Future[None]) -> None:
        # One task from start to end: a context manager of the application may insist on that.
        async with self._app._lifespan():  # noqa: SLF001 - every door enters it
            started.set_result(None)
            await self._end.wait()

    async def stop(self) -> None:
        """Run the application's shutdown; whatever it raises is raised."""
        self._end.set()
        if self._life is not None:
            await self._life

    async def send(self, outgoing: Outgoing) -> Received:
        """Return the complete response, its background work done."""
        parts = urlsplit(outgoing.url)
        head = _spikard.RequestHead(
            outgoing.method,
            outgoing.target.encode("ascii"),
            outgoing.headers,
            scheme=parts.scheme,
            client=CLIENT,
            server=SERVER,
        )
        messages = _Messages(outgoing)
        exchange = AsgiExchange(messages.receive, messages.send, can_hint=False)
        answered = await answer(self._app, self._app._core(), head, exchange)  # noqa: SLF001
        body, headers = answered.body, list(answered.headers)
        try:
            if answered.stream is None:
                names = {name for name, _ in headers}
                if b"content-length" not in names and answered.status not in _BODILESS:
                    headers.append((b"content-length", b"%d" % len(body)))
            elif outgoing.method != "HEAD" and answered.status not in _BODILESS:
                body = b"".join([chunk async for chunk in answered.stream])
        finally:
            close = getattr(answered.stream, "aclose", None)
            if close is not None:
                await close()
            if answered.background is not None:
                await answered.background()
        return answered.status, headers, _sent(outgoing, answered.status, body)

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet."""
        return TestWebSocket(self._app, lambda: socket_scope(outgoing, subprotocols, {}))


class AsgiTransport:
    """Any ASGI application."""

    def __init__(self, app: Any, base_url: str) -> None:
        self.base_url = base_url
        self._app = single_callable(app)
        self._lifespan = Lifespan(self._app)

    async def start(self) -> None:
        """Run the application's start-up.

        Raises:
            LifespanFailed: It refused to start.
        """
        self._lifespan = Lifespan(self._app)
        await self._lifespan.startup()

    async def stop(self) -> None:
        """Run the application's shutdown.

        Raises:
            LifespanFailed: It failed.
        """
        await self._lifespan.shutdown()

    async def send(self, outgoing: Outgoing) -> Received:
        """Return the complete response; an application that fails before one gives 500."""
        messages = _Messages(outgoing)
        try:
            await self._app(self._scope(outgoing), messages.receive, messages.send)
        except Exception as error:
            log_failure(error)
        if messages.status is None:
            return 500, [(b"content-length", b"0")], b""
        body = _sent(outgoing, messages.status, b"".join(messages.body))
        return messages.status, messages.headers, body

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet."""
        state = self._lifespan.state
        return TestWebSocket(self._app, lambda: socket_scope(outgoing, subprotocols, state))

    def _scope(self, outgoing: Outgoing) -> dict[str, Any]:
        return {
            "type": "http",
            "method": outgoing.method,
            "extensions": {},
            **_common(outgoing, self._lifespan.state),
        }


def socket_scope(
    outgoing: Outgoing, subprotocols: list[str], state: dict[str, Any]
) -> dict[str, Any]:
    """Return the scope of a WebSocket."""
    common = _common(outgoing, state)
    headers = [(b"host", urlsplit(outgoing.url).netloc.encode()), *outgoing.headers]
    # What a handshake has besides (RFC 6455 §4.1): applications and policies look at some of it.
    headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    headers += [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGVzdGluZyB0ZXN0aW5nIQ=="),
    ]
    if subprotocols:
        headers.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode()))
    return {
        **common,
        "type": "websocket",
        "scheme": common["scheme"].replace("http", "ws"),
        "headers": headers,
        "subprotocols": subprotocols,
        "extensions": {"websocket.http.response": {}},
    }


def _common(outgoing: Outgoing, state: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(outgoing.url)
    path, _, query = outgoing.target.partition("?")
    return {
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": parts.scheme,
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": list(outgoing.headers),
        "client": CLIENT,
        "server": (parts.hostname, parts.port or SERVER[1]),
        "state": dict(state),
    }


class _Messages:
    """The server's end of one ASGI request."""

    def __init__(self, outgoing: Outgoing) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self._chunks = list(outgoing.chunks) or [b""]
        self._complete = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._chunks:
            chunk = self._chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            fields = event.get("headers", [])
            self.headers = [(bytes(name).lower(), bytes(value)) for name, value in fields]
        elif event["type"] == "http.response.body":
            self.body.append(bytes(event.get("body", b"")))
            if not event.get("more_body", False):
                self._complete.set()


def _sent(outgoing: Outgoing, status: int, body: bytes) -> bytes:
    """Return what of a body crosses a connection (RFC 9110 §9.3.2, §15.3.5, §15.4.5)."""
    return b"" if outgoing.method == "HEAD" or status in _BODILESS else body
