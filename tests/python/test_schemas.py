"""Routes described by JSON Schemas; the validator is a stand-in for the extension's."""

from __future__ import annotations

import uuid
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

import spikard._schemas as schemas
from spikard import Spikard


class Validator:
    """Finds what the tests below break, in the contract's shape."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = jsonschema.Draft202012Validator(schema)

    def check(self, data: bytes) -> list[dict[str, Any]]:
        kinds = {"type": "int_parsing", "minimum": "greater_than_equal", "required": "missing"}
        found = []
        for each in self._validator.iter_errors(msgspec.json.decode(data)):
            loc = ["body", *map(str, each.absolute_path)]
            if each.validator == "required":
                loc.append(each.message.split("'")[1])
            kind = kinds.get(str(each.validator), "validation_error")
            found.append({"type": kind, "loc": loc, "msg": "", "input": each.instance})
        return found


@pytest.fixture(autouse=True)
def _validator(monkeypatch):
    monkeypatch.setattr(schemas, "compiled", Validator)


PARAMETERS = {
    "path": {"item_id": {"type": "integer"}},
    "query": {
        "limit": {"type": "integer", "minimum": 1, "default": 10},
        "tags": {"type": "array", "items": {"type": "integer"}, "optional": True},
        "colors": {"type": "array", "items": {"type": "string"}, "separator": ";", "default": []},
    },
    "headers": {"X-Token": {"type": "string", "required": True}},
    "cookies": {"sid": {"type": "string", "optional": True}},
}
BODY = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
}


def test_declared_values_arrive_as_json_types_under_their_names(door):
    app = Spikard()
    seen: list[Any] = []

    def handler(item_id, limit, tags, colors, x_token, sid, body):
        seen.append((item_id, limit, tags, colors, x_token, sid, body))

    app.register_route("post", "/{item_id}", handler, parameter_schema=PARAMETERS, body_schema=BODY)
    client = door(app)
    headers = {"x-token": "t", "cookie": "sid=s"}
    target = "/3?limit=5&tags=1&tags=2&colors=a;b"
    assert client.post(target, json={"name": "n"}, headers=headers).status == 200
    assert client.post("/3", json={"name": "n"}, headers={"x-token": "t"}).status == 200
    assert seen == [
        (3, 5, [1, 2], ["a", "b"], "t", "s", {"name": "n"}),
        (3, 10, None, [], "t", None, {"name": "n"}),
    ]


def test_kwargs_take_what_the_handler_does_not_name(door):
    app = Spikard()

    @app.register_route("GET", "/{item_id}", parameter_schema=PARAMETERS)
    async def handler(item_id: int, **rest: Any) -> Any:
        return [item_id, rest]

    answer = door(app).get("/3", headers={"x-token": "t"})
    assert answer.json() == [
        3,
        {"limit": 10, "tags": None, "colors": [], "x_token": "t", "sid": None},
    ]


def test_what_nobody_takes_is_still_checked(door):
    app = Spikard()

    @app.register_route("POST", "/{item_id}", parameter_schema=PARAMETERS, body_schema=BODY)
    async def handler() -> str:
        return "reached"

    client = door(app)
    errors = client.post("/x?limit=0", json={"count": "y"}).errors()
    assert errors == {
        ("int_parsing", "path.item_id"),
        ("greater_than_equal", "query.limit"),
        ("missing", "headers.x-token"),
        ("missing", "body.name"),
        ("int_parsing", "body.count"),
    }
    assert client.post("/1", json={"name": "n"}, headers={"x-token": "t"}).json() == "reached"


def test_inputs_of_parameters_are_their_raw_strings(door):
    app = Spikard()
    app.register_route("GET", "/{item_id}", lambda: 1, parameter_schema=PARAMETERS)
    answer = door(app).get("/1?limit=0&tags=1&tags=x", headers={"x-token": "t"})
    shown = {".".join(each["loc"]): each["input"] for each in answer.json()["errors"]}
    assert shown == {"query.limit": "0", "query.tags.1": "x"}


def test_urlencoded_body_is_coerced_by_its_schema(door):
    app = Spikard()

    @app.register_route("POST", "/", body_schema=BODY)
    async def handler(body: dict[str, Any]) -> Any:
        return body

    media = {"content-type": "application/x-www-form-urlencoded"}
    answer = door(app).post("/", body=b"name=n&count=3", headers=media)
    assert answer.json() == {"name": "n", "count": 3}


def test_annotation_beyond_the_schema_converts(door):
    app = Spikard()
    schema = {"query": {"key": {"type": "string", "format": "uuid"}}}

    @app.register_route("GET", "/", parameter_schema=schema)
    async def handler(key: uuid.UUID) -> Any:
        return key.int

    client = door(app)
    assert client.get(f"/?key={uuid.UUID(int=7)}").json() == 7
    assert client.get("/?key=x").errors() == {("uuid_parsing", "query.key")}


def test_result_is_held_to_the_response_schema(door):
    app = Spikard()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    @app.register_route("GET", "/", response_schema=schema)
    async def handler(wrong: bool = False) -> Any:
        return {"n": "x" if wrong else 1}

    assert door(app).get("/").json() == {"n": 1}
    assert door(app).get("/?wrong=1").status == 500
