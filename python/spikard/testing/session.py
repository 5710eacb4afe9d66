"""What every test client does: verbs, cookies, redirects; and the same from synchronous code."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from spikard.datastructures import Headers, encode_header, field_pairs
from spikard.testing.cookies import Cookies
from spikard.testing.events import SyncTestEvents, TestEvents
from spikard.testing.outgoing import Outgoing, RequestOptions, make_outgoing
from spikard.testing.response import TestResponse
from spikard.testing.stream import Opened, SyncTestStream, TestStream
from spikard.testing.websocket import SyncTestWebSocket, TestWebSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from spikard.testing.stream import Incoming

__all__ = ["Portal", "Session", "SyncSession", "Transport"]

T = TypeVar("T")

REDIRECT_LIMIT = 20
"""Redirects of one request; browsers stop there too."""

_REDIRECTS = {301, 302, 303, 307, 308}


class Transport(Protocol):
    """Where a client's requests go."""

    base_url: str

    async def start(self) -> None:
        """Make the application ready; its start-up has run."""
        ...

    async def stop(self) -> None:
        """Run the application's shutdown."""
        ...

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Return the response once its head has come."""
        ...

    def websocket(self, outgoing: Outgoing, subprotocols: list[str]) -> TestWebSocket:
        """Return a WebSocket that is not open yet."""
        ...


class Session:
    """An asynchronous client of one application.

    Attributes:
        cookies: Sent with every request; what responses set is kept here.
        headers: Sent with every request that does not say otherwise.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(
        self,
        transport: Transport,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
    ) -> None:
        self.headers = Headers(headers)
        self.cookies = Cookies()
        self.cookies.update(cookies or {})
        self.follow_redirects = follow_redirects
        self._transport = transport
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise RuntimeError("the client is open already")
        await self._transport.start()
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        await self._transport.stop()

    async def outside(self, work: Awaitable[T]) -> T:
        """Await work of this client without the application's start-up and shutdown."""
        self._is_open = True
        try:
            return await work
        finally:
            self._is_open = False

    def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a request and return the complete response; see `RequestOptions`.

        Redirects within the application are followed unless `follow_redirects` is false.

        Raises:
            RuntimeError: Outside of ``with``, before there is anything to await; or, awaited, a
                circle of redirects.
            ResponseAbortedError: The body was cut.
        """
        self._check_open()
        return self._request(method, path, options)

    async def _request(self, method: str, path: str, options: RequestOptions) -> TestResponse:
        return await self._complete(await self._open(method, path, options))

    def _check_open(self) -> None:
        if not self._is_open:
            name = type(self).__name__
            raise RuntimeError(f"use it as `async with {name}(app) as client` or in a plain `with`")

    def stream(self, method: str, path: str, **options: Unpack[RequestOptions]) -> TestStream:
        """Send a request whose response is read while it comes; see `TestStream`.

        A body given as an iterable is asked for its next piece while the response is read.
        """
        return TestStream(lambda: self._open(method, path, options))

    async def _open(self, method: str, path: str, options: RequestOptions) -> Opened:
        self._check_open()
        follow = options.get("follow_redirects")
        follow = self.follow_redirects if follow is None else follow
        outgoing = make_outgoing(method, self._transport.base_url, path, options, self.headers.raw)
        extra = options.get("cookies") or {}
        history: list[TestResponse] = []
        while True:
            opened = await self._exchange(outgoing, extra, tuple(history))
            location = Headers(raw=opened.incoming.headers).get("location")
            if not follow or opened.incoming.status not in _REDIRECTS or location is None:
                return opened
            try:
                following = outgoing.redirected(opened.incoming.status, location)
                if urlsplit(following.url)[:2] != urlsplit(outgoing.url)[:2]:
                    return opened  # another site is not the application under test
            except BaseException:
                await opened.incoming.body.aclose()
                raise
            if len(history) >= REDIRECT_LIMIT:
                await opened.incoming.body.aclose()
                raise RuntimeError(f"more than {REDIRECT_LIMIT} redirects, last to {location}")
            history.append(await self._complete(opened))
            outgoing = following

    async def _complete(self, opened: Opened) -> TestResponse:
        incoming = opened.incoming
        try:
            body = b"".join([piece async for piece in incoming.body])
        finally:
            await incoming.body.aclose()
        return TestResponse(
            incoming.status,
            incoming.headers,
            body,
            url=opened.url,
            history=opened.history,
            cookies=opened.cookies,
        )

    async def _exchange(
        self, outgoing: Outgoing, extra: Mapping[str, str], history: tuple[TestResponse, ...]
    ) -> Opened:
        headers = outgoing.headers
        pairs = [self.cookies.header(outgoing.url) or ""]
        pairs += [f"{name}={value}" for name, value in extra.items()]
        field = "; ".join(filter(None, pairs))
        if field and not any(name == b"cookie" for name, _ in headers):
            headers = [*headers, encode_header("cookie", field)]
        sent = Outgoing(outgoing.method, outgoing.url, headers, outgoing.chunks)
        incoming = await self._transport.send(sent)
        cookies = self.cookies.store(outgoing.url, Headers(raw=incoming.headers))
        return Opened(incoming, outgoing.url, history, cookies)

    def get(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a GET request; see `request`."""
        return self.request("GET", path, **options)

    def post(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a POST request; see `request`."""
        return self.request("POST", path, **options)

    def put(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a PUT request; see `request`."""
        return self.request("PUT", path, **options)

    def patch(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a PATCH request; see `request`."""
        return self.request("PATCH", path, **options)

    def delete(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a DELETE request; see `request`."""
        return self.request("DELETE", path, **options)

    def head(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a HEAD request; see `request`."""
        return self.request("HEAD", path, **options)

    def options(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send an OPTIONS request; see `request`."""
        return self.request("OPTIONS", path, **options)

    def trace(
        self, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, TestResponse]:
        """Send a TRACE request; see `request`."""
        return self.request("TRACE", path, **options)

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> TestWebSocket:
        """Return a WebSocket to open with ``async with``; cookies and headers are the client's."""
        own = [field for field in self.headers.raw if field[0].decode() not in (headers or {})]
        fields = [*own, *(encode_header(name, value) for name, value in (headers or {}).items())]
        url = self._transport.base_url.rstrip("/") + path
        cookie = self.cookies.header(url)
        if cookie is not None:
            fields.append(encode_header("cookie", cookie))
        return self._transport.websocket(Outgoing("GET", url, fields, []), list(subprotocols))

    def sse(
        self,
        path: str,
        *,
        method: str = "GET",
        last_event_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> TestEvents:
        """Listen to server-sent events: ``async with client.sse("/news") as events``.

        Args:
            path: Where they come from.
            method: GET unless the application says otherwise.
            last_event_id: What was heard last, as a browser tells that connects again.
            options: See `RequestOptions`.
        """
        given: Any = options.get("headers") or {}
        pairs = list(field_pairs(given))
        names = {name.lower() for name, _ in pairs}
        for name, value in (("accept", "text/event-stream"), ("last-event-id", last_event_id)):
            if value is not None and name not in names:
                pairs.append((name, value))
        options["headers"] = pairs
        return TestEvents(self.stream(method, path, **options))


class SyncSession:
    """The same client for synchronous code; the application runs in a thread with its own loop."""

    __test__ = False  # pytest collects classes named Test…

    def __init__(self, session: Session) -> None:
        self._session = session
        self._portal = Portal()

    @property
    def cookies(self) -> Cookies:
        """See `Session`."""
        return self._session.cookies

    @property
    def headers(self) -> Headers:
        """See `Session`."""
        return self._session.headers

    def __enter__(self) -> Self:
        self._portal.start()
        try:
            self._portal.call(self._session.__aenter__())
        except BaseException:
            self._portal.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._portal.call(self._session.__aexit__(kind, error, trace))
        finally:
            self._portal.stop()

    def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """See `Session.request`."""
        return self._portal.call(self._session.request(method, path, **options))

    def get(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a GET request; see `request`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a POST request; see `request`."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a PUT request; see `request`."""
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a PATCH request; see `request`."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a DELETE request; see `request`."""
        return self.request("DELETE", path, **options)

    def head(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a HEAD request; see `request`."""
        return self.request("HEAD", path, **options)

    def options(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send an OPTIONS request; see `request`."""
        return self.request("OPTIONS", path, **options)

    def trace(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Send a TRACE request; see `request`."""
        return self.request("TRACE", path, **options)

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> SyncTestWebSocket:
        """See `Session.websocket`; opened with ``with``."""
        socket = self._session.websocket(path, subprotocols=subprotocols, headers=headers)
        return SyncTestWebSocket(socket, self._portal.call)

    def stream(self, method: str, path: str, **options: Unpack[RequestOptions]) -> SyncTestStream:
        """See `Session.stream`; opened with ``with``."""
        return SyncTestStream(self._session.stream(method, path, **options), self._portal.call)

    def sse(
        self,
        path: str,
        *,
        method: str = "GET",
        last_event_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> SyncTestEvents:
        """See `Session.sse`; opened with ``with``."""
        events = self._session.sse(path, method=method, last_event_id=last_event_id, **options)
        return SyncTestEvents(events, self._portal.call)


class Portal:
    """An event loop in a thread of its own, called from others."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: It runs already.
        """
        if self._loop is not None:
            raise RuntimeError("the client is open already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="spikard test client", daemon=True
        )
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return its result.

        Raises:
            RuntimeError: Outside of ``with``.
        """
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("use the client inside its `with` block")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """Cancel what is left, close the loop and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self.call(_cancel_others())
        self.call(loop.shutdown_asyncgens())
        self.call(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, also beyond a task of the application's that exits."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):  # seldom; its task has it
            continue
        return


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
