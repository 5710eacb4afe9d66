"""`jsonable_encoder` and `Jinja2Templates`."""

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

from spikard import jsonable_encoder


class Colour(enum.Enum):
    RED = "red"


class Struct(msgspec.Struct):
    at: dt.date
    inner: list[Colour]


class Model(pydantic.BaseModel):
    name: str
    size: int | None = None
    at: dt.date = dt.date(2024, 1, 2)
    aliased: int = pydantic.Field(default=1, alias="Aliased")


@dataclasses.dataclass
class Plain:
    a: int
    b: Decimal


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Struct(dt.date(2024, 1, 2), [Colour.RED]), {"at": "2024-01-02", "inner": ["red"]}),
        (Plain(1, Decimal("1.5")), {"a": 1, "b": 1.5}),
        (Decimal(10), 10),
        (dt.timedelta(minutes=1), 60.0),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/a/b"), "/a/b"),
        ({Colour.RED: {1, 2}}, {"red": [1, 2]}),
        (
            [Model(name="x")],
            [{"name": "x", "size": None, "at": "2024-01-02", "Aliased": 1}],
        ),
        (b"abc", "abc"),
        ({"_sa_state": 1, "a": (1, None)}, {"a": [1, None]}),
    ],
    ids=str,
)
def test_value_becomes_json_types(value: Any, expected: Any):
    assert jsonable_encoder(value) == expected


def test_options_choose_fields():
    model = Model(name="x", size=None)
    assert jsonable_encoder(model, exclude_unset=True) == {"name": "x", "size": None}
    assert jsonable_encoder(model, exclude_defaults=True) == {"name": "x"}
    assert jsonable_encoder(model, include={"name"}) == {"name": "x"}
    assert jsonable_encoder(model, exclude={"at", "size"}, by_alias=False) == {
        "name": "x",
        "aliased": 1,
    }
    assert jsonable_encoder({"a": 1, "b": None}, exclude_none=True) == {"a": 1}
    assert jsonable_encoder({"a": 1, "b": 2}, exclude={"b"}) == {"a": 1}


def test_own_encoder_comes_first():
    assert jsonable_encoder([Colour.RED], custom_encoder={Colour: lambda it: it.name}) == ["RED"]


def test_value_without_a_json_form_is_an_error():
    with pytest.raises(ValueError, match="object"):
        jsonable_encoder(object())
