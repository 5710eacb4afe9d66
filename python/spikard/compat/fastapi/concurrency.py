"""Blocking code beside the event loop: ``await run_in_threadpool(f, x)``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from spikard.responses import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
    from contextlib import AbstractContextManager

__all__ = ["contextmanager_in_threadpool", "iterate_in_threadpool", "run_in_threadpool"]

T = TypeVar("T")


async def run_in_threadpool(func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function in the loop's thread pool, with the caller's context variables."""
    return await asyncio.to_thread(func, *args, **kwargs)


async def iterate_in_threadpool(iterator: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items of a sync iterator, each made in the thread pool."""
    async for item in in_thread(iterator):
        yield item


@contextlib.asynccontextmanager
async def contextmanager_in_threadpool(
    manager: AbstractContextManager[T],
) -> AsyncGenerator[T, None]:
    """Enter and leave a sync context manager in the thread pool."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    except Exception as exc:
        if not await asyncio.to_thread(manager.__exit__, type(exc), exc, exc.__traceback__):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)
