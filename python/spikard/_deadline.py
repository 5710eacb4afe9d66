"""A time limit around code of the current task.

`asyncio.wait_for` moves the code into a task of its own before Python 3.12, and what it sets in
its context is lost with it; `asyncio.timeout` came with 3.11.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Deadline", "DeadlinePassedError", "uncancelled", "within"]

T = TypeVar("T")


class DeadlinePassedError(Exception):
    """The code of a `Deadline` took too long."""


class Deadline:
    """Cancels the code of a `with` block that takes too long.

    Args:
        seconds: From the block's beginning; `None` for no limit.

    Raises:
        DeadlinePassedError: At the block's end.
    """

    __slots__ = ("_begin", "_cancelling", "_handle", "_is_passed", "_seconds", "_task")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None
        self._is_passed = False
        self._task: Any = None
        self._begin = 0.0
        self._cancelling = 0

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._watch(self._seconds)
        return self

    def change(self, seconds: float | None) -> None:
        """Set another limit, still from the block's beginning."""
        if seconds == self._seconds:
            return
        self.lift()
        self._seconds = seconds
        if seconds is not None:
            self._watch(seconds)

    def lift(self) -> None:
        """Let the rest of the block take as long as it likes."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = asyncio.current_task()
            self._cancelling = self._task.cancelling() if hasattr(self._task, "cancelling") else 0
            self._begin = loop.time()
        self._handle = loop.call_at(self._begin + seconds, self._pass)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lift()
        if not self._is_passed:
            return
        # Somebody else may have cancelled the task besides; Python 3.10 cannot tell.
        others = 0
        if hasattr(self._task, "uncancel"):
            others = self._task.uncancel() - self._cancelling
        if others <= 0 and isinstance(error, asyncio.CancelledError):
            raise DeadlinePassedError from None

    def _pass(self) -> None:
        self._handle = None
        self._is_passed = True
        self._task.cancel()


@types.coroutine
def within(coroutine: Coroutine[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """Return what a coroutine returns, run in this task; one that never waits needs no timer.

    Raises:
        DeadlinePassedError: It took longer, and has been cancelled.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        returned: T = end.value
        return returned
    task = asyncio.current_task()
    is_late = False

    def expire() -> None:
        nonlocal is_late
        is_late = True
        if task is not None:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:  # noqa: PERF203  # thrown in between
                coroutine.close()
                raise
            except BaseException as error:  # what is thrown in goes on inwards
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(sent)
    except StopIteration as end:
        if is_late:  # it took no notice
            uncancelled(task)
        returned = end.value
        return returned
    except asyncio.CancelledError:
        if is_late and uncancelled(task):
            raise DeadlinePassedError from None
        raise
    finally:
        timer.cancel()


def uncancelled(task: asyncio.Task[Any] | None) -> bool:
    """Take a cancellation of our own back; False when somebody else wants the task to end too."""
    uncancel = getattr(task, "uncancel", None)  # Python 3.11
    return uncancel is None or uncancel() == 0
