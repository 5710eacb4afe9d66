"""ASGI middleware of others around a Spikard application, unchanged, behind every door."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
import websockets.sync.client
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse as StarletteJSONResponse
from tests.python.doors import DOORS, PATIENCE, our_server, under_uvicorn

import spikard_asgi.server
from spikard import (
    BackgroundTasks,
    HTTPException,
    PlainTextResponse,
    Request,
    Response,
    Spikard,
    StreamingResponse,
    WebSocket,
)
from spikard.config import ApiKeyConfig, ServerConfig
from spikard.exceptions import RegistrationError
from spikard.testing import TestClient, serve_in_thread

every_door = pytest.mark.parametrize("door", DOORS)


class Noting:
    """Note what passes."""

    def __init__(self, app: Any, events: list[Any], name: str = "noting") -> None:
        self.app = app
        self.events = events
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append((self.name, scope["type"]))
        await self.app(scope, receive, send)


def application(**options: Any) -> Spikard:
    app = Spikard(**options)

    @app.get("/users/{id:int}")
    async def user(id: int, request: Request) -> Any:  # noqa: A002
        return {"id": id, "agent": request.headers.get("user-agent")}

    @app.post("/echo")
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @app.get("/fail")
    async def fail() -> None:
        raise ValueError("a secret")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    return app


@every_door
def test_last_added_is_outermost_and_the_lifespan_reaches_all(door):
    events: list[Any] = []
    app = application(
        middleware=[
            (Noting, {"events": events, "name": "first"}),
            Middleware(Noting, events=events, name="second"),
        ]
    )
    app.add_middleware(Noting, events, "last added")
    app.on_startup(lambda: events.append("start-up"))
    with door(app) as client:
        assert client.get("/users/1").json()["id"] == 1
    assert events[:4] == [
        ("last added", "lifespan"),
        ("first", "lifespan"),
        ("second", "lifespan"),
        "start-up",
    ]
    names = [event[0] for event in events[4:]]
    assert names == ["last added", "first", "second"]


@every_door
def test_scope_that_middleware_changes_is_what_the_application_sees(door):
    class Changing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope["headers"] = [*scope["headers"], (b"x-api-key", b"right"), (b"x-own", b"1")]
                scope["path"] = scope["path"].replace("/alias", "/shown")
                scope["query_string"] = b"changed=1"
                scope["client"] = ("192.0.2.1", 7)
            await self.app(scope, receive, send)

    app = Spikard()

    @app.get("/shown/{name}")
    async def shown(name: str, request: Request) -> Any:
        headers = request.headers
        return [name, headers["x-own"], dict(request.query_params), list(request.client or ())]

    app.add_middleware(Changing)
    # Policies are inside: they see it too.
    with door(app, ServerConfig(api_key_auth=ApiKeyConfig(keys=["right"]))) as client:
        answer = client.get("/alias/caf%C3%A9%20x")
        assert answer.status_code == 200, answer.text
        assert answer.json() == ["café x", "1", {"changed": "1"}, ["192.0.2.1", 7]]


@every_door
def test_scope_tells_middleware_the_route_and_the_application(door):
    seen: list[Any] = []

    class Looking:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                route = scope.get("route")
                if route is None:
                    seen.append(None)
                else:
                    seen.append((route.path, route.path_format, scope["endpoint"].__name__))
                    seen.append(scope["path_params"])
                seen.append(scope["app"] is app)

    app = application()
    app.add_middleware(Looking)
    with door(app) as client:
        client.get("/users/7")
        client.get("/nothing")
    assert seen == [("/users/{id:int}", "/users/{id}", "user"), {"id": "7"}, True, None, True]


@every_door
def test_context_variables_are_shared_both_ways(door):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    after: list[str] = []

    class Setting:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            variable.set("of the middleware")
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                after.append(variable.get())

    app = Spikard()

    @app.get("/")
    async def index() -> str:
        before = variable.get()
        variable.set("of the handler")
        return before

    app.add_middleware(Setting)
    with door(app) as client:
        assert client.get("/").json() == "of the middleware"
    assert after == ["of the handler"]


@every_door
def test_base_http_middleware_reads_bodies_and_changes_answers(door):
    class Timing(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            request.state.noted = "by dispatch"
            body = await request.body() if request.method == "POST" else b""
            response = await call_next(request)
            response.headers["x-length"] = str(len(body))
            return response

    app = application()

    @app.get("/state")
    async def state(request: Request) -> str:
        return request.state.noted  # type: ignore[no-any-return]

    app.add_middleware(Timing)
    with door(app) as client:
        answer = client.post("/echo", json={"a": 1})
        assert answer.json() == {"a": 1}
        assert answer.headers["x-length"] == str(len(b'{"a":1}'))
        assert client.get("/state").json() == "by dispatch"


@every_door
def test_cors_middleware_answers_preflights_before_policies(door):
    app = application()
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], allow_methods=["GET"])
    config = ServerConfig(api_key_auth=ApiKeyConfig(keys=["right"]))
    origin = {"origin": "https://a.example"}
    with door(app, config) as client:
        asked = origin | {"access-control-request-method": "GET"}
        preflight = client.options("/users/1", headers=asked)
        assert preflight.status_code == 200
        refused = client.get("/users/1", headers=origin)
        answer = client.get("/users/1", headers=origin | {"x-api-key": "right"})
    assert (refused.status_code, answer.status_code) == (401, 200)
    for each in (preflight, refused, answer):
        assert each.headers["access-control-allow-origin"] == "https://a.example"


@every_door
def test_session_is_on_the_request(door):
    app = Spikard()

    @app.get("/visit")
    async def visit(request: Request) -> int:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return request.session["visits"]  # type: ignore[no-any-return]

    app.add_middleware(SessionMiddleware, secret_key="a secret of the tests")
    with door(app) as client:
        assert client.get("/visit").json() == 1
        assert client.get("/visit").json() == 2


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(["write"]), SimpleUser(name))


@every_door
def test_user_and_auth_are_on_the_request(door):
    app = Spikard()

    @app.get("/me")
    async def me(request: Request) -> Any:
        user = request.user
        return [user.is_authenticated, user.display_name, list(request.auth.scopes)]

    app.add_middleware(AuthenticationMiddleware, backend=Backend())
    with door(app) as client:
        assert client.get("/me", headers={"x-user": "a"}).json() == [True, "a", ["write"]]
        assert client.get("/me").json() == [False, "", []]


def test_session_without_its_middleware_says_what_is_missing(caplog):
    app = Spikard()

    @app.get("/")
    async def index(request: Request) -> Any:
        return request.session

    with serve_in_thread(app) as url, TestClient(app) as client:
        assert httpx.get(url).status_code == 500
        assert client.get("/").status_code == 500
    assert caplog.text.count("app.add_middleware(SessionMiddleware, ...)") == 2


@every_door
def test_gzip_middleware_and_our_compression_do_not_meet(door):
    text = "text " * 1000
    app = Spikard()

    @app.get("/")
    async def index() -> Response:
        return PlainTextResponse(text)

    app.add_middleware(GZipMiddleware, minimum_size=100)
    with door(app, ServerConfig(compression=None)) as client:
        answer = client.get("/", headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert len(answer.content) == len(text) or len(answer.content) < 500
    with door(app, ServerConfig()) as client:
        answer = client.get("/", headers={"accept-encoding": "gzip"})
        assert answer.headers.get_list("content-encoding") == ["gzip"]


@every_door
def test_correlation_id_is_the_request_id(door):
    app = Spikard()

    @app.get("/")
    async def index(request: Request) -> Any:
        return [correlation_id.get(), request.request_id]

    app.add_middleware(CorrelationIdMiddleware)
    given = "0af7651916cd43dd8448eb211c80319c"
    with door(app) as client:
        answer = client.get("/", headers={"x-request-id": given})
        assert answer.json() == [given, given]
        assert answer.headers.get_list("x-request-id") == [given]
        answer = client.get("/")
        ours, theirs = answer.json()
        assert ours == theirs
        assert answer.headers.get_list("x-request-id") == [ours]


@every_door
def test_exception_bubbles_before_anything_is_sent_and_is_logged_once(door, caplog):
    seen: list[Any] = []

    class Catching:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            sent: list[str] = []

            async def noted(event: Any) -> None:
                sent.append(event["type"])
                await send(event)

            try:
                await self.app(scope, receive, noted)
            except Exception as error:
                seen.append((type(error).__name__, list(sent)))
                raise

    app = application()
    app.add_middleware(Catching)
    with caplog.at_level(logging.ERROR, "spikard.error"), door(app) as client:
        teapot = client.get("/teapot")
        failed = client.get("/fail")  # last: uvicorn then closes the connection
    assert failed.status_code == 500
    assert failed.json()["status"] == 500
    assert "secret" not in failed.text
    assert len(failed.headers["x-request-id"]) >= 16  # policies have had their word
    assert teapot.status_code == 418  # an answer, not a failure
    assert seen == [("ValueError", [])]
    assert len([record for record in caplog.records if record.name == "spikard.error"]) == 1


@every_door
def test_middleware_may_answer_an_exception_itself(door):
    class Friendly(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError:
                return StarletteJSONResponse({"sorry": True}, 503)

    app = application()
    app.add_middleware(Friendly)
    with door(app) as client:
        answer = client.get("/fail")
        assert (answer.status_code, answer.json()) == (503, {"sorry": True})


@every_door
def test_exception_of_middleware_is_answered_by_the_application(door, caplog):
    class Refusing(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            if request.url.path == "/refused":
                raise HTTPException(403, "not you")
            raise LookupError("a secret")

    app = application()
    app.add_middleware(Refusing)
    with door(app) as client:
        refused = client.get("/refused")
        failed = client.get("/users/1")
    assert (refused.status_code, refused.json()["detail"]) == (403, "not you")
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert "LookupError: a secret" in caplog.text


@every_door
def test_background_tasks_and_streams_pass_through(door):
    events: list[str] = []
    app = Spikard()

    @app.get("/task")
    async def task(tasks: BackgroundTasks) -> str:
        tasks.add_task(events.append, "task")
        return "begun"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> Any:
            try:
                for number in range(1000):
                    yield b"%d\n" % number
            finally:
                events.append("closed")

        return StreamingResponse(chunks(), media_type="text/plain")

    app.add_middleware(Noting, [])
    app.add_middleware(Timed)
    with door(app) as client:
        assert client.get("/task").json() == "begun"
        assert client.get("/stream").text == "".join(f"{number}\n" for number in range(1000))
    assert sorted(events) == ["closed", "task"]


class Timed(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
def test_websockets_pass_through(door):
    events: list[Any] = []
    app = Spikard()

    @app.websocket("/echo/{name}")
    async def echo(socket: WebSocket, name: str) -> None:
        await socket.accept()
        socket.session["seen"] = True
        async for text in socket.iter_text():
            await socket.send_text(f"{name} {socket.user.display_name} {text}")

    app.add_middleware(AuthenticationMiddleware, backend=Backend())
    app.add_middleware(SessionMiddleware, secret_key="a secret of the tests")
    app.add_middleware(Noting, events)
    with door(app) as client:
        url = str(client.base_url).replace("http", "ws") + "/echo/b"
        with websockets.sync.client.connect(url, additional_headers={"x-user": "a"}) as socket:
            socket.send("hello")
            assert socket.recv() == "b a hello"
    assert ("noting", "websocket") in events


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
def test_failure_of_a_websocket_closes_it_and_bubbles(door, caplog):
    seen: list[str] = []

    class Catching:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except ValueError as error:
                seen.append(str(error))
                raise

    app = Spikard()

    @app.websocket("/fail")
    async def fail(socket: WebSocket) -> None:
        await socket.accept()
        raise ValueError("broken")

    app.add_middleware(Catching)
    with door(app) as client:
        url = str(client.base_url).replace("http", "ws") + "/fail"
        with websockets.sync.client.connect(url) as socket:
            with pytest.raises(websockets.ConnectionClosedError):
                socket.recv()
            assert socket.close_code == 1011
    assert seen == ["broken"]
    ours = [record for record in caplog.records if record.name == "spikard.error"]
    assert len(ours) == 1


@every_door
def test_open_telemetry_names_spans_and_metrics_by_the_route(door):
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    metrics = MeterProvider(metric_readers=[reader])

    app = application()
    app.add_middleware(OpenTelemetryMiddleware, tracer_provider=traces, meter_provider=metrics)
    with door(app) as client:
        client.get("/users/3")
        client.get("/fail")
    servers = [span for span in exporter.get_finished_spans() if span.kind.name == "SERVER"]
    assert len(servers) == 2
    data: Any = reader.get_metrics_data()
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "http.server.duration"
        for point in metric.data.data_points
    ]
    targets = {point.attributes.get("http.target") for point in points}
    assert targets == {"/users/{id}", "/fail"}


SENTRY = """
import sentry_sdk, httpx, logging
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport
from spikard import Spikard
from spikard.testing import serve_in_thread

events = []

class Kept(Transport):
    def capture_envelope(self, envelope):
        events.extend(item.payload.json for item in envelope.items if item.payload.json)

sentry_sdk.init(
    dsn="http://key@localhost/1", transport=Kept, traces_sample_rate=1.0,
    auto_enabling_integrations=False, default_integrations=False,
)
app = Spikard()

@app.get("/users/{id:int}")
async def user(id: int) -> int:
    if id == 0:
        raise ValueError("zero")
    return id

app.add_middleware(SentryAsgiMiddleware, mechanism_type="tests")
logging.disable()
with serve_in_thread(app) as url:
    assert httpx.get(url + "/users/1").json() == 1
    assert httpx.get(url + "/users/0").status_code == 500
errors = [event for event in events if "exception" in event]
assert [error["exception"]["values"][-1]["value"] for error in errors] == ["zero"], errors
assert errors[0]["transaction"] == "__main__.user", errors[0]["transaction"]
names = [event["transaction"] for event in events if event.get("type") == "transaction"]
assert names == ["__main__.user"] * 2, names
print("seen")
"""


@pytest.mark.timeout(120)  # a second interpreter imports much
def test_sentry_sees_the_exception_once_and_names_the_handler():
    # In a process of its own: `sentry_sdk.init` changes the interpreter for good.
    done = subprocess.run(
        [sys.executable, "-c", SENTRY], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "seen", done.stderr


def ran(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_start_up_says_what_middleware_costs(caplog):
    app = application()
    app.add_middleware(Noting, [])
    with caplog.at_level(logging.INFO, "spikard"), serve_in_thread(app):
        pass
    lines = [record.getMessage() for record in caplog.records if "Noting" in record.getMessage()]
    assert len(lines) == 1
    assert "one ASGI call" in lines[0]


def test_without_middleware_the_native_path_is_taken(monkeypatch):
    from spikard import _door

    async def refused(*args: Any) -> None:
        raise AssertionError("the native path calls no door")

    monkeypatch.setattr(_door, "_http", refused)
    app = application()
    with our_server(app) as client:
        assert client.get("/users/1").json()["id"] == 1


def test_nothing_of_starlette_is_imported():
    program = "import sys, spikard._middleware, spikard.app, spikard._door, spikard._server\n"
    program += "print('starlette' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr


@every_door
def test_middleware_stands_around_mounts_and_names_their_routes(door):
    from fastapi import FastAPI

    inner = FastAPI()

    @inner.get("/items/{name}")
    async def item(name: str) -> str:
        return name

    seen: list[Any] = []

    class Looking:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                seen.append(scope["root_path"] + scope["route"].path_format)

    app = Spikard()
    app.mount("/old", inner)
    app.add_middleware(Looking)
    with door(app) as client:
        assert client.get("/old/items/a").json() == "a"
    assert seen == ["/old/items/{name}"]


@every_door
def test_state_of_the_lifespan_is_in_the_scope(door):
    class Pool(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-pool"] = request.state.pool
            return response

    @asynccontextmanager
    async def lifespan(app: Spikard) -> Any:
        yield {"pool": "open"}

    app = Spikard(lifespan=lifespan)

    @app.get("/")
    async def index(request: Request) -> str:
        return request.state.pool  # type: ignore[no-any-return]

    app.add_middleware(Pool)
    with door(app) as client:
        answer = client.get("/")
    assert (answer.json(), answer.headers["x-pool"]) == ("open", "open")


def test_middleware_is_checked_where_it_is_written():
    with pytest.raises(RegistrationError, match="expected an ASGI middleware class, got str"):
        Spikard().add_middleware("GZip")
    with pytest.raises(RegistrationError, match="got int"):
        Spikard(middleware=[3])
    app = application()
    app.add_middleware(Noting)
    with pytest.raises(RegistrationError, match=r"middleware Noting: .*events"), TestClient(app):
        pass


def test_middleware_and_mounts_on_a_loop_that_cannot_host_the_server():
    uvloop = pytest.importorskip("uvloop")
    events: list[Any] = []
    app = application()
    app.add_middleware(Noting, events)
    app.mount("/old", answering)

    async def main() -> None:
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        config = ServerConfig(port=0)
        serving = asyncio.ensure_future(
            spikard_asgi.server.serve(app, config=config, on_ready=url.set_result)
        )
        async with httpx.AsyncClient(base_url=await url, timeout=PATIENCE) as client:
            assert (await client.get("/users/2")).json()["id"] == 2
            assert (await client.get("/old/x")).text == "/old /old/x"
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.close()
    assert events == [("noting", "lifespan"), ("noting", "http"), ("noting", "http")]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"{scope['root_path']} {scope['path']}".encode()
        await send({"type": "http.response.body", "body": body})


def test_lifespan_that_is_switched_off_stays_off():
    events: list[str] = []
    app = application()
    app.on_startup(lambda: events.append("start-up"))
    app.add_middleware(Noting, [])
    with our_server(app, ServerConfig(lifespan="off")) as client:
        assert client.get("/users/2").json()["id"] == 2
    assert events == []
