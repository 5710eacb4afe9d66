"""The surface in ASGI alone: what it cannot do under a host is the host's limitation, no framework's.

It listens for the disconnect while it streams, as the specification offers.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from conformance.hosts.marks import MESSAGE, WORD, endless, event_lines, marks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one connection."""
    if scope["type"] == "lifespan":
        await _lifespan(scope, receive, send)
        return
    root: str = scope.get("root_path", "")
    # ASGI: the path has the root path; not every host sees to it.
    path = scope["path"].removeprefix(root) if root else scope["path"]
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif path == "/upload":
        await _answer(send, {"bytes": await _count(receive)})
    elif path == "/items":
        await _answer(send, json.loads(await _body(receive)), 201)
    elif path == "/events":
        await _stream(event_lines(), receive, send, b"text/event-stream")
    elif path == "/endless":
        await _stream(endless(), receive, send, b"text/plain")
    elif path == "/raises":
        raise RuntimeError(MESSAGE)
    else:
        await _small(scope, path, query, send)


async def _small(scope: dict[str, Any], path: str, query: dict[str, str], send: Send) -> None:
    _, _, name = path[1:].partition("/")
    if path == "/hello":
        await _answer(send, {"hello": query["name"]})
    elif path == "/state":
        await _answer(send, {"word": scope.get("state", {}).get("word")})
    elif path == "/where":
        await _answer(send, {"root_path": scope.get("root_path", "")})
    elif path.startswith("/mark/"):
        marks.set(name)
        await _answer(send, None)
    elif path.startswith("/marked/"):
        await _answer(send, await marks.wait(name, float(query["within"])))
    else:
        await _answer(send, {"detail": "not found"}, 404)


async def _lifespan(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    if "state" in scope:
        scope["state"]["word"] = WORD
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    return b"".join([piece async for piece in _pieces(receive)])


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        event = await receive()
        more = event.get("more_body", False)
        yield event.get("body", b"")


async def _count(receive: Receive) -> int:
    count = 0
    async for piece in _pieces(receive):
        count += len(piece)
        marks.set("upload")
    return count


async def _answer(send: Send, value: Any, status: int = 200) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(
    pieces: AsyncIterator[bytes], receive: Receive, send: Send, media_type: bytes
) -> None:
    sending = asyncio.ensure_future(_send_all(pieces, send, media_type))
    leaving = asyncio.ensure_future(_left(receive))
    await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
    for task in (sending, leaving):
        task.cancel()
    await asyncio.wait([sending, leaving])


async def _send_all(pieces: AsyncIterator[bytes], send: Send, media_type: bytes) -> None:
    headers = [(b"content-type", media_type)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "bye":
            await send({"type": "websocket.close", "code": 3001, "reason": "bye"})
            return
        await send({"type": "websocket.send", "text": event["text"]})
