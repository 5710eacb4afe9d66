"""The rest of a request behind `Request`: its body as it arrives, and streamed responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.exceptions import HTTPException
from spikard_asgi.exceptions import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from spikard._deadline import Deadline
    from spikard._spikard import Sink, Source


class Exchange:
    """The body and the connection of a request on our own server.

    Args:
        source: The server's end; `None` when the body was read for the endpoint.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Source | None) -> None:
        self._source = source

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

    Attributes:
        limit: Bytes that the body may have.
        deadline: Of the head of the response.
    """

    __slots__ = ("_gone", "deadline", "limit", "receive", "scope", "send")

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self._gone = False
        self.limit: int | None = None
        self.deadline: Deadline | None = None

    async def body(self) -> bytes:
        """See `Exchange.body`."""
        return b"".join([chunk async for chunk in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        """See `Exchange.stream`."""
        length = 0
        more = True
        while more:
            event = await self.receive()
            if event["type"] != "http.request":
                self._gone = True
                raise ClientDisconnected("the client has disconnected")
            chunk = event.get("body", b"")
            more = event.get("more_body", False)
            length += len(chunk)
            if self.limit is not None and length > self.limit:
                raise HTTPException(413, f"the request body is longer than {self.limit} bytes")
            if chunk:
                yield chunk

    def is_disconnected(self) -> bool:
        """Return whether the client is known to have gone."""
        return self._gone

    def leave(self) -> None:
        """Know that the client has gone."""
        self._gone = True

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
    try:
        async for chunk in stream:
            await sink.send(chunk)
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
