"""WebSocket routes of a Spikard application behind our server and behind another ASGI server."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from msgspec import Meta, Struct
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from spikard import (
    HTTPException,
    Path,
    Provide,
    Query,
    Request,
    Response,
    Spikard,
    WebSocket,
    WebSocketDisconnect,
)
from spikard.config import ApiKeyConfig, RateLimitConfig, ServerConfig
from spikard.testing import serve_in_thread

PATIENCE = 10  # seconds, for anything that should happen at all


def hosted(app: Spikard):
    """Return the application as another ASGI server would see it."""

    async def asgi(scope, receive, send) -> None:
        await app(scope, receive, send)

    return asgi


@pytest.fixture(params=["server", "host"])
def served(request):
    """Serve applications: `served(app)` returns a URL that stands until the test's end."""
    with ExitStack() as stack:

        def serve(app: Spikard) -> str:
            if request.param == "server":
                return stack.enter_context(serve_in_thread(app, config=app.config))
            return stack.enter_context(serve_in_thread(hosted(app)))

        yield serve


def client(url: str, path: str = "/", **options):
    url = url.replace("http://", "ws://", 1) + path
    return connect(url, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)


def refusal(url: str, path: str = "/", **options):
    with pytest.raises(InvalidStatus) as refused, client(url, path, **options):
        pass
    return refused.value.response


def close_code(peer) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        peer.recv(PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


class Move(Struct):
    x: Annotated[int, Meta(ge=0)]


def test_messages_are_answered_with_what_the_handler_returns(served):
    app = Spikard()

    @app.websocket("/chat")
    async def chat(message: dict[str, Any]) -> dict[str, Any] | None:
        return {"echo": message} if message else None

    with client(served(app), "/chat") as peer:
        for said, heard in (
            ('{"a": 1}', '{"echo":{"a":1}}'),
            ("nonsense", '{"message":"Invalid JSON","type":"error"}'),
            (b'{"b": 2}', '{"echo":{"b":2}}'),
        ):
            peer.send("{}")
            peer.send(said)
            assert peer.recv(PATIENCE) == heard


def test_typed_messages_parameters_and_dependencies(served):
    app = Spikard()
    made = []
    closed = threading.Event()

    async def session():
        made.append("open")
        yield "s"
        made.append("close")
        closed.set()

    app.provide("session", Provide(session))

    @app.websocket("/rooms/{room}")
    async def play(room: Path[int], message: Move, session, *, q: Query[int] = Query(1)) -> Any:  # noqa: B008
        return [room, message.x, session, q]

    url = served(app)
    with client(url, "/rooms/7?q=3") as peer:
        peer.send('{"x": 1}')
        assert peer.recv(PATIENCE) == '[7,1,"s",3]'
        peer.send('{"x": -1}')
        assert '"loc":["message","x"]' in peer.recv(PATIENCE)
    assert closed.wait(PATIENCE)
    assert made == ["open", "close"]
    refused = refusal(url, "/rooms/x?q=y")
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"


def test_slow_handler_delays_nobody_else(served):
    app = Spikard()
    go = threading.Event()

    @app.websocket("/")
    async def handler(message: str) -> str:
        if message == "slow":
            await asyncio.to_thread(go.wait, PATIENCE)
        return message

    url = served(app)
    with client(url) as slow, client(url) as quick:
        slow.send('"slow"')
        quick.send('"quick"')
        assert quick.recv(PATIENCE) == '"quick"'
        go.set()
        assert slow.recv(PATIENCE) == '"slow"'


def test_exception_closes_1011_and_is_logged(served, caplog):
    app = Spikard()

    @app.websocket("/")
    async def handler(message: Any) -> None:
        raise ValueError("the reason")

    url = served(app)
    with client(url) as peer:
        peer.send("1")
        assert close_code(peer) == 1011
    assert "the reason" in caplog.text
    caplog.clear()


def test_full_duplex_style_holds_the_connection(served):
    app = Spikard()
    ended = []
    done = threading.Event()

    @app.websocket("/{name}")
    async def handler(socket: WebSocket, name: Path[str]) -> None:
        await socket.accept("chat", [(b"x-name", name.encode())])
        await socket.send_json({"hello": name})
        assert await socket.receive_text() == "text"
        assert await socket.receive_bytes() == b"bytes"
        assert await socket.receive_json() == {"a": 1}
        async for text in socket.iter_text():
            await socket.send_bytes(text.encode())
        try:
            await socket.receive()
        except RuntimeError as error:
            ended.append(str(error))
        done.set()

    with client(served(app), "/bob", subprotocols=["talk", "chat"]) as peer:
        assert peer.subprotocol == "chat"
        assert peer.response.headers["x-name"] == "bob"
        assert peer.recv(PATIENCE) == '{"hello":"bob"}'
        for message in ("text", b"bytes", '{"a": 1}', "x"):
            peer.send(message)
        assert peer.recv(PATIENCE) == b"x"
    assert done.wait(PATIENCE)
    assert ended == ["cannot receive: the WebSocket is closed"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), (1000, "")), ((4001, "enough"), (4001, "enough"))],
)
def test_handler_closes(served, arguments, expected):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(*arguments)

    with client(served(app)) as peer:
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == expected


@pytest.mark.parametrize("way", ["close", "reject", "response", "exception", "nothing"])
def test_handshake_is_refused(served, way):
    app = Spikard()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        if way == "close":
            await socket.close()
        elif way == "reject":
            await socket.reject()
        elif way == "response":
            response = Response(b"pay first", 402)
            response.headers["x-price"] = "1"
            await socket.reject(response)
        elif way == "exception":
            raise HTTPException(418)

    response = refusal(served(app))
    assert response.status_code == {"response": 402, "exception": 418}.get(way, 403)
    assert response.headers["x-request-id"]
    if way == "response":
        assert (response.body, response.headers["x-price"]) == (b"pay first", "1")


def test_disconnect_carries_code_and_reason(served):
    app = Spikard()
    seen = []
    done = threading.Event()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await socket.receive()
        except WebSocketDisconnect as error:
            seen.append((error.code, error.reason))
        done.set()

    with client(served(app)) as peer:
        peer.close(4000, "bye")
    assert done.wait(PATIENCE)
    assert seen == [(4000, "bye")]


def test_handler_that_does_not_listen_is_cancelled_when_the_peer_goes():
    app = Spikard()
    cancelled = threading.Event()

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("ready")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with serve_in_thread(app, config=app.config) as url:
        with client(url) as peer:
            assert peer.recv(PATIENCE) == "ready"
        assert cancelled.wait(PATIENCE)


def test_websocket_and_get_share_a_path(served):
    app = Spikard()

    @app.get("/")
    async def page() -> str:
        return "page"

    @app.websocket("/")
    async def handler(message: Any) -> Any:
        return message

    @app.websocket("/only")
    async def only(message: Any) -> Any:
        return message

    @app.get("/page")
    async def other() -> str:
        return "other"

    url = served(app)
    assert httpx.get(url, timeout=PATIENCE).json() == "page"
    assert httpx.get(f"{url}/only", timeout=PATIENCE).status_code == 404
    assert refusal(url, "/page").status_code == 200
    assert refusal(url, "/nothing").status_code == 404
    with client(url) as peer:
        peer.send("[1]")
        assert peer.recv(PATIENCE) == "[1]"


def test_policies_come_before_the_upgrade(served):
    config = ServerConfig(
        api_key_auth=ApiKeyConfig(keys=["secret-key-of-mine"]),
        rate_limit=RateLimitConfig(per_second=1, burst=3),
    )
    app = Spikard(config=config)
    called = []

    @app.websocket("/")
    async def handler(socket: WebSocket) -> None:
        called.append(1)
        await socket.accept()

    url = served(app)
    assert refusal(url).status_code == 401
    assert refusal(url, additional_headers={"x-api-key": "wrong"}).status_code == 401
    assert not called
    with client(url, additional_headers={"x-api-key": "secret-key-of-mine"}) as peer:
        assert peer.response.headers["x-request-id"]
        assert close_code(peer) == 1000
    assert refusal(url).status_code == 429


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, None, 101),
        (None, "http://evil.example", 403),
        (None, "null", 403),
        (["https://friend.example"], "https://friend.example", 101),
        (["https://friend.example"], "http://friend.example", 403),
        (["*"], "http://evil.example", 101),
    ],
)
def test_foreign_origin_is_refused(served, origins, origin, status):
    app = Spikard(config=ServerConfig(ws_allowed_origins=origins))

    @app.websocket("/")
    async def handler(message: Any) -> Any: ...

    url = served(app)
    if status == 403:
        assert refusal(url, origin=origin).status_code == 403
    else:
        with client(url, origin=origin) as peer:
            assert peer.response.status_code == 101


def test_own_origin_is_allowed(served):
    app = Spikard()

    @app.websocket("/")
    async def handler(message: Any) -> Any: ...

    url = served(app)
    with client(url, origin=url) as peer:
        assert peer.response.status_code == 101


def test_hooks_run_around_the_handshake(served):
    app = Spikard()

    @app.on_request
    async def gate(request: Request) -> Any:
        if request.headers.get("x-gate") == "shut":
            return Response(b"shut", 423)
        return None

    @app.on_response
    async def sign(request: Request, response: Response) -> Response:
        response.headers["x-signed"] = "yes"
        return response

    @app.websocket("/{name}")
    async def handler(message: Any, name: Path[str]) -> Any:
        return [name, message]

    url = served(app)
    with client(url, "/bob") as peer:
        peer.send("1")
        assert peer.recv(PATIENCE) == '["bob",1]'
    response = refusal(url, "/bob", additional_headers={"x-gate": "shut"})
    assert (response.status_code, response.headers["x-signed"]) == (423, "yes")
    assert refusal(url, "/").status_code == 404


def test_mounted_application_gets_its_websockets():
    app = Spikard()

    async def mounted(scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": f"{scope['root_path']} {scope['path']}"})

    app.mount("/inner", mounted)
    with serve_in_thread(app, config=app.config) as url:
        with client(url, "/inner/x") as peer:
            assert peer.recv(PATIENCE) == "/inner /inner/x"
            assert peer.response.headers["x-request-id"]
        assert refusal(url, "/inner/x", origin="http://evil.example").status_code == 403


@contextmanager
def under_uvicorn(app: Spikard):
    """Serve on uvicorn in a thread; yield the URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def test_websockets_work_under_uvicorn():
    app = Spikard()

    @app.websocket("/{name}")
    async def handler(message: Any, name: Path[int]) -> Any:
        return [name, message]

    with under_uvicorn(app) as url:
        with client(url, "/7") as peer:
            peer.send("1")
            assert peer.recv(PATIENCE) == "[7,1]"
        assert refusal(url, "/bob").status_code == 422
        assert refusal(url, "/7", origin="http://evil.example").status_code == 403


def test_server_that_stops_says_so_to_its_sockets():
    app = Spikard()

    @app.websocket("/")
    async def handler(message: Any) -> Any: ...

    with ExitStack() as stack:
        url = stack.enter_context(serve_in_thread(app, config=app.config))
        with client(url) as peer:
            stack.close()
            assert close_code(peer) == 1001
