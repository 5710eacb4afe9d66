"""The smallest useful ASGI middleware: it notes the request's path and passes everything on."""

from typing import Any


class PathNoting:
    """Keeps the last path."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.last = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the path and pass everything on."""
        if scope["type"] == "http":
            self.last = scope["path"]
        await self.app(scope, receive, send)
