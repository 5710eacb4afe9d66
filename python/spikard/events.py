"""Server-Sent Events (WHATWG HTML §9.2): from what a handler yields to the wire."""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikard._codecs import encode_json
from spikard._spikard import KEEP_ALIVE_COMMENT, encode_event as encode_fields
from spikard.responses import StreamingResponse, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from spikard.datastructures import Request

__all__ = [
    "KEEP_ALIVE_SECONDS",
    "EventResponse",
    "EventStream",
    "Replay",
    "SseEvent",
    "encode_event",
    "kept_alive",
]

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


def encode_event(event: Any, encode: Callable[[Any], bytes] = encode_json) -> bytes:
    """Return the wire form of an `SseEvent`, a string, or any value that `encode` makes JSON of."""
    if not isinstance(event, SseEvent):
        if not isinstance(event, str | bytes):
            return b"data: %b\n\n" % encode(event)  # JSON of ours has no line ends
        return encode_fields(event)
    data = event.data
    if not isinstance(data, str | bytes):
        data = encode(data)
    return encode_fields(data, event.event_type, event.id, event.retry)


class EventResponse(StreamingResponse):
    """A stream of events; the server fills silence with comments."""

    __slots__ = ()
    keep_alive_seconds = KEEP_ALIVE_SECONDS

    def __init__(self, content: AsyncIterator[bytes], status_code: int = 200) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(content, status_code, headers, "text/event-stream")


class EventStream:
    """What a route makes of the items that its handler yields.

    Args:
        encode: Value → JSON, by the type that the handler declares.
        replay: The last events of the route, for clients that come back.
        status_code: Of the response.
    """

    __slots__ = ("_encode", "_replay", "_status_code")

    def __init__(
        self,
        encode: Callable[[Any], bytes] = encode_json,
        replay: Replay | None = None,
        status_code: int = 200,
    ) -> None:
        self._encode = encode
        self._replay = replay
        self._status_code = status_code

    def __call__(self, source: Any, request: Request | None = None) -> EventResponse:
        """Return the response that sends what a handler yields, sync or async."""
        items = source if hasattr(source, "__anext__") else in_thread(source)
        if self._replay is None or request is None:
            events = _encoded(items, self._encode)
        else:
            last = request.headers.get("last-event-id")
            events = self._replay.events(items, last, self._encode)
        return EventResponse(events, self._status_code)


async def _encoded(
    source: AsyncIterator[Any], encode: Callable[[Any], bytes]
) -> AsyncGenerator[bytes, None]:
    try:
        async for event in source:
            yield encode_event(event, encode)
    finally:
        await _close(source)


class Replay:
    """The last events with an id that the handlers of one route have yielded, in this worker.

    A client that comes back with a ``Last-Event-ID`` first gets what came after that event, from
    memory, and then what its own handler yields; an event that it has is not sent again, so a
    handler may begin anew or go on with what is live. An id that is not remembered is taken for one
    that is older than all of these.

    Args:
        size: How many events are remembered.
    """

    __slots__ = ("_events", "_size")

    def __init__(self, size: int) -> None:
        self._events: OrderedDict[str, bytes] = OrderedDict()
        self._size = size

    async def events(
        self, source: AsyncIterator[Any], last: str | None, encode: Callable[[Any], bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what a client missed after `last`, then the items of its handler."""
        try:
            had: set[str] = set()
            if last:
                had = self._up_to(last)
                while missed := [pair for pair in self._events.items() if pair[0] not in had]:
                    for id_, wire in missed:
                        had.add(id_)
                        yield wire
            async for event in source:
                wire = encode_event(event, encode)
                own = event.id if isinstance(event, SseEvent) else None
                if own:
                    self._remember(own, wire)
                    if own in had:
                        had.discard(own)  # an id that comes a second time is another event
                        continue
                yield wire
        finally:
            await _close(source)

    def _remember(self, id_: str, wire: bytes) -> None:
        if id_ not in self._events:  # another client's handler may have yielded it already
            self._events[id_] = wire
            if len(self._events) > self._size:
                self._events.popitem(last=False)

    def _up_to(self, last: str) -> set[str]:
        had: set[str] = set()
        if last in self._events:
            for id_ in self._events:
                had.add(id_)
                if id_ == last:
                    break
        return had


async def _close(source: Any) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


async def kept_alive(stream: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield a stream's chunks, with a comment for each time of silence, on servers not ours.

    The stream runs in one task from its start to its end: time limits and context variables of
    a handler hold across what it yields.
    """
    import asyncio

    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)

    async def produce() -> None:
        try:
            async for chunk in stream:
                await chunks.put(chunk)
        finally:
            await _close(stream)
        await chunks.put(None)

    producer: asyncio.Future[Any] = asyncio.ensure_future(produce())
    taking: asyncio.Future[Any] | None = None
    try:
        while True:
            taking = taking or asyncio.ensure_future(chunks.get())
            done, _ = await asyncio.wait(
                [taking, producer], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if taking in done:
                chunk = taking.result()
                taking = None
                if chunk is None:
                    return
                yield chunk
            elif producer in done and chunks.empty():
                producer.result()  # it raised: an end of its own accord is a None
                return
            elif not done:
                yield KEEP_ALIVE_COMMENT
    finally:
        if taking is not None:
            taking.cancel()
        producer.cancel()
        await asyncio.wait([producer])
