"""Server-sent events as a test client hears them (HTML Living Standard §9.2.6)."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from spikard.exceptions import SpikardError
from spikard.testing._contexts import Blocking, Closing
from spikard.testing.stream import END

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self

    from spikard.datastructures import Headers
    from spikard.testing.response import TestResponse
    from spikard.testing.stream import TestStream

__all__ = ["EventsRefusedError", "SyncTestEvents", "TestEvent", "TestEvents"]


class EventsRefusedError(SpikardError):
    """The answer is no stream of events.

    Attributes:
        response: What came instead.
    """

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        media_type = response.headers.get("content-type")
        super().__init__(
            f"expected status 200 with text/event-stream, got {response.status_code} "
            f"with {media_type or 'no content type'}"
        )


@dataclass(frozen=True, slots=True)
class TestEvent:
    """One event.

    Attributes:
        data: Its lines, joined by LF.
        event_type: ``message`` unless the application named another.
        id: The last event id of the stream so far, empty for none.
    """

    __test__ = False  # pytest collects classes named Test…

    data: str
    event_type: str = "message"
    id: str = ""

    def json(self) -> Any:
        """Return the data parsed as JSON."""
        return msgspec.json.decode(self.data)


class TestEvents(Closing):
    """A stream of events: ``async with client.sse("/news") as events: await anext(events)``.

    Comments, such as those that keep a connection alive, are left out, as a browser does. At the
    end of the stream it stops; it does not connect again.

    Attributes:
        last_event_id: What a browser would send as ``Last-Event-ID``.
        retry: Milliseconds that the application asked to wait before connecting again.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(self, stream: TestStream) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._stream = stream
        self._events: AsyncIterator[TestEvent] | None = None

    @property
    def status_code(self) -> int:
        """Of the response."""
        return self._stream.status_code

    @property
    def headers(self) -> Headers:
        """Of the response."""
        return self._stream.headers

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        media_type = self._stream.headers.get("content-type", "").partition(";")[0].strip()
        if self._stream.status_code != 200 or media_type != "text/event-stream":
            try:
                raise EventsRefusedError(await self._stream.read())
            finally:
                await self._stream.close()
        self._events = self._parsed()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TestEvent:
        if self._events is None:
            raise RuntimeError("open the events first: `async with client.sse(…) as events`")
        return await self._events.__anext__()

    async def close(self) -> None:
        """Leave; idempotent."""
        await self._stream.close()

    async def _parsed(self) -> AsyncIterator[TestEvent]:
        data: list[str] = []
        event_type = ""
        async for line in _lines(self._stream.iter_bytes()):
            if not line:
                if data:
                    yield TestEvent("\n".join(data), event_type or "message", self.last_event_id)
                data, event_type = [], ""
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                event_type = value
            elif field == "id" and "\0" not in value:
                self.last_event_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry = int(value)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the lines of a stream, ended by LF, CR or CRLF; one without an end is dropped."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest = ""
    after_cr = False
    async for piece in pieces:
        text = decoder.decode(piece)
        if after_cr and text:
            text, after_cr = text.removeprefix("\n"), False
        after_cr = after_cr or text.endswith("\r")
        text = rest + text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        for line in lines:
            yield line


class SyncTestEvents(Blocking[TestEvents]):
    """The same for synchronous code: ``with client.sse("/news") as events: next(events)``."""

    @property
    def status_code(self) -> int:
        """See `TestEvents`."""
        return self._async.status_code

    @property
    def headers(self) -> Headers:
        """See `TestEvents`."""
        return self._async.headers

    @property
    def last_event_id(self) -> str:
        """See `TestEvents`."""
        return self._async.last_event_id

    @property
    def retry(self) -> int | None:
        """See `TestEvents`."""
        return self._async.retry

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TestEvent:
        event: Any = self._call(self._following())
        if event is END:
            raise StopIteration
        following: TestEvent = event
        return following

    def close(self) -> None:
        """See `TestEvents.close`."""
        self._call(self._async.close())

    async def _following(self) -> Any:
        return await anext(self._async, END)
