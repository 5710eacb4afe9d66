"""FastAPI's middleware: policies of the server, and classes around the application."""

from __future__ import annotations

from typing import Any

__all__ = ["Middleware"]


class Middleware:
    """A middleware class with its arguments, for ``FastAPI(middleware=[...])``."""

    def __init__(self, cls: Any, *args: Any, **kwargs: Any) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
