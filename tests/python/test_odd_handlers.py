"""What handlers should not do, behind every door: no hang, no leak, the next one is served."""

from __future__ import annotations

import asyncio
import collections
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from tests.python.doors import DOORS, under_uvicorn

from spikard import (
    BackgroundTasks,
    Depends,
    FileResponse,
    HTTPException,
    Provide,
    Response,
    Spikard,
    StreamingResponse,
)
from spikard.testing import TestClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "secret-text"


class Text(str):
    __slots__ = ()


class Octets(bytes):
    __slots__ = ()


class Whole(int):
    pass


class Part(float):
    pass


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError(SECRET)


class Unprintable(Exception):  # noqa: N818 - a name
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


class Base(BaseException):
    pass


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

ANSWERED: dict[str, tuple[Any, int, str | None, bytes]] = {
    "text": (Text("x"), 200, JSON, b'"x"'),
    "octets": (Octets(b"x"), 200, "application/octet-stream", b"x"),
    "whole": (Whole(3), 200, JSON, b"3"),
    "part": (Part(1.5), 200, JSON, b"1.5"),
    "inside": ([Text("x"), {"n": Whole(3)}], 200, JSON, b'["x",{"n":3}]'),
    "counter": (collections.Counter("aab"), 200, JSON, b'{"a":2,"b":1}'),
    "pair": (({"a": 1}, 201), 200, JSON, b'[{"a":1},201]'),
    "nan": ([float("nan"), float("inf")], 200, JSON, b"[null,null]"),
    "length": (Response("abc", headers={"content-length": "99"}), 200, TEXT, b"abc"),
    "framing": (Response("abc", headers={"transfer-encoding": "chunked"}), 200, TEXT, b"abc"),
}

REFUSED: dict[str, Any] = {
    "object": object(),
    "unprintable": Opaque(),
    "exception": ValueError(SECRET),
    "exception-class": ValueError,
    "response-class": Response,
    "function": len,
    "not-implemented": NotImplemented,
    "surrogate": "\ud800",
    "digits": 10**5000,
    "endless": endless(),
    "deep": nested(100_000),
    "keys": {(1, 2): 3},
    "status-999": Response(status_code=999),
    "status-100": Response(status_code=100),
    "status-text": Response(status_code="teapot"),  # type: ignore[arg-type]
    "file-missing": FileResponse("/nonexistent/file"),
    "file-directory": FileResponse("/"),
}


# Before Python 3.11 a task does not know whether it was cancelled: it has to assume so.
CANCELLED = [asyncio.CancelledError] if sys.version_info >= (3, 11) else []

RAISED: dict[str, Any] = {
    **({"cancelled": lambda: asyncio.CancelledError(SECRET)} if CANCELLED else {}),
    "value": lambda: ValueError(SECRET),
    "unprintable": Unprintable,
    "base": lambda: Base(SECRET),
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(SECRET),
    "generator-exit": lambda: GeneratorExit(SECRET),
    "stop": lambda: StopIteration(SECRET),
    "stop-async": lambda: StopAsyncIteration(SECRET),
    "memory": lambda: MemoryError(SECRET),
    "surrogate": lambda: ValueError(f"\ud800{SECRET}"),
    "detail": lambda: HTTPException(400, {"a": object()}),
    "detail-surrogate": lambda: HTTPException(400, "\ud800"),
    "header": lambda: HTTPException(400, headers={"a": "b\r\nc"}),
    "status": lambda: HTTPException(999),
}


def overflow() -> Any:
    return overflow()


async def overflow_later() -> Any:
    return await overflow_later()


def program() -> Spikard:
    app = Spikard()

    def returning(path: str, value: Any) -> None:
        async def handler() -> Any:
            return value

        def sync_handler() -> Any:
            return value

        app.get(f"/returned/async/{path}")(handler)
        app.get(f"/returned/sync/{path}")(sync_handler)

    def raising(path: str, make: Any) -> None:
        async def at_once() -> None:
            raise make()

        async def later() -> None:
            await asyncio.sleep(0)
            raise make()

        def in_thread() -> None:
            raise make()

        app.get(f"/raised/at-once/{path}")(at_once)
        app.get(f"/raised/later/{path}")(later)
        app.get(f"/raised/in-thread/{path}")(in_thread)

    for name, (value, *_) in ANSWERED.items():
        returning(name, value)
    for name, value in REFUSED.items():
        returning(name, value)
    for name, make in RAISED.items():
        raising(name, make)
    app.get("/overflow/sync")(overflow)
    app.get("/overflow/async")(overflow_later)

    @app.get("/fine")
    async def fine() -> str:
        return "fine"

    return app


@pytest.fixture(scope="module", params=DOORS)
def visit(request):
    """Return a function that gets a path, each time with a connection that is still good."""
    logging.disable(logging.CRITICAL)  # ten thousand lines that are not looked at here
    try:
        with request.param(program()) as client:

            def get(path: str) -> Any:
                headers = {"connection": "close"}
                return client.get(path, headers=headers)

            yield get
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("how", ["async", "sync"])
@pytest.mark.parametrize("name", ANSWERED)
def test_odd_value_is_answered(name, how, visit):
    _, status, media_type, body = ANSWERED[name]
    answer = visit(f"/returned/{how}/{name}")
    assert (answer.status_code, answer.headers.get("content-type")) == (status, media_type)
    assert answer.content == body
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("how", ["async", "sync"])
@pytest.mark.parametrize("name", REFUSED)
def test_value_that_cannot_be_sent_is_a_500(name, how, visit):
    answer = visit(f"/returned/{how}/{name}")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert visit("/fine").json() == "fine"


@pytest.mark.parametrize("how", ["at-once", "later", "in-thread"])
@pytest.mark.parametrize("name", RAISED)
def test_whatever_a_handler_raises_is_a_500(name, how, visit):
    answer = visit(f"/raised/{how}/{name}")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert visit("/fine").json() == "fine"


@pytest.mark.parametrize("how", ["sync", "async"])
def test_recursion_without_end_is_a_500(how, visit):
    assert visit(f"/overflow/{how}").status_code == 500
    assert visit("/fine").json() == "fine"


@pytest.mark.parametrize("debug_accept", ["text/html", "*/*"])
@pytest.mark.parametrize("name", RAISED)
def test_debug_page_shows_whatever_was_raised(name, debug_accept):
    app = program()
    app.debug = True
    with TestClient(app) as client:
        answer = client.get(f"/raised/later/{name}", headers={"accept": debug_accept})
    assert answer.status_code == 500


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("item", [1, None, {"a": 1}, "\ud800"])
def test_stream_of_something_else_is_cut_and_logged(item, door, caplog):
    app = Spikard()

    @app.get("/")
    async def handler() -> Any:
        return StreamingResponse(iter([b"begun", item]))

    with (
        door(app) as client,
        caplog.at_level(logging.ERROR),
        pytest.raises(Exception, match=r"cut|closed|disconnected|incomplete"),
    ):
        client.get("/")
    expected = "a stream yields bytes or str" if not isinstance(item, str) else "surrogates"
    assert door is under_uvicorn or expected in caplog.text  # which logs by itself


@pytest.mark.parametrize("door", DOORS)
def test_background_work_that_exits_or_stops_ends_alone(door, caplog):
    app = Spikard()
    done: list[str] = []

    def stops() -> None:
        raise StopIteration

    @app.get("/")
    async def handler(tasks: BackgroundTasks) -> str:
        tasks.add_task(stops)
        tasks.add_task(done.append, "next")
        return "answered"

    with caplog.at_level(logging.ERROR), door(app) as client:
        assert client.get("/").json() == "answered"
    assert done == ["next"]
    assert "StopIteration" in caplog.text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "reason", [ValueError, Base, SystemExit, *CANCELLED, GeneratorExit, StopIteration]
)
def test_teardown_that_raises_anything_leaves_no_other_open(reason, door):
    app = Spikard()
    closed: list[str] = []

    async def outer() -> AsyncIterator[str]:
        yield "outer"
        closed.append("outer")

    async def inner(below: str = Depends(outer)) -> AsyncIterator[str]:
        yield "inner"
        closed.append("inner")
        raise reason(SECRET)

    @app.get("/")
    async def handler(inner: Annotated[str, Depends(inner)]) -> str:
        return inner

    @app.get("/fine")
    async def fine() -> str:
        return "fine"

    with door(app) as client:
        assert client.get("/", headers={"connection": "close"}).json() == "inner"
        assert client.get("/fine").json() == "fine"
    assert closed == ["inner", "outer"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("reason", [Base, SystemExit, *CANCELLED])
def test_background_work_that_ends_badly_leaves_no_dependency_open(reason, door):
    app = Spikard()
    closed: list[str] = []

    async def resource() -> AsyncIterator[str]:
        yield "resource"
        closed.append("resource")

    async def ends_badly() -> None:
        raise reason(SECRET)

    @app.get("/")
    async def handler(held: Annotated[str, Depends(resource)], tasks: BackgroundTasks) -> str:
        tasks.add_task(ends_badly)
        return held

    with door(app) as client:
        assert client.get("/", headers={"connection": "close"}).json() == "resource"
    assert closed == ["resource"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("reason", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_dependency_of_a_batch_that_exits_ends_its_request_alone(reason, door):
    app = Spikard()

    async def first() -> int:
        await asyncio.sleep(0)
        raise reason(SECRET)

    async def second() -> int:
        await asyncio.sleep(0)
        return 2

    app.provide("first", Provide(first))
    app.provide("second", Provide(second))

    @app.get("/")
    async def handler(first: int, second: int) -> int:
        return first + second

    @app.get("/fine")
    async def fine() -> str:
        return "fine"

    with door(app) as client:
        assert client.get("/", headers={"connection": "close"}).status_code == 500
        assert client.get("/fine").json() == "fine"


def test_an_asgi_application_that_exits_does_not_stop_the_test_client():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise SystemExit(3)

    with TestClient(app) as client:
        assert client.get("/").status_code == 500
        assert client.get("/").status_code == 500
