"""Where a handler's parameters come from, in every spelling."""

# ruff: noqa: A002, B008 - parameters named and markers used as an author would

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypedDict

import msgspec
import pytest
from msgspec import Meta, Struct

from spikard import (
    Body,
    Cookie,
    Depends,
    File,
    Form,
    Header,
    Headers,
    HTTPException,
    Path,
    Query,
    Request,
    RouteError,
    Router,
    Spikard,
    State,
    TestClient,
    UploadFile,
)
from spikard.exceptions import RegistrationError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Filters(Struct):
    q: str
    limit: int = 10
    tags: list[str] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str
    year: int


class Pair(NamedTuple):
    left: int
    right: str


def received(annotation: Any, door: Any, query: str, **defaults: Any) -> Any:
    """Return what a query parameter of a type receives."""
    app = Spikard()
    seen = []

    async def handler(value):
        seen.append(value)

    handler.__annotations__["value"] = annotation
    if defaults:
        handler.__defaults__ = (defaults["default"],)
    app.get("/")(handler)
    answer = door(app).get(f"/?{query}")
    assert answer.status == 200, answer.body
    return seen[0]


@pytest.mark.parametrize(
    ("annotation", "query", "expected"),
    [
        (str, "value=a%20b", "a b"),
        (int, "value=-10", -10),
        (int, "value=" + "9" * 40, int("9" * 40)),
        (float, "value=1.5e-3", 0.0015),
        (bool, "value=on", True),
        (bool, "value=FALSE", False),
        (uuid.UUID, "value=c892496f-b1fd-4b91-bdb8-b46f92df1716",
         uuid.UUID("c892496f-b1fd-4b91-bdb8-b46f92df1716")),
        (int | None, "value=3", 3),
        (list[int], "value=1&value=2", [1, 2]),
        (list[int], "value[]=1&value[]=2", [1, 2]),
        (list[str], "value=one", ["one"]),
        (set[int], "value=1&value=1", {1}),
        (tuple[int, str], "value=1&value=a", (1, "a")),
        (Color, "value=red", Color.RED),
        (Size, "value=2", Size.LARGE),
        (Literal["a", 1], "value=1", 1),
        (Literal["a", 1], "value=a", "a"),
        (int | str, "value=7", 7),
        (int | str, "value=x", "x"),
        (dt.date, "value=2024-01-15", dt.date(2024, 1, 15)),
        (dt.datetime, "value=2024-01-15T10:30:00Z",
         dt.datetime(2024, 1, 15, 10, 30, tzinfo=dt.timezone.utc)),
        (dt.time, "value=10:30:00", dt.time(10, 30)),
        (dt.timedelta, "value=PT1H", dt.timedelta(hours=1)),
        (decimal.Decimal, "value=19.99", decimal.Decimal("19.99")),
        (Annotated[int, Meta(ge=0)], "value=0", 0),
        (Annotated[int, Meta(ge=0)] | None, "value=5", 5),
        (dict[str, int], "value[a]=1&value[b]=2", {"a": 1, "b": 2}),
        (dict[str, dict[str, int]], "value[price][gte]=3", {"price": {"gte": 3}}),
    ],
)  # fmt: skip
def test_query_value_is_converted(annotation, query, expected, door):
    value = received(Query.__class_getitem__(annotation), door, query)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Query[int], Query(default=10)),
        (int, Query(10)),
        (Annotated[int, Query()], 10),
        (Annotated[int, Query(default=10)], ...),
        (Annotated[int, Query], 10),
        (Query[int], 10),
        (int, 10),
        (Query[int] | None, 10),
        (Query[int], Query(default_factory=lambda: 10)),
    ],
)
def test_every_spelling_of_a_default_is_the_same(annotation, default, door):
    options = {} if default is ... else {"default": default}
    assert received(annotation, door, "", **options) == 10
    assert received(annotation, door, "value=3", **options) == 3


def test_a_list_default_is_a_new_list_for_each_request(door):
    app = Spikard()

    @app.get("/")
    async def handler(tags: list[str] = []) -> list[str]:  # noqa: B006 - what is tested
        tags.append("x")
        return tags

    client = door(app)
    assert client.get("/").json() == ["x"]
    assert client.get("/").json() == ["x"]


def test_path_header_and_cookie_values_arrive(door):
    app = Spikard()

    @app.get("/items/{item_id:int}/{rest:path}")
    async def handler(
        item_id,
        rest: Path[str],
        x_token: Header[str],
        session: Annotated[str, Cookie(alias="sid")],
        accept: Header[list[str]],
        ua: Annotated[str, Header(alias="User-Agent")] = "none",
    ) -> Any:
        return [item_id, rest, x_token, session, accept, ua]

    headers = {"X-Token": "t", "Cookie": "sid=s; sid=second", "Accept": ["a", "b"]}
    answer = door(app).get("/items/42/a/b", headers=headers)
    assert answer.json() == [42, "a/b", "t", "s", ["a", "b"], "none"]


def test_keyword_only_and_any_order(door):
    app = Spikard()

    @app.post("/{name}")
    async def handler(limit: int, *, name: str, body: Filters, flag: bool = False) -> Any:
        return [limit, name, body.q, flag]

    assert door(app).post("/n?limit=3", json={"q": "x"}).json() == [3, "n", "x", False]


def test_plain_handler_is_called_without_a_wrapper():
    app = Spikard()

    @app.post("/{name}")
    async def handler(body: Filters, name: str) -> None: ...

    spec = app.freeze()[0]
    assert spec.call is handler
    assert spec.simple
    assert [arg.source for arg in spec.args] == ["body", "path"]


@pytest.mark.parametrize(
    ("annotation", "payload", "expected"),
    [
        (Filters, {"q": "a"}, Filters("a")),
        (Point, {"x": 1}, Point(1)),
        (Movie, {"title": "t", "year": 1}, {"title": "t", "year": 1}),
        (Pair, [1, "b"], Pair(1, "b")),
        (list[Filters], [{"q": "a"}], [Filters("a")]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Body[int], 3, 3),
        (Body[int | str], "x", "x"),
        (Annotated[list[int], Body()], [1], [1]),
        (Filters | None, {"q": "a"}, Filters("a")),
    ],
)
def test_body_of_every_structured_type(annotation, payload, expected, door):
    app = Spikard()
    seen = []

    async def handler(item):
        seen.append(item)

    handler.__annotations__["item"] = annotation
    app.post("/")(handler)
    assert door(app).post("/", json=payload).status == 200
    assert seen == [expected]


def test_bytes_and_text_bodies_are_not_parsed(door):
    app = Spikard()

    @app.post("/raw")
    async def raw(body: bytes) -> int:
        return len(body)

    @app.post("/text")
    async def text(body: str) -> str:
        return body

    client = door(app)
    assert client.post("/raw", body=b"\xff{", headers={"content-type": "x/y"}).json() == 2
    assert client.post("/text", body=b"h\xc3\xa9", headers={"content-type": "text/plain"}).json()
    assert client.post("/text", json="j").json() == "j"


def test_same_body_as_json_urlencoded_and_messagepack(door):
    app = Spikard()

    @app.post("/")
    async def handler(filters: Body[Filters]) -> Filters:
        return filters

    client = door(app)
    expected = {"q": "a", "limit": 3, "tags": ["x", "y"]}
    form = b"q=a&limit=3&tags[]=x&tags[]=y"
    media = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/", json=expected).json() == expected
    assert client.post("/", body=form, headers=media).json() == expected
    packed = msgspec.msgpack.encode(expected)
    media = {"content-type": "application/msgpack"}
    assert client.post("/", body=packed, headers=media).json() == expected
    vendor = {"content-type": "application/vnd.api+json"}
    assert client.post("/", json=expected, headers=vendor).json() == expected


def test_several_body_parameters_are_members_of_one_object(door):
    app = Spikard()

    @app.post("/")
    async def handler(
        user: Filters, count: Body[int] = Body(5), note: str | None = Body(None)
    ) -> Any:
        return [user.q, count, note]

    client = door(app)
    assert client.post("/", json={"user": {"q": "a"}, "count": 1}).json() == ["a", 1, None]
    errors = client.post("/", json={"count": "x"}).errors()
    assert errors == {("int_parsing", "body.count"), ("missing", "body.user")}


def test_param_models_fill_from_query_headers_cookies_and_form(door):
    app = Spikard()

    class Traced(Struct):
        x_trace: str
        accept: str = "none"

    class Session(Struct):
        sid: int

    @app.get("/")
    async def read(
        filters: Query[Filters], traced: Header[Traced], session: Cookie[Session]
    ) -> Any:
        return [filters, traced, session]

    @app.post("/")
    async def write(filters: Form[Filters]) -> Any:
        return filters

    client = door(app)
    headers = {"X-Trace": "t", "Cookie": "sid=7"}
    answer = client.get("/?q=a&tags=x&tags=y", headers=headers)
    assert answer.json() == [
        {"q": "a", "limit": 10, "tags": ["x", "y"]},
        {"x_trace": "t", "accept": "none"},
        {"sid": 7},
    ]
    errors = client.get("/?limit=z", headers={"cookie": "sid=q"}).errors()
    assert errors == {
        ("missing", "query.q"),
        ("int_parsing", "query.limit"),
        ("missing", "headers.x_trace"),
        ("int_parsing", "cookie.sid"),
    }
    media = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/", body=b"q=a&limit=2", headers=media).json()["limit"] == 2


def test_form_fields_arrive(door):
    app = Spikard()

    @app.post("/")
    async def login(username: Form[str], age: Form[int] = Form(3)) -> Any:
        return [username, age]

    media = {"content-type": "application/x-www-form-urlencoded"}
    client = door(app)
    assert client.post("/", body=b"username=a%26b", headers=media).json() == ["a&b", 3]
    assert client.post("/", body=b"age=x", headers=media).errors() == {
        ("missing", "body.username"),
        ("int_parsing", "body.age"),
    }
    assert client.post("/", json={"username": "j"}).json() == ["j", 3]
    assert client.post("/", body=b"x", headers={"content-type": "text/csv"}).status == 415


def test_objects_of_the_framework_are_injected(door):
    app = Spikard()
    app.state.answer = 42

    @app.get("/")
    async def handler(request: Request, state: State, headers: Headers) -> Any:
        assert request.app is app
        return [request.method, request["path"], state.answer, headers["x-a"], request.state.answer]

    answer = door(app).get("/", headers={"X-A": "1"})
    assert answer.json() == ["GET", "/", 42, "1", 42]


def test_constraints_of_markers_hold(door):
    app = Spikard()

    @app.get("/")
    async def handler(
        limit: Annotated[int, Query(ge=1, le=100)] = 10,
        name: str = Query(default="abc", min_length=3, pattern="^[a-z]+$"),
        step: Query[int] = Query(default=5, multiple_of=5),
        low: int | None = Query(default=None, gt=0),
    ) -> None: ...

    client = door(app)
    assert client.get("/?limit=100&name=xyz&step=10&low=1").status == 200
    assert client.get("/?limit=0&name=X&step=3&low=0").errors() == {
        ("greater_than_equal", "query.limit"),
        ("string_too_short", "query.name"),
        ("string_pattern_mismatch", "query.name"),
        ("multiple_of", "query.step"),
        ("greater_than", "query.low"),
    }


def test_value_that_the_converter_refuses_is_422(door):
    app = Spikard()

    @app.get("/a/{id:int}")
    async def typed(id: int) -> None: ...

    @app.get("/b/{id:int}")
    async def raw(id: str) -> str:
        return id

    client = door(app)
    assert client.get("/a/x").errors() == {("int_parsing", "path.id")}
    assert client.get("/b/x").errors() == {("int_parsing", "path.id")}
    assert client.get("/b/007").json() == "007"


def takes_nothing() -> None: ...
def takes_star(*values: int) -> None: ...
def marked_twice(value: Annotated[int, Query(), Header()]) -> None: ...
def marked_apart(value: Query[int] = Header()) -> None: ...
def unknown_class(value: Query[Request]) -> None: ...
def bad_constraint(value: Annotated[str, Query(ge=3)]) -> None: ...
def file_in_query(value: Query[UploadFile]) -> None: ...
def marked_dependency(value: Annotated[int, Query(), Depends(takes_star)]) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [
        takes_star,
        marked_twice,
        marked_apart,
        unknown_class,
        bad_constraint,
        file_in_query,
        marked_dependency,
    ],
)
def test_wrong_signature_fails_at_registration_and_names_handler_and_parameter(handler):
    with pytest.raises(RegistrationError, match=handler.__name__) as caught:
        Spikard().get("/")(handler)
    assert "value" in str(caught.value)


class Service:
    async def method(self, number: int) -> int:
        return number + 1

    @classmethod
    async def of_class(cls, number: int) -> int:
        return number + 2

    @staticmethod
    async def alone(number: int) -> int:
        return number + 3

    def blocking(self, number: int) -> int:
        return number + 4

    async def __call__(self, number: int) -> int:
        return number + 5


@functools.wraps(Service.alone)
async def wrapped(*args: Any, **kwargs: Any) -> int:
    return await Service.alone(*args, **kwargs)


async def positional(number: int, /, extra: int = 10, *, last: int = 0) -> int:
    return number + extra + last


async def open_ended(number: int, **rest: Any) -> int:
    assert rest == {}
    return number


async def never_returns(number: int) -> NoReturn:
    raise HTTPException(418)


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (Service().method, 2),
        (Service.of_class, 3),
        (Service.alone, 4),
        (Service().blocking, 5),
        (Service(), 6),
        (functools.partial(Service(), 7), 12),
        (functools.partial(positional, 7), 17),
        (functools.partial(Service().method, number=8), 9),
        (functools.partial(functools.partial(positional, extra=20), last=30), 51),
        (wrapped, 4),
        (positional, 11),
        (open_ended, 1),
        (lambda number: int(number), 1),
    ],
)
def test_every_kind_of_callable_is_a_handler(handler, result, door):
    app = Spikard()
    app.get("/")(handler)
    assert door(app).get("/?number=1").json() == result


def test_a_marker_s_keyword_that_is_none_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Query\(\) got an unexpected keyword argument 'minimum'"):
        Query(minimum=3)  # type: ignore[call-arg]


def test_a_handler_may_say_that_it_never_returns(door):
    app = Spikard()
    app.get("/")(never_returns)
    assert door(app).get("/?number=1").status == 418


def test_a_method_without_its_object_fails_at_registration():
    with pytest.raises(RegistrationError, match=r"Service\.method.*'self'.*instance"):
        Spikard().get("/")(Service.method)


def test_an_ellipsis_as_default_means_required(door):
    async def handler(number: int = ...) -> int:  # type: ignore[assignment]
        return number

    app = Spikard()
    app.get("/")(handler)
    assert door(app).get("/?number=1").json() == 1
    assert door(app).get("/").errors() == {("missing", "query.number")}


@pytest.mark.parametrize("path", [5, None, b"/x"])
def test_a_path_that_is_no_string_is_a_route_error(path):
    with pytest.raises(RouteError, match="a path is a string"):
        Spikard().get(path)(positional)


def test_unresolvable_annotation_names_the_handler():
    async def handler(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(RegistrationError, match="handler"):
        Spikard().get("/")(handler)


def test_class_that_nobody_provides_fails_at_freeze():
    class Pool: ...

    app = Spikard()

    @app.get("/")
    async def handler(pool: Pool) -> None: ...

    with pytest.raises(RegistrationError, match=r"handler.*'pool'.*app.provide\(Pool"):
        app.freeze()


def test_path_marker_without_a_place_in_the_path_fails_at_freeze():
    app = Spikard()

    @app.get("/")
    async def handler(item: Path[int]) -> None: ...

    with pytest.raises(RegistrationError, match=r"'item'.*path template"):
        app.freeze()


@pytest.mark.parametrize(
    "path",
    ["users", "/{id:integer}", "/{a}/{a}", "/{a-b}", "/{", "/a?b", "/{}"],
)
def test_bad_template_is_a_route_error(path):
    with pytest.raises(RouteError):
        Spikard().get(path)(takes_nothing)


def test_router_prefix_may_hold_a_path_parameter(door):
    users = Router(prefix="/{tenant}")

    @users.get("/{user_id}")
    async def read(tenant: Path[str], user_id: int) -> Any:
        return [tenant, user_id]

    app = Spikard()
    app.include_router(users, prefix="/api")
    assert door(app).get("/api/t/3").json() == ["t", 3]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("span=PT90S", "PT90S"),
        ("span=90", "PT90S"),
        ("span=1.5", "PT1.5S"),
        ("span=1e300", None),
        ("span=soon", None),
    ],
)
def test_a_timedelta_is_iso_8601_or_a_number_of_seconds(query, expected):
    app = Spikard()

    @app.get("/")
    async def wait(span: dt.timedelta) -> dt.timedelta:
        return span

    with TestClient(app) as client:
        answer = client.get(f"/?{query}")
    if expected is None:
        assert answer.assert_status(422).json()["errors"][0]["type"] == "time_delta_parsing"
    else:
        assert answer.assert_status_ok().json() == expected


@pytest.mark.parametrize("query", ["ids=1&ids=2", "ids[]=1&ids[]=2", "ids%5B%5D=1&ids%5B%5D=2"])
def test_a_list_takes_both_spellings_of_a_repeated_key(query):
    app = Spikard()

    @app.get("/needed")
    async def needed(ids: list[int]) -> list[int]:
        return ids

    @app.get("/optional")
    async def optional(ids: list[int] = []) -> list[int]:  # noqa: B006 - a parameter's default
        return ids

    with TestClient(app) as client:
        for path in ("/needed", "/optional"):
            assert client.get(f"{path}?{query}").json() == [1, 2]


class Bounds(Struct):
    gte: int | None = None
    lte: int | None = None


class Filter(Struct):
    price: Bounds = msgspec.field(default_factory=Bounds)
    name: str = ""


def test_a_nested_query_fills_a_model_and_is_explained_where_it_is_wrong():
    app = Spikard()

    @app.get("/")
    async def find(filter: Annotated[Filter, Query()]) -> Filter:
        return filter

    with TestClient(app) as client:
        found = client.get("/?filter[price][gte]=3&filter[name]=tea").json()
        assert found == {"price": {"gte": 3, "lte": None}, "name": "tea"}
        wrong = client.get("/?filter[price][gte]=x").assert_status(422).json()["errors"]
    assert [each["loc"] for each in wrong] == [["query", "filter", "price", "gte"]]


def test_a_file_may_be_asked_for_by_its_content():
    app = Spikard()

    @app.post("/")
    async def keep(
        one: Annotated[bytes, File()],
        many: Annotated[list[bytes], File(alias="more")] = [],  # noqa: B006 - a parameter's default
        other: Annotated[bytes | None, File()] = None,
        n: Annotated[int, Form()] = 0,
    ) -> Any:
        return [one.decode(), [each.decode() for each in many], other, n]

    with TestClient(app) as client:
        files = [("one", ("a", b"1")), ("more", ("b", b"2")), ("more", ("c", b""))]
        answer = client.post("/", files=files, data={"n": "3"})
        assert answer.assert_status_ok().json() == ["1", ["2", ""], None, 3]
        wrong = client.post("/", files={"more": ("b", b"2")}).assert_status(422).json()["errors"]
        assert [(each["type"], each["loc"]) for each in wrong] == [("missing", ["body", "one"])]
        assert client.post("/", json={"one": "1"}).status_code == 415
    content = app.openapi()["paths"]["/"]["post"]["requestBody"]["content"]
    properties = content["multipart/form-data"]["schema"]["properties"]
    assert properties["one"] == {"type": "string", "format": "binary"}
    assert properties["more"]["items"] == {"type": "string", "format": "binary"}
