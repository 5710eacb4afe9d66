"""Raw ASGI: a WebSocket that sends each message back as it came."""

from __future__ import annotations

from benchmarks.apps.asgi_types import Event, Receive, Send


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Echo binary messages until the client leaves."""
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": event["bytes"]})
