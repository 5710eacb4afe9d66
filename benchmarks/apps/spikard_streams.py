"""The stream workloads in Spikard: WebSocket echo, upload, chunks, events for many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from spikard import Response, ServerConfig, Spikard, StreamingResponse, UploadFile, WebSocket

app = Spikard(config=ServerConfig(max_body_size=16 << 20))
CHUNK = b"x" * 100


class News:
    """What everybody who listens waits for."""

    def __init__(self) -> None:
        self.number = 0
        self.came = asyncio.Event()

    def publish(self) -> None:
        """Wake everybody."""
        self.number += 1
        self.came.set()
        self.came = asyncio.Event()


news = News()


@app.websocket("/")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for message in socket.iter_bytes():
        await socket.send_bytes(message)


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, int]:
    return {"size": file.size}


@app.get("/stream")
async def stream() -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield CHUNK

    return StreamingResponse(chunks(), media_type="application/octet-stream")


@app.sse("/events")
async def events() -> AsyncIterator[dict[str, int]]:
    while True:
        came = news.came
        yield {"number": news.number}
        await came.wait()


@app.post("/publish")
async def publish() -> None:
    news.publish()
