"""FastAPI's `WebSocket`: Spikard's, with Starlette's attributes."""

# FastAPI's meaning differs from Spikard's in what these methods return: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from spikard import websockets
from spikard.compat.fastapi.requests import HTTPConnection
from spikard.exceptions import WebSocketDisconnect

if TYPE_CHECKING:
    from spikard.responses import Response

__all__ = ["WebSocket", "WebSocketDisconnect", "WebSocketState"]


REFUSED: ContextVar[list[tuple[int, str]] | None] = ContextVar("refused", default=None)
"""Where a test client learns the code that HTTP's 403 cannot carry."""


class WebSocketState:
    """The states that `WebSocket.client_state` and `application_state` name."""

    CONNECTING = "connecting"
    CONNECTED = "open"
    DISCONNECTED = "closed"


class WebSocket(HTTPConnection, websockets.WebSocket):
    """A WebSocket connection."""

    __slots__ = ()

    async def send_denial_response(self, response: Response) -> None:
        """Answer the handshake with a response instead."""
        await self.reject(response)

    @property
    def client_state(self) -> str:
        """As `application_state`: the connection has one state here."""
        return self.application_state

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON, in a text or (``binary``) binary message."""
        if mode == "text":
            await super().send_json(data)
        else:
            from spikard._codecs import encode_json

            await self.send_bytes(encode_json(data))

    async def receive_json(self, mode: str = "text") -> Any:
        """Return the next message decoded from JSON."""
        return await super().receive_json()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close; before `accept` that is a rejection with 403."""
        refused = REFUSED.get()
        if refused is not None and self.application_state == "connecting":
            refused.append((code, reason or ""))
        await super().close(code, reason or "")
