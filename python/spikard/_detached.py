"""Handlers that run on when their client goes: ``cancel_on_disconnect=False``."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any

from spikard.responses import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Detached"]

_log = logging.getLogger("spikard.error")

TIMED_OUT = "request timeout"
"""What the doors say when they cancel a handler whose time is over; those do end."""


class Detached:
    """The handlers of an application that have lost their client."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def running_on(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return an endpoint whose handler ends by itself or by a time limit only."""

        @functools.wraps(call)
        async def endpoint(*args: Any) -> Any:
            task = asyncio.ensure_future(call(*args))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError as cancelled:
                if cancelled.args == (TIMED_OUT,):
                    task.cancel(TIMED_OUT)
                elif not task.done():
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
                raise

        return endpoint

    async def finish(self) -> None:
        """Wait for all of them; for the application's shutdown, which is bounded."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("a handler without a client raised", exc_info=error)
            return
        response = task.result()
        if isinstance(response, Response):
            work = asyncio.ensure_future(_put_away(response))
            self._tasks.add(work)
            work.add_done_callback(self._ended)


async def _put_away(response: Response) -> None:
    """Do what follows a response, which nobody gets."""
    close = getattr(response.stream, "aclose", None)
    if close is not None:
        await close()
    if response.background is not None:
        await response.background()
