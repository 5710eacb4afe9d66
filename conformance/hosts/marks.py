"""What the applications of the matrix share: events by name, and the streams that wait for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator  # noqa: TC003 - read when a handler is registered

MESSAGE = "deliberate-4711"
"""Of the exception; not for clients."""
WORD = "kept"
GO_SECONDS = 10.0


class Marks:
    """Events by name, in the one process and loop of a server."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def _event(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())

    def set(self, name: str) -> None:
        """Mark `name`."""
        self._event(name).set()

    async def wait(self, name: str, within: float) -> bool:
        """Wait until `name` is marked; False when it takes longer than `within` seconds."""
        try:
            await asyncio.wait_for(self._event(name).wait(), within)
        except asyncio.TimeoutError:
            return False
        return True


marks = Marks()


async def endless() -> AsyncIterator[bytes]:
    """Yield one piece and wait for ever."""
    try:
        yield b"first\n"
        await asyncio.Event().wait()
    finally:
        marks.set("left")


async def events() -> AsyncIterator[dict[str, int]]:
    """Yield an event, and another once `go` is marked."""
    yield {"n": 1}
    if await marks.wait("go", GO_SECONDS):
        yield {"n": 2}


async def event_lines() -> AsyncIterator[bytes]:
    """Yield `events` as they stand in an event stream."""
    async for event in events():
        yield b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
