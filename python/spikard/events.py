"""Server-Sent Events (WHATWG HTML §9.2): from what a handler yields to the wire."""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikard._codecs import encode_json
from spikard.responses import StreamingResponse, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

__all__ = ["KEEP_ALIVE_SECONDS", "SseEvent", "encode_event", "event_response", "event_stream"]

KEEP_ALIVE_SECONDS = 15.0
"""Silence after which a comment is sent, so that proxies do not close an idle stream."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event.

    Args:
        data: A string as it is, anything else as JSON.
        event_type: Which listeners get it; default ``message``.
        id: What the client sends back as ``Last-Event-ID``.
        retry: Milliseconds to wait before reconnecting.
    """

    data: Any
    event_type: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name in ("event_type", "id"):
            value = getattr(self, name)
            if value is not None and any(char in value for char in "\r\n\0"):
                raise ValueError(f"{name} must not contain CR, LF or NUL")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry must not be negative, got {self.retry}")


def encode_event(event: Any) -> bytes:
    """Return the wire form of an `SseEvent`, a string, or any JSON value."""
    if not isinstance(event, SseEvent):
        event = SseEvent(event)
    data = event.data
    if isinstance(data, bytes):
        data = data.decode()
    text = data if isinstance(data, str) else encode_json(data).decode()
    lines = []
    if event.event_type is not None:
        lines.append(f"event: {event.event_type}")
    if event.id is not None:
        lines.append(f"id: {event.id}")
    if event.retry is not None:
        lines.append(f"retry: {event.retry}")
    # CR, LF and CRLF all end a line; each line of the data is a field of its own.
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    lines += [f"data: {line}" for line in normal.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def event_response(source: Any, status_code: int = 200) -> StreamingResponse:
    """Return the response that sends what a handler yields, sync or async, as events."""
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    stream = event_stream(source if hasattr(source, "__anext__") else in_thread(source))
    return StreamingResponse(stream, status_code, headers, "text/event-stream")


async def event_stream(
    source: AsyncIterator[Any], keep_alive_seconds: float = KEEP_ALIVE_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Yield the wire form of a handler's events, with comments while it is silent.

    The handler's generator is closed when this one is.
    """
    import asyncio

    pending: asyncio.Future[Any] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.ensure_future(_next(source))
            done, _ = await asyncio.wait({pending}, timeout=keep_alive_seconds)
            if not done:
                yield b": keep-alive\n\n"
                continue
            event = pending.result()
            pending = None
            if event is _END:
                return
            yield encode_event(event)
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.wait({pending})
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


_END = object()


async def _next(source: AsyncIterator[Any]) -> Any:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return _END
