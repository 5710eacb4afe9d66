"""The five hooks, on the application and on routers."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from tests.python.doors import DOORS

from spikard import (
    Cookie,
    Header,
    HTTPException,
    PlainTextResponse,
    Query,
    Request,
    Response,
    Router,
    ServerConfig,
    Spikard,
)
from spikard._hooks import run_on_error, run_on_request, run_on_response
from spikard.exceptions import RegistrationError
from spikard.testing import TestClient, serve_in_thread


def test_hooks_of_a_route_run_in_order_and_outer_ones_first(door):
    events: list[str] = []
    app = Spikard()
    router = Router(prefix="/r")

    def noted(name: str, *, is_async: bool) -> Any:
        if is_async:

            async def hook(request: Request) -> Request:
                events.append(name)
                return request
        else:

            def hook(request: Request) -> Any:  # type: ignore[misc]
                events.append(name)

        return hook

    app.pre_handler(noted("app pre_handler", is_async=True))
    app.pre_validation(noted("app pre_validation", is_async=False))
    router.pre_handler(noted("router pre_handler", is_async=False))
    router.pre_validation(noted("router pre_validation", is_async=True))
    router.on_request(noted("router on_request", is_async=True))

    @router.on_response
    async def on_response(response: Response) -> Response:
        events.append("router on_response")
        response.headers["x-seen"] = "1"
        return response

    @router.get("/{item_id}")
    async def handler(item_id: int) -> int:
        events.append("handler")
        return item_id

    app.include_router(router)
    answer = door(app).get("/r/3")
    assert (answer.json(), answer.header("x-seen")) == (3, "1")
    assert events == [
        "router on_request",
        "app pre_validation",
        "router pre_validation",
        "app pre_handler",
        "router pre_handler",
        "handler",
        "router on_response",
    ]


def ask_in_process(app: Spikard, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    with TestClient(app) as client:
        answer = client.get(path, headers=headers)
    return answer.status_code, answer.json()


def ask_server(app: Spikard, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    with serve_in_thread(app) as url:
        answer = httpx.get(url + path, headers=headers, timeout=20)
    return answer.status_code, answer.json()


def change_header(request: Request) -> None:
    request.headers["x-value"] = "changed"


def change_headers(request: Request) -> None:
    request.headers = {"x-value": "changed", "cookie": "value=changed"}


def change_cookie(request: Request) -> None:
    request.cookies["value"] = "changed"


def change_query(request: Request) -> None:
    request.query_params = {"value": "changed"}


def change_query_string(request: Request) -> None:
    request["query_string"] = b"value=changed"


def change_nothing(request: Request) -> None:
    request.state.seen = request.headers.get("x-value")


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (change_header, {"header"}),
        (change_headers, {"header", "cookie"}),
        (change_cookie, {"cookie"}),
        (change_query, {"query"}),
        (change_query_string, {"query"}),
        (change_nothing, set()),
    ],
)
@pytest.mark.parametrize("ask", [ask_in_process, ask_server])
def test_parameters_are_read_from_what_the_applications_hook_left(change, changed, ask):
    app = Spikard()
    app.on_request(change)

    @app.get("/{item_id:int}")
    async def handler(
        item_id: int,
        query: Annotated[str, Query(alias="value")],
        header: Annotated[str, Header(alias="x-value")],
        cookie: Annotated[str, Cookie(alias="value")],
    ) -> dict[str, Any]:
        return {"item_id": item_id, "query": query, "header": header, "cookie": cookie}

    status, answer = ask(app, "/3?value=sent", {"x-value": "sent", "cookie": "value=sent"})
    names = ("query", "header", "cookie")
    expected = {name: "changed" if name in changed else "sent" for name in names}
    assert (status, answer) == (200, {"item_id": 3, **expected})


@pytest.mark.parametrize("ask", [ask_in_process, ask_server])
def test_what_does_not_fit_is_told_with_a_hook_as_without(ask):
    app = Spikard()
    app.on_request(change_nothing)

    @app.get("/{item_id}")
    async def handler(item_id: int, n: int) -> None:
        raise AssertionError("must not be reached")

    status, answer = ask(app, "/x?n=y", {})
    assert status == 422
    assert [error["loc"] for error in answer["errors"]] == [["path", "item_id"], ["query", "n"]]


@pytest.mark.parametrize("name", ["pre_validation", "pre_handler"])
def test_hook_may_answer_at_once(name, door):
    app = Spikard()

    @getattr(app, name)
    async def stop(request: Request) -> Response:
        return PlainTextResponse("stopped", 429)

    @app.get("/")
    async def handler(n: int = 0) -> None:
        raise AssertionError("must not be reached")

    assert door(app).get("/").status == 429
    # The rules of the hook's place: validation comes between the two.
    assert door(app).get("/?n=x").status == (429 if name == "pre_validation" else 422)


def test_on_response_of_a_router_sees_errors_too(door):
    router = Router()

    @router.on_response
    def mark(request: Request, response: Response) -> None:
        response.headers["x-path"] = request.path

    @router.get("/")
    async def handler() -> None:
        raise HTTPException(404)

    app = Spikard()
    app.include_router(router)
    answer = door(app).get("/")
    assert (answer.status, answer.header("x-path")) == (404, "/")


def test_on_error_sees_the_exception_and_may_replace_the_answer(door):
    app = Spikard()
    seen: list[Any] = []

    @app.on_error
    async def log(error: Exception) -> None:
        seen.append(error)

    @app.on_error
    def with_request(request: Request, error: Exception) -> None:
        seen.append(request.path)

    @app.on_error
    def replace(response: Response) -> Response:
        seen.append(response.status_code)
        return PlainTextResponse("replaced", 503)

    @app.get("/")
    async def handler() -> None:
        raise ValueError("x")

    answer = door(app).get("/")
    assert (answer.status, answer.body) == (503, b"replaced")
    assert [type(each) for each in seen] == [ValueError, str, int]


def test_item_and_attribute_of_the_request_are_the_same(door):
    app = Spikard()

    @app.pre_validation
    async def change(request: dict[str, object]) -> Any:
        assert request["method"] == "GET"
        request["path"] = "/changed"
        request["custom"] = 1
        request.state.user = "u"  # type: ignore[attr-defined]
        return request

    @app.get("/")
    async def handler(request: Request) -> Any:
        return [request.path, request["path"], request["custom"], request.state.user]

    assert door(app).get("/").json() == ["/changed", "/changed", 1, "u"]


def test_hook_that_returns_something_else_is_a_500(door):
    app = Spikard()

    @app.pre_handler
    def wrong(request: Request) -> Any:
        return {"not": "a response"}

    @app.get("/")
    async def handler() -> None: ...

    assert door(app).get("/").status == 500


@pytest.mark.parametrize("name", ["on_response", "on_error"])
def test_hook_with_a_wrong_signature_fails_at_registration(name):
    def hook(a, b, c, d) -> None: ...

    with pytest.raises(RegistrationError, match="hook"):
        getattr(Spikard(), name)(hook)


def test_runners_return_what_the_first_deciding_hook_says():
    app = Spikard()
    request: Any = object()
    first, second = PlainTextResponse("1"), PlainTextResponse("2")

    async def run() -> None:
        hooks = [lambda _: None, lambda r: r, lambda _: first, lambda _: second]
        assert await run_on_request(hooks, request) is first
        assert await run_on_request(hooks[:2], request) is None

        @app.on_response
        async def replace(response: Response) -> Response:
            return second

        assert await run_on_response(app.hooks["on_response"], request, first) is second

        @app.on_error
        def keep(request: Request, error: Exception, response: Response) -> None: ...

        error = ValueError()
        assert await run_on_error(app.hooks["on_error"], request, error, first) is first

    asyncio.run(run())


@pytest.mark.parametrize("door", DOORS)
def test_the_limits_of_a_route_hold_in_an_application_with_hooks(door):
    app = Spikard(config=ServerConfig(max_body_size=50, request_timeout=0.2))

    @app.on_request
    async def nothing(request: Request) -> None:
        return None

    @app.post("/large", max_body_size=1000)
    async def large(request: Request) -> int:
        return len(await request.body())

    @app.post("/small", max_body_size=10)
    async def small(body: dict[str, Any]) -> int:
        return len(body)

    @app.get("/patient", request_timeout=None)
    async def patient() -> str:
        await asyncio.sleep(0.3)
        return "late"

    @app.get("/quick", request_timeout=0.05)
    async def quick() -> None:
        await asyncio.sleep(60)

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    with door(app) as client:
        sent = [client.post("/large", content=iter([b"x" * 500] * n)).status_code for n in (1, 3)]
        assert sent == [200, 413]
        json = {"content-type": "application/json"}
        body = [b'{"a": ', b"1" * 5, b"}"]
        assert client.post("/small", content=iter(body), headers=json).status_code == 413
        assert client.get("/patient").status_code == 200
        assert client.get("/quick").status_code == 408
        assert client.get("/slow").status_code == 408
