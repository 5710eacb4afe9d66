"""`WSGIMiddleware`: a WSGI application to mount; ``pip install a2wsgi``."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["WSGIMiddleware"]


class WSGIMiddleware:
    """An ASGI application made of a WSGI one.

    Raises:
        ImportError: a2wsgi is not installed.
    """

    def __init__(self, app: Any, workers: int = 10) -> None:
        try:
            bridge: Any = importlib.import_module("a2wsgi")
        except ImportError as exc:
            raise ImportError("WSGIMiddleware needs a2wsgi: pip install a2wsgi") from exc
        self._app: Any = bridge.WSGIMiddleware(app, workers=workers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self._app(scope, receive, send)
