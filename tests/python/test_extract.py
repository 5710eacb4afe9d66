"""The error contract: every violated rule of a request has its type, message and place."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from decimal import Decimal  # noqa: TC003 - read at run time
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from attrs import define, field, validators
from msgspec import Meta, Struct

from spikard import Body, Header, Query, Request, Spikard, TestClient, params

INT = "Input should be a valid integer, unable to parse string as an integer"
FLOAT = "Input should be a valid number, unable to parse string as a number"
BOOL = "Input should be a valid boolean, unable to interpret input"


class Model(enum.Enum):
    ALEX = "alexnet"
    RES = "resnet"
    LE = "lenet"


CASES = [
    ("int", int, "x", "int_parsing", INT, None),
    ("float", float, "x", "float_parsing", FLOAT, None),
    ("bool", bool, "maybe", "bool_parsing", BOOL, None),
    ("ge", Annotated[int, Meta(ge=1)], 0, "greater_than_equal",
     "Input should be greater than or equal to 1", {"ge": 1}),
    ("ge float", Annotated[float, Meta(ge=0.01)], 0.0, "greater_than_equal",
     "Input should be greater than or equal to 0.01", {"ge": 0.01}),
    ("gt", Annotated[int, Meta(gt=3)], 3, "greater_than", "Input should be greater than 3",
     {"gt": 3}),
    ("le", Annotated[int, Meta(le=100)], 101, "less_than_equal",
     "Input should be less than or equal to 100", {"le": 100}),
    ("lt", Annotated[int, Meta(lt=50)], 50, "less_than", "Input should be less than 50",
     {"lt": 50}),
    ("multiple_of", Annotated[int, Meta(multiple_of=5)], 17, "multiple_of",
     "Input should be a multiple of 5", {"multiple_of": 5}),
    ("min_length", Annotated[str, Meta(min_length=3)], "ab", "string_too_short",
     "String should have at least 3 characters", {"min_length": 3}),
    ("max_length", Annotated[str, Meta(max_length=3)], "abcd", "string_too_long",
     "String should have at most 3 characters", {"max_length": 3}),
    ("pattern", Annotated[str, Meta(pattern="^a$")], "b", "string_pattern_mismatch",
     "String should match pattern '^a$'", {"pattern": "^a$"}),
    ("enum", Model, "vgg", "enum", "Input should be 'alexnet', 'resnet' or 'lenet'",
     {"expected": "'alexnet', 'resnet' or 'lenet'"}),
    ("literal", Literal["a", "b"], "c", "enum", "Input should be 'a' or 'b'",
     {"expected": "'a' or 'b'"}),
    ("const", Literal["1.0"], "2.0", "const", "Input should be '1.0'", {"expected": "'1.0'"}),
    ("uuid", "UUID", "x", "uuid_parsing", "Input should be a valid UUID", None),
    ("date", "date", "2024-13-01", "date_parsing", "Input should be a valid date", None),
    ("datetime", "datetime", "x", "datetime_parsing", "Input should be a valid datetime", None),
    ("time", "time", "25:00", "time_parsing", "Input should be a valid time", None),
    ("timedelta", "timedelta", "1h", "time_delta_parsing", "Input should be a valid duration",
     None),
    ("ip", ipaddress.IPv4Address, "1.2.3", "ip_parsing", "Input should be a valid IP address",
     None),
]  # fmt: skip


def resolved(annotation: Any) -> Any:
    import datetime as dt
    import uuid

    names = {"UUID": uuid.UUID, "date": dt.date, "datetime": dt.datetime, "time": dt.time,
             "timedelta": dt.timedelta}  # fmt: skip
    return names.get(annotation, annotation) if isinstance(annotation, str) else annotation


@pytest.mark.parametrize(
    ("annotation", "value", "kind", "msg", "ctx"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_violated_rule_of_a_query_parameter(annotation, value, kind, msg, ctx, door):
    app = Spikard()

    async def handler(value):
        raise AssertionError("must not be reached")

    handler.__annotations__["value"] = Query.__class_getitem__(resolved(annotation))
    app.get("/")(handler)
    answer = door(app).get(f"/?value={value}")
    assert answer.status == 422
    assert answer.header("content-type") == "application/problem+json"
    error = {"type": kind, "loc": ["query", "value"], "msg": msg, "input": str(value)}
    assert answer.json() == {
        "type": "https://spikard.dev/errors/validation-error",
        "title": "Request Validation Failed",
        "status": 422,
        "detail": "1 validation error in request",
        "errors": [error if ctx is None else {**error, "ctx": ctx}],
    }


@pytest.mark.parametrize(
    ("annotation", "value", "kind", "msg", "ctx"),
    [
        *[c[1:] for c in CASES],
        (str, 3, "string_type", "Input should be a valid string", None),
        (list[int], 3, "list_type", "Input should be a valid list", None),
        (dict[str, int], 3, "dict_type", "Input should be a valid dictionary", None),
        (bytes, "?", "format_error", "Input should be a valid byte", None),
        (Annotated[list[int], Meta(min_length=1)], [], "too_short",
         "List should have at least 1 item after validation", {"min_length": 1}),
        (Annotated[list[int], Meta(max_length=2)], [1, 2, 3], "too_long",
         "List should have at most 2 items after validation", {"max_length": 2}),
        (int | None, "x", "int_parsing", INT, None),
        (int | bool, "x", "validation_error", "Input should be a valid integer or boolean", None),
    ],
)  # fmt: skip
def test_violated_rule_of_a_body_field(annotation, value, kind, msg, ctx, door):
    shape = msgspec.defstruct("Shape", [("field", resolved(annotation))])
    app = Spikard()

    async def handler(item):
        raise AssertionError("must not be reached")

    handler.__annotations__["item"] = Body.__class_getitem__(shape)
    app.post("/")(handler)
    answer = door(app).post("/", json={"field": value})
    error = {"type": kind, "loc": ["body", "field"], "msg": msg, "input": value}
    assert answer.json()["errors"] == [error if ctx is None else {**error, "ctx": ctx}]


class Image(Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(pattern="^http")]


class Item(Struct, rename="camel"):
    unit_price: float
    name: Annotated[str, Meta(min_length=3)]
    images: list[Image] = []
    best: Image | None = None


def test_all_errors_of_parameters_and_body_are_in_one_answer(door):
    app = Spikard()

    @app.post("/{item_id}")
    async def handler(
        item_id: int, item: Body[Item], x_token: Header[str], limit: int = 1
    ) -> None: ...

    answer = door(app).post(
        "/x?limit=y",
        json={"name": "ab", "images": [{"url": "http"}, {"url": "ftp", "z": 1}], "best": 3},
    )
    assert answer.errors() == {
        ("int_parsing", "path.item_id"),
        ("missing", "headers.x-token"),
        ("int_parsing", "query.limit"),
        ("missing", "body.unitPrice"),
        ("string_too_short", "body.name"),
        ("string_pattern_mismatch", "body.images.1.url"),
        ("validation_error", "body.images.1.z"),
        ("dict_type", "body.best"),
    }
    assert answer.json()["detail"] == "8 validation errors in request"
    unknown = next(each for each in answer.json()["errors"] if each["loc"][-1] == "z")
    assert unknown["msg"] == "Additional properties are not allowed"
    assert unknown["ctx"] == {"additional_properties": False, "unexpected_field": "z"}
    assert unknown["input"] == {"url": "ftp", "z": 1}


def test_missing_parameter_and_missing_field_show_their_inputs(door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Image, q: str) -> None: ...

    errors = door(app).post("/", json={}).json()["errors"]
    missing = {"type": "missing", "msg": "Field required"}
    assert errors == [
        {**missing, "loc": ["query", "q"], "input": None},
        {**missing, "loc": ["body", "url"], "input": {}},
    ]


@dataclass
class Inner:
    x: int


class Outer(TypedDict):
    inner: Inner


@define
class Attrs:
    inner: Inner
    even: int = field(validator=validators.ge(2))


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    name: str


class Hen(Struct):
    eggs: int


class Cow(Struct):
    milk: float


class Tree(Struct):
    value: int
    kids: list[Tree] = []


class PydanticInner(pydantic.BaseModel):
    x: int = pydantic.Field(ge=1)


class PydanticOuter(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    inner: PydanticInner
    names: list[str] = []


class StructWithModel(Struct):
    model: PydanticInner
    count: int


@pytest.mark.parametrize(
    ("annotation", "payload", "expected"),
    [
        (Outer, {"inner": {"x": "a"}}, {("int_parsing", "body.inner.x")}),
        (Inner, {}, {("missing", "body.x")}),
        (Attrs, {"inner": {}, "even": 1}, {("missing", "body.inner.x")}),
        (Attrs, {"inner": {"x": 1}, "even": 1}, {("validation_error", "body")}),
        (Cat | Dog, {"type": "cat", "lives": "x"}, {("int_parsing", "body.lives")}),
        (Cat | Dog, {"type": "cow"}, {("enum", "body.type")}),
        (Cat | Dog, {}, {("missing", "body.type")}),
        (Hen | Cow, {"eggs": "x"}, {("int_parsing", "body.eggs")}),
        (Tree, {"value": 1, "kids": [{"value": "x"}]}, {("int_parsing", "body.kids.0.value")}),
        (list[Inner], [{"x": 1}, {"x": "y"}], {("int_parsing", "body.1.x")}),
        (PydanticOuter, {"inner": {"x": 0}, "z": 1},
         {("greater_than_equal", "body.inner.x"), ("validation_error", "body.z")}),
        (list[PydanticInner], [{"x": "q"}], {("int_parsing", "body.0.x")}),
        (StructWithModel, {"model": {"x": 0}, "count": "x"},
         {("greater_than_equal", "body.model.x"), ("int_parsing", "body.count")}),
    ],
)  # fmt: skip
def test_nested_types_of_every_library_are_explained(annotation, payload, expected, door):
    app = Spikard()

    async def handler(item):
        raise AssertionError("must not be reached")

    handler.__annotations__["item"] = annotation
    app.post("/")(handler)
    assert door(app).post("/", json=payload).errors() == expected


@pytest.mark.parametrize(
    ("annotation", "payload", "expected"),
    [
        (Hen | Cow, {"milk": 1.5}, Cow(1.5)),
        (StructWithModel, {"model": {"x": 1}, "count": 2},
         StructWithModel(PydanticInner(x=1), 2)),
        (PydanticOuter, {"inner": {"x": 1}}, PydanticOuter(inner=PydanticInner(x=1))),
        (list[PydanticInner], [{"x": 1}], [PydanticInner(x=1)]),
        (Attrs, {"inner": {"x": 1}, "even": 2}, Attrs(Inner(1), 2)),
    ],
)  # fmt: skip
def test_nested_types_of_every_library_are_built(annotation, payload, expected, door):
    app = Spikard()
    seen = []

    async def handler(item):
        seen.append(item)

    handler.__annotations__["item"] = annotation
    app.post("/")(handler)
    assert door(app).post("/", json=payload).status == 200
    assert seen == [expected]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b'{"unitPrice": 1, "name": "\xff\xff\xff"}', 400),
        (b'{"unitPrice": 1, "name": "\\ud800"}', 400),
        (b"\xef\xbb\xbf{}", 400),
        ('{"unitPrice": 1, "name": "abc"}'.encode("utf-16"), 400),
        (b'{"unitPrice": NaN, "name": "abc"}', 400),
        (b'{"unitPrice": 1e400, "name": "abc"}', 422),
        (b'{"unitPrice": ' + b"9" * 5000 + b', "name": "abc"}', 422),
        (b'{"unitPrice": 1, "name": "abc"} x', 400),
        (b'{"unitPrice": 01, "name": "abc"}', 400),
        (b'{"unitPrice": 1, "name": "abc", "images": ' + b"[" * 100_000, 400),
    ],
)
def test_hostile_json_is_the_clients_fault(body, status, door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Item) -> None: ...

    answer = door(app).post("/", body=body, headers={"content-type": "application/json"})
    assert answer.status == status
    if status == 400:
        assert answer.json()["detail"] == "Invalid request format"
        assert answer.json()["status"] == 400


class Measured(Struct):
    unit_price: float
    count: int = 0
    name: Annotated[str, Meta(min_length=3)] = "abc"
    either: int | float | None = None
    exact: Decimal | None = None
    notes: dict[str, Any] = {}
    inner: Any = None
    items: list[Measured] = []


_HUGE = "9" * 5000


def _out_of_range(text: str, *loc: str) -> dict[str, Any]:
    shown = text if len(text) <= 1024 else text[:768] + "…"
    return {
        "type": "validation_error",
        "loc": ["body", *loc],
        "msg": "Number out of range",
        "input": shown,
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"unit_price": 1e400}', [_out_of_range("1e400", "unit_price")]),
        ('{"unit_price": -1E+400}', [_out_of_range("-1E+400", "unit_price")]),
        ('{"unit_price": 1, "count": ' + _HUGE + "}", [_out_of_range(_HUGE, "count")]),
        ('{"unit_price": 1, "either": 1e999}', [_out_of_range("1e999", "either")]),
        ('{"unit_price": 1, "notes": {"a": 1e999}}', [_out_of_range("1e999", "notes", "a")]),
        (
            '{"unit_price": 1, "inner": [0, {"b": 1e999}]}',
            [_out_of_range("1e999", "inner", "1", "b")],
        ),
        (
            '{"items": [{"unit_price": 2.0}, {"unit_price": 1e400, "name": "a"}],'
            ' "unit_price": 1e401}',
            [
                _out_of_range("1e401", "unit_price"),
                _out_of_range("1e400", "items", "1", "unit_price"),
                {
                    "type": "string_too_short",
                    "loc": ["body", "items", "1", "name"],
                    "msg": "String should have at least 3 characters",
                    "input": "a",
                    "ctx": {"min_length": 3},
                },
            ],
        ),
        (
            # Neither a member that the type does not have nor a Decimal is the mistake.
            '{"unit_price": null, "other": 1e400, "exact": "1e400"}',
            [
                {
                    "type": "float_parsing",
                    "loc": ["body", "unit_price"],
                    "msg": "Input should be a valid number, unable to parse string as a number",
                    "input": None,
                }
            ],
        ),
    ],
)
def test_number_that_no_value_can_hold_is_reported_where_it_is(body, expected, door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Measured) -> None: ...

    answer = door(app).post("/", body=body.encode(), headers={"content-type": "application/json"})
    assert answer.status == 422
    assert answer.json()["errors"] == expected


def test_number_that_no_value_can_hold_is_not_looked_for_in_a_long_body(door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Measured) -> None: ...

    body = b'{"unit_price": 1e400, "name": "%s"}' % (b"x" * 256 * 1024)
    answer = door(app).post("/", body=body, headers={"content-type": "application/json"})
    assert answer.status == 422
    [found] = answer.json()["errors"]
    assert (found["loc"], found["msg"]) == (["body"], "Number out of range")


@pytest.mark.parametrize("rest", ["", '"\\ud800"}', "NaN}", "01}", "1} x", "1"])
def test_what_follows_a_number_that_no_value_can_hold_must_be_json(rest, door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Measured) -> None: ...

    body = f'{{"unit_price": 1e400, "other": {rest}'.encode()
    answer = door(app).post("/", body=body, headers={"content-type": "application/json"})
    assert answer.status == 400
    assert answer.json()["detail"] == "Invalid request format"


def test_deep_nesting_of_a_recursive_type_is_no_crash(door):
    app = Spikard()

    @app.post("/")
    async def handler(tree: Tree) -> None: ...

    deep = b'{"value": 1, "kids": [' * 900 + b'{"value": "x"}' + b"]}" * 900
    answer = door(app).post("/", body=deep, headers={"content-type": "application/json"})
    assert answer.status in (400, 422)


@pytest.mark.parametrize("value", ["9" * 5000, "1_000", "%D9%A1", "%201", "1%20", "0x1", "1e5", ""])
def test_hostile_integers_are_422(value, door):
    app = Spikard()

    @app.get("/")
    async def handler(n: int) -> None: ...

    assert door(app).get(f"/?n={value}").errors() == {("int_parsing", "query.n")}


@pytest.mark.parametrize(
    ("content_type", "status", "kind"),
    [
        ("text/plain", 415, "unsupported-media-type"),
        ("application/xml", 415, "unsupported-media-type"),
        ("application/json; charset=utf-16", 415, "unsupported-charset"),
        ('application/json; charset="UTF-8"; boundary=x', 200, None),
        ("application/vnd.api+json", 200, None),
    ],
)
def test_content_type_decides_before_the_content(content_type, status, kind, door):
    app = Spikard()

    @app.post("/")
    async def handler(item: Image) -> None: ...

    headers = {"content-type": content_type}
    answer = door(app).post("/", body=b'{"url": "http"}', headers=headers)
    assert answer.status == status
    if kind is not None:
        assert answer.json()["type"] == f"https://spikard.dev/errors/{kind}"


def test_inputs_are_cut_and_answers_stay_small(door):
    app = Spikard()

    class Big(Struct):
        items: list[int]
        text: int

    @app.post("/")
    async def handler(big: Big) -> None: ...

    payload = {"items": ["y" * 500] * 50, "text": "x" * 1_000_000}
    answer = door(app).post("/", json=payload)
    inputs = [each.get("input") for each in answer.json()["errors"]]
    assert sum(len(msgspec.json.encode(each)) for each in inputs if each) <= 4096
    assert max(len(msgspec.json.encode(each)) for each in inputs) <= 1024


def test_number_of_listed_errors_is_bounded(door):
    app = Spikard()

    @app.post("/")
    async def handler(numbers: Body[list[int]]) -> None: ...

    answer = door(app).post("/", json=["x"] * 5000)
    assert len(answer.json()["errors"]) == 1000


class Login(Struct):
    user: Annotated[str, Meta(min_length=3)]
    password: Annotated[str, Meta(min_length=8, extra={"secret": True})]


class PydanticLogin(pydantic.BaseModel):
    user: str = pydantic.Field(min_length=3)
    password: pydantic.SecretStr = pydantic.Field(min_length=8)


@pytest.mark.parametrize("annotation", [Login, PydanticLogin])
@pytest.mark.parametrize("payload", [{"user": "a", "password": "hunter2"}, {"password": "hunter2"}])
def test_secrets_are_never_shown(annotation, payload, door):
    app = Spikard()

    async def handler(login):
        raise AssertionError("must not be reached")

    handler.__annotations__["login"] = annotation
    app.post("/")(handler)
    answer = door(app).post("/", json=payload)
    assert len(answer.json()["errors"]) == 2
    assert b"hunter2" not in answer.body


def test_what_a_hook_changed_is_what_is_extracted(door):
    app = Spikard()

    @app.pre_validation
    def change(request: Request) -> Request:
        request.headers["x-token"] = "changed"
        request.query_params = {"n": "7"}
        return request

    @app.get("/")
    async def handler(x_token: Header[str], n: int) -> Any:
        return [x_token, n]

    assert door(app).get("/?n=x").json() == ["changed", 7]


def test_urlencoded_bodies_are_held_to_the_same_rules(door):
    app = Spikard()

    class Form(Struct, forbid_unknown_fields=True):
        quantity: Annotated[int, Meta(ge=1)]

    @app.post("/")
    async def handler(form: Form) -> None: ...

    client = door(app)
    media = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/", body=b"quantity=0&z=1", headers=media)
    first = {each["type"]: each["input"] for each in answer.json()["errors"]}
    assert first == {
        "greater_than_equal": 0,
        "validation_error": {"quantity": 0, "z": "1"},
    }
    assert client.post("/", body=b"a=1&" * 1001, headers=media).status == 413
    assert client.post("/", body=b"a=%ff", headers=media).status == 400


class Counted(Struct):
    n: Annotated[int, Meta(ge=1)]
    of: list[Counted] = []


def bodies() -> Spikard:
    app = Spikard()

    @app.post("/counted")
    async def counted(body: Counted) -> Any:
        return [body.n, type(body.n).__name__]

    @app.post("/octets")
    async def octets(body: bytes) -> int:
        return len(body)

    @app.post("/text")
    async def text(body: str) -> str:
        return body

    @app.post("/word")
    async def word(body: Annotated[str, Meta(min_length=1)]) -> str:
        return body

    @app.post("/vendor")
    async def vendor(body: Annotated[dict[str, Any], Body(media_type="application/vnd.a+json")]):
        return body

    @app.post("/form")
    async def form(name: Annotated[str, params.Form()]) -> str:
        return name

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    app.register_route("POST", "/schema", lambda body: body, body_schema=schema)
    return app


def test_a_whole_number_with_a_point_is_an_integer_as_in_json_schema():
    with TestClient(bodies()) as client:
        assert client.post("/counted", content=b'{"n": 2.0}').json() == [2, "int"]
        wrong = client.post("/counted", content=b'{"n": 0.0}').assert_status(422).json()["errors"]
        assert [(each["type"], each["input"]) for each in wrong] == [("greater_than_equal", 0.0)]
        wrong = client.post("/counted", content=b'{"n": 1.5}').assert_status(422).json()["errors"]
        assert [each["type"] for each in wrong] == ["int_parsing"]


def test_nothing_is_an_octet_string_and_a_text_unless_constraints_say_otherwise():
    with TestClient(bodies()) as client:
        assert client.post("/octets").json() == 0
        assert client.post("/text").json() == ""
        wrong = client.post("/word").assert_status(422).json()["errors"]
    assert [(each["type"], each["loc"]) for each in wrong] == [("string_too_short", ["body"])]


@pytest.mark.parametrize(
    ("path", "media", "body"),
    [
        ("/counted", "application/json", b'{"n": 1}'),
        ("/text", "text/plain", b"x"),
        ("/form", "application/x-www-form-urlencoded", b"name=x"),
        ("/schema", "application/json", b'{"n": 1}'),
    ],
)
def test_a_compressed_body_is_415(path, media, body):
    with TestClient(bodies()) as client:
        headers = {"content-type": media, "content-encoding": "gzip"}
        answer = client.post(path, content=body, headers=headers).assert_status(415)
        assert answer.json()["type"].endswith("/unsupported-content-encoding")
        plain = {"content-type": media, "content-encoding": "identity"}
        assert client.post(path, content=body, headers=plain).status_code == 200


def test_the_media_type_that_a_body_asks_for_is_the_only_one():
    with TestClient(bodies()) as client:
        assert client.post("/vendor", json={}).status_code == 415
        headers = {"content-type": "application/vnd.a+json"}
        assert client.post("/vendor", content=b"{}", headers=headers).json() == {}


def test_a_body_nested_deeper_than_the_schema_s_validator_goes_is_400():
    deep = b'{"n": ' + b"[" * 300 + b"]" * 300 + b"}"
    with TestClient(bodies()) as client:
        assert client.post("/schema", content=deep).status_code == 400


class Goods(Struct):
    category: Literal["electronics", "clothing", "books"]
    sizes: list[Literal["s", "m", "l"]] = []


def test_choices_are_listed_in_the_order_in_which_they_are_written():
    app = Spikard()

    @app.post("/")
    async def goods(body: Goods, sort: Literal["price", "name"] = "price") -> None: ...

    with TestClient(app) as client:
        wrong = client.post("/?sort=x", json={"category": "x", "sizes": ["x"]})
    assert {each["msg"] for each in wrong.assert_status(422).json()["errors"]} == {
        "Input should be 'price' or 'name'",
        "Input should be 'electronics', 'clothing' or 'books'",
        "Input should be 's', 'm' or 'l'",
    }
