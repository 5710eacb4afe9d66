"""WebSocket endpoints in both styles, over a connection that a list stands for."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from spikard import (
    Path,
    Provide,
    Query,
    Spikard,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from spikard.exceptions import RegistrationError


class Peer:
    """The other end: says its messages, then closes; notes what happens to it."""

    def __init__(self, *messages: str | bytes) -> None:
        self.messages = list(messages)
        self.events: list[Any] = []

    async def accept(self, subprotocol: str | None, headers: Any) -> None:
        self.events.append("accept")

    async def reject(self, response: Any) -> None:
        self.events.append(("reject", response.status_code))

    async def receive(self) -> str | bytes:
        if not self.messages:
            raise WebSocketDisconnect(1001, "bye")
        return self.messages.pop(0)

    async def send(self, data: str | bytes) -> None:
        self.events.append(data)

    async def close(self, code: int, reason: str) -> None:
        self.events.append(("close", code))

    def is_disconnected(self) -> bool:
        return False


def talk(app: Spikard, door: Any, target: str, *messages: str | bytes) -> list[Any]:
    """Return what a peer saw that says these messages."""
    client, peer = door(app), Peer(*messages)
    head = client.head("GET", target, {})
    spec = client._match(head)
    assert spec.protocol == "websocket"
    socket = WebSocket(head, peer)
    asyncio.run(spec.call(spec.args[0].convert(socket)))
    return peer.events


class Move(Struct):
    x: Annotated[int, Meta(ge=0)]


@pytest.mark.parametrize("is_async", [True, False])
def test_messages_are_answered_with_what_the_handler_returns(is_async, door):
    app = Spikard()
    if is_async:

        @app.websocket("/chat")
        async def handler(message: dict[str, int]) -> dict[str, Any] | None:
            return {"echo": message} if message else None
    else:

        @app.websocket("/chat")
        def sync_handler(message: dict[str, int]) -> dict[str, Any] | None:
            return {"echo": message} if message else None

    events = talk(app, door, "/chat", '{"a": 1}', "{}", "nonsense", b'{"b": 2}')
    assert events == [
        "accept",
        '{"echo":{"a":1}}',
        '{"message":"Invalid JSON","type":"error"}',
        '{"echo":{"b":2}}',
    ]


def test_typed_messages_parameters_and_dependencies(door):
    app = Spikard()
    made: list[str] = []

    async def session() -> Any:
        made.append("open")
        yield "s"
        made.append("close")

    app.provide("session", Provide(session))

    @app.websocket("/{room}")
    async def handler(room: Path[int], message: Move, session, *, q: Query[int] = Query(1)) -> Any:  # noqa: B008
        return [room, message.x, session, q]

    events = talk(app, door, "/7?q=3", '{"x": 1}', '{"x": -1}', '{"x": 2}', '{"x": 1e400}')
    assert [events[0], events[1], events[3]] == ["accept", '[7,1,"s",3]', '[7,2,"s",3]']
    assert '"loc":["message","x"],"msg":"Number out of range","input":"1e400"' in events[4]
    assert '"message":"Validation failed"' in events[2]
    assert '"loc":["message","x"]' in events[2]
    assert made == ["open", "close"]
    assert talk(app, door, "/x?q=y") == [("reject", 422)]


def test_full_duplex_style_holds_the_connection(door):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.accept("chat")
        await socket.send_json({"hello": socket.path})
        async for text in socket.iter_text():
            await socket.send_bytes(text.encode())

    assert talk(app, door, "/", "a", "b") == ["accept", '{"hello":"/"}', b"a", b"b"]


def test_handler_that_returns_closes_normally(door):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()

    assert talk(app, door, "/") == ["accept", ("close", 1000)]


def test_handler_that_never_accepts_is_a_403(door):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None: ...

    assert talk(app, door, "/") == [("reject", 403)]


@pytest.mark.parametrize("accepts", [True, False])
def test_websocket_exception_closes_with_its_code_and_is_no_failure(accepts, door, caplog):
    app = Spikard()

    async def refuse(token: Annotated[str, Query()] = "") -> str:
        if not token:
            raise WebSocketException(1008, "no token")
        return token

    app.provide("who", Provide(refuse))

    @app.websocket("/early")
    async def early(socket: WebSocket, who: str) -> None: ...

    @app.websocket("/late")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        raise WebSocketException(4002)

    expected = ["accept", ("close", 4002)] if accepts else [("reject", 403)]
    assert talk(app, door, "/late" if accepts else "/early") == expected
    assert not caplog.records


def test_exception_closes_1011_and_is_logged(door, caplog):
    app = Spikard()

    @app.websocket("/")
    async def handler(message: Any) -> None:
        raise ValueError("the reason")

    assert talk(app, door, "/", "1") == ["accept", ("close", 1011)]
    assert "the reason" in caplog.text


def test_websocket_and_get_share_a_path(door):
    app = Spikard()

    @app.get("/")
    async def page() -> str:
        return "page"

    @app.websocket("/")
    async def handler(message: Any) -> Any:
        return message

    assert [spec.protocol for spec in app.freeze()] == ["http", "websocket"]


def test_websocket_parameter_elsewhere_fails_at_registration():
    app = Spikard()
    with pytest.raises(RegistrationError, match="socket"):

        @app.get("/")
        async def handler(socket: WebSocket) -> None: ...


def test_messages_before_accept_are_a_mistake_of_the_handler(door, caplog):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.send_text("early")

    assert talk(app, door, "/") == [("reject", 500)]
    assert "connecting" in caplog.text
