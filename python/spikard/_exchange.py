"""The rest of a request behind `Request`: its body as it arrives, and streamed responses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from spikard._problems import too_long
from spikard.responses import Chunks
from spikard_asgi.exceptions import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from spikard._deadline import Deadline
    from spikard._forms import Forms
    from spikard._spikard import BodyDecoder, Sink, Source


class Exchange:
    """The body and the connection of a request on our own server.

    Args:
        source: The server's end; `None` when the body was read for the endpoint.
        forms: The server's limits of forms.
    """

    __slots__ = ("_source", "forms")

    def __init__(self, source: Source | None, forms: Forms | None = None) -> None:
        self._source = source
        self.forms = forms

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            HTTPException: 413, it is longer than the limit in force.
            ClientDisconnected: The client has gone.
        """
        return b"".join([chunk async for chunk in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; see `body`."""
        if self._source is None:
            return
        while (chunk := await self._source.receive()) is not None:
            yield chunk

    def hold(self, max_body_bytes: int | None, request_timeout: float | None) -> None:
        """Hold the request to the limits of its route, once that is known."""
        if self._source is not None:
            self._source.set_limits(max_body_bytes, request_timeout)

    def is_disconnected(self) -> bool:
        """Return whether the client has gone."""
        return self._source is not None and self._source.is_disconnected()

    async def early_hints(self, links: list[str]) -> None:
        """Send `103 Early Hints` where the connection can."""
        if self._source is not None:
            self._source.early_hints(links)


class AsgiExchange:
    """The body and the connection of a request behind another ASGI server.

    Args:
        scope: The server's scope, as middleware left it.
        receive: The server's `receive`.
        send: The server's `send`.
        forms: The application's limits of forms.
        is_complete: The whole body has been received already.

    Attributes:
        limit: Bytes that the body may have.
        deadline: Of the head of the response.
        decoder: What the body goes through, if it is decoded.
    """

    __slots__ = (
        "_ahead",
        "_gone",
        "_is_complete",
        "_is_reading",
        "_taken",
        "_watch",
        "deadline",
        "decoder",
        "forms",
        "limit",
        "receive",
        "scope",
        "send",
    )

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
        forms: Forms | None = None,
        *,
        is_complete: bool = False,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.forms = forms
        self._gone = False
        self._is_complete = is_complete
        self._is_reading = False
        # An event that `watch` has received, for the body's reader.
        self._ahead: asyncio.Future[dict[str, Any]] | None = None
        self._taken: asyncio.Event | None = None
        self._watch: asyncio.Task[None] | None = None
        self.limit: int | None = None
        self.deadline: Deadline | None = None
        self.decoder: BodyDecoder | None = None

    async def body(self) -> bytes:
        """See `Exchange.body`."""
        return b"".join([chunk async for chunk in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        """See `Exchange.stream`."""
        length = 0
        more = not self._is_complete or self._ahead is not None
        while more:
            event = await self._next()
            if event["type"] != "http.request":
                self._gone = True
                raise ClientDisconnected("the client has disconnected")
            chunk = event.get("body", b"")
            more = event.get("more_body", False)
            self._is_complete = not more
            if self.decoder is not None:
                chunk = self.decoder.decode(chunk, self.limit, is_last=not more)
            length += len(chunk)
            if self.limit is not None and length > self.limit:
                raise too_long(self.limit)
            if chunk:
                yield chunk

    async def _next(self) -> dict[str, Any]:
        if self._ahead is not None:
            event = await asyncio.shield(self._ahead)
            self._ahead = None
            self._wake()
            return event
        self._is_reading = True
        try:
            return await self.receive()
        finally:
            self._is_reading = False
            self._wake()

    def _wake(self) -> None:
        if self._taken is not None:
            self._taken.set()

    def hold(self, max_body_bytes: int | None, request_timeout: float | None) -> None:
        """See `Exchange.hold`."""
        self.limit = max_body_bytes
        if self.deadline is not None:
            self.deadline.change(request_timeout)

    def watch(self) -> asyncio.Task[None]:
        """Return the task, started now or earlier, that ends once the client has gone.

        Behind a body that the application leaves unread nothing can be seen.
        """
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._wait_disconnected())
        return self._watch

    async def _wait_disconnected(self) -> None:
        while not self._gone:
            if self._is_complete:
                event = await self.receive()
                self._gone = event["type"] != "http.request"
            elif self._is_reading:
                await self._wait_taken()
            else:
                self._ahead = asyncio.ensure_future(self.receive())
                event = await self._ahead
                self._gone = event["type"] != "http.request"
                self._is_complete = not event.get("more_body", False)
                if not self._is_complete:
                    await self._wait_taken()

    async def _wait_taken(self) -> None:
        self._taken = asyncio.Event()
        await self._taken.wait()

    def is_disconnected(self) -> bool:
        """Return whether the client is known to have gone; to be asked again and again."""
        if not self._gone:
            _ = self.watch()
        return self._gone

    def leave(self) -> None:
        """Know that the client has gone."""
        self._gone = True

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._watch is not None:
            self._watch.cancel()

    async def early_hints(self, links: list[str]) -> None:
        """See `Exchange.early_hints`."""
        if "http.response.early_hint" in (self.scope.get("extensions") or ()):
            event = {
                "type": "http.response.early_hint",
                "links": [link.encode("latin-1") for link in links],
            }
            await self.send(event)


async def pump(stream: AsyncIterator[bytes], sink: Sink) -> None:
    """Move a stream to the connection, no faster than the client takes it, and close it."""
    # The sink takes text as well, so there is no need of a step between.
    source = stream.source if type(stream) is Chunks else stream
    try:
        async for chunk in source:
            room = sink.send(chunk)
            if room is not None:
                await room
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
