"""The routes behind every path that no route takes, for applications that answer 404 and 405.

The pipeline answers these itself, without Python, unless an exception handler of the application
wants to: then it hands them to a handler that raises what the exception handlers know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard._problems import BASE
from spikard.exceptions import HTTPException
from spikard.routing import BoundRoute, make_route

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["unmatched_routes"]


async def not_found() -> None:
    """Answer as no route does."""
    raise HTTPException(404, type=f"{BASE}not-found")


async def method_not_allowed() -> None:
    """Answer as no method of the path's routes does; the pipeline adds `allow`."""
    raise HTTPException(405, type=f"{BASE}method-not-allowed")


def unmatched_routes() -> tuple[BoundRoute, BoundRoute]:
    """Return the route for 404 and that for 405; their paths say nothing."""
    return _bound(not_found), _bound(method_not_allowed)


def _bound(handler: Callable[..., Any]) -> BoundRoute:
    route = make_route(("GET",), "/", handler, {}, "http")
    return BoundRoute(route, "/", (), (), (), {}, False, {})
