"""`BaseHTTPMiddleware`: a function ``(request, call_next)`` around an ASGI application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from spikard.compat.fastapi.requests import Request
from spikard.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["BaseHTTPMiddleware", "RequestResponseEndpoint"]

RequestResponseEndpoint = Any
"""What `dispatch` receives to call: ``await call_next(request)``."""


class BaseHTTPMiddleware:
    """An ASGI middleware whose `dispatch` sees requests and responses.

    Args:
        app: The application inside.
        dispatch: ``async (request, call_next) -> response``; default the method of that name.
    """

    def __init__(
        self, app: Any, dispatch: Callable[[Request, Any], Awaitable[Response]] | None = None
    ) -> None:
        self.app = app
        if dispatch is not None:
            vars(self)["dispatch"] = dispatch

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Return the response; subclasses override it."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        inner = _Inner(self.app, scope, receive)
        try:
            response = await self.dispatch(request_of(scope, receive, send), inner.call_next)
            await send_response(response, send)
        finally:
            await inner.close()


class _Inner:
    """The application inside, run in a task while its response passes through."""

    def __init__(self, app: Any, scope: Any, receive: Any) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None

    async def call_next(self, request: Request) -> Response:
        """Run the application; return its response once it has begun."""
        receive = _replayed(request, self._receive)
        self._task = asyncio.create_task(self._run(receive))
        event = await self._events.get()
        if event is None:
            await self._task  # raises what the application raised
            raise RuntimeError("the application ended without a response")
        response = StreamingResponse(self._body(), event["status"])
        headers: list[tuple[bytes, bytes]] = list(event.get("headers") or ())
        response.raw_headers = headers
        return response

    async def _run(self, receive: Any) -> None:
        try:
            await self._app(self._scope, receive, self._events.put)
        finally:
            await self._events.put(None)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while True:
            event = await self._events.get()
            if event is None:
                break
            if event["type"] == "http.response.body":
                if event.get("body"):
                    yield event["body"]
                if not event.get("more_body", False):
                    break

    async def close(self) -> None:
        """Let the application finish: its background work runs after the response."""
        task = self._task
        while task is not None and not task.done():
            getting = asyncio.ensure_future(self._events.get())
            await asyncio.wait({getting, task}, return_when=asyncio.FIRST_COMPLETED)
            getting.cancel()
        if task is not None:
            await task


def request_of(scope: Any, receive: Any, send: Any) -> Request:
    """Return the request of an ASGI scope."""
    from spikard._exchange import AsgiExchange
    from spikard._middleware import PENDING
    from spikard._spikard import RequestHead

    pending = scope.get(PENDING)
    forms = None if pending is None else pending.forms
    head = RequestHead.of_scope(scope)
    return Request(head, AsgiExchange(scope, receive, send, forms), scope.get("app"))


def _replayed(request: Request, receive: Any) -> Any:
    """Return a ``receive`` that gives the body again that the middleware has read."""
    read = request._body  # noqa: SLF001 - what is left of the stream depends on it
    if read is None:
        return receive
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": read, "more_body": False}

    return replay


async def send_response(response: Response, send: Any) -> None:
    """Send a response as ASGI events, its background work after it."""
    body = response.body or b""
    headers = list(response.raw_headers)
    names = {name for name, _ in headers}
    if response.stream is None and b"content-length" not in names:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    if response.stream is None:
        await send({"type": "http.response.body", "body": body})
    else:
        async for chunk in response.stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    if response.background is not None:
        await response.background()
