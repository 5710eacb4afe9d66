"""The doors that are not our own server: another ASGI server, and the in-process client.

Both do what `src/bridge/native` does on a socket: the pipeline decides in Rust, Python awaits what
the decision names, and the pipeline has the last word. `drive` is that middle part, and it is also
what our own server runs for an application with hooks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spikard import _refusals, _spikard
from spikard._deadline import Deadline, DeadlinePassedError, uncancelled, within
from spikard._exchange import AsgiExchange, Exchange
from spikard._forms import Forms
from spikard._hooks import run_on_request, run_on_response
from spikard._middleware import PENDING, Outermost, Pending
from spikard._mounted import Answering, mount_scope
from spikard._problems import problem, too_long
from spikard._slots import Slots
from spikard._socket_endpoint import socket_failure
from spikard.datastructures import Request
from spikard.events import kept_alive
from spikard.exceptions import NotAvailableError, WebSocketDisconnect
from spikard.responses import Response
from spikard.websockets import WebSocket
from spikard_asgi.application import log_failure
from spikard_asgi.exceptions import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from typing_extensions import Self

    from spikard._spikard import Call, Core, FilePieces, Filter, RequestHead
    from spikard.app import Spikard
    from spikard.config import ServerConfig
    from spikard_asgi.application import Application, Receive, Scope, Send


_Begun: TypeAlias = "tuple[int, list[tuple[bytes, bytes]], bytes, FilePieces | None]"

OFFLOAD_FROM = 64 * 1024
"""A chunk of this many bytes is compressed off the loop's thread."""


@dataclass(frozen=True, slots=True)
class Running:
    """An application under one configuration, as one server or one host runs it.

    Attributes:
        app: The application.
        core: Its routes and policies.
        slots: The places of its handlers, for the doors that await them in Python.
        forms: The limits of its forms, and the disk space that its uploads hold.
        refusals: Statuses of policies' answers that its exception handlers take.
    """

    app: Spikard
    core: Core
    slots: Slots
    forms: Forms
    refusals: frozenset[int]


def compiled(app: Spikard, config: ServerConfig, counts: int | None = None) -> Running:
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
    forms = Forms.of(config)
    core = _spikard.Core(config.to_json(), counts=counts, forms=forms)
    slots, refusals = Slots(config.max_concurrency, config.max_queue), _refusals.wanted(app)
    running = Running(app, core, slots, forms, refusals)
    for spec in (*app.freeze(), *app.documentation(config)):
        core.add_route(spec)
    # The driver in Python misses a 408: its task is cancelled.
    heard = refusals | {408} if app.hooks["on_response"] else refusals
    if heard:
        core.set_refusals(sorted(heard), functools.partial(_refused_and_hooked, running))
    for mount in app.mounts:
        core.add_mount(mount.prefix, mount.call, state=mount.state, options=mount.options)
    if app.hooks["on_request"] or app.hooks["on_response"]:
        core.set_driver(functools.partial(drive, running), functools.partial(drive_socket, running))
    if app.mounts and (_stands_around_mounts(app) or config.jwt_auth is not None):
        core.set_mount_door(Inner(running))
    return running


def _stands_around_mounts(app: Spikard) -> bool:
    """Return whether anything in Python has a say about what mounts are asked or answer."""
    hooks = ("on_request", "on_response", "on_error")
    return any(app.hooks[name] for name in hooks) or bool(app.exception_handlers) or app.debug


def asgi_application(running: Running) -> Application:
    """Return an application with its middleware as ASGI."""
    app, inner = running.app, Inner(running)
    if not app.middleware:
        return inner
    respond = functools.partial(_respond, running)
    return Outermost(app, running.forms, inner, app.middleware, respond)


async def drive(running: Running, call: Call, request: Request) -> Response | None:
    """Return the response of a request: hooks, endpoint, hooks.

    `None` when a mounted application has answered.

    Args:
        running: The application.
        call: The request as the pipeline has it.
        request: The same as Python has it.
    """
    app = request._app = running.app  # noqa: SLF001  # the doors make requests for it
    try:
        response = await _decided(running, call, request)
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


async def _decided(running: Running, call: Call, request: Request) -> Response | None:
    if call.next == "hooks":
        early = await run_on_request(running.app.hooks["on_request"], request)
        if early is not None:
            return early
        headers = request._headers  # noqa: SLF001  # None when no hook has looked
        call.resume(None if headers is None else headers.raw)
        request._exchange.hold(call.max_body_bytes, call.request_timeout)  # noqa: SLF001
    decision = call.next
    if decision == "respond":
        return await _refused(running, call, request)
    if decision == "file":
        begun = await asyncio.to_thread(call.response)
        return await _refused(running, call, request, begun)
    exchange = request._exchange  # noqa: SLF001  # of the doors
    if isinstance(exchange, AsgiExchange):
        if decision == "mounted":
            return await _mounted(running, call, request, exchange)
        call.tell_route(exchange.scope)
    if decision != "handle":
        raise NotAvailableError(f"{decision!r} is not available behind this door yet")
    request._head = call.head  # noqa: SLF001  # now with the path's parameters
    try:
        body = await request.body() if call.wants_body else None
    except Exception as error:  # the body is too long, or the client has gone
        return await _failed(call, request, error)
    slots = running.slots
    if not slots.is_limited:
        return await _called(call, request, body)
    if not await slots.enter():
        call.overload()
        return await _refused(running, call, request)
    try:
        return await _called(call, request, body)
    finally:
        slots.leave()


async def _refused(
    running: Running, call: Call, request: Request, begun: _Begun | None = None
) -> Response:
    """Return the pipeline's own answer, or what exception handlers make of it."""
    status, headers, first, rest = begun or call.response()
    if status in running.refusals and rest is None:
        return await _refusals.answer(running.app, request, status, headers, first)
    return _response(status, headers, first, rest)


async def _refused_and_hooked(
    running: Running, request: Request, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> Response:
    """Do the same for our server, where nobody runs the `on_response` hooks after it."""
    if status in running.refusals:
        response = await _refusals.answer(running.app, request, status, headers, body)
    else:
        response = _response(status, headers, body, None)
    hooks = running.app.hooks["on_response"]
    return await run_on_response(hooks, request, response) if hooks else response


async def _mounted(
    running: Running, call: Call, request: Request, exchange: AsgiExchange
) -> Response | None:
    """Run a mounted application; return what to answer if it does not."""
    scope, headers = exchange.scope, request._headers  # noqa: SLF001  # None: no hook has looked
    _, application, _ = call.mount
    if not await running.slots.enter():
        call.overload()
        return await _refused(running, call, request)
    give = functools.partial(_give, call, exchange)
    hooks = running.app.hooks["on_response"]
    answering = Answering(hooks, running.slots, call, request, exchange, give)
    try:
        fields = None if headers is None else headers.raw
        if fields is None and exchange.decoder is not None:
            fields = call.head.headers  # without the coding
        mount_scope(scope, call, fields)
        await application(scope, answering.receive, answering.send)
    except Exception as error:  # whatever the application raised
        if answering.is_started:
            request._failure = error  # noqa: SLF001  # nothing can be answered any more
            return None
        if answering.refused is None:
            return await _failed_outside(running.app, request, error)
    finally:
        answering.leave()
    if answering.refused is not None and not answering.is_started:
        return await _failed_outside(running.app, request, answering.refused)
    return answering.unfinished()


async def _called(call: Call, request: Request, body: bytes | None) -> Response:
    try:
        is_async, result = call.invoke(request, body, request._is_changed())  # noqa: SLF001
        if is_async:
            result = await result
        return result if isinstance(result, Response) else _encoded(call, result)
    except Exception as error:  # whatever the handler raised
        return await _failed(call, request, error)


async def _failed(call: Call, request: Request, error: Exception) -> Response:
    answer = call.fail(request, error)
    made: Response = await answer if inspect.isawaitable(answer) else answer
    return made


async def drive_socket(running: Running, call: Call, socket: WebSocket) -> None:
    """Run one WebSocket from its handshake to its end: hooks, policies, endpoint.

    Args:
        running: The application.
        call: The handshake as the pipeline has it, begun as that of a WebSocket.
        socket: The same as Python has it.
    """
    app = socket._app = running.app  # noqa: SLF001  # as in `drive`
    try:
        response = await _socket_decided(running, call, socket)
        if response is not None:
            hooks = app.hooks["on_response"]
            if hooks:
                response = await run_on_response(hooks, socket, response)
            await socket.reject(response)
    except Exception as error:  # whatever a hook raised
        await socket_failure(socket, error)


async def _socket_decided(running: Running, call: Call, socket: WebSocket) -> Response | None:
    """Run the endpoint, or return what refuses the handshake."""
    if call.next == "hooks":
        early = await run_on_request(running.app.hooks["on_request"], socket)
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
            call.tell_route(peer.scope)
    if call.next != "websocket":
        # No WebSocket lives at this path: an ordinary request, whose answer is no handshake.
        request = Request(call.head, Exchange(None, running.forms), running.app)
        return await _decided(running, call, request)
    socket._head = call.head  # noqa: SLF001  # now with the path's parameters
    _, ending = call.invoke(socket, None)
    await ending
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


def _response(
    status: int, headers: list[tuple[bytes, bytes]], first: bytes, rest: FilePieces | None
) -> Response:
    response = Response(first or None, status)
    response.raw_headers = headers
    if rest is not None:
        response.body, response.stream = None, Pieces(first, rest)
    return response


class Pieces:
    """A file's bytes, piece by piece.

    Attributes:
        path: What names the whole file, for hosts that send files by their path.
    """

    __slots__ = ("_first", "_rest", "path")

    def __init__(self, first: bytes, rest: FilePieces) -> None:
        self._first: bytes | None = first
        self._rest = rest
        self.path = rest.path

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece, self._first = self._first, None
        if piece is None:
            piece = await asyncio.to_thread(self._rest.read)
        if piece is None:
            raise StopAsyncIteration
        return piece


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
    stream = _stream_of(response)
    if response.file is not None:
        try:
            opened = await asyncio.to_thread(call.file, response.file, status, headers)
        except OSError as error:
            log_failure(f"the file {response.file} cannot be sent: {error}")
            failed = problem(500)
            opened = failed.status_code, failed.raw_headers, failed.body or b"", None
        status, headers, body, rest = opened
        stream = None if rest is None else Pieces(body, rest)
    finished = call.finish(status, headers, None if stream is not None else body)
    return await _complete(*finished, stream, response.background)


def _stream_of(response: Response) -> AsyncIterator[bytes] | None:
    stream, seconds = response.stream, response.keep_alive_seconds
    return stream if stream is None or seconds is None else kept_alive(stream, seconds)


async def _complete(
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes | None,
    pieces: Filter | None,
    stream: AsyncIterator[bytes] | None = None,
    background: Callable[[], Awaitable[None]] | None = None,
) -> Answered:
    """Return what `Call.finish` left to be encoded, encoded."""
    if pieces is not None and body is not None:
        body = await asyncio.to_thread(pieces.whole, body)
        headers.append((b"content-length", b"%d" % len(body)))
    elif pieces is not None and stream is not None:
        stream = _filtered(stream, pieces)
    return Answered(status, headers, body or b"", stream, background)


async def _filtered(stream: AsyncIterator[bytes], pieces: Filter) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in stream:
            if len(chunk) < OFFLOAD_FROM:
                yield pieces.push(chunk)
            else:
                yield await asyncio.to_thread(pieces.push, chunk)
        yield pieces.finish()
    finally:
        await _close(stream)


async def _close(stream: AsyncIterator[bytes]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


class Inner:
    """An application, compiled into a core, as ASGI: what its middleware stands around.

    A class, because middleware looks for an `async def __call__` to tell ASGI 3 from 2.
    """

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            await _http(self._running, scope, receive, send)
        elif kind == "websocket":
            await _websocket(self._running, scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(self._running.app, scope, receive, send)
        else:
            raise NotAvailableError(f"{kind} connections are not available")


async def answer(running: Running, head: RequestHead, exchange: AsgiExchange) -> Answered:
    """Run one request of an application without mounts through the whole pipeline, in this task."""
    call = running.core.begin(head)
    request = Request(call.head, exchange, running.app)
    try:
        response = await _within_limits(running, call, request, exchange)
        if response is None:
            raise RuntimeError("a mounted application answers by itself")  # noqa: TRY301
        return await _answered(call, response)
    except BaseException as error:
        if is_meant_for_this_task(error):
            raise
        # What nothing of the application's has answered: also an exit ends no more than a request.
        log_failure(error)
        return await _answered(call, problem(500))


def is_meant_for_this_task(error: BaseException) -> bool:
    """Return whether somebody outside of a request wants its task to end."""
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    if not isinstance(error, asyncio.CancelledError):
        return False
    cancelling = getattr(asyncio.current_task(), "cancelling", None)  # Python 3.11
    return cancelling is None or cancelling() > 0


async def _within_limits(
    running: Running, call: Call, request: Request, exchange: AsgiExchange
) -> Response | None:
    exchange.limit = call.max_body_bytes
    exchange.decoder = call.body_decoder()
    try:
        with Deadline(call.request_timeout) as exchange.deadline:
            return await drive(running, call, request)
    except DeadlinePassedError:
        response = await _too_late(running, call, request)
        hooks = running.app.hooks["on_response"]
        return await run_on_response(hooks, request, response) if hooks else response


async def _http(running: Running, scope: Scope, receive: Receive, send: Send) -> None:
    scope["app"] = running.app
    try:
        call = running.core.begin_scope(scope)
    except ValueError as error:  # the host let through what is no request
        await _refuse(send, str(error))
        return
    if not running.slots.is_limited:
        needs = call.begin_quickly(scope)
        if needs is not None:
            await _http_quickly(running, call, needs, scope, receive, send)
            return
    exchange = AsgiExchange(scope, receive, send, running.forms)
    request = Request(call.head, exchange, running.app)
    response = await _within_limits(running, call, request, exchange)
    if response is not None:
        await _settle(call, request, exchange, response)
        return
    exchange.close()
    failure: BaseException | None = getattr(request, "_failure", None)
    if failure is not None:
        raise failure


async def _http_quickly(
    running: Running,
    call: Call,
    needs: tuple[bool, float | None],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Serve a request without hooks whose endpoint does not take the `Request`: none is made."""
    wants_body, seconds = needs
    quick = _quick(call, wants_body, receive)
    try:
        answered = await (quick if seconds is None else within(quick, seconds))
    except ClientDisconnected:
        return
    except Exception as error:  # the request does not fit, or whatever the handler raised
        exchange = AsgiExchange(scope, receive, send, running.forms, is_complete=wants_body)
        request = Request(call.head, exchange, running.app)
        response = await _slowly(running, call, request, exchange, error)
        await _settle(call, request, exchange, response)
        return
    if isinstance(answered, tuple):
        status, headers, body = answered
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif answered.stream is None:
        await _send(answered, scope, None, send)
    else:
        exchange = AsgiExchange(scope, receive, send, running.forms, is_complete=wants_body)
        await _send(answered, scope, exchange, send)


async def _quick(
    call: Call, wants_body: bool, receive: Receive
) -> Answered | tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Call an endpoint that wants nothing of the request but values and the body.

    Most answers are `(status, headers, body)` and nothing else: no object is made for them.
    """
    body = await _body(call, receive) if wants_body else None
    is_async, result = call.invoke(None, body)
    if is_async is None:
        raise _Misfit(body)
    if is_async:
        result = await result
    if isinstance(result, Response):
        return await _answered(call, result)
    status, headers, whole, pieces = call.reply(result)
    if pieces is None:
        return status, headers, whole or b""
    return await _complete(status, headers, whole, pieces)


class _Misfit(Exception):  # noqa: N818  # it never leaves this module
    """The request does not fit its endpoint's parameters."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body


async def _slowly(
    running: Running, call: Call, request: Request, exchange: AsgiExchange, error: Exception
) -> Response:
    """Return the response of a request that `_quick` could not answer."""
    if isinstance(error, DeadlinePassedError):
        return await _too_late(running, call, request)
    try:
        with Deadline(call.request_timeout) as exchange.deadline:
            if isinstance(error, _Misfit):
                return await _called(call, request, error.body)
            return await _failed(call, request, error)
    except DeadlinePassedError:
        return await _too_late(running, call, request)


async def _too_late(running: Running, call: Call, request: Request) -> Response:
    call.time_out()
    return await _refused(running, call, request)


async def _settle(call: Call, request: Request, exchange: AsgiExchange, response: Response) -> None:
    """Send a response; what it was made of, if an exception, goes on to the host."""
    failure: BaseException | None = getattr(request, "_failure", None)
    pending: Pending | None = exchange.scope.get(PENDING)
    if failure is not None and pending is not None:
        pending.error, pending.give = failure, functools.partial(_give, call, exchange, response)
        raise failure
    await _give(call, exchange, response)
    if failure is not None:
        raise failure  # the host may want to report it


async def _give(call: Call, exchange: AsgiExchange, response: Response) -> None:
    """Send a response and do what follows it."""
    try:
        answered = await _answered(call, response)
        await _send(answered, exchange.scope, exchange, exchange.send)
    finally:
        exchange.close()


async def _send(
    answered: Answered, scope: Scope, exchange: AsgiExchange | None, send: Send
) -> None:
    start = {
        "type": "http.response.start",
        "status": answered.status,
        "headers": answered.headers,
    }
    try:
        await send(start)
        if answered.stream is None:
            await send({"type": "http.response.body", "body": answered.body})
        elif scope["method"] == "HEAD" or answered.status in (204, 304) or exchange is None:
            await send({"type": "http.response.body"})
        elif (path := _path_to_send(answered.stream, scope)) is not None:
            await send({"type": "http.response.pathsend", "path": path})
        else:
            await _stream(answered.stream, exchange, send)
    finally:
        if answered.stream is not None:
            await _close(answered.stream)
            if exchange is not None:
                exchange.close()
        if answered.background is not None:
            await answered.background()


def _path_to_send(stream: AsyncIterator[bytes], scope: Scope) -> str | None:
    """Return the path of a file that the host can send by itself, without a copy of it here."""
    if isinstance(stream, Pieces) and "http.response.pathsend" in (scope.get("extensions") or ()):
        return stream.path
    return None


async def _refuse(send: Send, detail: str) -> None:
    refusal = problem(400, detail)
    headers = [*refusal.raw_headers, (b"content-length", b"%d" % len(refusal.body or b""))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body or b""})


async def _stream(stream: AsyncIterator[bytes], exchange: AsgiExchange, send: Send) -> None:
    """Send a stream's chunks until its end, or until the client has gone.

    Hosts differ: some raise from `send` then, some keep silent, and a stream that waits for news
    does not send at all. So the client's end is watched, and cancels the stream where it waits.
    """
    task = asyncio.current_task()
    has_left = False

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal has_left
        if task is not None and not watch.cancelled():
            watch.exception()  # a host that raises here has lost the client too
            has_left = True
            task.cancel()

    watch = exchange.watch()
    watch.add_done_callback(leave)
    try:
        async for chunk in stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        watch.remove_done_callback(leave)
        await send({"type": "http.response.body", "body": b""})
    except asyncio.CancelledError:
        if not (has_left and uncancelled(task)):
            raise
    finally:
        watch.remove_done_callback(leave)


async def _body(call: Call, receive: Receive) -> bytes:
    """Return a request's whole body; most come in one event."""
    limit, decoder = call.max_body_bytes, call.body_decoder()
    chunks: list[bytes] = []
    length = 0
    more = True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise ClientDisconnected("the client has disconnected")
        chunk: bytes = event.get("body", b"")
        more = event.get("more_body", False)
        if decoder is not None:
            chunk = decoder.decode(chunk, limit, is_last=not more)
        length += len(chunk)
        if limit is not None and length > limit:
            raise too_long(limit)
        if not more and not chunks:
            return chunk
        chunks.append(chunk)
    return b"".join(chunks)


async def _respond(running: Running, scope: Scope, send: Send, error: Exception) -> None:
    """Answer an exception that middleware has raised."""
    head = _spikard.RequestHead.of_scope(scope)
    exchange = AsgiExchange(scope, _nothing, send, running.forms)
    request = Request(head, exchange, running.app)
    response = await _failed_outside(running.app, request, error)
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


async def _websocket(running: Running, scope: Scope, receive: Receive, send: Send) -> None:
    scope["app"] = running.app
    await receive()
    try:
        call = running.core.begin_scope(scope)
    except ValueError:  # the host let through what is no request
        await send({"type": "websocket.close"})
        return
    peer = AsgiPeer(call, scope, receive, send)
    socket = WebSocket(call.head, peer, running.app)
    await drive_socket(running, call, socket)
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


async def refuse_start(error: Exception, send: Send) -> None:
    """Tell the host that the application cannot start; the log says why."""
    log_failure(error)
    await send({"type": "lifespan.startup.failed", "message": "the application failed to start"})


async def _lifespan(app: Spikard, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    context = app.lifespan_context()
    try:
        await context.__aenter__()
    except Exception as error:
        await refuse_start(error, send)
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
