"""The full-duplex WebSocket that a handler receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from spikard._codecs import encode_json
from spikard.datastructures import Request
from spikard.exceptions import WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spikard.app import Spikard
    from spikard.datastructures import RequestHead
    from spikard.responses import Response

__all__ = ["WebSocket", "WebSocketExchange"]


class WebSocketExchange(Protocol):
    """The connection, as the server or an ASGI host gives it."""

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer the handshake."""
        ...

    async def reject(self, response: Response) -> None:
        """Answer the handshake with a response instead."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message; raises `WebSocketDisconnect` when the peer has gone."""
        ...

    async def send(self, data: str | bytes) -> None:
        """Send one message; raises `WebSocketDisconnect` when the peer has gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""
        ...

    def is_disconnected(self) -> bool:
        """Return whether the peer has gone."""
        ...


class WebSocket(Request):
    """A WebSocket connection; what `Request` knows of the handshake it knows too.

    Example:
        ```python
        @app.websocket("/echo")
        async def echo(socket: WebSocket) -> None:
            await socket.accept()
            async for text in socket.iter_text():
                await socket.send_text(text)
        ```
    """

    __slots__ = ("_peer", "application_state")

    def __init__(
        self, head: RequestHead, exchange: WebSocketExchange, app: Spikard | None = None
    ) -> None:
        super().__init__(head, exchange, app)  # type: ignore[arg-type] # a handshake has no body
        self._peer = exchange
        self.application_state: Literal["connecting", "open", "closed"] = "connecting"

    async def accept(
        self, subprotocol: str | None = None, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Answer the handshake.

        Args:
            subprotocol: One of those the client offered.
            headers: Wire-form fields for the answer.

        Raises:
            RuntimeError: The handshake has been answered.
        """
        self._require("connecting", "accept")
        await self._peer.accept(subprotocol, headers or [])
        self.application_state = "open"

    async def reject(self, response: Response | None = None) -> None:
        """Answer the handshake with a response, by default 403."""
        self._require("connecting", "reject")
        from spikard._problems import problem

        await self._peer.reject(response if response is not None else problem(403))
        self.application_state = "closed"

    async def receive(self) -> str | bytes:
        """Return the next message, text or binary.

        Raises:
            WebSocketDisconnect: The peer closed.
        """
        self._require("open", "receive")
        try:
            return await self._peer.receive()
        except WebSocketDisconnect:
            self.application_state = "closed"
            raise

    async def receive_text(self) -> str:
        """Return the next message as text; a binary one must be UTF-8."""
        message = await self.receive()
        return message if isinstance(message, str) else message.decode()

    async def receive_bytes(self) -> bytes:
        """Return the next message as bytes."""
        message = await self.receive()
        return message.encode() if isinstance(message, str) else message

    async def receive_json(self) -> Any:
        """Return the next message decoded from JSON."""
        return msgspec.json.decode(await self.receive())

    async def send(self, data: str | bytes) -> None:
        """Send one message, text for ``str``.

        Raises:
            WebSocketDisconnect: The peer has gone.
        """
        self._require("open", "send")
        await self._peer.send(data)

    async def send_text(self, data: str) -> None:
        """Send a text message."""
        await self.send(data)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        await self.send(data)

    async def send_json(self, data: Any) -> None:
        """Send a value as JSON in a text message."""
        await self.send(encode_json(data).decode())

    # Each by itself: one generator inside another costs memory for every idle connection.

    async def iter_text(self) -> AsyncIterator[str]:
        """Yield text messages until the peer closes."""
        while True:
            try:
                message = await self.receive()
            except WebSocketDisconnect:
                return
            yield message if isinstance(message, str) else message.decode()

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield binary messages until the peer closes."""
        while True:
            try:
                message = await self.receive()
            except WebSocketDisconnect:
                return
            yield message.encode() if isinstance(message, str) else message

    async def iter_json(self) -> AsyncIterator[Any]:
        """Yield decoded messages until the peer closes."""
        while True:
            try:
                message = await self.receive()
            except WebSocketDisconnect:
                return
            yield msgspec.json.decode(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close; before `accept` that is a rejection with 403. Closing twice does nothing.

        Args:
            code: 1000 or 3000 to 4999, and the registered codes of RFC 6455 §7.4.1.
            reason: Up to 123 bytes of UTF-8.
        """
        if self.application_state == "closed":
            return
        if self.application_state == "connecting":
            await self.reject()
            return
        if len(reason.encode()) > 123:
            raise ValueError("a close reason holds at most 123 bytes")
        self.application_state = "closed"
        await self._peer.close(code, reason)

    def _require(self, state: str, action: str) -> None:
        if self.application_state != state:
            raise RuntimeError(f"cannot {action}: the WebSocket is {self.application_state}")
