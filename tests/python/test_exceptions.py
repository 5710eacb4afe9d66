"""From exceptions to answers."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from tests.python.doors import DOORS, PATIENCE

from spikard import (
    HTTPException,
    JSONResponse,
    PlainTextResponse,
    Request,
    RequestValidationError,
    Response,
    Router,
    ServerConfig,
    Spikard,
    TestClient,
)
from spikard.config import ApiKeyConfig, RateLimitConfig, StaticFilesConfig
from spikard.testing import serve_in_thread


class Teapot(Exception):  # noqa: N818 - a name
    pass


class Kettle(Teapot):
    pass


def raising(exc: BaseException, **options: Any) -> Spikard:
    app = Spikard(**options)

    @app.get("/")
    async def handler() -> None:
        raise exc

    return app


def test_http_exception_is_a_problem(door):
    answer = door(raising(HTTPException(404, "no such item", {"X-A": "b"}))).get("/")
    assert answer.status == 404
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("x-a") == "b"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such item",
    }


def test_http_exception_without_a_body_status_has_none(door):
    answer = door(raising(HTTPException(304))).get("/")
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("status", [0, 99, 600])
def test_status_out_of_range_is_refused(status):
    with pytest.raises(ValueError, match="status_code"):
        HTTPException(status)


def test_unhandled_exception_is_logged_and_not_shown(door, caplog):
    answer = door(raising(ValueError("the secret"))).get("/")
    assert answer.status == 500
    assert b"secret" not in answer.body
    record = caplog.records[-1]
    assert record.name == "spikard.error"
    assert "request-1" in record.getMessage()
    assert "the secret" in caplog.text


def test_forged_lines_do_not_reach_the_log(door, caplog):
    app = Spikard()

    @app.get("/{name}")
    async def handler(name: str) -> None:
        raise ValueError("x")

    door(app).get("/a%0d%0aforged")
    assert "a\\r\\nforged" in caplog.records[-1].getMessage()


def test_debug_page_is_html_for_a_browser_and_text_otherwise(door):
    client = door(raising(ValueError("<b>"), debug=True))
    page = client.get("/", headers={"accept": "text/html,*/*"})
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert b"&lt;b&gt;" in page.body
    assert b"<b>" not in page.body
    text = client.get("/", headers={"accept": "*/*"})
    assert text.header("content-type") == "text/plain; charset=utf-8"
    assert b"ValueError: <b>" in text.body


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("takes_request", [False, True])
def test_handler_of_a_class_gets_its_subclasses(is_async, takes_request, door):
    app = raising(Kettle())

    def answer(exc: Exception) -> Response:
        return PlainTextResponse(type(exc).__name__, 418)

    async def with_request(request: Request, exc: Exception) -> Response:
        return answer(exc)

    async def alone(exc: Exception) -> Response:
        return answer(exc)

    def sync_with_request(request: Request, exc: Exception) -> Response:
        return answer(exc)

    handlers: dict[Any, Any] = {
        (True, True): with_request,
        (True, False): alone,
        (False, True): sync_with_request,
        (False, False): answer,
    }
    app.exception_handler(Teapot)(handlers[is_async, takes_request])
    found = door(app).get("/")
    assert (found.status, found.body) == (418, b"Kettle")


def test_handler_of_a_status_and_plain_values(door):
    app = raising(HTTPException(404, "x"))

    @app.exception_handler(404)
    def not_found(request: Request, exc: HTTPException) -> dict[str, Any]:
        return {"nothing at": request.path}

    answer = door(app).get("/")
    assert (answer.status, answer.json()) == (404, {"nothing at": "/"})


def test_nearest_router_wins(door):
    app = Spikard()
    router = Router()

    @app.exception_handler(Teapot)
    def outer(exc: Teapot) -> Response:
        return PlainTextResponse("outer")

    @router.exception_handler(Teapot)
    def inner(exc: Teapot) -> Response:
        return PlainTextResponse("inner")

    @router.get("/inner")
    async def inside() -> None:
        raise Teapot

    @app.get("/outer")
    async def outside() -> None:
        raise Teapot

    app.include_router(router)
    assert door(app).get("/inner").body == b"inner"
    assert door(app).get("/outer").body == b"outer"


def test_handler_that_raises_is_a_500(door, caplog):
    app = raising(Teapot())

    @app.exception_handler(Teapot)
    def broken(exc: Teapot) -> Response:
        raise RuntimeError("in handler")

    assert door(app).get("/").status == 500
    assert "in handler" in caplog.text


@pytest.mark.parametrize("key", [422, RequestValidationError, HTTPException])
def test_validation_errors_go_to_a_handler_that_wants_them(key, door):
    app = Spikard()

    @app.exception_handler(key)
    async def refused(request: Request, exc: RequestValidationError) -> Response:
        return PlainTextResponse(exc.errors[0]["type"], 400)

    @app.get("/")
    async def handler(n: int) -> int:
        return n

    client = door(app)
    refused_answer = client.get("/?n=x")
    assert (refused_answer.status, refused_answer.body) == (400, b"int_parsing")
    assert client.get("/?n=1").json() == 1


@pytest.mark.parametrize("live", [False, True])
def test_exception_handlers_of_the_application_answer_404_and_405_of_every_path(live):
    app = Spikard()
    users = Router(prefix="/users")

    @app.exception_handler(404)
    async def nothing(request: Request, exc: HTTPException) -> Any:
        return {"nothing at": request.path}

    @app.exception_handler(HTTPException)
    def other(request: Request, exc: HTTPException) -> Response:
        return PlainTextResponse(f"{exc.status_code} {exc.detail}", exc.status_code)

    @users.get("/{id}")
    async def user(id: str) -> str:  # noqa: A002 - the name of the path parameter
        raise HTTPException(404, "no such user")

    app.include_router(users)
    with ExitStack() as stack:
        if live:
            url = stack.enter_context(serve_in_thread(app))
            client: Any = stack.enter_context(httpx.Client(base_url=url))
        else:
            client = stack.enter_context(TestClient(app))
        for path in ("/nowhere", "/users/1"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == (404, {"nothing at": path})
        answer = client.post("/users/1")
        assert (answer.status_code, answer.content) == (405, b"405 Method Not Allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        assert client.get("/%ff").status_code == 400


REFUSED = [
    ("GET", "/nowhere", {}, 404),
    ("PUT", "/", {}, 405),
    ("GET", "/", {"x-api-key": "wrong"}, 401),
    ("POST", "/", {"content-length": "100"}, 413),
    ("POST", "/stream", {"content-length": "100"}, 413),
    ("GET", "/slow", {}, 408),
    ("GET", "/limited", {}, 429),
    ("GET", "/files/none.txt", {}, 404),
    ("GET", "/mounted/slow", {}, 408),
    ("POST", "/mounted/", {"chunked": "1"}, 413),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("with_hooks", [False, True])
def test_exception_handlers_hear_of_what_policies_answer(door, with_hooks, tmp_path):
    app = Spikard(
        config=ServerConfig(
            max_body_size=50,
            request_timeout=0.2,
            api_key_auth=ApiKeyConfig(keys=["right"]),
            static_files=[StaticFilesConfig(directory=str(tmp_path), route_prefix="/files")],
        )
    )
    seen: list[int] = []

    @app.exception_handler(HTTPException)
    async def shown(request: Request, exc: HTTPException) -> Response:
        return JSONResponse({"own": exc.status_code, "at": request.path}, exc.status_code)

    @app.exception_handler(429)
    def limited(exc: HTTPException) -> Response:
        return PlainTextResponse("slower, please", 429, headers={"retry-after": "7"})

    if with_hooks:

        @app.on_request
        async def nothing(request: Request) -> None:
            request.state.was_here = True

        @app.on_response
        async def note(request: Request, response: Response) -> None:
            seen.append(response.status_code)

    @app.get("/")
    async def index() -> str:
        return "fine"

    @app.post("/")
    async def take(body: dict[str, Any]) -> int:
        return len(body)

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return len(await request.body())

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.get("/limited", rate_limit=RateLimitConfig(per_second=0.001, burst=1))
    async def sometimes() -> str:
        return "this time"

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].endswith("/slow"):
            await asyncio.sleep(60)
        while (await receive()).get("more_body"):
            pass

    app.mount("/mounted", mounted)
    with door(app) as client:
        fields = {"x-api-key": "right"}
        assert client.get("/limited", headers=fields).status_code == 200
        seen.clear()
        for method, target, further, status in REFUSED:
            content: Any = None
            if "content-length" in further:
                content = b'{"a": "' + b"x" * 91 + b'"}'
            elif "chunked" in further:
                content = iter([b"x" * 50, b"x" * 50])
            key = {"x-api-key": further.get("x-api-key", "right")}
            answer = client.request(method, target, headers=key, content=content)
            assert answer.status_code == status, target
            if status == 429:
                assert (answer.text, answer.headers["retry-after"]) == ("slower, please", "7")
                assert answer.headers["ratelimit-limit"] == "1"
            else:
                assert answer.json() == {"own": status, "at": target}
            if status == 405:
                assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
            if status == 401:
                assert answer.headers["www-authenticate"]
            if status == 408:
                assert answer.headers["connection"] == "close"
            assert len(answer.headers["x-request-id"]) >= 16
    assert seen == ([status for *_, status in REFUSED] if with_hooks else [])


@pytest.mark.parametrize("door", DOORS)
def test_a_handler_of_503_hears_of_a_full_queue(door):
    app = Spikard(config=ServerConfig(max_concurrency=1, max_queue=0))
    entered, release = threading.Event(), threading.Event()

    @app.exception_handler(503)
    def busy(exc: HTTPException) -> Response:
        return PlainTextResponse("busy", 503)

    @app.get("/held")
    async def held() -> str:
        entered.set()
        await asyncio.to_thread(release.wait, PATIENCE)
        return "done"

    with door(app) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, "/held")
        try:
            assert entered.wait(PATIENCE)
            answer = client.get("/held")
        finally:
            release.set()
        assert (answer.status_code, answer.text) == (503, "busy")
        assert answer.headers["retry-after"] == "1"
        assert first.result(PATIENCE).status_code == 200


def test_an_exception_handler_may_come_after_the_first_request():
    app = raising(Teapot())

    with TestClient(app) as client:
        client.get("/").assert_status(500)

    @app.exception_handler(Teapot)
    async def pour(exc: Teapot) -> Response:
        return PlainTextResponse("tea", 418)

    with TestClient(app) as client:
        assert client.get("/").assert_status(418).text() == "tea"
