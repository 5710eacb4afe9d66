"""What policies answer in a handler's place, where exception handlers want to have it.

The pipeline answers 401, 404, 413, 429, 503 and the like itself, without Python, unless an
exception handler of the application takes such a status: then it becomes an `HTTPException`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from spikard.exceptions import HTTPException

if TYPE_CHECKING:
    from spikard.app import Spikard
    from spikard.datastructures import Request
    from spikard.responses import Response

__all__ = ["answer", "wanted"]

STATUSES = (400, 401, 403, 404, 405, 408, 412, 413, 415, 416, 429, 503)
"""What the pipeline refuses requests with."""

_OF_THE_BODY = (b"content-type", b"content-length")


def wanted(app: Spikard) -> frozenset[int]:
    """Return the statuses that an exception handler of the application takes."""
    failures = app.failures()
    return frozenset(status for status in STATUSES if failures.handles(HTTPException(status)))


async def answer(
    app: Spikard, request: Request, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> Response:
    """Return what the exception handlers make of a policy's answer.

    Fields that belong to it (`allow`, `retry-after`, `www-authenticate`) stay, unless the handler
    has set them too.
    """
    own = [field for field in headers if field[0] not in _OF_THE_BODY]
    document: dict[str, Any] = msgspec.json.decode(body) if body else {}
    refused = HTTPException(
        status,
        document.get("detail"),
        {name.decode("latin-1"): value.decode("latin-1") for name, value in own},
        type=document.get("type"),
        title=document.get("title"),
    )
    made = app.failures()(request, refused)
    response: Response = await made if inspect.isawaitable(made) else made
    given = {name for name, _ in response.raw_headers}
    response.raw_headers += [field for field in own if field[0] not in given]
    return response
