"""FastAPI's exceptions; `HTTPException` is Spikard's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.exceptions import (
    HTTPException,
    SpikardError,
    WebSocketDisconnect,
    WebSocketException,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FastAPIError",
    "HTTPException",
    "RequestValidationError",
    "ResponseValidationError",
    "StarletteHTTPException",
    "ValidationException",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketRequestValidationError",
]

StarletteHTTPException = HTTPException
"""What programs import from ``starlette.exceptions``."""


class FastAPIError(SpikardError, RuntimeError):
    """A declaration that cannot be served."""


class ValidationException(SpikardError):  # noqa: N818 - the name that users know
    """Values that do not fit.

    Args:
        errors: ``{"type", "loc", "msg", "input", "ctx"?}`` each, ``loc`` a tuple.
        body: What was checked, as far as it could be read.
    """

    def __init__(self, errors: Sequence[Any], *, body: Any = None) -> None:
        self._errors = list(errors)
        self.body = body
        super().__init__(f"{len(self._errors)} validation errors: {self._errors!r}")

    def errors(self) -> Sequence[Any]:
        """Return everything that is wrong."""
        return self._errors


class RequestValidationError(ValidationException):
    """The request does not fit; answered with 422."""


class WebSocketRequestValidationError(ValidationException):
    """The handshake does not fit; the WebSocket is closed with 1008."""


class ResponseValidationError(ValidationException):
    """A handler returned what its response model does not allow; answered with 500."""
