"""WebSockets over a real connection: the client of the package `websockets` (extra ``testing``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.exceptions import NotAvailableError, WebSocketDisconnect
from spikard.testing.response import TestResponse
from spikard.testing.websocket import TestWebSocket, WebSocketRejectedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from spikard.testing.outgoing import Outgoing

__all__ = ["LiveWebSocket"]

_OF_THE_HANDSHAKE = (b"host", b"user-agent")


class LiveWebSocket(TestWebSocket):
    """A WebSocket of a server.

    Args:
        outgoing: The handshake's URL and header fields.
        subprotocols: That the client offers.

    Raises:
        NotAvailableError: The package is not installed.
    """

    def __init__(self, outgoing: Outgoing, subprotocols: list[str]) -> None:
        super().__init__()
        try:
            from websockets.asyncio.client import connect
        except ImportError:
            raise NotAvailableError(
                'WebSockets of LiveTestClient need `pip install "spikard[testing]"`'
            ) from None
        fields = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in outgoing.headers
            if name not in _OF_THE_HANDSHAKE
        ]
        self._connecting: Any = connect(
            outgoing.url.replace("http", "ws", 1),
            subprotocols=subprotocols or None,  # type: ignore[arg-type]  # a NewType of str
            additional_headers=fields,
            compression=None,
            max_size=None,
            proxy=None,
        )
        self._socket: Any = None

    async def __aenter__(self) -> Self:
        from websockets.exceptions import InvalidStatus

        try:
            socket = self._socket = await self._connecting
        except InvalidStatus as refused:
            answer = refused.response
            headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in answer.headers.raw_items()
            ]
            response = TestResponse(answer.status_code, headers, bytes(answer.body or b""))
            raise WebSocketRejectedError(response) from None
        self.subprotocol = socket.subprotocol
        self.headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in socket.response.headers.raw_items()
        ]
        return self

    async def send(self, data: str | bytes) -> None:
        """See `TestWebSocket.send`."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(data)
        except ConnectionClosed as closed:
            raise _disconnect(closed) from None

    async def receive(self) -> str | bytes:
        """See `TestWebSocket.receive`."""
        from websockets.exceptions import ConnectionClosed

        try:
            message: str | bytes = await self._socket.recv()
        except ConnectionClosed as closed:
            raise _disconnect(closed) from None
        return message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See `TestWebSocket.close`."""
        if self._socket is not None:
            await self._socket.close(code, reason)


def _disconnect(closed: Any) -> WebSocketDisconnect:
    frame = closed.rcvd
    if frame is None:
        return WebSocketDisconnect(1006, "")
    return WebSocketDisconnect(frame.code, frame.reason)
