"""The applications that test_policies.py serves. It imports little: workers import it anew."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from spikard import Spikard, WebSocket

if TYPE_CHECKING:
    from spikard.config import ServerConfig

PATIENCE = 20  # seconds, for anything that should happen at all
RELEASED = threading.Event()  # what `/held` waits for


def application(config: ServerConfig | None) -> Spikard:
    app = Spikard(config=config)

    @app.get("/")
    async def index() -> str:
        return "x" * 4000

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(PATIENCE)
        return "late"

    @app.get("/held")
    async def held() -> str:
        await asyncio.to_thread(RELEASED.wait, PATIENCE)
        return "done"

    @app.post("/")
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()

    app.mount("/mounted", foreign)
    return app


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """Do what `application` does at its root, with nothing of ours."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(PATIENCE)
    if scope["path"] == "/held":
        await asyncio.to_thread(RELEASED.wait, PATIENCE)
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    if event["type"] == "http.disconnect":
        return
    body = body or b'"' + b"x" * 4000 + b'"'
    fields = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
