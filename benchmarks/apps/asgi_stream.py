"""Raw ASGI: 100 chunks of 100 bytes."""

from __future__ import annotations

from benchmarks.apps.asgi_types import Event, Receive, Send

CHUNK = b"x" * 100


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Send the chunks one by one."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    headers = [(b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(100):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
