"""A native application under test: uploads, streams, events and WebSockets that report what becomes of them.

The first path segment names a handler and the second is the trial's tag, as in `conformance.asgi.apps`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations are read
from pathlib import Path
from typing import Any

from msgspec import Struct

from conformance.asgi.apps import note
from spikard import (
    Provide,
    Request,
    Response,
    ServerConfig,
    Spikard,
    SseEvent,
    StreamingResponse,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from spikard.config import JwtConfig

MIB = 1 << 20
LARGE = 1 << 30

app = Spikard(config=ServerConfig(max_body_size=64 * MIB, compression=None, access_log=False))


def _tag(request: Request) -> str:
    return str(request.path_params["tag"])


async def resource(request: Request) -> AsyncIterator[str]:
    """Report when what a request holds is given back."""
    tag = _tag(request)
    try:
        yield tag
    finally:
        note(tag, "released")


app.provide("held", Provide(resource))


@app.get("/ping")
async def ping() -> Response:
    return Response(str(os.getpid()))


@app.get("/stats/{tag}")
async def stats(request: Request, tag: str) -> dict[str, int]:
    """Return what must not grow: tasks, descriptors, uploads on disk."""
    gc.collect()
    descriptors = _descriptors()
    forms = request._exchange.forms  # noqa: SLF001 - nothing public tells of it
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(descriptors),
        "spools": sum("(deleted)" in link for link in descriptors),
        "on_disk": forms.on_disk if forms is not None else 0,
    }


def _descriptors() -> list[str]:
    return [_link(path) for path in Path("/proc/self/fd").iterdir()]


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


async def _waits(tag: str) -> None:
    note(tag, "called")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note(tag, "cancelled")
        raise


@app.get("/hang/{tag}")
async def hang(tag: str, held: str) -> None:
    await _waits(tag)


@app.post("/hash/{tag}", max_body_size=LARGE)
async def hashed(tag: str, file: UploadFile) -> dict[str, Any]:
    note(tag, "called")
    digest = hashlib.sha256()
    while chunk := await file.aread(MIB):
        digest.update(chunk)
    return {
        "sha256": digest.hexdigest(),
        "size": file.size,
        "filename": file.filename,
        "on_disk": file.rolled_to_disk,
    }


@app.post("/form/{tag}")
async def form(request: Request, tag: str) -> dict[str, Any]:
    """Return a form's fields, files by their size."""
    fields = await request.form()
    note(tag, "called")
    return {
        name: value.size if isinstance(value, UploadFile) else value
        for name, value in fields.multi_items()
    }


@app.post("/raw/{tag}", max_body_size=LARGE)
async def raw(request: Request, tag: str, held: str) -> dict[str, Any]:
    note(tag, "called")
    digest = hashlib.sha256()
    size = 0
    try:
        async for chunk in request.stream():
            digest.update(chunk)
            size += len(chunk)
    except BaseException as error:
        note(tag, "ended", type(error).__name__)
        raise
    return {"sha256": digest.hexdigest(), "size": size}


@app.post("/keep/{tag}", max_body_size=LARGE)
async def keep(tag: str, file: UploadFile) -> None:
    """Hold an upload until the client goes."""
    await _waits(tag)


@app.get("/download/{tag}")
async def download(tag: str, mebibytes: int) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        note(tag, "called")
        piece = bytes(64 * 1024)
        for _ in range(mebibytes * 16):
            yield piece
        note(tag, "complete")

    return StreamingResponse(chunks())


@app.get("/endless/{tag}")
async def endless(tag: str, held: str) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        note(tag, "called")
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            note(tag, "closed")

    return StreamingResponse(chunks())


@app.get("/blocking/{tag}")
async def blocking(tag: str) -> Response:
    """Stream from a sync generator that is at work in a thread when the client goes."""
    import threading

    go_on = threading.Event()
    asyncio.get_running_loop().call_later(0.5, go_on.set)

    def chunks() -> Iterator[bytes]:
        note(tag, "called")
        try:
            yield b"first"
            go_on.wait()
            while True:
                yield bytes(1000)
        finally:
            note(tag, "closed")

    return StreamingResponse(chunks())


@app.get("/breaks/{tag}")
async def breaks(tag: str) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0)
        raise LookupError(f"boom {tag}")

    return StreamingResponse(chunks())


@app.sse("/events/{tag}", replay=100)
async def events(tag: str, held: str) -> AsyncIterator[SseEvent]:
    note(tag, "called")
    try:
        for number in range(3):
            yield SseEvent({"number": number}, id=str(number))
        await asyncio.Event().wait()
    finally:
        note(tag, "closed")


@app.websocket("/ws-echo/{tag}")
async def ws_echo(socket: WebSocket, tag: str, held: str) -> None:
    await socket.accept()
    note(tag, "called")
    try:
        while True:
            await socket.send(await socket.receive())
    except WebSocketDisconnect as left:
        note(tag, "disconnect", left.code)


@app.websocket("/ws-plain/{tag}")
async def ws_plain(socket: WebSocket) -> None:
    await socket.accept()
    async for message in socket.iter_text():
        await socket.send_text(message)


@app.websocket("/ws-hang/{tag}")
async def ws_hang(socket: WebSocket, tag: str, held: str) -> None:
    await socket.accept()
    await _waits(tag)


@app.websocket("/ws-raise/{tag}")
async def ws_raise(socket: WebSocket, held: str) -> None:
    await socket.accept()
    raise LookupError("boom")


@app.websocket("/ws-unsayable/{tag}")
async def ws_unsayable(socket: WebSocket, held: str) -> None:
    await socket.accept()
    await socket.send_json(object())


@app.websocket("/ws-subprotocol/{tag}")
async def ws_subprotocol(socket: WebSocket, chosen: str) -> None:
    await socket.accept(subprotocol=chosen)


@app.websocket("/ws-slow/{tag}")
async def ws_slow(socket: WebSocket, tag: str) -> None:
    """Read nothing until told by a request."""
    await socket.accept()
    note(tag, "called")
    await _go_on(tag).wait()
    count = 0
    try:
        while True:
            await socket.receive()
            count += 1
    except WebSocketDisconnect:
        note(tag, "received", count)


_waiting: dict[str, asyncio.Event] = {}


def _go_on(tag: str) -> asyncio.Event:
    return _waiting.setdefault(tag, asyncio.Event())


@app.get("/go-on/{tag}")
async def go_on(tag: str) -> None:
    _go_on(tag).set()


class Message(Struct):
    """What `ws_typed` understands."""

    text: str
    count: int = 1


@app.websocket("/ws-typed/{tag}")
async def ws_typed(message: Message, tag: str) -> dict[str, Any]:
    note(tag, "message", message.text)
    return {"text": message.text * message.count}


_JWT = JwtConfig(secret="a secret of at least 32 bytes....")  # noqa: S106 - nobody has a token
secured = Spikard(config=ServerConfig(jwt_auth=_JWT))
secured.websocket("/ws-echo/{tag}")(ws_echo)
secured.provide("held", Provide(resource))
secured.get("/ping", require_auth=False)(ping)
