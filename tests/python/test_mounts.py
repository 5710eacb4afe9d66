"""Mounted ASGI applications: paths, policies, hooks, lifespans, behind every door."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import threading
import time
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
import websockets.sync.client
from fastapi import FastAPI, WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from tests.python.doors import DOORS, PATIENCE, in_process, our_server, under_uvicorn
from websockets import Subprotocol

from spikard import PlainTextResponse, Request, Response, Spikard, _mounts, wsgi
from spikard.config import ApiKeyConfig, CompressionConfig, JwtConfig, ServerConfig
from spikard.exceptions import RegistrationError, RouteError
from spikard.testing import TestClient, serve_in_thread
from spikard_asgi.lifespan import LifespanFailed

every_door = pytest.mark.parametrize("door", DOORS)


async def shown(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the scope as JSON."""
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    names = ("path", "root_path", "method", "query_string")
    body = {name: scope[name] for name in names}
    body["raw_path"] = scope["raw_path"].decode()
    body["query_string"] = scope["query_string"].decode()
    body["headers"] = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    body["state"] = {name: str(value) for name, value in scope.get("state", {}).items()}
    await answered(send, json.dumps(body).encode())


async def answered(send: Any, body: bytes, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_hook(app: Spikard) -> Spikard:
    """Have mounts on our server take the door in Python."""

    @app.on_request
    async def nothing(request: Request) -> None: ...

    return app


def unchanged(app: Spikard) -> Spikard:
    return app


every_way = pytest.mark.parametrize("way", [unchanged, with_hook], ids=["plain", "hooked"])


@every_way
@every_door
def test_mount_takes_paths_at_segment_boundaries_and_keeps_the_whole_path(door, way):
    app = way(Spikard())
    app.mount("/old", shown)

    @app.get("/old/new")
    async def new() -> str:
        return "new"

    with door(app) as client:
        for target in ("/old", "/old/", "/old/a/b"):
            seen = client.get(target).json()
            assert (seen["path"], seen["root_path"]) == (target, "/old")
        seen = client.get("/old/caf%C3%A9%2Fx?q=%20").json()
        assert seen["path"] == "/old/café/x"
        assert seen["raw_path"] == "/old/caf%C3%A9%2Fx"
        assert seen["query_string"] == "q=%20"
        assert client.get("/old/new").json() == "new"
        assert client.get("/older").status_code == 404
        assert client.post("/old/new").status_code == 405


@every_way
@every_door
def test_fallback_takes_what_no_route_takes_and_405_stays_ours(door, way):
    app = way(Spikard())
    app.fallback(shown)
    app.mount("/inner", shown)

    @app.get("/own")
    async def own() -> str:
        return "own"

    with door(app) as client:
        assert client.get("/own").json() == "own"
        refused = client.post("/own")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
        seen = client.get("/other").json()
        assert (seen["path"], seen["root_path"]) == ("/other", "")
        assert client.get("/inner/x").json()["root_path"] == "/inner"


@every_way
@every_door
def test_starlette_mounts_inside_a_mount_find_their_routes(door, way):
    async def where(request: Any) -> JSONResponse:
        return JSONResponse(
            {"root_path": request.scope["root_path"], "url": str(request.url_for("where", n=1))}
        )

    inner = Starlette(routes=[Mount("/deep", routes=[Route("/{n}", where, name="inner")])])
    outer = Starlette(routes=[Mount("/in", app=inner), Route("/{n}", where, name="where")])
    app = way(Spikard())
    app.mount("/old", outer)
    with door(app) as client:
        found = client.get("/old/in/deep/7").json()
        assert found["root_path"] == "/old/in/deep"
        assert client.get("/old/7").json()["url"].endswith("/old/1")


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
@every_way
def test_root_path_of_the_server_stands_before_the_mounts(door, way):
    app = way(Spikard())
    app.mount("/old", shown)
    if door is our_server:
        opened = our_server(app, ServerConfig(root_path="/api"))
    else:
        opened = under_uvicorn(app, root_path="/api")
    with opened as client:
        seen = client.get("/old/x").json()
    assert seen["root_path"] == "/api/old"
    assert seen["path"] == "/api/old/x"
    assert seen["raw_path"] == "/api/old/x"


@every_door
@every_way
def test_configured_root_path_is_cut_off_and_stands_before_the_mounts(door, way):
    app = way(Spikard())

    @app.get("/own")
    async def own(request: Request) -> list[str]:
        return [request.root_path, request.path]

    app.mount("/old", shown)
    with door(app, ServerConfig(root_path="/api")) as client:
        # Behind a proxy that has cut it off, and behind one that has not.
        for prefix in ("", "/api"):
            assert client.get(f"{prefix}/own").json() == ["/api", "/own"]
            seen = client.get(f"{prefix}/old/x").json()
            assert seen["root_path"] == "/api/old"
            assert seen["path"] == seen["raw_path"] == "/api/old/x"
        assert client.get("/apix/own").status_code == 404


@every_door
def test_spikard_application_inside_another(door):
    inner = Spikard()

    @inner.get("/users/{id:int}")
    async def user(id: int, request: Request) -> Any:  # noqa: A002
        return [id, request.root_path, request.url_for("user", id=id)]

    middle, app = Spikard(), Spikard()
    middle.mount("/middle", inner)
    app.mount("/outer", middle)
    with door(app) as client:
        number, root_path, url = client.get("/outer/middle/users/3").json()
        assert (number, root_path) == (3, "/outer/middle")
        assert url.endswith("/outer/middle/users/3")
        missing = client.get("/outer/middle/users/x")
        assert missing.status_code == 422


@every_way
@every_door
def test_streams_pass_through_in_both_directions(door, way):
    async def double(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            event = await receive()
            more = event["more_body"]
            body = event["body"] * 2
            await send({"type": "http.response.body", "body": body, "more_body": more})

    app = way(Spikard())
    app.mount("/old", double)
    body = bytes(range(256)) * 1024
    with door(app) as client:
        answer = client.post("/old/double", content=body)
    assert len(answer.content) == 2 * len(body)
    assert sorted(answer.content) == sorted(body * 2)


@every_way
@every_door
def test_responses_of_mounts_are_compressed_and_streams_too(door, way):
    text = "text " * 4000

    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain")]
        if scope["path"].endswith("whole"):
            headers.append((b"content-length", b"%d" % len(text)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"].endswith("stream"):
            for start in range(0, len(text), 1000):
                chunk = text[start : start + 1000].encode()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": text.encode()})

    app = way(Spikard())
    app.mount("/page", page)
    app.mount("/plain", page, compress=False)
    config = ServerConfig(compression=CompressionConfig(brotli=False, zstd=False))
    with door(app, config) as client:
        for target in ("/page/whole", "/page/bare", "/page/stream"):
            answer = client.get(target, headers={"accept-encoding": "gzip"})
            assert answer.headers["content-encoding"] == "gzip", target
            if door is not in_process:  # whose client leaves bodies as they are
                assert answer.text == text
        plain = client.get("/plain/whole", headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["content-length"] == str(len(text))


@every_way
@every_door
def test_policies_stand_in_front_of_mounts(door, way):
    app = way(Spikard())
    app.mount("/closed", shown)
    app.mount("/open", shown, require_auth=False)
    config = ServerConfig(api_key_auth=ApiKeyConfig(keys=["right"]))
    with door(app, config) as client:
        assert client.get("/closed").status_code == 401
        answer = client.get("/closed", headers={"x-api-key": "right"})
        assert answer.status_code == 200
        fields = dict(map(tuple, answer.json()["headers"]))
        assert fields["x-request-id"] == answer.headers["x-request-id"]
        assert client.get("/open").status_code == 200


@every_way
@every_door
def test_body_of_a_mount_is_limited_and_a_mount_may_lift_the_limit(door, way):
    heard: list[str] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        length = 0
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                heard.append(event["type"])
                return
            length += len(event["body"])
            if not event["more_body"]:
                await answered(send, b"%d" % length)
                return

    app = way(Spikard())
    app.mount("/old", reading)
    app.mount("/large", reading, max_body_size=None)

    def chunks() -> Any:
        yield from [b"x" * 1000] * 5

    with door(app, ServerConfig(max_body_size=3000)) as client:
        assert client.post("/old", content=b"x" * 3000).json() == 3000
        assert client.post("/old", content=b"x" * 3001).status_code == 413
        assert heard == []  # a declared length is enough to refuse
        assert client.post("/old", content=chunks()).status_code == 413
        assert heard == ["http.disconnect"]
        assert client.post("/large", content=chunks()).json() == 5000


@every_way
@every_door
def test_mount_that_does_not_answer_in_time_is_408(door, way):
    cancelled: list[str] = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.append(scope["path"])

    app = way(Spikard())
    app.mount("/old", waiting, request_timeout=0.05)
    with door(app) as client:
        assert client.get("/old").status_code == 408
    assert cancelled == ["/old"]


@every_way
@every_door
@pytest.mark.parametrize("kind", ["raises", "returns"])
def test_mount_that_fails_is_a_500_without_its_text(door, way, kind, caplog):
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if kind == "raises":
            raise ValueError("a secret")

    app = way(Spikard())
    app.mount("/old", failing)
    with caplog.at_level(logging.ERROR, "spikard.error"), door(app) as client:
        answer = client.get("/old")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"secret" not in answer.content
    errors = [record for record in caplog.records if record.name == "spikard.error"]
    assert len(errors) == 1  # once, whoever hears of it besides
    if kind == "raises":
        assert errors[0].exc_info[1].args == ("a secret",)


@every_way
@every_door
def test_claims_of_the_token_are_in_the_state_of_a_mount(door, way):
    app = way(Spikard())
    app.mount("/old", shown)
    secret = "a secret that is long enough for HS256"
    with door(app, ServerConfig(jwt_auth=JwtConfig(secret=secret))) as client:
        assert client.get("/old").status_code == 401
        token = signed({"sub": "a", "exp": int(time.time()) + 60}, secret)
        seen = client.get("/old", headers={"authorization": f"Bearer {token}"}).json()
    assert "'sub': 'a'" in seen["state"]["claims"]


def signed(claims: dict[str, Any], secret: str) -> str:
    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.digest(secret.encode(), text, "sha256"))).decode()


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
def test_place_of_a_mount_is_free_once_its_head_is_out(door):
    app = with_hook(Spikard())
    begun = threading.Event()

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            begun.set()
            await asyncio.to_thread(told.wait, PATIENCE)
            await send({"type": "http.response.body", "body": b"y"})

    told = threading.Event()
    app.mount("/stream", streaming)
    app.mount("/other", shown)
    config = ServerConfig(max_concurrency=1, max_queue=0)
    with door(app, config) as client, client.stream("GET", "/stream") as answer:
        assert begun.wait(PATIENCE)
        assert client.get("/other").status_code == 200
        told.set()
        assert answer.read() == b"xy"


@every_door
def test_hooks_stand_around_mounts(door):
    app = Spikard()
    app.mount("/old", shown)
    seen: list[Any] = []

    @app.on_request
    async def change(request: Request) -> Any:
        request.headers["x-hook"] = "1"
        request.state.hooked = "yes"
        return request

    @app.on_request
    def stop(request: Request) -> Any:
        return PlainTextResponse("stopped", 418) if request.path == "/old/stop" else None

    @app.on_response
    async def mark(request: Request, response: Response) -> Any:
        seen.append((request.path, response.status_code))
        response.headers["x-marked"] = "1"
        if request.path == "/old/replaced":
            return PlainTextResponse("replaced", 202)
        return None

    with door(app) as client:
        answer = client.get("/old/x")
        fields = dict(map(tuple, answer.json()["headers"]))
        assert fields["x-hook"] == "1"
        assert answer.json()["state"]["hooked"] == "yes"
        assert answer.headers["x-marked"] == "1"
        assert client.get("/old/stop").status_code == 418
        replaced = client.get("/old/replaced")
        assert (replaced.status_code, replaced.text) == (202, "replaced")
        assert client.get("/nothing").headers["x-marked"] == "1"
    assert seen == [
        ("/old/x", 200),
        ("/old/stop", 418),
        ("/old/replaced", 200),
        ("/nothing", 404),
    ]


@every_door
def test_on_error_and_exception_handlers_hear_of_a_mount(door):
    app = Spikard()
    seen: list[str] = []

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise (LookupError if scope["path"].endswith("lookup") else ValueError)("text")

    app.mount("/old", failing)

    @app.on_error
    async def note(request: Request, error: Exception) -> None:
        seen.append(f"{request.path} {type(error).__name__}")

    @app.exception_handler(LookupError)
    async def not_found(request: Request, error: LookupError) -> Response:
        return PlainTextResponse("not there", 404)

    with door(app) as client:
        assert client.get("/old/lookup").text == "not there"
        assert client.get("/old/value").status_code == 500
    assert seen == ["/old/lookup LookupError", "/old/value ValueError"]


@every_door
def test_hook_that_reads_the_body_leaves_it_to_the_mount(door):
    app = Spikard()

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        await answered(send, event["body"])

    app.mount("/old", echo)
    seen: list[bytes] = []

    @app.on_request
    async def read(request: Request) -> None:
        seen.append(await request.body())

    with door(app) as client:
        assert client.post("/old", content=b'"body"').json() == "body"
    assert seen == [b'"body"']


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
@every_way
def test_client_that_goes_is_a_disconnect_in_the_mount(door, way):
    gone: list[str] = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/old/wait":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.append("disconnect")
            told.set()
        else:
            await asyncio.wait_for(told.wait(), PATIENCE)
            await answered(send, b"1")

    told = asyncio.Event()
    app = way(Spikard())
    app.mount("/old", waiting)
    with door(app) as client:
        with client.stream("GET", "/old/wait") as answer:
            assert next(answer.iter_raw()) == b"begun"
        assert client.get("/old/told").json() == 1
    assert gone == ["disconnect"]


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
@every_way
def test_websockets_reach_mounts_with_policies_before_them(door, way):
    inner = FastAPI()

    @inner.websocket("/chat/{room}")
    async def chat(socket: FastAPIWebSocket, room: str) -> None:
        await socket.accept(headers=[(b"x-own", b"1")], subprotocol="b")
        async for text in socket.iter_text():
            await socket.send_text(f"{room}: {text}")

    app = way(Spikard())
    app.mount("/old", inner)
    config = ServerConfig(headers=[("x-policy", "1")], api_key_auth=ApiKeyConfig(keys=["right"]))
    with door(app, config) as client:
        url = str(client.base_url).replace("http", "ws") + "/old/chat/7"
        with pytest.raises(websockets.InvalidStatus) as refused:
            websockets.sync.client.connect(url)
        assert refused.value.response.status_code == 401
        with websockets.sync.client.connect(
            url,
            additional_headers={"x-api-key": "right"},
            subprotocols=[Subprotocol("a"), Subprotocol("b")],
        ) as socket:
            assert socket.response is not None
            assert socket.response.headers["x-policy"] == "1"
            assert socket.response.headers["x-own"] == "1"
            assert socket.subprotocol == "b"
            socket.send("hello")
            assert socket.recv() == "7: hello"


@every_way
def test_websocket_of_a_mount_in_process(way):
    inner = FastAPI()

    @inner.websocket("/echo")
    async def echo(socket: FastAPIWebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close(4000, "enough")

    app = way(Spikard())
    app.fallback(inner)
    with TestClient(app) as client, client.websocket("/echo") as socket:
        socket.send("hello")
        assert socket.receive() == "hello"


def test_early_hints_and_trailers_pass_through(caplog):
    async def hinting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        names = sorted(scope["extensions"])
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        start = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-t")]}
        await send({**start, "trailers": True})
        await send({"type": "http.response.body", "body": json.dumps(names).encode()})
        await send({"type": "http.response.trailers", "headers": [(b"x-t", b"1")]})

    for way in (unchanged, with_hook):
        app = way(Spikard())
        app.mount("/old", hinting)
        with serve_in_thread(app) as url:
            host, port = url.removeprefix("http://").split(":")
            raw = exchange(host, int(port), b"GET /old HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n")
        assert b"HTTP/1.1 103" in raw
        assert b'"http.response.early_hint"' in raw
        assert b'"http.response.trailers"' in raw
        assert b"x-t: 1\r\n" in raw
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def exchange(host: str, port: int, request: bytes) -> bytes:
    import socket

    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        raw = b""
        while b"0\r\n" not in raw or not raw.endswith(b"\r\n\r\n"):
            part = connection.recv(65536)
            if not part:
                break
            raw += part
        return raw


# Lifespans


def noted(events: list[str], name: str, **state: Any) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        events.append(f"{name} starts")
        yield state
        events.append(f"{name} stops")

    async def shown_state(request: Any) -> JSONResponse:
        return JSONResponse(dict(request.state._state))

    return Starlette(lifespan=lifespan, routes=[Route("/state", shown_state)])


@every_way
@every_door
def test_lifespans_of_mounts_run_inside_and_their_state_is_over_the_parents(door, way):
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Spikard) -> Any:
        events.append("parent starts")
        yield {"shared": "parent", "own": "parent"}
        events.append("parent stops")

    app = way(Spikard(lifespan=lifespan))
    a, b = noted(events, "a", own="a", a=1), noted(events, "b", own="b")
    app.mount("/a", a)
    app.mount("/without", shown)
    app.mount("/b", b)
    app.fallback(a)  # the same application twice starts once

    @app.get("/own")
    async def own(request: Request) -> Any:
        return [request.state.shared, request.state.own]

    with door(app) as client:
        assert events == ["parent starts", "a starts", "b starts"]
        assert client.get("/a/state").json() == {"shared": "parent", "own": "a", "a": 1}
        assert client.get("/b/state").json() == {"shared": "parent", "own": "b"}
        assert client.get("/state").json() == {"shared": "parent", "own": "a", "a": 1}
        assert client.get("/without").json()["state"] == {"shared": "parent", "own": "parent"}
        assert client.get("/own").json() == ["parent", "parent"]
    assert events[3:] == ["b stops", "a stops", "parent stops"]


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_mount_that_refuses_to_start_stops_the_start_and_those_before_it():
    events: list[str] = []
    app = Spikard()
    app.mount("/a", noted(events, "a"))
    app.mount("/old", refusing)
    app.mount("/b", noted(events, "b"))
    with pytest.raises(LifespanFailed), serve_in_thread(app):
        pass
    assert events == ["a starts", "a stops"]
    with pytest.raises(LifespanFailed, match="mount '/old': no database"), TestClient(app):
        pass


def test_mount_that_hangs_at_its_start_is_given_up(monkeypatch):
    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(_mounts, "START_SECONDS", 0.05)
    app = Spikard()
    app.mount("/old", hanging)
    with pytest.raises(LifespanFailed, match="did not start within"), TestClient(app):
        pass


def test_mount_that_hangs_or_fails_at_its_end_leaves_the_others_theirs(monkeypatch, caplog):
    events: list[str] = []

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.get_running_loop().create_future()

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "cannot flush"})

    monkeypatch.setattr(_mounts, "STOP_SECONDS", 0.05)
    app = Spikard()
    app.mount("/a", noted(events, "a"))
    app.mount("/hanging", hanging)
    app.mount("/failing", failing)
    with pytest.raises(LifespanFailed, match="mount '/failing': cannot flush"), TestClient(app):
        pass
    assert events == ["a starts", "a stops"]
    assert "mount '/hanging': its shutdown took longer" in caplog.text


def test_hosted_application_starts_before_its_first_request_and_once():
    events: list[str] = []

    async def run() -> None:
        app = Spikard()
        app.mount("/old", noted(events, "mount"))

        @app.on_startup
        async def start() -> None:
            events.append("starts")
            await asyncio.sleep(0)  # the others arrive meanwhile

        @app.on_shutdown
        async def stop() -> None:
            events.append("stops")

        @app.get("/")
        async def index() -> str:
            return "here"

        parent = Starlette(routes=[Mount("/sub", app=app)])
        transport = httpx.ASGITransport(parent)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            answers = await asyncio.gather(*(client.get("/sub/") for _ in range(5)))
        assert [answer.json() for answer in answers] == ["here"] * 5
        assert events == ["starts", "mount starts"]

    asyncio.run(run())
    # `asyncio.run` cancels what is left, as hosts do at their end.
    assert events == ["starts", "mount starts", "mount stops", "stops"]


def test_start_on_first_use_that_fails_is_tried_again():
    failures = [RuntimeError("not yet")]

    async def run() -> None:
        app = Spikard()

        @app.on_startup
        async def start() -> None:
            if failures:
                raise failures.pop()

        @app.get("/")
        async def index() -> str:
            return "here"

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            with pytest.raises(RuntimeError, match="not yet"):
                await client.get("/")
            assert (await client.get("/")).json() == "here"

    asyncio.run(run())


def test_parent_may_enter_the_lifespan():
    events: list[str] = []

    async def run() -> None:
        app = Spikard()
        app.on_startup(lambda: events.append("starts"))
        app.on_shutdown(lambda: events.append("stops"))

        @app.get("/")
        async def index() -> str:
            return "here"

        transport = httpx.ASGITransport(app)
        async with (
            app.lifespan_context(),
            httpx.AsyncClient(transport=transport, base_url="http://a") as client,
        ):
            assert events == ["starts"]
            assert (await client.get("/")).json() == "here"
        assert events == ["starts", "stops"]

    asyncio.run(run())


# Registration


def test_mounts_are_checked_where_they_are_written():
    app = Spikard()
    app.mount("/old/", shown)
    with pytest.raises(RouteError, match="must start with '/'"):
        app.mount("old", shown)
    with pytest.raises(RouteError, match=r"app\.fallback"):
        app.mount("", shown)
    with pytest.raises(RouteError, match="'/old': this path has a mount already"):
        app.mount("/old", shown)
    with pytest.raises(RegistrationError, match="unknown option 'tags'"):
        app.mount("/other", shown, tags=["x"])  # type: ignore[call-arg]
    with pytest.raises(RegistrationError, match="expected an ASGI application, got int"):
        app.mount("/other", 7)
    app.fallback(shown)
    with pytest.raises(RouteError, match="has a mount already"):
        app.fallback(shown)


def test_nothing_can_be_mounted_once_the_application_runs():
    app = Spikard()
    with TestClient(app):
        with pytest.raises(RuntimeError, match="mount: the application is running"):
            app.mount("/old", shown)
        with pytest.raises(RuntimeError, match="fallback"):
            app.fallback(shown)
        with pytest.raises(RuntimeError, match="add_middleware"):
            app.add_middleware(Starlette)
    app.mount("/old", shown)


# WSGI


def legacy(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("a secret")
    body = environ["wsgi.input"].read()
    parts = [environ["REQUEST_METHOD"], environ["SCRIPT_NAME"], environ["PATH_INFO"]]
    shown = json.dumps([*parts, environ["QUERY_STRING"], body.decode()]).encode()
    start_response("201 Created", [("Content-Type", "application/json"), ("X-Own", "1")])
    return [shown[:5], shown[5:]]


@every_way
@every_door
def test_wsgi_application_below_a_mount(door, way):
    app = way(Spikard())
    app.mount("/old", wsgi(legacy, threads=2))
    with door(app) as client:
        answer = client.post("/old/a%20b?q=1", content=b"body")
        assert answer.status_code == 201
        assert answer.headers["x-own"] == "1"
        assert answer.json() == ["POST", "/old", "/a b", "q=1", "body"]
        failed = client.get("/old/fail")
        assert failed.status_code == 500
        assert b"secret" not in failed.content


def test_wsgi_application_without_its_wrapper_is_refused_with_advice():
    with pytest.raises(RegistrationError, match=r"spikard\.wsgi"):
        Spikard().mount("/old", legacy)
    with pytest.raises(RegistrationError, match=r"spikard\.wsgi"):
        Spikard().fallback(legacy)
    with pytest.raises(TypeError, match="expected a WSGI application, got int"):
        wsgi(7)
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        wsgi(legacy, threads=0)
