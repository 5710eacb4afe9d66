"""Handlers that are generators: JSON lines, or server-sent events with `EventSourceResponse`."""

from __future__ import annotations

import collections.abc
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from spikard._signature import MISSING
from spikard.compat.fastapi.sse import EventSourceResponse
from spikard.di import kind_of

if TYPE_CHECKING:
    from spikard.compat.fastapi.routing import APIRoute

__all__ = ["is_generator", "item_type", "streamed_as"]

_ITERATORS = (
    collections.abc.AsyncIterable,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.Iterable,
    collections.abc.Iterator,
    collections.abc.Generator,
)


def is_generator(route: APIRoute) -> bool:
    """Return whether the handler yields."""
    return "generator" in kind_of(route.route.handler)


def streamed_as(route: APIRoute) -> Literal["lines", "events"] | None:
    """Return how what the handler yields is written; None: as it is, or it does not yield."""
    if not is_generator(route):
        return None
    if issubclass(route.response_class, EventSourceResponse):
        return "events"
    return "lines" if route.inherited("response_class", None) is None else None


def item_type(route: APIRoute) -> Any:
    """Return the type of what the handler yields, None when nothing says so."""
    returns = route.route.signature.returns
    if returns is MISSING or get_origin(returns) not in _ITERATORS:
        return None
    item = get_args(returns)[0]
    return None if item is Any else item
