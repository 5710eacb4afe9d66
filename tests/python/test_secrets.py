"""What a field marked as secret holds is in no answer."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from spikard import Spikard, TestClient

Pin = Annotated[str, Meta(max_length=2, extra={"secret": True})]


class Card(Struct):
    owner: Annotated[str, Meta(min_length=1)]
    pin: Pin


def test_secret_parameter_of_a_raw_schema_is_not_shown() -> None:
    app = Spikard()
    schema = {"query": {"pin": {"type": "string", "maxLength": 2, "format": "password"}}}
    app.register_route("GET", "/", lambda: 1, parameter_schema=schema)
    with TestClient(app) as client:
        answer = client.get("/", params={"pin": "12345"})
    assert [item["type"] for item in answer.json()["errors"]] == ["string_too_long"]
    assert b"12345" not in answer.content


@pytest.mark.parametrize(
    ("target", "body", "expected"),
    [
        (list[Pin], ["1", "secret"], [("string_too_long", ["body", "1"])]),
        (list[Pin | None], ["secret", None], [("string_too_long", ["body", "0"])]),
        (dict[str, Pin], {"a": "secret"}, [("string_too_long", ["body", "a"])]),
        (tuple[int, Pin], [1, "secret"], [("string_too_long", ["body", "1"])]),
        (tuple[int, Pin], ["x", "secret", 3], None),
        (Annotated[list[Pin], Meta(min_length=3)], ["secret"], None),
        (
            Annotated[list[Card], Meta(min_length=2)],
            [{"owner": "x", "pin": "secret"}],
            [("too_short", ["body"]), ("string_too_long", ["body", "0", "pin"])],
        ),
        (
            Annotated[dict[str, Card], Meta(min_length=2)],
            {"a": {"owner": "", "pin": "secret"}},
            None,
        ),
        (list[Card], [{"owner": 1, "pin": "secret"}, {"pin": "secret"}], None),
        (Card | int, {"owner": 1, "pin": "secret"}, None),
    ],
    ids=str,
)
def test_secret_items_are_not_shown(target: Any, body: Any, expected: Any) -> None:
    app = Spikard()

    def handler(body: Any) -> None: ...

    handler.__annotations__["body"] = target
    app.post("/")(handler)
    with TestClient(app) as client:
        answer = client.post("/", json=body)
    assert answer.status_code == 422
    found = [(item["type"], item["loc"]) for item in answer.json()["errors"]]
    assert found
    assert expected in (None, found)
    assert b"secret" not in answer.content
