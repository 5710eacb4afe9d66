"""Raw ASGI: `Hello, World!` as text/plain."""

from __future__ import annotations

from benchmarks.apps.asgi_types import Event, Receive, Send


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer every HTTP request with 13 bytes."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # how an application without a lifespan says so
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
        }
    )
    await send({"type": "http.response.body", "body": b"Hello, World!"})
