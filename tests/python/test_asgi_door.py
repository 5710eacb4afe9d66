"""A `Spikard` object as an ASGI application of another server: what a host sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import Struct
from starlette.middleware.gzip import GZipMiddleware
from tests.python.doors import DOORS, in_process, our_server

from spikard import (
    FileResponse,
    HTTPException,
    Provide,
    Request,
    Response,
    ServerConfig,
    Spikard,
    StreamingResponse,
    WebSocket,
    _spikard,
)
from spikard._server import serve
from spikard.config import StaticFilesConfig
from spikard.exceptions import DependencyError, NotAvailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATIENCE = 10


def scope_of(path: str = "/", **others: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.com")],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
        **others,
    }


class Host:
    """A server's end: events in, events out."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.has_sent = asyncio.Condition()
        for event in events or ({"type": "http.request", "body": b"", "more_body": False},):
            self.inbox.put_nowait(event)

    async def receive(self) -> dict[str, Any]:
        return await self.inbox.get()

    async def send(self, event: dict[str, Any]) -> None:
        async with self.has_sent:
            self.sent.append(event)
            self.has_sent.notify_all()

    async def sent_events(self, count: int) -> None:
        async with self.has_sent:
            await asyncio.wait_for(
                self.has_sent.wait_for(lambda: len(self.sent) >= count), PATIENCE
            )

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.sent[1:])


def asked(app: Any, scope: dict[str, Any], *events: dict[str, Any]) -> Host:
    async def main() -> Host:
        host = Host(*events)
        await app(scope, host.receive, host.send)
        return host

    return asyncio.run(main())


DISCONNECT = {"type": "http.disconnect"}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


# Exceptions


def raising() -> Spikard:
    app = Spikard()

    @app.get("/raises")
    async def raises() -> None:
        raise ValueError("not for clients")

    @app.get("/with-request")
    async def with_request(request: Request) -> None:
        raise ValueError("not for clients")

    @app.get("/refuses")
    async def refuses() -> None:
        raise HTTPException(418)

    @app.exception_handler(KeyError)
    async def handled(error: KeyError) -> str:
        return "handled"

    @app.get("/handled")
    async def raises_handled() -> None:
        raise KeyError

    return app


@pytest.mark.parametrize("path", ["/raises", "/with-request"])
@pytest.mark.parametrize("hooks", [False, True])
def test_exception_is_raised_to_the_host_after_the_500(path, hooks, caplog):
    app = raising()
    if hooks:
        app.on_response(lambda response: response)

    async def main() -> Any:
        host = Host()
        with pytest.raises(ValueError, match="not for clients"):
            await app(scope_of(path), host.receive, host.send)
        return host

    host = asyncio.run(main())
    assert host.status == 500
    assert b"not for clients" not in host.body
    assert [event["type"] for event in host.sent] == ["http.response.start", "http.response.body"]
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert f"GET {path} raised ValueError" in record.getMessage()


@pytest.mark.parametrize(("path", "status"), [("/refuses", 418), ("/handled", 500), ("/no", 404)])
def test_exception_that_was_handled_stays_inside(path, status):
    assert asked(raising(), scope_of(path)).status == status


def test_exception_of_a_websocket_is_raised_to_the_host_after_1011():
    app = Spikard()

    @app.websocket("/ws")
    async def fails(socket: WebSocket) -> None:
        await socket.accept()
        raise ValueError("mine")

    async def main() -> Any:
        host = Host({"type": "websocket.connect"})
        scope = scope_of("/ws", type="websocket", subprotocols=[])
        del scope["method"]
        with pytest.raises(ValueError, match="mine"):
            await app(scope, host.receive, host.send)
        return host.sent

    sent = asyncio.run(main())
    assert [event["type"] for event in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 1011


# Start-up without lifespan


def counting() -> tuple[Spikard, list[str]]:
    calls: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Spikard) -> AsyncIterator[dict[str, str]]:
        calls.append("start")
        await asyncio.sleep(0)
        yield {"word": "kept"}
        calls.append("stop")

    app = Spikard(lifespan=lifespan)

    @app.get("/")
    async def word(request: Request) -> str:
        return str(request.state.word)

    return app, calls


def test_first_requests_start_the_application_once_and_the_loop_stops_it():
    app, calls = counting()

    async def main() -> Any:
        hosts = [Host() for _ in range(3)]
        await asyncio.gather(*(app(scope_of(), host.receive, host.send) for host in hosts))
        assert calls == ["start"]
        return [host.body for host in hosts]

    assert asyncio.run(main()) == [b'"kept"'] * 3
    assert calls == ["start", "stop"]
    assert asked(app, scope_of()).status == 200  # on another loop, another run
    assert calls == ["start", "stop", "start", "stop"]


def test_shutdown_runs_when_the_loop_ends():
    calls: list[str] = []
    app = Spikard()

    @app.on_shutdown
    async def stop() -> None:
        calls.append("stop")

    @app.get("/")
    async def index() -> None:
        assert calls == []

    assert asked(app, scope_of()).status == 200
    assert calls == ["stop"]


def test_failed_start_is_the_hosts_and_is_tried_again():
    app = Spikard()
    broken = True

    @app.on_startup
    async def connect() -> None:
        if broken:
            raise OSError("no database")

    @app.get("/")
    async def index() -> str:
        return "up"

    async def main() -> Any:
        nonlocal broken
        with pytest.raises(OSError, match="no database"):
            await app(scope_of(), Host().receive, Host().send)
        broken = False
        host = Host()
        await app(scope_of(), host.receive, host.send)
        return host

    assert asyncio.run(main()).status == 200


def test_lifespan_of_the_host_is_the_only_start():
    app, calls = counting()

    async def main() -> Any:
        state: dict[str, Any] = {"of": "the host"}
        host = Host({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
        running = asyncio.create_task(app(scope, host.receive, host.send))
        await host.sent_events(1)
        request = Host()
        await app(scope_of(state=dict(state)), request.receive, request.send)
        host.inbox.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait_for(running, PATIENCE)
        return state, request.body

    state, body = asyncio.run(main())
    assert state == {"of": "the host", "word": "kept"}
    assert body == b'"kept"'
    assert calls == ["start", "stop"]


def test_state_of_the_host_is_shared_both_ways():
    app = Spikard()

    @app.get("/")
    async def index(request: Request) -> str:
        request.state.answer = 42
        return str(request.state.pool)

    scope = scope_of(state={"pool": "of the host"})
    assert asked(app, scope).body == b'"of the host"'
    assert scope["state"]["answer"] == 42


# The request


class Item(Struct):
    name: str


def paths() -> Spikard:
    app = Spikard(ServerConfig(max_body_size=100))

    @app.get("/a/{rest:path}")
    async def rest(rest: str, request: Request) -> list[str]:
        return [rest, request.root_path]

    @app.post("/items")
    async def create(item: Item) -> Item:
        return item

    return app


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": "/a/b c%?", "raw_path": None}, '["b c%?",""]'),
        ({"path": "/sub/a/b", "raw_path": b"/sub/a/b", "root_path": "/sub"}, '["b","/sub"]'),
        ({"path": "/a/b", "raw_path": b"/a/b", "root_path": "/sub"}, '["b","/sub"]'),
        ({"path": "/a/b/c", "raw_path": b"/a/b%2Fc"}, '["b/c",""]'),
        (
            {
                "path": "/part/a/b",
                "raw_path": b"/part/a/b",
                "root_path": "/api/part",
                "app_root_path": "/api",
            },
            '["b","/api/part"]',
        ),
        ({"path": "/a/rewritten", "raw_path": b"/old"}, '["rewritten",""]'),
        ({"path": "/ü/a/b", "raw_path": b"/%C3%BC/a/b", "root_path": "/ü"}, '["b","/ü"]'),
    ],
)
def test_path_of_a_host(given, expected):
    assert asked(paths(), scope_of(**given)).body.decode() == expected


def test_root_path_that_ends_inside_a_segment_is_none():
    host = asked(paths(), scope_of("/subway/a/b", root_path="/sub"))
    assert host.status == 404


@pytest.mark.parametrize(
    "given",
    [
        {"method": "G ET"},
        {"headers": [(b"bad name", b"1")]},
        {"headers": [(b"name", b"a\r\nb")]},
        {"query_string": b"a b\x00"},
        {"headers": [(b"x%d" % number, b"") for number in range(33_000)]},
    ],
)
def test_what_is_no_request_is_400(given):
    host = asked(paths(), scope_of(**given))
    assert (host.status, host.headers[b"content-type"]) == (400, b"application/problem+json")


def test_what_hosts_do_differently_is_taken():
    assert asked(paths(), scope_of("/a/b", headers=[[b"host", b"x"]])).status == 200
    assert asked(paths(), scope_of("/a/b", client=["127.0.0.1", "5000"])).status == 200
    assert asked(paths(), scope_of("/a/b", client=None, server=["testserver", None])).status == 200


def test_link_local_client_is_an_address_without_its_interface():
    app = Spikard()

    @app.get("/")
    async def client(request: Request) -> list[str | int]:
        return list(request.client or ())

    assert asked(app, scope_of("/", client=["fe80::1%eth0", 5])).body == b'["fe80::1",5]'


def test_body_in_pieces_is_decoded_and_limited():
    post = {"method": "POST", "headers": [(b"content-type", b"application/json")]}
    split = part(b'{"name":', more=True), part(b'"one"}')
    assert asked(paths(), scope_of("/items", **post), *split).body == b'{"name":"one"}'
    long = part(b" " * 80, more=True), part(b" " * 80)
    assert asked(paths(), scope_of("/items", **post), *long).status == 413
    wrong = asked(paths(), scope_of("/items", **post), part(b'{"name":1}'))
    assert wrong.status == 422


def test_client_that_leaves_within_its_body_gets_no_answer(caplog):
    post = {"method": "POST"}
    host = asked(paths(), scope_of("/items", **post), part(b"{", more=True), DISCONNECT)
    assert host.sent == []
    assert caplog.records == []


def test_request_that_takes_too_long_is_408():
    app = Spikard(ServerConfig(request_timeout=0.01))

    @app.get("/")
    async def waits() -> None:
        await asyncio.Event().wait()

    assert asked(app, scope_of()).status == 408


# Streams


def streaming() -> tuple[Spikard, list[str]]:
    app = Spikard()
    ends: list[str] = []

    @app.get("/idle")
    async def idle() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await asyncio.Event().wait()
            finally:
                ends.append("idle")

        return StreamingResponse(chunks())

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    return app, ends


@pytest.mark.parametrize("body", [b"", b"a body that nobody reads"])
def test_stream_that_waits_is_ended_when_the_client_leaves(body):
    app, ends = streaming()

    async def main() -> Any:
        host = Host(part(body))
        running = asyncio.create_task(app(scope_of("/idle"), host.receive, host.send))
        await host.sent_events(2)
        assert ends == []
        host.inbox.put_nowait(DISCONNECT)
        await asyncio.wait_for(running, PATIENCE)
        assert not running.cancelled()

    asyncio.run(main())
    assert ends == ["idle"]


def test_host_that_cancels_a_stream_sees_it_cancelled():
    app, ends = streaming()

    async def main() -> Any:
        host = Host()
        running = asyncio.create_task(app(scope_of("/idle"), host.receive, host.send))
        await host.sent_events(2)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    asyncio.run(main())
    assert ends == ["idle"]


def test_body_can_be_read_while_the_response_is_sent():
    app, _ = streaming()

    async def main() -> Any:
        host = Host(part(b"one", more=True))
        scope = scope_of("/echo", method="POST")
        running = asyncio.create_task(app(scope, host.receive, host.send))
        await host.sent_events(2)
        assert host.sent[1]["body"] == b"one"
        host.inbox.put_nowait(part(b"two", more=True))
        await host.sent_events(3)
        host.inbox.put_nowait(part(b"three"))
        await asyncio.wait_for(running, PATIENCE)
        return host.body

    assert asyncio.run(main()) == b"onetwothree"


def test_head_of_a_stream_does_not_run_it():
    app, ends = streaming()
    host = asked(app, scope_of("/idle", method="HEAD"))
    assert (host.status, host.body, ends) == (200, b"", [])


def test_handler_can_ask_whether_the_client_has_left():
    app = Spikard()

    @app.get("/")
    async def wait_for_the_end(request: Request) -> str:
        while not request.is_disconnected():  # noqa: ASYNC110 - what a handler at work does
            await asyncio.sleep(0)
        return "left"

    assert asked(app, scope_of(), part(b""), DISCONNECT).body == b'"left"'


def test_file_is_sent_in_pieces(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom(200_000))
    app = Spikard(ServerConfig(compression=None))

    @app.get("/")
    async def file() -> FileResponse:
        return FileResponse(str(path))

    host = asked(app, scope_of())
    assert host.headers[b"content-length"] == b"200000"
    assert host.body == path.read_bytes()
    assert max(len(event.get("body", b"")) for event in host.sent[1:]) <= 65_536
    ranged = asked(app, scope_of(headers=[(b"range", b"bytes=100000-199999")]))
    assert (ranged.status, ranged.body) == (206, path.read_bytes()[100_000:])


def test_long_body_is_compressed_and_has_its_length():
    app = Spikard()

    @app.get("/")
    async def long() -> str:
        return "x" * 200_000

    host = asked(app, scope_of(headers=[(b"accept-encoding", b"gzip")]))
    assert host.headers[b"content-encoding"] == b"gzip"
    assert int(host.headers[b"content-length"]) == len(host.body) < 10_000


def test_no_thread_is_started():
    app = Spikard()

    @app.get("/")
    async def index() -> str:
        return threading.current_thread().name

    async def main() -> Any:
        # One of an earlier test may be about to end: what counts is that none is new.
        before = set(os.listdir("/proc/self/task"))
        host = Host()
        await app(scope_of(), host.receive, host.send)
        assert host.body == b'"MainThread"'
        assert set(os.listdir("/proc/self/task")) <= before

    asyncio.run(main())


class CountedCore:
    """Stands for `Core`, and counts how many were made."""

    def __init__(self, real: Any) -> None:
        self.made = 0
        self._real = real

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.made += 1
        return self._real(*args, **options)


@pytest.mark.parametrize("has_middleware", [False, True], ids=["plain", "middleware"])
@pytest.mark.parametrize("door", DOORS)
def test_application_is_compiled_once(door, has_middleware, monkeypatch):
    core = CountedCore(_spikard.Core)
    monkeypatch.setattr(_spikard, "Core", core)
    app = Spikard(ServerConfig())
    app.on_startup(lambda: None)

    @app.get("/")
    async def index() -> int:
        return 1

    if has_middleware:
        app.add_middleware(GZipMiddleware)
    with door(app) as client:
        assert client.get("/").json() == 1
        assert client.get("/").json() == 1
    assert core.made == 1


def test_application_is_compiled_once_beside_another_loop(monkeypatch):
    uvloop = pytest.importorskip("uvloop")
    core = CountedCore(_spikard.Core)
    monkeypatch.setattr(_spikard, "Core", core)
    app = Spikard(ServerConfig(port=0))
    app.on_startup(lambda: None)

    @app.get("/")
    async def index() -> int:
        return 1

    async def main() -> Any:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(serve(app, app.config, ready.set_result))
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(await ready)
        serving.cancel()
        await asyncio.wait([serving])
        return answer.json()

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == 1
    finally:
        loop.close()
    assert core.made == 1


def test_limits_of_one_door_are_not_those_of_another():
    app = Spikard(ServerConfig(max_form_parts=1))

    @app.post("/form")
    async def form(request: Request) -> int:
        return len(await request.form())

    body = {"content": "a=1&b=2", "headers": {"content-type": "application/x-www-form-urlencoded"}}
    with our_server(app, ServerConfig()) as server, in_process(app) as client:
        answers = [each.post("/form", **body) for each in (client, server, client)]
    assert [each.status_code for each in answers] == [413, 200, 413]


def with_cycle(app: Spikard) -> None:
    async def first(second: int) -> int: ...  # type: ignore[empty-body]

    async def second(first: int) -> int: ...  # type: ignore[empty-body]

    app.provide("first", Provide(first))
    app.provide("second", Provide(second))


def with_grpc(app: Spikard) -> None:
    app.add_grpc_service("demo.Echo", object(), methods={"Say": "unary"})


@pytest.mark.parametrize(
    ("spoil", "error"), [(with_cycle, DependencyError), (with_grpc, NotAvailableError)]
)
def test_application_that_cannot_be_compiled_does_not_start(spoil, error, caplog):
    app = Spikard()
    spoil(app)

    async def main() -> list[dict[str, Any]]:
        host = Host({"type": "lifespan.startup"})
        with pytest.raises(error):
            await app({"type": "lifespan", "state": {}}, host.receive, host.send)
        return host.sent

    (sent,) = asyncio.run(main())
    assert sent["type"] == "lifespan.startup.failed"
    assert error.__name__ in caplog.text


@pytest.mark.parametrize("target", ["/file", "/static/large.bin"])
def test_a_large_file_is_sent_by_its_path_where_the_host_can(target, tmp_path):
    content = os.urandom(200_000)
    file = tmp_path / "large.bin"
    file.write_bytes(content)
    (tmp_path / "small.bin").write_bytes(content[:100])
    directory = StaticFilesConfig(directory=str(tmp_path), route_prefix="/static")
    app = Spikard(config=ServerConfig(static_files=[directory]))

    @app.get("/file")
    async def large() -> Response:
        return FileResponse(file)

    able: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}
    host = asked(app, scope_of(target, **able))
    assert (host.status, host.headers[b"content-length"]) == (200, b"200000")
    assert host.sent[1:] == [{"type": "http.response.pathsend", "path": str(file.resolve())}]
    assert asked(app, scope_of(target)).body == content
    part = [(b"host", b"example.com"), (b"range", b"bytes=100000-199999")]
    assert asked(app, scope_of(target, headers=part, **able)).body == content[100_000:]
    assert asked(app, scope_of(target, method="HEAD", **able)).body == b""
    assert asked(app, scope_of("/static/small.bin", **able)).body == content[:100]
