"""WebSockets of ASGI applications on the real server, driven by `websockets` and raw frames."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from spikard.config import ServerConfig
from spikard.testing import serve_in_thread

PATIENCE = 10  # seconds, for anything that should happen at all
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Application:
    """Runs `handler` for each WebSocket and keeps what it saw."""

    def __init__(self, handler) -> None:
        self.handler = handler
        self.scope = None
        self.seen: list[Any] = []
        self.done = threading.Event()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        self.scope = scope
        try:
            await self.handler(self, receive, send)
        finally:
            self.done.set()

    def wait(self) -> list[Any]:
        assert self.done.wait(PATIENCE)
        return self.seen


ACCEPT = {"type": "websocket.accept"}


async def echo(app, receive, send) -> None:
    app.seen.append(await receive())
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send(
            {"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")}
        )
    app.seen.append(event)


def served(handler, config: ServerConfig | None = None):
    app = Application(handler)
    return app, serve_in_thread(app, config=config or ServerConfig(lifespan="off"))


def ws(url: str) -> str:
    return url.replace("http://", "ws://", 1)


def client(url: str, path: str = "/", **options):
    return connect(ws(url) + path, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)


def taken(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was logged and forget it: exceptions hold frames of the server's thread."""
    text = caplog.text
    caplog.clear()
    return text


def raw(url: str, path: str = "/") -> tuple[socket.socket, bytes]:
    """Return a connection after its handshake, and the head of the answer."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), PATIENCE)
    connection.sendall(HANDSHAKE.format(path=path).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    return connection, head


def frame(opcode: int, payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def test_messages_of_both_kinds_and_any_size_are_echoed():
    app, serving = served(echo)
    big = os.urandom(3 << 20)
    with serving as url, client(url, max_size=None) as peer:
        for message in ("text", "é" * 40_000, b"", b"\x00\xff", big):
            peer.send(message)
            assert peer.recv(PATIENCE) == message
        peer.close(4000, "bye")
        first, last = app.wait()
    assert first == {"type": "websocket.connect"}
    assert last == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}


def test_scope_is_that_of_the_handshake():
    app, serving = served(echo)
    with serving as url:
        with client(url, "/a%2Fb?q=%20", subprotocols=["one", "two"], origin="http://x") as peer:
            assert peer.subprotocol is None
        app.wait()
    scope = app.scope
    assert scope["type"] == "websocket"
    assert (scope["scheme"], scope["http_version"]) == ("ws", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/a/b", b"/a%2Fb")
    assert (scope["query_string"], scope["root_path"]) == (b"q=%20", "")
    assert scope["subprotocols"] == ["one", "two"]
    assert (b"origin", b"http://x") in scope["headers"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope


def test_accept_chooses_a_subprotocol_and_adds_headers():
    async def handler(app, receive, send) -> None:
        await receive()
        with pytest.raises(RuntimeError, match="offers"):
            await send({**ACCEPT, "subprotocol": "three"})
        headers = [(b"x-a", b"1"), (b"x-a", b"2")]
        await send({**ACCEPT, "subprotocol": "two", "headers": headers})

    app, serving = served(handler)
    with serving as url, client(url, subprotocols=["one", "two"]) as peer:
        assert peer.subprotocol == "two"
        assert peer.response.headers.get_all("x-a") == ["1", "2"]
        app.wait()


@pytest.mark.parametrize(
    ("raises", "code"), [(False, 1000), (True, 1011)], ids=["returns", "raises"]
)
def test_application_that_ends_closes_its_socket(raises, code, caplog):
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        if raises:
            raise ValueError("the secret reason")

    _, serving = served(handler)
    with serving as url, client(url) as peer:
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "")
        assert ("the secret reason" in taken(caplog)) == raises


@pytest.mark.parametrize("ending", ["returns", "raises", "closes"])
def test_application_that_ends_before_it_accepts_refuses(ending, caplog):
    async def handler(app, receive, send) -> None:
        await receive()
        if ending == "raises":
            raise ValueError("no")
        if ending == "closes":
            await send({"type": "websocket.close"})
            assert (await receive())["type"] == "websocket.disconnect"

    _, serving = served(handler)
    with serving as url:
        with pytest.raises(InvalidStatus) as refused, client(url):
            pass
        assert refused.value.response.status_code == (403 if ending == "closes" else 500)
        assert bool(taken(caplog)) == (ending != "closes")


@pytest.mark.parametrize("pieces", [[b"no"], [b"not ", b"for ", b"you"]], ids=["whole", "streamed"])
def test_handshake_is_denied_with_a_response(pieces):
    async def handler(app, receive, send) -> None:
        await receive()
        headers = [(b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2")]
        start = {"type": "websocket.http.response.start", "status": 401, "headers": headers}
        await send(start)
        for piece in pieces:
            more = piece is not pieces[-1]
            event = {"type": "websocket.http.response.body", "body": piece, "more_body": more}
            await send(event)

    _, serving = served(handler)
    with serving as url, pytest.raises(InvalidStatus) as refused, client(url):
        pass
    response = refused.value.response
    assert (response.status_code, response.body) == (401, b"".join(pieces))
    assert response.headers.get_all("x-a") == ["1", "2"]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "websocket.send"}, RuntimeError),
        ({"type": "websocket.send", "text": "a", "bytes": b"a"}, RuntimeError),
        ({"type": "websocket.send", "text": b"a"}, TypeError),
        ({"type": "websocket.send", "bytes": "a"}, TypeError),
        ({"type": "websocket.close", "code": 1005}, RuntimeError),
        ({"type": "websocket.close", "code": "1000"}, TypeError),
        ({"type": "websocket.close", "reason": "x" * 124}, RuntimeError),
        ({"type": "websocket.accept"}, RuntimeError),
        ({"type": "websocket.http.response.start", "status": 200}, RuntimeError),
        ({"type": "http.response.start", "status": 200}, ValueError),
        ("websocket.send", TypeError),
    ],
)
def test_event_that_is_wrong_raises_and_changes_nothing(event, error):
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        with pytest.raises(error):
            await send(event)
        await send({"type": "websocket.send", "text": "still open"})

    _, serving = served(handler)
    with serving as url, client(url) as peer:
        assert peer.recv(PATIENCE) == "still open"


@pytest.mark.parametrize(
    ("leave", "code"),
    [(frame(8, b"\x03\xe8"), 1000), (frame(8, b""), 1005), (b"", 1006)],
    ids=["close 1000", "close without a code", "lost"],
)
def test_send_after_the_peer_has_gone_is_an_os_error_and_no_log_line(leave, code, caplog):
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        app.seen.append((await receive())["code"])
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            app.seen.append(type(error).__name__)
            raise

    app, serving = served(handler)
    with serving as url:
        connection, _ = raw(url)
        with connection:
            connection.sendall(leave)
            if not leave:
                connection.close()
            assert app.wait() == [code, "ClientDisconnected"]
    assert not caplog.records


def test_send_waits_while_the_peer_does_not_read():
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        piece = {"type": "websocket.send", "bytes": bytes(65536)}
        for _ in range(1000):
            try:
                await asyncio.wait_for(send(piece), PATIENCE)
            except OSError:
                return
            app.seen.append(1)

    config = ServerConfig(lifespan="off", ws_write_buffer=65536, write_stall_timeout=0.2)
    app, serving = served(handler, config)
    with serving as url:
        connection, _ = raw(url)
        with connection:
            assert len(app.wait()) < 1000


def test_messages_sent_together_with_the_handshake_are_not_lost():
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        app.seen += [await receive(), await receive()]

    app, serving = served(handler)
    with serving as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
            request = HANDSHAKE.format(path="/").encode()
            connection.sendall(request + frame(1, b"early") + frame(8, b""))
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
    assert answer.endswith(b"\r\n\r\n\x88\x00")
    assert app.wait() == [
        {"type": "websocket.receive", "text": "early"},
        {"type": "websocket.disconnect", "code": 1005, "reason": ""},
    ]


def test_receive_is_cancelled_without_losing_a_message():
    async def handler(app, receive, send) -> None:
        await receive()
        await send(ACCEPT)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await send({"type": "websocket.send", "text": "go"})
        app.seen.append(await receive())

    app, serving = served(handler)
    with serving as url, client(url) as peer:
        assert peer.recv(PATIENCE) == "go"
        peer.send("kept")
        assert app.wait() == [{"type": "websocket.receive", "text": "kept"}]


def test_message_over_the_limit_closes_with_1009():
    app, serving = served(echo, ServerConfig(lifespan="off", ws_max_message_size=10))
    with serving as url, client(url) as peer:
        peer.send("x" * 11)
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert app.wait()[-1]["code"] == 1009


def test_server_that_stops_says_so_to_its_sockets():
    app, serving = served(echo)
    with ExitStack() as stack:
        url = stack.enter_context(serving)
        with client(url) as peer:
            stack.close()
            with pytest.raises(ConnectionClosed) as closed:
                peer.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert app.wait()[-1]["code"] == 1001


def test_upgrade_to_something_else_is_an_ordinary_request():
    requests = []

    async def app(scope, receive, send) -> None:
        requests.append(scope["type"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with serve_in_thread(app, config=ServerConfig(lifespan="off")) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
            request = HANDSHAKE.format(path="/").replace("Upgrade: websocket", "Upgrade: h2c")
            connection.sendall(request.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert requests == ["http"]


def test_starlette_application_talks_and_refuses():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import WebSocketRoute

    async def chat(socket) -> None:
        await socket.accept(subprotocol="chat")
        async for text in socket.iter_text():
            await socket.send_json({"said": text})

    async def closed(socket) -> None:
        await socket.send_denial_response(PlainTextResponse("members only", 402))

    app = Starlette(routes=[WebSocketRoute("/chat", chat), WebSocketRoute("/closed", closed)])
    with serve_in_thread(app) as url:
        with client(url, "/chat", subprotocols=["chat"]) as peer:
            peer.send("hello")
            assert peer.recv(PATIENCE) == '{"said":"hello"}'
        for path, status in (("/closed", 402), ("/nothing", 403)):
            with pytest.raises(InvalidStatus) as refused, client(url, path):
                pass
            assert refused.value.response.status_code == status


def test_fastapi_application_talks_with_parameters():
    from fastapi import FastAPI, WebSocket

    app = FastAPI()

    # FastAPI reads the annotations of a local function only when they are no strings.
    async def add(websocket, number, step=1):
        await websocket.accept()
        total = number
        async for _ in websocket.iter_bytes():
            total += step
            await websocket.send_bytes(str(total).encode())

    add.__annotations__ = {"websocket": WebSocket, "number": int, "step": int}
    app.websocket("/add/{number}")(add)
    with serve_in_thread(app) as url, client(url, "/add/40?step=2") as peer:
        peer.send(b"")
        assert peer.recv(PATIENCE) == b"42"
