"""FastAPI's answers to exceptions: ``{"detail": ...}``, and plain text for what nobody handles."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from spikard._failures import Failures, debug_page, log_failure
from spikard.compat.fastapi._extraction import RefusedRequest
from spikard.compat.fastapi.exceptions import (
    HTTPException,
    RequestValidationError,
    WebSocketException,
    WebSocketRequestValidationError,
)
from spikard.encoders import jsonable_encoder
from spikard.exceptions import WebSocketDisconnect
from spikard.responses import JSONResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spikard.datastructures import Request
    from spikard.websockets import WebSocket

__all__ = ["ESCAPED", "FastAPIFailures", "detail_of", "refusal_of", "socket_failure"]

ESCAPED: ContextVar[list[BaseException] | None] = ContextVar("escaped", default=None)
"""Where a test client collects the exceptions that no handler took."""


class FastAPIFailures(Failures):
    """See `Failures`."""

    _answers = (HTTPException, RequestValidationError)

    def handles_refusals(self) -> bool:
        """Whether some handler wants the errors of validation."""
        keys = {key for table in self._handlers for key in table}
        return bool(keys & {400, HTTPException, *RequestValidationError.__mro__} - {object})

    def __call__(self, request: Request, exc: BaseException) -> Response | Awaitable[Response]:
        """Return the response of an exception."""
        if isinstance(exc, RefusedRequest):
            exc = exc.refused.error
        if isinstance(exc, Exception):
            handler, is_general = self._find(exc)
            if handler is not None and is_general:
                _escape(exc)  # what a handler of any exception takes still counts as unhandled
        return super().__call__(request, exc)

    def _find(self, exc: Exception) -> tuple[Callable[..., Any] | None, bool]:
        if not isinstance(exc, self._answers):
            return super()._find(exc)
        # Starlette's handlers of `Exception` and 500 stand outside of those that answer these.
        own = type(exc).__mro__[: type(exc).__mro__.index(Exception)]
        keys: list[Any] = list(own)
        if isinstance(exc, HTTPException) and exc.status_code != 500:
            keys.insert(0, exc.status_code)
        for table in self._handlers:
            for key in keys:
                if key in table:
                    return table[key], False
        return None, False

    def _default(self, request: Request, exc: Exception, *, logged: bool = False) -> Response:
        if isinstance(exc, RequestValidationError):
            return refusal_of(exc)
        if isinstance(exc, HTTPException):
            return detail_of(exc)
        if not logged:
            log_failure(request, exc)
        _escape(exc)
        if self._debug:
            return debug_page(request, exc)
        return PlainTextResponse("Internal Server Error", 500)


def _escape(exc: BaseException) -> None:
    escaped = ESCAPED.get()
    if escaped is not None:
        escaped.append(exc)


def detail_of(exc: HTTPException) -> Response:
    """Return the answer of an `HTTPException`."""
    if exc.status_code < 200 or exc.status_code in (204, 205, 304):
        return Response(None, exc.status_code, exc.headers)
    return JSONResponse({"detail": exc.detail}, exc.status_code, exc.headers)


def refusal_of(exc: RequestValidationError) -> Response:
    """Return the answer to a request that does not fit."""
    return JSONResponse({"detail": jsonable_encoder(exc.errors())}, 422)


async def socket_failure(socket: WebSocket, exc: BaseException) -> Response:
    """Close the connection that an exception ends; the response is only a vessel."""
    from spikard._socket_endpoint import socket_failure as close_failed

    if isinstance(exc, WebSocketRequestValidationError):
        exc = WebSocketException(1008)
    if isinstance(exc, HTTPException) and socket.application_state == "connecting":
        await socket.reject(detail_of(exc))
        return Response()
    if not isinstance(exc, WebSocketDisconnect | WebSocketException):
        _escape(exc)
    return await close_failed(socket, exc)
