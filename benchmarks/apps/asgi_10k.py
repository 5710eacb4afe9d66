"""Raw ASGI: a 10 KiB response."""

from __future__ import annotations

from benchmarks.apps.asgi_types import Event, Receive, Send

BODY = b"x" * 10_240


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer every HTTP request with 10,240 bytes."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"10240")],
        }
    )
    await send({"type": "http.response.body", "body": BODY})
