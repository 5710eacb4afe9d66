"""When the lifespan of an application runs: entered by a server, by a parent, or on first use."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Life"]


class Life:
    """The lifespan of one application.

    Args:
        run: Runs start-up on entering and shutdown on leaving.

    Attributes:
        is_running: Whether requests find everything started.
    """

    def __init__(self, run: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._run = run
        self._count = 0
        self._starting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether start-up has run and shutdown has not."""
        return self._count > 0

    @asynccontextmanager
    async def context(self) -> AsyncGenerator[None, None]:
        """Run start-up, then shutdown."""
        async with self._run():
            self._count += 1
            try:
                yield
            finally:
                self._count -= 1

    async def begin(self) -> None:
        """Run start-up, unless it has run; shutdown follows when the loop's tasks are cancelled.

        Requests that come together wait for one start-up. For applications whose host runs no
        lifespan for them: `asyncio.run`, which such hosts use, cancels all tasks at its end.

        Raises:
            Exception: What start-up raised; the next request tries again.
        """
        if self._count:
            return
        loop = asyncio.get_running_loop()
        starting = self._starting
        if starting is None or starting.get_loop() is not loop:
            starting = self._starting = loop.create_future()
            # In a task from start to end: context managers may insist on that.
            self._task = loop.create_task(self._live(starting), name="spikard lifespan")
        await asyncio.shield(starting)

    async def _live(self, starting: asyncio.Future[None]) -> None:
        try:
            async with self.context():
                starting.set_result(None)
                # Swallowed, so that shutdown runs as after an ordinary end.
                with suppress(asyncio.CancelledError):
                    await asyncio.get_running_loop().create_future()
        except BaseException as error:
            if starting.done():
                raise
            failed = error if isinstance(error, Exception) else RuntimeError("start-up was cut")
            starting.set_exception(failed)
        finally:
            if self._starting is starting:
                self._starting = None
