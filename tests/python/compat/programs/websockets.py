"""WebSockets: messages both ways, parameters and dependencies, refusals, closing."""

from typing import Annotated

from fastapi import (
    Cookie,
    Depends,
    FastAPI,
    Query,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    status,
)

app = FastAPI()
log: list[str] = []


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            data = await websocket.receive_text()
            await websocket.send_text(f"echo {data}")
    except WebSocketDisconnect:
        log.append("gone")


@app.websocket("/json")
async def as_json(websocket: WebSocket):
    await websocket.accept(subprotocol="chat")
    data = await websocket.receive_json()
    await websocket.send_json({"got": data})
    await websocket.send_bytes(b"bytes")
    await websocket.close(code=3001, reason="enough")


async def session_or_token(
    session: Annotated[str | None, Cookie()] = None, token: Annotated[str | None, Query()] = None
):
    if session is None and token is None:
        raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
    return session or token


@app.websocket("/items/{item_id}")
async def items(
    websocket: WebSocket,
    item_id: int,
    who: Annotated[str, Depends(session_or_token)],
    q: int | None = None,
):
    await websocket.accept()
    await websocket.send_json({"item": item_id, "who": who, "q": q})


@app.websocket("/watched")
async def watched(websocket: WebSocket):
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            log.append(text)
        await websocket.receive_text()
    except (WebSocketDisconnect, RuntimeError) as exc:
        log.append(type(exc).__name__ if isinstance(exc, WebSocketDisconnect) else "gone")


@app.websocket("/refused")
async def refused(websocket: WebSocket):
    await websocket.close(code=4001)


@app.websocket("/late")
async def late(websocket: WebSocket):
    await websocket.accept()
    raise WebSocketException(code=4002, reason="late")


REQUESTS = [("GET", "/nothing")]


def outcome(client, path, **options):
    try:
        with client.websocket_connect(path, **options) as socket:
            return socket.receive_json()
    except WebSocketDisconnect as exc:
        return "refused", exc.code


def exercise(client):
    with client.websocket_connect("/echo") as socket:
        socket.send_text("a")
        yield socket.receive_text()
        socket.send_text("b")
        yield socket.receive_text()
    with client.websocket_connect("/json", subprotocols=["chat"]) as socket:
        yield socket.accepted_subprotocol
        socket.send_json({"a": [1]})
        yield socket.receive_json()
        yield socket.receive_bytes()
        try:
            socket.receive_text()
        except WebSocketDisconnect as exc:
            yield exc.code, exc.reason
    yield outcome(client, "/items/3?token=t&q=1")
    yield outcome(client, "/items/3", cookies={"session": "s"})
    yield outcome(client, "/items/3")
    yield outcome(client, "/items/x?token=t")
    yield outcome(client, "/refused")
    with client.websocket_connect("/watched") as socket:
        socket.send_text("one")
    with client.websocket_connect("/late") as socket:
        try:
            socket.receive_text()
        except WebSocketDisconnect as exc:
            yield exc.code, exc.reason
    yield "one" in log
