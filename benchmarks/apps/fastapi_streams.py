"""The stream workloads in FastAPI: WebSocket echo, upload, chunks, events for many."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()
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
    try:
        while True:
            await socket.send_bytes(await socket.receive_bytes())
    except WebSocketDisconnect:
        return


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, int]:
    return {"size": file.size or 0}


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield CHUNK

    return StreamingResponse(chunks(), media_type="application/octet-stream")


@app.get("/events")
async def events() -> StreamingResponse:
    async def told() -> AsyncIterator[bytes]:
        while True:
            came = news.came
            yield b'data: {"number":%d}\n\n' % news.number
            await came.wait()

    return StreamingResponse(told(), media_type="text/event-stream")


@app.post("/publish")
async def publish() -> None:
    news.publish()
