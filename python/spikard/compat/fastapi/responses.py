"""FastAPI's responses: Spikard's own, and the two old names for JSON."""

from __future__ import annotations

from spikard.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

__all__ = [
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "ORJSONResponse",
    "PlainTextResponse",
    "RedirectResponse",
    "Response",
    "StreamingResponse",
    "UJSONResponse",
]


class ORJSONResponse(JSONResponse):
    """JSON; msgspec writes it here."""

    __slots__ = ()


class UJSONResponse(JSONResponse):
    """JSON; msgspec writes it here."""

    __slots__ = ()
