"""Top-level decorators: they mark a function and return it; `Spikard.register` collects marks.

``@get("/users/{id}")`` above a function is ``app.get("/users/{id}")`` without an ``app``:
several marks on one function are several routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from spikard.routing import MARKS, Mark, Protocol, RouteOptions, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Unpack

__all__ = [
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "route",
    "sse",
    "trace",
    "websocket",
]

F = TypeVar("F", bound="Callable[..., Any]")


def route(
    path: str, methods: Iterable[str] = ("GET",), **options: Unpack[RouteOptions]
) -> Callable[[F], F]:
    """Mark a function as a handler; see `RouteOptions`."""
    return _marker(tuple(methods), path, options)


def get(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for GET."""
    return _marker(("GET",), path, options)


def post(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for POST."""
    return _marker(("POST",), path, options)


def put(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for PUT."""
    return _marker(("PUT",), path, options)


def patch(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for PATCH."""
    return _marker(("PATCH",), path, options)


def delete(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for DELETE."""
    return _marker(("DELETE",), path, options)


def head(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for HEAD."""
    return _marker(("HEAD",), path, options)


def options(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for OPTIONS."""
    return _marker(("OPTIONS",), path, options)


def trace(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a handler for TRACE."""
    return _marker(("TRACE",), path, options)


def websocket(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark a function as a WebSocket handler."""
    return _marker(("GET",), path, options, "websocket")


def sse(path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
    """Mark an async generator as a source of Server-Sent Events."""
    return _marker(("GET",), path, options, "sse")


def _marker(
    methods: tuple[str, ...], path: str, options: RouteOptions, protocol: Protocol = "http"
) -> Callable[[F], F]:
    parse_template(path)

    def mark(function: F) -> F:
        marks = getattr(function, MARKS, ())
        setattr(function, MARKS, (*marks, Mark(methods, path, options, protocol)))
        return function

    return mark
