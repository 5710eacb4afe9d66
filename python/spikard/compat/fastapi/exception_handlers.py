"""FastAPI's own exception handlers, for programs that call them from theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikard.compat.fastapi._failures import detail_of, refusal_of

if TYPE_CHECKING:
    from spikard.compat.fastapi.exceptions import HTTPException, RequestValidationError
    from spikard.datastructures import Request
    from spikard.responses import Response

__all__ = ["http_exception_handler", "request_validation_exception_handler"]


async def http_exception_handler(request: Request, exc: HTTPException) -> Response:
    """Return ``{"detail": ...}`` with the exception's status and headers."""
    del request
    return detail_of(exc)


async def request_validation_exception_handler(
    request: Request, exc: RequestValidationError
) -> Response:
    """Return 422 with everything that is wrong."""
    del request
    return refusal_of(exc)
