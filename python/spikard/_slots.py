"""`max_concurrency` behind the doors that await endpoints in Python; our server counts in Rust."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Slots"]


class Slots:
    """How many requests are in handlers at once, and how many wait for their turn.

    Args:
        max_running: None for any number.
        max_waiting: More than that are refused.
    """

    __slots__ = ("_free", "_max_waiting", "_waiting", "is_limited")

    def __init__(self, max_running: int | None, max_waiting: int) -> None:
        self.is_limited = max_running is not None
        self._free = max_running
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> bool:
        """Take a place, after waiting for one if need be; False when too many wait already."""
        if self._free is None:
            return True
        if self._free > 0:
            self._free -= 1
            return True
        if len(self._waiting) >= self._max_waiting:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was given a place just now
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        return True

    def leave(self) -> None:
        """Give the place back: to the first that waits, if one does."""
        if self._free is None:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
