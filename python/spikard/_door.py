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
from urllib.parse import quote, unquote_to_bytes

from spikard import _spikard
from spikard._deadline import Deadline, DeadlinePassedError
from spikard._exchange import AsgiExchange, Exchange
from spikard._forms import Forms
from spikard._hooks import run_on_request, run_on_response
from spikard._middleware import PENDING, Outermost, Pending
from spikard._mounted import Answering, mount_scope
from spikard._problems import problem
from spikard._slots import Slots
from spikard._socket_endpoint import socket_failure
from spikard.datastructures import Request
from spikard.events import kept_alive
from spikard.exceptions import NotAvailableError, WebSocketDisconnect
from spikard.responses import Response
from spikard.websockets import WebSocket
from spikard_asgi.application import log_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from spikard._spikard import Call, Core, Filter, RequestHead
    from spikard.app import Spikard
    from spikard.config import ServerConfig
    from spikard_asgi.application import Application, Receive, Scope, Send


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
    config = app.configured(config)
    core = _spikard.Core(config.to_json(), counts=counts)
    app.forms = Forms.of(config)
    app._slots = Slots(config.max_concurrency, config.max_queue)  # noqa: SLF001  # of the doors
    for spec in (*app.freeze(), *app.documentation(config)):
        core.add_route(spec)
    unmatched = app.unmatched()
    if unmatched is not None:
        core.set_unmatched(*unmatched)
    for mount in app.mounts:
        core.add_mount(mount.prefix, mount.call, state=mount.state, options=mount.options)
    if app.hooks["on_request"] or app.hooks["on_response"]:
        core.set_driver(functools.partial(drive, app), functools.partial(drive_socket, app))
    if app.mounts and (_stands_around_mounts(app) or config.jwt_auth is not None):
        core.set_mount_door(Inner(app, core))
    return core


def _stands_around_mounts(app: Spikard) -> bool:
    """Return whether anything in Python has a say about what mounts are asked or answer."""
    hooks = ("on_request", "on_response", "on_error")
    return any(app.hooks[name] for name in hooks) or bool(app.exception_handlers) or app.debug


def asgi_application(app: Spikard, core: Core) -> Application:
    """Return an application with its middleware, compiled into `core`, as ASGI."""
    inner = Inner(app, core)
    if not app.middleware:
        return inner
    return Outermost(app, inner, app.middleware, functools.partial(_respond, app))


async def drive(app: Spikard, call: Call, request: Request) -> Response | None:
    """Return the response of a request: hooks, endpoint, hooks.

    `None` when a mounted application has answered.

    Args:
        app: The application.
        call: The request as the pipeline has it.
        request: The same as Python has it.
    """
    request._app = app  # noqa: SLF001  # the doors make requests for the application
    try:
        response = await _decided(app, call, request)
    except Exception as error:  # whatever a hook raised
        response = await _failed_outside(app, request, error)
    if response is None:
        return None
    hooks = app.hooks["on_response"]
    return await run_on_response(hooks, request, response) if hooks else response


async def _failed_outside(app: Spikard, request: Request, error: Exception) -> Response:
    """Return the response of an exception that no route has raised."""
    answer = app.failures()(request, error)
    made: Response = await answer if inspect.isawaitable(answer) else answer
    return made


async def _decided(app: Spikard, call: Call, request: Request) -> Response | None:
    if call.next == "hooks":
        early = await run_on_request(app.hooks["on_request"], request)
        if early is not None:
            return early
        headers = request._headers  # noqa: SLF001  # None when no hook has looked
        call.resume(None if headers is None else headers.raw)
        _set_limits(call, request)
    decision = call.next
    if decision == "respond":
        return _response(call.response())
    if decision == "file":
        return _response(await asyncio.to_thread(call.response))
    exchange = request._exchange  # noqa: SLF001  # of the doors
    if isinstance(exchange, AsgiExchange):
        if decision == "mounted":
            return await _mounted(app, call, request, exchange)
        _tell_route(exchange.scope, call)
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


def _set_limits(call: Call, request: Request) -> None:
    """Hold a request to the limits of its route, once that is known."""
    exchange = request._exchange  # noqa: SLF001  # of the doors
    if isinstance(exchange, AsgiExchange):
        exchange.limit = call.max_body_bytes
        if exchange.deadline is not None:
            exchange.deadline.change(call.request_timeout)


def _tell_route(scope: Scope, call: Call) -> None:
    """Put the route into the scope, where middleware looks for it."""
    route = call.route
    scope["route"] = route
    scope["endpoint"] = route.handler
    scope["path_params"] = call.head.path_params


async def _mounted(
    app: Spikard, call: Call, request: Request, exchange: AsgiExchange
) -> Response | None:
    """Run a mounted application; return what to answer if it does not."""
    scope, headers = exchange.scope, request._headers  # noqa: SLF001  # None: no hook has looked
    _, application, _ = call.mount
    if not await app._slots.enter():  # noqa: SLF001  # of the doors
        call.overload()
        return _response(call.response())
    answering = Answering(app, call, request, exchange, functools.partial(_give, call, exchange))
    try:
        mount_scope(scope, call, None if headers is None else headers.raw)
        await application(scope, answering.receive, answering.send)
    except Exception as error:  # whatever the application raised
        if answering.is_started:
            raise
        if not answering.is_too_long:
            return await _failed_outside(app, request, error)
    finally:
        answering.leave()
    return answering.unfinished()


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
    peer = socket._peer  # noqa: SLF001  # of the doors
    if isinstance(peer, AsgiPeer):
        if call.next == "mounted":
            await _mounted_socket(call, socket, peer)
            return None
        if call.next == "websocket":
            _tell_route(peer.scope, call)
    if call.next != "websocket":
        # No WebSocket lives at this path: an ordinary request, whose answer is no handshake.
        return await _decided(app, call, Request(call.head, Exchange(None), app))
    socket._head = call.head  # noqa: SLF001  # now with the path's parameters
    _, running = call.invoke(socket, None)
    await running
    return None


async def _mounted_socket(call: Call, socket: WebSocket, peer: AsgiPeer) -> None:
    """Run a mounted application on a WebSocket; policies have their word on the handshake."""
    scope, headers = peer.scope, socket._headers  # noqa: SLF001  # None: no hook has looked
    _, application, _ = call.mount
    is_told = has_gone = False

    async def receive() -> dict[str, Any]:
        nonlocal is_told
        if is_told:
            return await peer.next_event()
        is_told = True  # the door has taken the server's
        return {"type": "websocket.connect"}

    async def send(event: dict[str, Any]) -> None:
        nonlocal has_gone
        kind = event["type"]
        if kind in ("websocket.accept", "websocket.http.response.start"):
            event = {**event, "headers": call.accept(event.get("headers") or ())}
            socket.application_state = "open" if kind == "websocket.accept" else "closed"
        elif kind == "websocket.close":
            socket.application_state = "closed"
        try:
            await peer.send_event(event)
        except OSError:
            has_gone = True
            raise

    mount_scope(scope, call, None if headers is None else headers.raw)
    try:
        await application(scope, receive, send)
    except Exception:
        if not has_gone:  # a peer that has gone is nobody's failure
            raise


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


class Inner:
    """An application, compiled into a core, as ASGI: what its middleware stands around.

    A class, because middleware looks for an `async def __call__` to tell ASGI 3 from 2.
    """

    __slots__ = ("_app", "_core")

    def __init__(self, app: Spikard, core: Core) -> None:
        self._app = app
        self._core = core

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            await _http(self._app, self._core, scope, receive, send)
        elif kind == "websocket":
            await _websocket(self._app, self._core, scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(self._app, scope, receive, send)
        else:
            raise NotAvailableError(f"{kind} connections are not available")


async def answer(app: Spikard, core: Core, head: RequestHead, exchange: AsgiExchange) -> Answered:
    """Run one request of an application without mounts through the whole pipeline, in this task."""
    call = core.begin(head)
    response = await _within_limits(app, call, Request(call.head, exchange, app), exchange)
    if response is None:
        raise RuntimeError("a mounted application answers by itself")
    return await _answered(call, response)


async def _within_limits(
    app: Spikard, call: Call, request: Request, exchange: AsgiExchange
) -> Response | None:
    exchange.limit = call.max_body_bytes
    try:
        with Deadline(call.request_timeout) as exchange.deadline:
            return await drive(app, call, request)
    except DeadlinePassedError:
        return problem(408, "the request took too long")


async def _http(app: Spikard, core: Core, scope: Scope, receive: Receive, send: Send) -> None:
    scope["app"] = app
    call = core.begin(head_of(scope))
    exchange = AsgiExchange(scope, receive, send)
    request = Request(call.head, exchange, app)
    response = await _within_limits(app, call, request, exchange)
    if response is None:
        return
    failure: BaseException | None = getattr(request, "_failure", None)
    pending: Pending | None = scope.get(PENDING)
    if failure is not None and pending is not None:
        pending.error, pending.give = failure, functools.partial(_give, call, exchange, response)
        raise failure
    await _give(call, exchange, response)
    if failure is not None:
        raise failure  # the host may want to report it


async def _give(call: Call, exchange: AsgiExchange, response: Response) -> None:
    """Send a response and do what follows it."""
    answered = await _answered(call, response)
    send, headers = exchange.send, answered.headers
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


async def _respond(app: Spikard, scope: Scope, send: Send, error: Exception) -> None:
    """Answer an exception that middleware has raised."""
    request = Request(head_of(scope), AsgiExchange(scope, _nothing, send), app)
    response = await _failed_outside(app, request, error)
    headers, body = response.raw_headers, response.body or b""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
    if response.background is not None:
        await response.background()
    if getattr(request, "_failure", None) is not None:
        raise error


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _websocket(app: Spikard, core: Core, scope: Scope, receive: Receive, send: Send) -> None:
    scope["app"] = app
    await receive()
    call = core.begin(head_of(scope), websocket=True)
    peer = AsgiPeer(call, scope, receive, send)
    socket = WebSocket(call.head, peer, app)
    await drive_socket(app, call, socket)
    if peer.background is not None:
        await peer.background()
    failure: BaseException | None = getattr(socket, "_failure", None)
    if failure is not None:
        raise failure  # through the middleware, to the host


class AsgiPeer:
    """The connection of a WebSocket behind another ASGI server.

    Args:
        call: The handshake as the pipeline has it.
        scope: The server's scope.
        receive: The server's `receive`, which has given `websocket.connect`.
        send: The server's `send`.
    """

    __slots__ = ("_call", "_can_deny", "_closed", "_receive", "_send", "background", "scope")

    def __init__(self, call: Call, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self._call = call
        self._can_deny = "websocket.http.response" in (scope.get("extensions") or {})
        self._receive = receive
        self._send = send
        self._closed: tuple[int, str] | None = None
        self.background: Callable[[], Awaitable[None]] | None = None

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer the handshake."""
        fields = self._call.accept(headers)
        await self.tell({"type": "websocket.accept", "subprotocol": subprotocol, "headers": fields})

    async def reject(self, response: Response) -> None:
        """Answer the handshake with a response; a server without the extension says 403."""
        answered = await _answered(self._call, response)
        self.background = answered.background
        if not self._can_deny:
            await self.tell({"type": "websocket.close"})
            return
        kind = "websocket.http.response"
        status, headers = answered.status, answered.headers
        await self.tell({"type": f"{kind}.start", "status": status, "headers": headers})
        if answered.stream is not None:
            async for chunk in answered.stream:
                await self.tell({"type": f"{kind}.body", "body": chunk, "more_body": True})
        await self.tell({"type": f"{kind}.body", "body": answered.body})

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
        await self.tell({"type": "websocket.send", key: data})

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""
        await self.tell({"type": "websocket.close", "code": code, "reason": reason})

    def is_disconnected(self) -> bool:
        """Return whether the peer is known to have gone."""
        return self._closed is not None

    async def next_event(self) -> dict[str, Any]:
        """Return the server's next event."""
        event: dict[str, Any] = await self._receive()
        return event

    async def send_event(self, event: dict[str, Any]) -> None:
        """Send an event; raises the server's `OSError` when the peer has gone."""
        await self._send(event)

    async def tell(self, event: dict[str, Any]) -> None:
        """Send an event; raises `WebSocketDisconnect` when the peer has gone."""
        try:
            await self._send(event)
        except OSError:
            # ASGI WebSocket 2.4: the peer has gone.
            self._closed = self._closed or (1006, "")
            raise WebSocketDisconnect(*self._closed) from None


def head_of(scope: Any) -> RequestHead:
    """Return the head of an ASGI HTTP or WebSocket scope; the host's root path is cut off."""
    root_path: str = scope.get("root_path", "")
    path: str = scope["path"]
    raw_path: bytes = scope.get("raw_path") or b""
    if raw_path != path.encode() and unquote_to_bytes(raw_path) != path.encode():
        # Middleware has rewritten the path alone, or the host has no raw one.
        raw_path = quote(path).encode()
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


async def _lifespan(app: Spikard, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    context = app.lifespan_context()
    try:
        await context.__aenter__()
    except Exception as error:
        log_failure(error)
        await send(
            {"type": "lifespan.startup.failed", "message": "the application failed to start"}
        )
        raise
    # What the host copies into every scope: `state` of Starlette's requests, also in mounts.
    scope.get("state", {}).update(app.lifespan_state)
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
