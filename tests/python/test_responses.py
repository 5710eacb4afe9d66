"""What handlers return, and the responses they build."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import decimal
import enum
import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from attrs import define
from msgspec import Meta, Struct

from spikard import (
    BackgroundTasks,
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    Spikard,
    StreamingResponse,
    TestClient,
)
from spikard._exact import exact_or

if TYPE_CHECKING:
    from collections.abc import Callable


class User(Struct):
    id: int
    name: str


class UserInDb(User):
    password: str


class Team(Struct):
    members: list[User]
    lead: User | None = None


@dataclass
class Point:
    x: int


class Movie(TypedDict):
    title: str


@define
class Attrs:
    x: int


class Pair(NamedTuple):
    left: int
    right: int


class Model(pydantic.BaseModel):
    x: int


class SecretModel(Model):
    password: str = "secret"


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (User(1, "a"), b'{"id":1,"name":"a"}'),
        ({"a": 1}, b'{"a":1}'),
        ([1, "b"], b'[1,"b"]'),
        ((1, 2), b"[1,2]"),
        (Pair(1, 2), b"[1,2]"),
        (Point(1), b'{"x":1}'),
        (Attrs(1), b'{"x":1}'),
        (Model(x=1), b'{"x":1}'),
        ({"m": [Model(x=1)]}, b'{"m":[{"x":1}]}'),
        (3, b"3"),
        (2**80, b"1208925819614629174706176"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
        ("text", b'"text"'),
        (dt.datetime(2024, 1, 2, 3, tzinfo=dt.timezone.utc), b'"2024-01-02T03:00:00Z"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.50"), b'"1.50"'),
        (Color.RED, b'"red"'),
        ({3}, b"[3]"),
        (collections.deque([1]), b"[1]"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_plain_result_is_json(value, body, is_async, door):
    app = Spikard()
    if is_async:

        @app.get("/")
        async def handler():
            return value
    else:

        @app.get("/")
        def sync_handler():
            return value

    answer = door(app).get("/")
    assert answer.body == body
    assert answer.header("content-type") == "application/json"


def test_bytes_are_sent_as_they_are(door):
    app = Spikard()

    @app.get("/")
    async def handler() -> bytes:
        return b"\x00\xff"

    answer = door(app).get("/")
    assert answer.body == b"\x00\xff"
    assert answer.header("content-type") == "application/octet-stream"


def test_route_may_say_status_and_media_type(door):
    app = Spikard()

    @app.get("/", status_code=201, media_type="text/csv")
    async def handler() -> str:
        return "a,b"

    answer = door(app).get("/")
    assert (answer.status, answer.body) == (201, b"a,b")
    assert answer.header("content-type") == "text/csv; charset=utf-8"


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_status_has_no_body_and_no_content_type(status, door):
    app = Spikard()

    @app.get("/", status_code=status)
    async def handler() -> None: ...

    answer = door(app).get("/")
    assert (answer.status, answer.body, answer.raw_headers) == (status, b"", [])


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (User, UserInDb(1, "a", "secret"), {"id": 1, "name": "a"}),
        (User, {"id": 1, "name": "a", "password": "secret"}, {"id": 1, "name": "a"}),
        (list[User], [UserInDb(1, "a", "secret")], [{"id": 1, "name": "a"}]),
        (Team, Team([UserInDb(1, "a", "secret")]),
         {"members": [{"id": 1, "name": "a"}], "lead": None}),
        (Movie, {"title": "t", "password": "secret"}, {"title": "t"}),
        (Point, {"x": 1, "password": "secret"}, {"x": 1}),
        (Model, SecretModel(x=1), {"x": 1}),
        (list[Model], [SecretModel(x=1)], [{"x": 1}]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (User | None, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("through", ["annotation", "response_model"])
def test_declared_type_filters(annotation, value, expected, through, door):
    app = Spikard()

    async def handler():
        return value

    if through == "annotation":
        handler.__annotations__["return"] = annotation
        app.get("/")(handler)
    else:
        app.get("/", response_model=annotation)(handler)
    answer = door(app).get("/")
    assert answer.status == 200
    assert answer.json() == expected


class Orm:
    id = 3
    name = "from attributes"


def test_declared_struct_reads_attributes(door):
    app = Spikard()

    @app.get("/", response_model=User)
    async def handler() -> Any:
        return Orm()

    assert door(app).get("/").json() == {"id": 3, "name": "from attributes"}


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (User, {"id": "x", "name": "a"}),
        (User, User("x", "a")),  # type: ignore[arg-type]
        (list[User], [User(1, 2)]),  # type: ignore[arg-type]
        (Team, Team([User("x", "a")])),  # type: ignore[arg-type]
        (int, "1"),
        (Annotated[int, Meta(ge=0)], -1),
        (dict[str, int], {"a": "b"}),
        (None, {"a": 1}),
        (Model, {"x": "q"}),
        (float, float("nan")),
        (User, None),
        (User, object()),
    ],
)
def test_result_that_does_not_fit_is_a_500_and_a_log_line(annotation, value, door, caplog):
    app = Spikard()

    async def handler():
        return value

    handler.__annotations__["return"] = annotation
    app.get("/")(handler)
    answer = door(app).get("/")
    assert answer.status == 500
    assert answer.json() == {
        "type": "https://spikard.dev/errors/internal-server-error",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Internal Server Error",
    }
    assert "GET / raised" in caplog.text


@pytest.mark.parametrize("value", [object(), {"a": object()}, [[]]])
def test_result_without_a_json_form_is_a_500(value, door):
    if value == [[]]:
        for _ in range(100_000):
            value = [value]
    app = Spikard()

    @app.get("/")
    async def handler() -> Any:
        return value

    assert door(app).get("/").status == 500


def test_generators_are_streamed(door):
    app = Spikard()

    @app.get("/a")
    async def agen():
        yield b"a"
        yield "b"

    @app.get("/b")
    def gen():
        yield "a"
        yield b"b"

    @app.get("/c", status_code=201)
    async def returned() -> Any:
        return (chunk for chunk in ("a", "b"))

    client = door(app)
    assert [client.get(f"/{name}").body for name in "abc"] == [b"ab"] * 3
    assert client.get("/c").status == 201


def test_streaming_response_closes_its_iterator():
    closed = []

    async def chunks() -> Any:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append("async")

    def plain() -> Any:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("sync")

    async def run() -> None:
        for source in (chunks(), plain()):
            stream: Any = StreamingResponse(source).stream
            assert await stream.__anext__() == b"a"
            await stream.aclose()

    asyncio.run(run())
    assert closed == ["async", "sync"]


@pytest.mark.parametrize("wrong", [3, "text", b"bytes"])
def test_streaming_response_refuses_what_is_no_iterator(wrong):
    with pytest.raises(TypeError, match="iterator"):
        StreamingResponse(wrong)


@pytest.mark.parametrize(
    ("response", "content_type", "body"),
    [
        (Response("a"), "text/plain; charset=utf-8", b"a"),
        (Response(b"a"), "application/octet-stream", b"a"),
        (Response({"a": 1}), "application/json", b'{"a":1}'),
        (Response("a,b", media_type="text/csv"), "text/csv; charset=utf-8", b"a,b"),
        (Response("a", headers={"Content-Type": "x/y"}), "x/y", b"a"),
        (Response(), None, None),
        (JSONResponse(None), "application/json", b"null"),
        (HTMLResponse("<p>"), "text/html; charset=utf-8", b"<p>"),
        (PlainTextResponse("a"), "text/plain; charset=utf-8", b"a"),
        (FileResponse("/x/a.png"), "image/png", None),
    ],
)
def test_response_has_its_body_and_content_type(response, content_type, body):
    assert response.body == body
    assert response.headers.get("content-type") == content_type


def test_redirect_encodes_its_location():
    response = RedirectResponse("/a b\r\nx: y?q=é#f")
    assert response.status_code == 307
    assert response.headers["location"] == "/a%20b%0D%0Ax:%20y?q=%C3%A9#f"


def test_file_response_names_the_download():
    response = FileResponse("/x/a.txt", filename='na"ïve\r\n.txt')
    assert response.file == "/x/a.txt"
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"nave.txt\"; filename*=UTF-8''na%22%C3%AFve%0D%0A.txt"
    )


def test_repeated_headers_and_cookies_are_kept():
    response = Response(headers=[("Link", "a"), ("Link", "b")])
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", max_age=60, secure=True, httponly=True, samesite="none")
    response.delete_cookie("c", domain=".example.com")
    assert response.headers.getlist("link") == ["a", "b"]
    assert response.headers.getlist("set-cookie") == [
        "a=1; Path=/; SameSite=Lax",
        "b=2; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=None",
        "c=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=.example.com; Path=/; "
        "SameSite=Lax",
    ]


def test_expires_takes_a_moment_or_seconds():
    response = Response()
    response.set_cookie("a", expires=dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc))
    assert "Expires=Tue, 02 Jan 2024 00:00:00 GMT" in response.headers["set-cookie"]
    response.set_cookie("b", expires=60)
    assert response.headers.getlist("set-cookie")[1].count("GMT") == 1


@pytest.mark.parametrize(
    "cookie",
    [
        {"key": ""},
        {"key": "a b"},
        {"key": "a=b"},
        {"key": "a", "value": "b;c"},
        {"key": "a", "value": "b\r\nc"},
        {"key": "a", "value": "x" * 5000},
        {"key": "a", "path": "/;x"},
        {"key": "a", "domain": "x\r\n"},
        {"key": "a", "samesite": "none"},
        {"key": "a", "samesite": "sometimes"},
        {"key": "a", "partitioned": True},
        {"key": "__Secure-a"},
        {"key": "__Host-a", "secure": True, "path": "/x"},
        {"key": "__Host-a", "secure": True, "domain": "example.com"},
        {"key": "a", "expires": "x;y"},
    ],
)
def test_cookie_that_no_client_would_store_is_refused(cookie):
    response = Response()
    with pytest.raises(ValueError, match="cookie"):
        response.set_cookie(**cookie)
    assert response.raw_headers == []


@pytest.mark.parametrize(("name", "value"), [("a\r\n", "b"), ("", "b"), ("a", "b\r\nc: d")])
def test_header_that_would_split_the_response_is_refused(name, value):
    with pytest.raises(ValueError, match="header"):
        Response(headers={name: value})
    with pytest.raises(ValueError, match="header"):
        Response().headers[name] = value


def test_injected_response_sets_headers_and_status_of_a_plain_result(door):
    app = Spikard()

    @app.get("/")
    async def handler(response: Response, flag: bool = False) -> dict[str, int]:
        if flag:
            response.status_code = 201
            response.headers["x-a"] = "b"
            response.set_cookie("c", "d")
        return {"a": 1}

    client = door(app)
    plain = client.get("/")
    assert (plain.status, plain.raw_headers) == (200, [(b"content-type", b"application/json")])
    changed = client.get("/?flag=1")
    assert changed.status == 201
    assert changed.json() == {"a": 1}
    assert [name for name, _ in changed.raw_headers] == [b"content-type", b"x-a", b"set-cookie"]


def test_background_tasks_run_after_the_response_and_log_their_errors(door, caplog):
    app = Spikard()
    client = door(app)

    async def fails() -> None:
        raise RuntimeError("in background")

    @app.get("/")
    async def handler(tasks: BackgroundTasks) -> Any:
        tasks.add_task(fails)
        tasks.add_task(client.events.append, "task")
        return {"queued": len(tasks)}

    assert client.get("/").json() == {"queued": 2}
    assert client.events == ["sent", "task"]
    assert "in background" in caplog.text


def exact_check(declared: Any) -> Callable[[Any], bool] | None:
    return exact_or(msgspec.inspect.type_info(declared), lambda _: True, lambda _: False)


T = TypeVar("T")


class Boxed(Struct, Generic[T]):
    inside: T


class Link(Struct):
    value: float
    next: Link | None = None
    more: dict[str, Link] = {}


@pytest.mark.parametrize(
    ("declared", "fitting", "wrong"),
    [
        (int, [1, 10**30], [True, 1.0, "1", None]),
        (float, [1.5, -0.0], [1, math.nan, math.inf, True]),
        (bool, [True], [1]),
        (None, [None], [0, ""]),
        (int | str | None, [1, "a", None], [1.5, True, b"a"]),
        (list[int], [[], [1]], [(1,), [1, "a"], [True], {1}]),
        (dict[str, float], [{}, {"a": 1.5}], [{1: 1.5}, {"a": 1}, collections.Counter()]),
        (Any, [object(), None], []),
        (User, [User(1, "a")], [User(1, 2), UserInDb(1, "a", "s"), {"id": 1, "name": "a"}]),  # type: ignore[arg-type]
        (
            Boxed[int] | list[Boxed[str]],
            [Boxed(1), [Boxed("a")]],
            [Boxed("a"), [Boxed(1)]],
        ),
        (
            Link,
            [Link(1.0, Link(2.0), {"a": Link(3.0)})],
            [Link(1.0, Link(2)), Link(1.0, None, {"a": Link("x")}), Link(1.0, 3)],  # type: ignore[arg-type]
        ),
        (Any | int, ["anything"], []),
    ],
)
def test_exact_check_knows_what_the_declared_type_names(declared, fitting, wrong):
    check = exact_check(declared)
    assert check is not None
    assert [each for each in fitting if not check(each)] == []
    assert [each for each in wrong if check(each)] == []


class Watched(Struct):
    seen: dict[str, int]

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)


@pytest.mark.parametrize(
    "declared",
    [
        Annotated[int, Meta(ge=1)],
        list[Annotated[str, Meta(max_length=3)]],
        set[int],
        Watched,  # looking at its fields runs code
    ],
)
def test_there_is_no_exact_check_where_types_do_not_say_everything(declared):
    assert exact_check(declared) is None


def test_exact_check_leaves_values_that_go_too_deep_to_the_decoder():
    check = exact_check(Link)
    assert check is not None
    chain = Link(0.0)
    for _ in range(100_000):
        chain = Link(0.0, chain)
    assert not check(chain)
    while chain.next is not None:  # taken apart by hand: its destructor would go as deep
        chain = chain.next


def test_response_model_none_takes_the_annotation_s_word_back():
    app = Spikard()

    @app.get("/", response_model=None)
    async def index() -> User:
        return {"anything": True}  # type: ignore[return-value]

    with TestClient(app) as client:
        assert client.get("/").assert_status_ok().json() == {"anything": True}
    success = app.openapi()["paths"]["/"]["get"]["responses"]["200"]
    assert success["content"] == {"application/json": {"schema": {}}}


@dataclass
class Event:
    name: str
    place: str | None = None
    tags: list[str] = field(default_factory=list)


class Diary(Struct):
    events: list[Event]


@pytest.mark.parametrize("typed", [False, True])
def test_defaults_of_dataclasses_are_part_of_the_answer(typed):
    app = Spikard()

    async def echo(body: Diary) -> Any:
        return body

    if typed:
        echo.__annotations__["return"] = Diary
    app.post("/")(echo)

    @app.get("/")
    async def one() -> Event:
        return Event("fair")

    whole: dict[str, Any] = {"name": "fair", "place": None, "tags": []}
    with TestClient(app) as client:
        assert client.post("/", json={"events": [{"name": "fair"}]}).json() == {"events": [whole]}
        assert client.get("/").json() == whole
