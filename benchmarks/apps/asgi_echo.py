"""Raw ASGI: the request body comes back."""

from __future__ import annotations

from benchmarks.apps.asgi_types import Event, Receive, Send


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer every HTTP request with its own body."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body = b""
    more = True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
