"""Applications without sockets: `Spikard` through its own pipeline, any other through ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from spikard import _spikard
from spikard._door import answer, is_meant_for_this_task
from spikard._exchange import AsgiExchange
from spikard.testing.stream import Incoming, ResponseAbortedError
from spikard.testing.websocket import InProcessWebSocket
from spikard_asgi.application import log_failure, single_callable
from spikard_asgi.exceptions import ClientDisconnected
from spikard_asgi.lifespan import Lifespan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from spikard._door import Answered
    from spikard.app import Spikard
    from spikard.testing.outgoing import Outgoing
    from spikard.testing.websocket import TestWebSocket

__all__ = ["AsgiTransport", "NativeTransport"]

CLIENT = ("127.0.0.1", 50000)
SERVER = ("127.0.0.1", 80)

CLOSE_SECONDS = 10.0
"""For an application to end after its client has gone, before its task is cancelled."""

_BODILESS = (204, 304)


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

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Return the response; an application that fails before one gives 500."""
        call = _AsgiCall(outgoing)
        scope = self._scope(outgoing)
        return await call.answered(asyncio.create_task(call.run(self._app, scope)))

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet."""
        state = self._lifespan.state
        return InProcessWebSocket(
            self._app, lambda: socket_scope(outgoing, subprotocols, state), subprotocols
        )

    def _scope(self, outgoing: Outgoing) -> dict[str, Any]:
        return {
            "type": "http",
            "method": outgoing.method,
            "extensions": {},
            **_common(outgoing, self._lifespan.state),
        }


class NativeTransport(AsgiTransport):
    """A `Spikard` application: pipeline, endpoint and hooks as the server runs them."""

    def __init__(self, app: Spikard, base_url: str) -> None:
        super().__init__(app, base_url)
        self._spikard = app
        self._life: asyncio.Task[None] | None = None
        self._end = asyncio.Event()

    async def start(self) -> None:
        """Run the application's start-up; whatever it raises is raised."""
        self._spikard._asgi()  # noqa: SLF001 - declarations are checked before anything starts
        if self._spikard.middleware:  # which wants to see the lifespan
            await super().start()
            return
        self._lifespan = Lifespan(self._app)
        self._end = asyncio.Event()
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(started), name="spikard lifespan")
        await asyncio.wait([started, self._life], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            await self._life

    async def _live(self, started: asyncio.Future[None]) -> None:
        # One task from start to end: a context manager of the application may insist on that.
        async with self._spikard.lifespan_context():
            self._lifespan.state.update(self._spikard.lifespan_state)
            started.set_result(None)
            await self._end.wait()

    async def stop(self) -> None:
        """Run the application's shutdown; whatever it raises is raised."""
        self._end.set()
        if self._life is not None:
            await self._life
        else:
            await super().stop()

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Return the response; its body's end is that of the background work too."""
        if self._spikard.middleware or self._spikard.mounts:
            return await super().send(outgoing)
        parts = urlsplit(outgoing.url)
        head = _spikard.RequestHead(
            outgoing.method,
            outgoing.target.encode("ascii"),
            outgoing.headers,
            scheme=parts.scheme,
            client=CLIENT,
            server=SERVER,
        )
        upload = _Upload(outgoing)
        running = self._spikard._running()  # noqa: SLF001 - made once
        scope = self._scope(outgoing)
        exchange = AsgiExchange(scope, upload.receive, _ignore, running.forms)
        try:
            answered = await answer(running, head, exchange)
        except BaseException:
            await upload.close()
            raise
        body = _NativeBody(answered, outgoing, upload, exchange)
        if upload.error is not None:
            await body.aclose()
            raise upload.error
        headers = list(answered.headers)
        if answered.stream is None:
            names = {name for name, _ in headers}
            if b"content-length" not in names and answered.status not in _BODILESS:
                headers.append((b"content-length", b"%d" % len(answered.body)))
        return Incoming(answered.status, headers, body)


class _NativeBody:
    """The body of a `Spikard` application's response."""

    def __init__(
        self, answered: Answered, outgoing: Outgoing, upload: _Upload, exchange: AsgiExchange
    ) -> None:
        self._answered = answered
        self._upload = upload
        self._exchange = exchange
        self._has_body = _has_body(outgoing, answered.status)
        self._is_whole = answered.stream is None
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._is_over and self._has_body:
            stream = self._answered.stream
            if self._is_whole:
                self._has_body = False
                if self._answered.body:
                    return self._answered.body
            elif stream is not None:
                try:
                    return await stream.__anext__()
                except StopAsyncIteration:
                    pass
                except Exception as error:
                    log_failure(error)
                    await self._end()
                    raise ResponseAbortedError("the response was cut: its stream raised") from error
        await self._end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._is_over:
            self._exchange.leave()
            await self._end()

    async def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        await self._upload.close()
        try:
            close = getattr(self._answered.stream, "aclose", None)
            if close is not None:
                await close()
        finally:
            if self._answered.background is not None:
                try:
                    await self._answered.background()
                except BaseException as error:
                    if is_meant_for_this_task(error):
                        raise
                    log_failure(error)


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


class _Upload:
    """The server's end of a request's body."""

    def __init__(self, outgoing: Outgoing) -> None:
        self.over = asyncio.Event()
        self.error: Exception | None = None
        self._pieces = outgoing.body()
        self._asking: asyncio.Future[bytes] | None = None
        self._looks_ahead = outgoing.is_known
        self._ahead = b""
        self._more = True

    async def receive(self) -> dict[str, Any]:
        if self._more and not self.over.is_set():
            try:
                return await self._following()
            except asyncio.CancelledError:
                if not self.over.is_set():
                    raise
            except Exception as error:  # of the test's own iterable: the test gets it
                self.error = error
                self.over.set()
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def _following(self) -> dict[str, Any]:
        piece = self._ahead or await self._piece()
        if self._looks_ahead:
            self._ahead = await self._piece()
            self._more = bool(self._ahead)
        else:
            self._more = bool(piece)
        return {"type": "http.request", "body": piece, "more_body": self._more}

    async def _piece(self) -> bytes:
        following = anext(self._pieces, b"")
        if self._looks_ahead:
            return await following
        # In a task, so that a client that leaves can stop its own iterable.
        self._asking = asyncio.ensure_future(_awaited(following))
        return await self._asking

    async def close(self) -> None:
        self.over.set()
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._pieces.aclose()


async def _awaited(awaitable: Awaitable[bytes]) -> bytes:
    return await awaitable


class _AsgiCall:
    """One request of an ASGI application: its server's end, and the client's of the body."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._upload = _Upload(outgoing)
        self._outgoing = outgoing
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._is_complete = False
        self._has_left = False
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._upload.receive, self._send)
        except asyncio.CancelledError:
            if self._has_left:
                raise
        except BaseException as error:  # also an exit ends no more than a request
            self._failure = error
            if not self._has_left:
                log_failure(error)
        finally:
            if not self._started.done():  # nothing has been sent, the head neither
                self._status, self._headers = 500, [(b"content-length", b"0")]
                self._is_complete = True
            self._start()
            if not self._has_left:
                await self._chunks.put(None)

    def _start(self) -> None:
        if not self._started.done():
            self._started.set_result(None)

    async def _send(self, event: dict[str, Any]) -> None:
        if self._has_left:
            raise ClientDisconnected("the client has disconnected")
        if event["type"] == "http.response.start":
            self._status = event["status"]
            fields = event.get("headers", [])
            self._headers = [(bytes(name).lower(), bytes(value)) for name, value in fields]
            return
        if event["type"] != "http.response.body":
            return
        self._start()
        body = bytes(event.get("body", b""))
        if body and _has_body(self._outgoing, self._status):
            await self._chunks.put(body)
        if not event.get("more_body", False):
            self._is_complete = True
            self._upload.over.set()

    async def answered(self, task: asyncio.Task[None]) -> Incoming:
        """Return the response once its head has come."""
        self._task = task
        try:
            await asyncio.shield(self._started)
        except BaseException:
            await self.aclose()
            raise
        if self._upload.error is not None:
            await self.aclose()
            raise self._upload.error
        return Incoming(self._status, self._headers, self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._has_left:
            raise StopAsyncIteration
        chunk = await self._chunks.get()
        if chunk is not None:
            return chunk
        is_complete = self._is_complete
        await self.aclose()
        if not is_complete:
            reason = "the response was cut: the application ended before its end"
            raise ResponseAbortedError(reason) from self._failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave: the application hears of it, and is cancelled when it does not listen."""
        self._has_left = True
        await self._upload.close()
        while not self._chunks.empty():
            self._chunks.get_nowait()
        task, self._task = self._task, None
        if task is not None:
            done, _ = await asyncio.wait([task], timeout=CLOSE_SECONDS)
            if not done:
                task.cancel()
                await asyncio.wait([task])


async def _ignore(_: dict[str, Any]) -> None:
    """Take an event that no test sees: early hints."""


def _has_body(outgoing: Outgoing, status: int) -> bool:
    """Return whether the body crosses a connection (RFC 9110 §9.3.2, §15.3.5, §15.4.5)."""
    return outgoing.method != "HEAD" and status not in _BODILESS
