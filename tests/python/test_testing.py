"""The test client: what it sends, what comes back, and the application's life around it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from msgspec import Struct

from spikard import (
    BackgroundTasks,
    Cookie,
    FileResponse,
    HTTPException,
    Query,
    RedirectResponse,
    Request,
    Response,
    ServerConfig,
    Spikard,
    StreamingResponse,
    TestClient,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from spikard.testing import TestResponse, WebSocketRejectedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


FORM = "application/x-www-form-urlencoded"


class Item(Struct):
    name: str
    price: float = 0.0


class Service:
    def __init__(self, name: str) -> None:
        self.name = name


def make_app() -> Spikard:
    app = Spikard(config=ServerConfig(max_body_size=100_000))
    app.provide(Service, lambda: Service("real"))

    @app.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
    async def echo(request: Request) -> dict[str, Any]:
        return {
            "method": request.method,
            "path": request.path,
            "query": request.query_params.multi_items(),
            "headers": dict(request.headers),
            "cookies": request.cookies,
            "body": (await request.body()).decode(),
        }

    @app.post("/items")
    async def create(item: Item) -> Item:
        return item

    @app.get("/service")
    async def service(service: Service) -> str:
        return service.name

    @app.get("/fails")
    async def fails() -> None:
        raise ValueError("inside")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    @app.get("/login")
    async def login() -> Response:
        response = Response(b"in")
        response.set_cookie("session", "s1")
        response.set_cookie("theme", "dark", path="/other")
        return response

    @app.get("/logout")
    async def logout() -> Response:
        response = Response(b"out")
        response.delete_cookie("session")
        return response

    @app.get("/whoami")
    async def whoami(session: Annotated[str, Cookie()] = "nobody") -> str:
        return session

    @app.get("/moved")
    async def moved() -> Response:
        return RedirectResponse("/echo?moved=1", 302)

    @app.post("/kept")
    async def kept() -> Response:
        return RedirectResponse("/echo", 307)

    @app.get("/circle")
    async def circle() -> Response:
        return RedirectResponse("/circle")

    @app.get("/away")
    async def away() -> Response:
        return RedirectResponse("https://elsewhere.example/")

    @app.get("/stream")
    async def stream() -> Response:
        async def chunks() -> AsyncIterator[str]:
            for number in range(3):
                await asyncio.sleep(0)
                yield f"{number};"

        return StreamingResponse(chunks(), media_type="text/plain")

    @app.get("/file")
    async def file() -> Response:
        return FileResponse(__file__, media_type="text/x-python")

    @app.post("/upload")
    async def upload(file: UploadFile) -> dict[str, Any]:
        return {"name": file.filename, "type": file.content_type, "text": file.read().decode()}

    @app.get("/large")
    async def large() -> str:
        return "x" * 5000

    return app


async def test_every_verb_reaches_its_route():
    async with TestClient(make_app()) as client:
        verbs = [client.get, client.post, client.put, client.patch, client.delete, client.trace]
        for verb in verbs:
            response = await verb("/echo")
            assert response.json()["method"] == verb.__name__.upper()
        assert (await client.request("PUT", "/echo")).json()["method"] == "PUT"
        options = await client.options("/echo")
        assert options.status_code == 204
        assert "GET" in options.headers["Allow"]


async def test_a_head_request_has_the_headers_of_get_and_no_body():
    async with TestClient(make_app()) as client:
        got, head = await client.get("/large"), await client.head("/large")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"] == "5002"


@pytest.mark.parametrize(
    ("path", "options", "query"),
    [
        ("/echo", {"params": {"a": 1, "b": ["x"], "c": None}}, [["a", "1"], ["b", "x"]]),
        ("/echo", {"params": {"b": ["x", "y"]}}, [["b", "x"], ["b", "y"]]),
        ("/echo?z=0", {"params": [("a", "ä &")]}, [["z", "0"], ["a", "ä &"]]),
        ("/echo", {"params": "raw=%20&x"}, [["raw", " "], ["x", ""]]),
        ("/echo", {"params": {"flag": True}}, [["flag", "true"]]),
    ],
)  # fmt: skip
async def test_params_become_the_query(path, options, query):
    async with TestClient(make_app()) as client:
        assert (await client.get(path, **options)).json()["query"] == query


@pytest.mark.parametrize(
    ("options", "media_type", "body"),
    [
        ({"json": {"a": [1, None]}}, "application/json", '{"a":[1,null]}'),
        ({"content": b"raw"}, None, "raw"),
        ({"content": "text"}, "text/plain; charset=utf-8", "text"),
        ({"content": [b"one", b"two"]}, None, "onetwo"),
        ({"data": {"a": "1 2", "b": ["x", "y"]}}, FORM, "a=1+2&b=x&b=y"),
        ({"json": 1, "headers": {"Content-Type": "a/vnd.x+json"}}, "a/vnd.x+json", "1"),
    ],
)  # fmt: skip
async def test_bodies_are_sent_with_their_media_type(options, media_type, body):
    async with TestClient(make_app()) as client:
        echoed = (await client.post("/echo", **options)).json()
        assert echoed["body"] == body
        assert echoed["headers"].get("content-type") == media_type


async def test_files_are_sent_as_a_multipart_form():
    async with TestClient(make_app()) as client:
        for value in [("a.txt", b"content", "text/plain"), ("a.txt", io.BytesIO(b"content"))]:
            response = await client.post("/upload", files={"file": value})
            expected = {"name": "a.txt", "type": "text/plain", "text": "content"}
            assert response.assert_status_ok().json() == expected


async def test_headers_of_the_request_go_before_those_of_the_client():
    async with TestClient(make_app(), headers={"X-A": "client", "user-agent": "mine"}) as client:
        headers = (await client.get("/echo", headers={"x-b": "2"})).json()["headers"]
        assert (headers["x-a"], headers["x-b"], headers["user-agent"]) == ("client", "2", "mine")
        assert (await client.get("/echo", headers={"X-a": "1"})).json()["headers"]["x-a"] == "1"


async def test_cookies_are_kept_for_the_paths_that_they_are_for():
    async with TestClient(make_app()) as client:
        login = await client.get("/login")
        assert login.headers.getlist("set-cookie") == [
            "session=s1; Path=/; SameSite=Lax",
            "theme=dark; Path=/other; SameSite=Lax",
        ]
        assert client.cookies["session"] == "s1"
        assert (await client.get("/echo")).json()["cookies"] == {"session": "s1"}
        client.cookies["own"] = "1"
        sent = (await client.get("/echo", cookies={"once": "2"})).json()["cookies"]
        assert sent == {"session": "s1", "own": "1", "once": "2"}
        await client.get("/logout")
        assert (await client.get("/whoami")).json() == "nobody"


async def test_redirects_are_followed_within_the_application():
    async with TestClient(make_app()) as client:
        response = await client.get("/moved")
        assert response.json()["query"] == [["moved", "1"]]
        assert [each.status_code for each in response.history] == [302]
        assert (await client.get("/moved", follow_redirects=False)).status_code == 302
        kept = (await client.post("/kept", json=[1])).json()
        assert (kept["method"], kept["body"]) == ("POST", "[1]")
        assert (await client.get("/away")).headers["location"] == "https://elsewhere.example/"
        with pytest.raises(RuntimeError, match="more than 20 redirects"):
            await client.get("/circle")


async def test_streams_and_files_arrive_whole():
    async with TestClient(make_app()) as client:
        assert (await client.get("/stream")).text() == "0;1;2;"
        response = await client.get("/file", headers={"range": "bytes=0-2"})
        assert (response.status_code, response.content) == (206, b'"""')


async def test_the_whole_pipeline_runs():
    async with TestClient(make_app()) as client:
        response = await client.get("/large", headers={"accept-encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        assert len(response.raw) < 5000
        assert response.json() == "x" * 5000
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.delete("/large")).headers["allow"]
        assert response.headers["x-request-id"]
        for content in (b" " * 200_000, [b" " * 100_000] * 2):
            assert (await client.post("/items", content=content)).status_code == 413


async def test_errors_are_answered_as_on_a_server(caplog):
    async with TestClient(make_app()) as client:
        invalid = await client.post("/items", json={"name": 1, "price": "x"})
        assert invalid.assert_status(422).json()["detail"] == "2 validation errors in request"
        assert (await client.get("/teapot")).assert_status(418).json()[
            "detail"
        ] == "short and stout"
        failed = await client.get("/fails")
        assert failed.status_code == 500
        assert "inside" not in failed.text()
    assert "ValueError: inside" in caplog.text


def test_a_failed_assertion_shows_the_body():
    response = TestResponse(404, [], b'{"detail": "no such user"}', url="http://testserver/x")
    with pytest.raises(AssertionError, match=r"expected status 200, got 404 .*no such user"):
        response.assert_status_ok()
    assert response.assert_status(404).assert_status(404) is response


async def test_overrides_apply_while_the_client_is_open():
    app = make_app()
    async with TestClient(app) as client:
        assert (await client.get("/service")).json() == "real"
        app.dependency_overrides[Service] = lambda: Service("fake")
        assert (await client.get("/service")).json() == "fake"
        app.dependency_overrides.clear()
        assert (await client.get("/service")).json() == "real"


async def test_the_block_runs_the_lifespan_and_waits_for_background_work():
    events: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        events.append("start")
        yield {"value": 7}
        events.append("stop")

    app = Spikard(lifespan=lifespan)

    @app.get("/")
    async def index(request: Request, background: BackgroundTasks) -> int:
        async def later() -> None:
            await asyncio.sleep(0)
            events.append("background")

        background.add_task(later)
        value: int = request.app.state.value
        return value

    async with TestClient(app) as client:
        assert (await client.get("/")).json() == 7
        assert events == ["start", "background"]
    assert events == ["start", "background", "stop"]


async def test_what_the_start_up_raises_is_raised():
    app = Spikard()

    @app.on_startup
    async def fail() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with TestClient(app):
            pass


async def test_a_client_outside_its_block_says_what_to_do():
    client = TestClient(make_app())
    with pytest.raises(RuntimeError, match="async with TestClient"):
        await client.get("/echo")
    # As with FastAPI's client, where nothing awaits.
    with pytest.raises(RuntimeError, match="or in a plain `with`"):
        _ = client.get("/echo")
    with client as opened:
        pass
    with pytest.raises(RuntimeError, match="with"):
        opened.get("/echo")


def test_a_client_that_is_open_is_not_opened_again_and_closes_whole():
    ended = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> Any:
        yield
        ended.append(app)

    client = TestClient(Spikard(lifespan=lifespan))
    with client as opened:
        with pytest.raises(RuntimeError, match="open already"), client:
            pass
        assert opened.get("/nowhere").status_code == 404
    assert len(ended) == 1
    with client as opened:
        assert opened.get("/nowhere").status_code == 404
    assert len(ended) == 2


async def test_mistaken_arguments_are_named():
    async with TestClient(make_app()) as client:
        with pytest.raises(TypeError, match="parms"):
            await client.get("/echo", parms={})  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="one body"):
            await client.post("/echo", json=1, content=b"2")


def test_synchronous_tests_use_a_plain_with():
    app = make_app()
    with TestClient(app) as client:
        assert client.post("/items", json={"name": "n"}).json() == {"name": "n", "price": 0.0}
        assert client.get("/login").text() == "in"
        assert client.get("/whoami").json() == "s1"
        assert client.head("/large").content == b""
    with TestClient(app) as client:
        assert client.get("/whoami").json() == "nobody"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["greeting"] = "hello"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Path", b"/")]})
    if scope["path"] == "/broken":
        raise ValueError("broken")
    greeting = scope["state"]["greeting"].encode()
    await send({"type": "http.response.body", "body": greeting, "more_body": True})
    await send({"type": "http.response.body", "body": b" " + body})


async def test_any_asgi_application_is_driven():
    async with TestClient(hello) as client:
        response = await client.post("/", content=b"world")
        assert (response.text(), response.headers["x-path"]) == ("hello world", "/")


def test_a_program_that_uses_it_writes_nothing_and_exits_cleanly():
    program = """
from spikard import Spikard, TestClient
app = Spikard()
@app.get("/")
def index() -> str:
    return "hello"
with TestClient(app) as client:
    assert client.get("/").json() == "hello"
import asyncio
async def main():
    async with TestClient(app) as client:
        assert (await client.get("/")).json() == "hello"
asyncio.run(main())
"""
    done = subprocess.run(
        # Not -X dev: asyncio would say how long its steps took.
        [sys.executable, "-W", "default", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_search_of_the_page():
    app = Spikard()

    @app.get("/search")
    async def search(q: Query[str], limit: Query[int] = Query(default=10)):  # noqa: B008
        return {"query": q, "limit": limit}

    async with TestClient(app) as client:
        assert (await client.get("/search?q=x")).json() == {"query": "x", "limit": 10}


def socket_app() -> Spikard:
    app = Spikard()

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept(subprotocol="b")
        async for text in socket.iter_text():
            if text == "leave":
                await socket.close(4000, "as told")
                return
            await socket.send_text(f"{socket.cookies.get('who')}: {text}")

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> None:
        raise HTTPException(403, "members only")

    return app


async def test_a_websocket_is_opened_spoken_through_and_closed_by_the_application():
    async with TestClient(socket_app(), cookies={"who": "me"}) as client:
        async with client.websocket("/talk", subprotocols=["a", "b"]) as socket:
            assert socket.subprotocol == "b"
            await socket.send("hello")
            assert await socket.receive() == "me: hello"
            await socket.send("leave")
            with pytest.raises(WebSocketDisconnect) as left:
                await socket.receive()
        assert (left.value.code, left.value.reason) == (4000, "as told")


async def test_a_refused_websocket_shows_the_answer():
    async with TestClient(socket_app()) as client:
        for path, status in (("/refused", 403), ("/nowhere", 404)):
            with pytest.raises(WebSocketRejectedError) as refused:
                await client.websocket(path).__aenter__()
            assert refused.value.response.status_code == status


def test_a_websocket_of_a_synchronous_test():
    with TestClient(socket_app()) as client, client.websocket("/talk", subprotocols="b") as socket:
        socket.send("a")
        assert socket.receive() == "None: a"
        socket.send("leave")
        assert list(socket) == []


def test_a_path_is_sent_as_it_is_given():
    app = Spikard()

    @app.get("/{rest:path}")
    async def seen(request: Request) -> Any:
        return [request.raw_path.decode(), request.query_string.decode()]

    with TestClient(app) as client:
        for path in ("//evil.test/x", "/a//b", "/./a", "/a%2Fb"):
            assert client.get(path).json() == [path, ""]
        assert client.get("/a?to=http://b").json() == ["/a", "to=http://b"]
        assert client.get("http://elsewhere.test/a").json() == ["/a", ""]
