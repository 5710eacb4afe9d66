"""The doors that are not our own server: another ASGI server, and the in-process client.

Both do what `src/bridge/native` does on a socket: the pipeline decides in Rust, Python awaits what
the decision names, and the pipeline has the last word. `drive` is that middle part, and it is also
what our own server runs for an application with hooks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikard import _spikard
from spikard._exchange import AsgiExchange, Exchange
from spikard._forms import Forms
from spikard._hooks import run_on_request, run_on_response
from spikard._problems import problem
from spikard._slots import Slots
from spikard._socket_endpoint import socket_failure
from spikard.datastructures import Request
from spikard.events import kept_alive
from spikard.exceptions import NotAvailableError, WebSocketDisconnect
from spikard.responses import Response
from spikard.staticfiles import StaticFiles
from spikard.websockets import WebSocket
from spikard_asgi.application import log_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from spikard._spikard import Call, Core, Filter, RequestHead
    from spikard.app import Spikard
    from spikard.config import ServerConfig
    from spikard.datastructures import Exchange as RequestExchange


def make_core(app: Spikard, config: ServerConfig, counts: int | None = None) -> Core:
    """Compile an application for this configuration.

    Args:
        app: The application.
        config: Of the server.
        counts: Descriptor of the memory in which workers count requests together.

    Raises:
        RouteError: Two routes conflict, or a template is wrong.
        RegistrationError: A parameter can come from nowhere.
        NotAvailableError: The application uses what this version does not have yet.
    """
    if app.grpc_services:
        raise NotAvailableError("gRPC services are not available yet in this version")
    if app.middleware:
        raise NotAvailableError("ASGI middleware is not available yet in this version")
    config = app.configured(config)
    core = _spikard.Core(config.to_json(), counts=counts)
    app.forms = Forms.of(config)
    app._slots = Slots(config.max_concurrency, config.max_queue)  # noqa: SLF001  # of the doors
    for spec in (*app.freeze(), *app.documentation(config)):
        core.add_route(spec)
    unmatched = app.unmatched()
    if unmatched is not None:
        core.set_unmatched(*unmatched)
    for prefix, mounted in app.mounts:
        if not isinstance(mounted, StaticFiles):
            core.add_mount(prefix, mounted)
    if app.hooks["on_request"] or app.hooks["on_response"]:
        if app.mounts:
            raise NotAvailableError("hooks on an application with mounts are not available yet")
        core.set_driver(functools.partial(drive, app), functools.partial(drive_socket, app))
    return core


async def drive(app: Spikard, call: Call, request: Request) -> Response:
    """Return the response of a request: hooks, endpoint, hooks.

    Args:
        app: The application.
        call: The request as the pipeline has it.
        request: The same as Python has it.
    """
    request._app = app  # noqa: SLF001  # the doors make requests for the application
    try:
        response = await _decided(app, call, request)
    except Exception as error:  # whatever a hook raised
        answer = app.failures()(request, error)
        response = await answer if inspect.isawaitable(answer) else answer
    hooks = app.hooks["on_response"]
    return await run_on_response(hooks, request, response) if hooks else response


async def _decided(app: Spikard, call: Call, request: Request) -> Response:
    if call.next == "hooks":
        early = await run_on_request(app.hooks["on_request"], request)
        if early is not None:
            return early
        headers = request._headers  # noqa: SLF001  # None when no hook has looked
        call.resume(None if headers is None else headers.raw)
    decision = call.next
    if decision == "respond":
        return _response(call.response())
    if decision == "file":
        return _response(await asyncio.to_thread(call.response))
    if decision != "handle":
        raise NotAvailableError(f"{decision!r} is not available behind this door yet")
    request._head = call.head  # noqa: SLF001  # now with the path's parameters
    try:
        body = await request.body() if call.wants_body else None
    except Exception as error:  # the body is too long, or the client has gone
        return await _failed(call, request, error)
    slots = app._slots  # noqa: SLF001  # of the doors
    if not slots.is_limited:
        return await _called(call, request, body)
    if not await slots.enter():
        call.overload()
        return _response(call.response())
    try:
        return await _called(call, request, body)
    finally:
        slots.leave()


async def _called(call: Call, request: Request, body: bytes | None) -> Response:
    try:
        is_async, result = call.invoke(request, body)
        if is_async:
            result = await result
        return result if isinstance(result, Response) else _encoded(call, result)
    except Exception as error:  # whatever the handler raised
        return await _failed(call, request, error)


async def _failed(call: Call, request: Request, error: Exception) -> Response:
    answer = call.fail(request, error)
    made: Response = await answer if inspect.isawaitable(answer) else answer
    return made


async def drive_socket(app: Spikard, call: Call, socket: WebSocket) -> None:
    """Run one WebSocket from its handshake to its end: hooks, policies, endpoint.

    Args:
        app: The application.
        call: The handshake as the pipeline has it, begun as that of a WebSocket.
        socket: The same as Python has it.
    """
    socket._app = app  # noqa: SLF001  # as in `drive`
    try:
        response = await _socket_decided(app, call, socket)
        if response is not None:
            hooks = app.hooks["on_response"]
            if hooks:
                response = await run_on_response(hooks, socket, response)
            await socket.reject(response)
    except Exception as error:  # whatever a hook raised
        await socket_failure(socket, error)


async def _socket_decided(app: Spikard, call: Call, socket: WebSocket) -> Response | None:
    """Run the endpoint, or return what refuses the handshake."""
    if call.next == "hooks":
        early = await run_on_request(app.hooks["on_request"], socket)
        if early is not None:
            return early
        headers = socket._headers  # noqa: SLF001  # None when no hook has looked
        call.resume(None if headers is None else headers.raw)
    if call.next != "websocket":
        # No WebSocket lives at this path: an ordinary request, whose answer is no handshake.
        return await _decided(app, call, Request(call.head, Exchange(None), app))
    socket._head = call.head  # noqa: SLF001  # now with the path's parameters
    _, running = call.invoke(socket, None)
    await running
    return None


def _response(fields: dict[str, Any]) -> Response:
    response = Response(fields["body"] or None, fields["status"])
    response.raw_headers = fields["headers"]
    return response


def _encoded(call: Call, result: Any) -> Response:
    status, media_type, body = call.encode(result)
    response = Response(body if media_type is not None else None, status)
    response.raw_headers = [] if media_type is None else [(b"content-type", media_type)]
    return response


@dataclass(slots=True)
class Answered:
    """A response after the pipeline's last word: `body` is complete, or `stream` gives it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    stream: AsyncIterator[bytes] | None
    background: Callable[[], Awaitable[None]] | None


async def answer(
    app: Spikard, core: Core, head: RequestHead, exchange: RequestExchange
) -> Answered:
    """Run one request through the whole pipeline, in the caller's task."""
    call = core.begin(head)
    if isinstance(exchange, AsgiExchange):
        exchange.limit = call.max_body_bytes
    request = Request(call.head, exchange, app)
    timeout = call.request_timeout
    try:
        response = await asyncio.wait_for(drive(app, call, request), timeout)
    except asyncio.TimeoutError:
        response = problem(408, "the request took too long")
    return await _answered(call, response)


async def _answered(call: Call, response: Response) -> Answered:
    """Return a response after the pipeline's last word."""
    status, headers, body = response.status_code, response.raw_headers, response.body or b""
    if response.file is not None:
        sent = await asyncio.to_thread(call.file, response.file, status, headers)
        status, headers, body = sent["status"], sent["headers"], sent["body"]
    fields = call.finish(status, headers, None if response.stream is not None else body)
    return Answered(
        fields["status"],
        fields["headers"],
        fields["body"] or b"",
        _filtered(_stream_of(response), fields["filter"]),
        response.background,
    )


def _stream_of(response: Response) -> AsyncIterator[bytes] | None:
    stream, seconds = response.stream, response.keep_alive_seconds
    return stream if stream is None or seconds is None else kept_alive(stream, seconds)


def _filtered(
    stream: AsyncIterator[bytes] | None, pieces: Filter | None
) -> AsyncIterator[bytes] | None:
    if stream is None or pieces is None:
        return stream

    async def filtered() -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield pieces.push(chunk)
            yield pieces.finish()
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    return filtered()


async def asgi(
    app: Spikard, scope: Any, receive: Any, send: Any, *, core: Core | None = None
) -> None:
    """Serve one ASGI connection of another server.

    `core` is the application compiled for another configuration than its own.
    """
    kind = scope["type"]
    if kind == "lifespan":
        await _lifespan(app, scope, receive, send)
    elif kind == "http":
        await _http(app, core or app._core(), scope, receive, send)  # noqa: SLF001  # made once
    elif kind == "websocket":
        await _websocket(app, core or app._core(), scope, receive, send)  # noqa: SLF001  # made once
    else:
        raise NotAvailableError(f"{kind} connections are not available")


async def _http(app: Spikard, core: Core, scope: Any, receive: Any, send: Any) -> None:
    extensions: dict[str, Any] = scope.get("extensions") or {}
    exchange = AsgiExchange(receive, send, can_hint="http.response.early_hint" in extensions)
    answered = await answer(app, core, head_of(scope), exchange)
    headers = answered.headers
    has_length = any(name == b"content-length" for name, _ in headers)
    if answered.stream is None and not has_length and answered.status not in (204, 304):
        headers = [*headers, (b"content-length", b"%d" % len(answered.body))]
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    try:
        if answered.stream is None:
            await send({"type": "http.response.body", "body": answered.body})
        else:
            async for chunk in answered.stream:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    finally:
        close = getattr(answered.stream, "aclose", None)
        if close is not None:
            await close()
        if answered.background is not None:
            await answered.background()


async def _websocket(app: Spikard, core: Core, scope: Any, receive: Any, send: Any) -> None:
    await receive()
    call = core.begin(head_of(scope), websocket=True)
    peer = AsgiPeer(call, scope, receive, send)
    await drive_socket(app, call, WebSocket(call.head, peer, app))
    if peer.background is not None:
        await peer.background()


class AsgiPeer:
    """The connection of a WebSocket behind another ASGI server.

    Args:
        call: The handshake as the pipeline has it.
        scope: The server's scope.
        receive: The server's `receive`, which has given `websocket.connect`.
        send: The server's `send`.
    """

    __slots__ = ("_call", "_can_deny", "_closed", "_receive", "_send", "background")

    def __init__(self, call: Call, scope: Any, receive: Any, send: Any) -> None:
        self._call = call
        self._can_deny = "websocket.http.response" in (scope.get("extensions") or {})
        self._receive = receive
        self._send = send
        self._closed: tuple[int, str] | None = None
        self.background: Callable[[], Awaitable[None]] | None = None

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer the handshake."""
        fields = self._call.accept(headers)
        await self._tell(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": fields}
        )

    async def reject(self, response: Response) -> None:
        """Answer the handshake with a response; a server without the extension says 403."""
        answered = await _answered(self._call, response)
        self.background = answered.background
        if not self._can_deny:
            await self._tell({"type": "websocket.close"})
            return
        kind = "websocket.http.response"
        status, headers = answered.status, answered.headers
        await self._tell({"type": f"{kind}.start", "status": status, "headers": headers})
        if answered.stream is not None:
            async for chunk in answered.stream:
                await self._tell({"type": f"{kind}.body", "body": chunk, "more_body": True})
        await self._tell({"type": f"{kind}.body", "body": answered.body})

    async def receive(self) -> str | bytes:
        """Return the next message; raises `WebSocketDisconnect` when the peer has gone."""
        if self._closed is not None:
            raise WebSocketDisconnect(*self._closed)
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._closed = event.get("code", 1005), event.get("reason") or ""
            raise WebSocketDisconnect(*self._closed)
        text: str | None = event.get("text")
        message: str | bytes = event["bytes"] if text is None else text
        return message

    async def send(self, data: str | bytes) -> None:
        """Send one message; raises `WebSocketDisconnect` when the peer has gone."""
        key = "text" if isinstance(data, str) else "bytes"
        await self._tell({"type": "websocket.send", key: data})

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    def is_disconnected(self) -> bool:
        """Return whether the peer is known to have gone."""
        return self._closed is not None

    async def _tell(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except OSError:
            # ASGI WebSocket 2.4: the peer has gone.
            self._closed = self._closed or (1006, "")
            raise WebSocketDisconnect(*self._closed) from None


def head_of(scope: Any) -> RequestHead:
    """Return the head of an ASGI HTTP or WebSocket scope; the host's root path is cut off."""
    root_path: str = scope.get("root_path", "")
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    prefix = root_path.encode()
    if prefix and raw_path.startswith(prefix) and raw_path[len(prefix) :][:1] in (b"", b"/"):
        raw_path = raw_path[len(prefix) :]
    query: bytes = scope.get("query_string", b"")
    target = (raw_path or b"/") + (b"?" + query if query else b"")
    return _spikard.RequestHead(
        scope.get("method", "GET"),
        target,
        [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        http_version=scope.get("http_version", "1.1"),
        scheme=scope.get("scheme", "http"),
        client=tuple(scope["client"]) if scope.get("client") else None,
        server=tuple(scope["server"]) if scope.get("server") else None,
        root_path=root_path,
    )


async def _lifespan(app: Spikard, scope: Any, receive: Any, send: Any) -> None:
    await receive()
    context = app._lifespan()  # noqa: SLF001  # every door enters it
    try:
        await context.__aenter__()
    except Exception as error:
        log_failure(error)
        await send(
            {"type": "lifespan.startup.failed", "message": "the application failed to start"}
        )
        raise
    await send({"type": "lifespan.startup.complete"})
    await receive()
    try:
        await context.__aexit__(None, None, None)
    except Exception as error:
        log_failure(error)
        await send(
            {"type": "lifespan.shutdown.failed", "message": "the application failed to shut down"}
        )
        raise
    await send({"type": "lifespan.shutdown.complete"})
