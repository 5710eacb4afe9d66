"""The keywords of decorators that FastAPI's users pass, on Spikard's own routes."""

from typing import Any

import msgspec
import pydantic
import pytest

from spikard import HTMLResponse, RedirectResponse, Spikard, TestClient
from spikard.exceptions import RegistrationError


class Item(msgspec.Struct):
    name: str
    size: int | None = None
    tags: list[str] = []


class Model(pydantic.BaseModel):
    name: str
    size: int | None = None
    aliased: int = pydantic.Field(default=1, alias="Aliased")


def answer(options: dict[str, Any], value: Any) -> Any:
    app = Spikard()

    @app.get("/", **options)
    async def handler() -> Any:
        return value

    with TestClient(app) as client:
        return client.get("/").assert_status_ok().json()


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({"response_model_exclude_none": True}, Item("a"), {"name": "a", "tags": []}),
        ({"response_model_include": {"name"}}, Item("a"), {"name": "a"}),
        ({"response_model_exclude": {"tags"}}, [Item("a", 1)], [{"name": "a", "size": 1}]),
        ({"response_model_exclude_none": True}, {"a": [{"b": None}]}, {"a": [{}]}),
        (
            {"response_model": Model, "response_model_exclude_unset": True},
            {"name": "a", "Aliased": 3},
            {"name": "a", "Aliased": 3},
        ),
        (
            {"response_model": Model, "response_model_exclude_defaults": True},
            {"name": "a"},
            {"name": "a"},
        ),
        (
            {"response_model": Model, "response_model_by_alias": False},
            {"name": "a"},
            {"name": "a", "size": None, "aliased": 1},
        ),
        (
            {"response_model": list[Model], "response_model_include": {0: {"name"}}},
            [{"name": "a"}],
            [{"name": "a"}],
        ),
    ],
)
def test_options_choose_what_is_sent(options: dict[str, Any], value: Any, expected: Any):
    assert answer(options, value) == expected


def test_option_of_pydantic_is_refused_for_other_types():
    app = Spikard()
    with pytest.raises(RegistrationError, match="omit_defaults=True"):

        @app.get("/", response_model_exclude_defaults=True)
        async def handler() -> Item:
            return Item("a")


def test_response_class_gives_the_media_type():
    app = Spikard()

    @app.get("/", response_class=HTMLResponse, response_description="The page")
    async def page() -> str:
        return "<p>"

    with TestClient(app) as client:
        response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text() == "<p>"
    described = app.openapi()["paths"]["/"]["get"]["responses"]["200"]
    assert described["description"] == "The page"
    assert list(described["content"]) == ["text/html"]


def test_response_class_without_a_media_type_is_refused():
    app = Spikard()
    with pytest.raises(RegistrationError, match="return a RedirectResponse instead"):

        @app.get("/", response_class=RedirectResponse)
        async def moved() -> str:
            return "/"


def test_extra_members_are_merged_into_the_operation():
    app = Spikard()

    @app.get("/", tags=["a"], openapi_extra={"x-own": 1, "tags": ["b"], "responses": {"418": {}}})
    async def handler() -> int:
        return 1

    operation = app.openapi()["paths"]["/"]["get"]
    assert operation["x-own"] == 1
    assert operation["tags"] == ["a", "b"]
    assert set(operation["responses"]) == {"200", "418"}
