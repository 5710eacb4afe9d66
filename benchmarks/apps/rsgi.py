"""Raw RSGI (granian's own interface): hello, echo, 10 KiB, 100 chunks and the WebSocket echo."""

from __future__ import annotations

from typing import Any

HELLO = [("content-type", "text/plain"), ("content-length", "13")]
BODY = b"x" * 10_240
CHUNK = b"x" * 100


async def app(scope: Any, protocol: Any) -> None:
    """Answer by path: `/echo`, `/10k`, `/stream`, a WebSocket, else hello."""
    if scope.proto == "ws":
        await echo_messages(protocol)
    elif scope.path == "/echo":
        protocol.response_bytes(
            200, [("content-type", "application/octet-stream")], await protocol()
        )
    elif scope.path == "/10k":
        protocol.response_bytes(200, [("content-type", "text/plain")], BODY)
    elif scope.path == "/stream":
        transport = protocol.response_stream(200, [("content-type", "application/octet-stream")])
        for _ in range(100):
            await transport.send_bytes(CHUNK)
    else:
        protocol.response_bytes(200, HELLO, b"Hello, World!")


async def echo_messages(protocol: Any) -> None:
    """Echo binary messages until the client leaves."""
    transport = await protocol.accept()
    while (message := await transport.receive()).kind != 0:
        await transport.send_bytes(message.data)
