"""The endpoint of a WebSocket route, in both styles.

A handler with a parameter ``message`` is called for each JSON message and what it returns is
sent back; one with a parameter annotated `WebSocket` holds the connection itself. Path,
query and header values and dependencies are resolved once, before the handshake is
answered: what does not fit is a 422 instead of a connection.
"""

from __future__ import annotations

import inspect
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from spikard._codecs import MALFORMED, Codec, encode_json
from spikard._endpoint import is_async_callable, threaded
from spikard._out_of_range import MESSAGE, SEARCHED_BYTES, read_out_of_range
from spikard._problems import problem, problem_of, shown_errors
from spikard.exceptions import HTTPException, WebSocketDisconnect, WebSocketException
from spikard.responses import Response
from spikard_asgi.exceptions import mark_answered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spikard._extract import Extractor
    from spikard.websockets import WebSocket

__all__ = ["conversation", "socket_endpoint", "socket_failure"]

_log = logging.getLogger("spikard.error")

INTERNAL_ERROR = 1011
"""Close code of RFC 6455 §7.4.1 for a handler that raised."""


def conversation(
    handler: Callable[..., Any], message: str | int, codec: Codec | None, *, in_thread: bool
) -> Callable[..., Awaitable[None]]:
    """Return a handler of a whole connection made from one of single messages.

    Args:
        handler: Sync or async; what it returns is sent unless it is None.
        message: The name or position of its message; the connection is passed there.
        codec: Decodes messages; None passes any JSON value.
        in_thread: Call a ``def`` handler in the loop's thread pool.
    """
    call = handler
    if in_thread and not is_async_callable(handler):
        call = threaded(handler)

    async def converse(*args: Any, **kwargs: Any) -> None:
        values = list(args)
        socket: WebSocket = kwargs[message] if isinstance(message, str) else values[message]
        await socket.accept()
        while True:
            try:
                data = await socket.receive()
            except WebSocketDisconnect:
                return  # how every conversation ends, no exception to dependencies
            value, complaint = _decoded(codec, data)
            if complaint is not None:
                await socket.send_json(complaint)
                continue
            if isinstance(message, str):
                kwargs[message] = value
            else:
                values[message] = value
            answer = call(*values, **kwargs)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                await socket.send_text(encode_json(answer).decode())

    return converse


def _decoded(codec: Codec | None, data: str | bytes) -> tuple[Any, dict[str, Any] | None]:
    """Return the value of a message, or what to tell the client about it."""
    raw = data.encode() if isinstance(data, str) else data
    try:
        return (msgspec.json.decode(raw) if codec is None else codec.decode_json(raw)), None
    except (ValueError, TypeError, ArithmeticError, *MALFORMED):
        pass
    complaint: dict[str, Any] = {"message": "Invalid JSON", "type": "error"}
    if codec is None:
        return None, complaint
    try:
        try:
            value, refused = msgspec.json.decode(raw), None
        except msgspec.ValidationError:
            if len(raw) > SEARCHED_BYTES:
                return None, complaint
            value, refused = read_out_of_range(raw), msgspec.ValidationError(MESSAGE)
        errors = codec.explain(value, ("message",), value, refused)
    except (ValueError, *MALFORMED):
        return None, complaint
    complaint["message"] = "Validation failed"
    complaint["errors"] = shown_errors(errors)
    return None, complaint


def socket_failure(socket: Any, exc: BaseException) -> Awaitable[Response]:
    """Close the connection that an exception ends; the response is only a vessel."""
    return _close_failed(socket, exc)


async def _close_failed(socket: WebSocket, exc: BaseException) -> Response:
    done = Response()
    if isinstance(exc, WebSocketDisconnect):
        return done
    if isinstance(exc, WebSocketException):
        with suppress(WebSocketDisconnect):  # the peer has gone: nobody is left to tell
            await socket.close(exc.code, exc.reason)
        return done
    connecting = socket.application_state == "connecting"
    if isinstance(exc, HTTPException) and connecting:
        await socket.reject(problem_of(exc))
        return done
    _log.error("websocket handler raised %s", type(exc).__name__, exc_info=exc)
    mark_answered(exc)
    socket._failure = exc  # noqa: SLF001  # for the door, which lets it bubble
    try:
        if connecting:
            await socket.reject(problem(500))
        else:
            await socket.close(INTERNAL_ERROR)
    except WebSocketDisconnect:
        pass  # the peer has gone: nobody is left to tell
    return done


def socket_endpoint(
    inner: Callable[..., Any],
    extractor: Extractor,
    order: tuple[int | None, ...],
    failed: Callable[[Any, BaseException], Awaitable[Response]] = socket_failure,
) -> Callable[[Any], Awaitable[None]]:
    """Return the endpoint that a door calls with the `WebSocket`; it never raises an Exception."""

    async def endpoint(socket: WebSocket) -> None:
        try:
            values = extractor.values(socket, None)
            args = (socket if index is None else values[index] for index in order)
            outcome = inner(*args)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except Exception as exc:
            outcome = await failed(socket, exc)
        with suppress(WebSocketDisconnect):
            await socket.close()
        if isinstance(outcome, Response) and outcome.background is not None:
            await outcome.background()

    return endpoint
