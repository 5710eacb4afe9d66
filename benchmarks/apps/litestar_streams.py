"""The stream workloads in Litestar: WebSocket echo, upload, chunks, events for many."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from litestar import Litestar, WebSocket, get, post, websocket
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import WebSocketDisconnect
from litestar.params import Body
from litestar.response import ServerSentEvent, Stream

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


@websocket("/")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_bytes(await socket.receive_bytes())
    except WebSocketDisconnect:
        return


@post("/upload", status_code=200)
async def upload(
    data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, int]:
    data.file.seek(0, 2)
    return {"size": data.file.tell()}


@get("/stream")
async def stream() -> Stream:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield CHUNK

    return Stream(chunks(), media_type="application/octet-stream")


@get("/events")
async def events() -> ServerSentEvent:
    async def told() -> AsyncIterator[str]:
        while True:
            came = news.came
            yield f'{{"number":{news.number}}}'
            await came.wait()

    return ServerSentEvent(told())


@post("/publish")
async def publish() -> None:
    news.publish()


app = Litestar([echo, upload, stream, events, publish])
