"""Work that runs after the response has been sent."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from spikard._pool import call_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundTasks"]

_log = logging.getLogger("spikard.error")


class BackgroundTasks:
    """Functions to call, in order, after the response has been sent.

    An exception of one is logged on ``spikard.error`` and does not stop the next.
    ``def`` functions run in the thread pool. The server waits for them at shutdown,
    up to ``shutdown_timeout``.

    Example:
        ```python
        @app.post("/signup")
        async def signup(tasks: BackgroundTasks) -> dict[str, bool]:
            tasks.add_task(send_mail, "welcome")
            return {"ok": True}
        ```
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Add ``func(*args, **kwargs)``; a coroutine function is awaited."""
        if not callable(func):
            raise TypeError(f"a background task must be callable, got {type(func).__name__}")
        self._tasks.append((func, args, kwargs))

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    async def __call__(self) -> None:
        """Run everything that was added, also what the tasks themselves add."""
        position = 0
        while position < len(self._tasks):
            func, args, kwargs = self._tasks[position]
            position += 1
            try:
                await _run(func, args, kwargs)
            except Exception:
                name = getattr(func, "__qualname__", repr(func))
                _log.exception("background task %s raised", name)


async def _run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if inspect.iscoroutinefunction(func):
        await func(*args, **kwargs)
        return
    result = await call_in_thread(func, *args, **kwargs)
    if inspect.isawaitable(result):
        await result
