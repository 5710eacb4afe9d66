"""`WSGIMiddleware`: a WSGI application to mount; ``pip install a2wsgi``."""

from __future__ import annotations

from typing import Any

from spikard._wsgi import wsgi
from spikard.exceptions import NotAvailableError

__all__ = ["WSGIMiddleware"]


class WSGIMiddleware:
    """An ASGI application made of a WSGI one.

    Raises:
        ImportError: a2wsgi is not installed.
    """

    def __init__(self, app: Any, workers: int = 10) -> None:
        try:
            self._app = wsgi(app, threads=workers)
        except NotAvailableError as exc:
            raise ImportError(str(exc)) from exc

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self._app(scope, receive, send)
