"""Documents of mounted applications as parts of an application's own."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.python.doors import DOORS

from spikard import ServerConfig, Spikard
from spikard.config import OpenApiConfig
from spikard.exceptions import RouteError
from spikard.testing import TestClient


class Item(msgspec.Struct):
    name: str


class Same(msgspec.Struct):
    number: int


def own() -> Spikard:
    app = Spikard()

    @app.get("/items", tags=["items"], operation_id="list_items")
    async def items() -> list[Item]:
        return []

    @app.get("/same")
    async def same() -> Same:
        return Same(1)

    return app


class Old:
    class Item(pydantic.BaseModel):
        price: float


class Page(pydantic.BaseModel):
    items: list[Old.Item]


def old() -> FastAPI:
    app = FastAPI(openapi_tags=[{"name": "items"}, {"name": "old"}])

    @app.get("/items/{id}", tags=["old"], operation_id="list_items")
    async def read(id: int, token: Annotated[Any, Depends(HTTPBearer())]) -> Page:  # noqa: A002
        raise NotImplementedError

    @app.post("/items")
    async def create(item: Old.Item) -> Old.Item:
        return item

    return app


def valid(document: dict[str, Any]) -> dict[str, Any]:
    problems = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert problems == []
    return document


def test_paths_get_the_prefix_and_components_with_taken_names_new_ones():
    app = own()
    app.mount("/old", old())
    app.merge_openapi(old().openapi(), prefix="/old")
    made = valid(app.openapi())
    assert set(made["paths"]) == {"/items", "/same", "/old/items", "/old/items/{id}"}
    schemas = made["components"]["schemas"]
    assert schemas["Item"]["properties"]["name"] == {"type": "string"}
    assert set(schemas["Item_2"]["properties"]) == {"price"}
    assert schemas["Page"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/Item_2"
    }
    read = made["paths"]["/old/items/{id}"]["get"]
    assert read["operationId"] == "list_items_2"
    assert read["security"] == [{"HTTPBearer": []}]
    assert made["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert [tag["name"] for tag in made["tags"]] == ["items", "old"]


def test_component_that_says_the_same_is_one_unless_what_it_names_differs():
    app = own()
    document = {
        "openapi": "3.1.0",
        "info": {"title": "old", "version": "1"},
        "paths": {},
        "components": {"schemas": copy.deepcopy(app.openapi()["components"]["schemas"])},
    }
    schemas: dict[str, Any] = document["components"]["schemas"]  # type: ignore[index]
    schemas["Item"]["properties"]["more"] = {"type": "integer"}
    app.merge_openapi(document)
    made = valid(app.openapi())["components"]["schemas"]
    assert set(made) >= {"Item", "Item_2", "Same"}
    assert "Same_2" not in made

    holder = {"type": "object", "properties": {"item": {"$ref": "#/components/schemas/Item"}}}
    first, second = Spikard(), dict(document)
    ours = {"Item": {"type": "string"}, "Holder": holder}
    theirs = {"Item": {"type": "integer"}, "Holder": holder}
    first.merge_openapi({**second, "components": {"schemas": ours}})
    first.merge_openapi({**second, "components": {"schemas": theirs}})
    made = valid(first.openapi())["components"]["schemas"]
    assert made["Holder"]["properties"]["item"]["$ref"].endswith("/Item")
    assert made["Holder_2"]["properties"]["item"]["$ref"].endswith("/Item_2")
    assert made["Item_2"] == {"type": "integer"}


def described(**schema: Any) -> dict[str, Any]:
    return {
        "openapi": "3.0.3",
        "info": {"title": "old", "version": "1"},
        "security": [{"key": []}],
        "paths": {
            "/things/{id}": {
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "get": {
                    "responses": {
                        "200": {
                            "description": "a thing",
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": "#/components/schemas/Thing"}
                                }
                            },
                        }
                    }
                },
            }
        },
        "components": {
            "schemas": {"Thing": schema},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-key"}},
        },
    }


def test_words_of_openapi_30_become_those_of_31():
    app = Spikard()
    properties = {
        "a": {"type": "string", "nullable": True},
        "b": {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        "c": {"allOf": [{"type": "string"}], "nullable": True},
        "nullable": {"type": "boolean"},
        "default": {"type": "object", "default": {"nullable": True}},
    }
    app.merge_openapi(described(type="object", properties=properties), prefix="/old")
    made = valid(app.openapi())
    properties = made["components"]["schemas"]["Thing"]["properties"]
    assert properties == {
        "a": {"type": ["string", "null"]},
        "b": {"type": "integer", "exclusiveMinimum": 1},
        "c": {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
        "nullable": {"type": "boolean"},
        "default": {"type": "object", "default": {"nullable": True}},
    }
    # What held for the whole of the other document goes along with its operations.
    assert made["paths"]["/old/things/{id}"]["get"]["security"] == [{"key": []}]


def test_names_in_mappings_and_requirements_follow():
    app = Spikard()
    first = described(type="string")
    second = copy.deepcopy(first)
    second["components"]["schemas"]["Thing"] = {
        "oneOf": [{"$ref": "#/components/schemas/Thing"}],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {"a": "#/components/schemas/Thing", "b": "Thing"},
        },
    }
    second["components"]["securitySchemes"]["key"]["name"] = "x-other"
    app.merge_openapi(first, prefix="/a")
    app.merge_openapi(second, prefix="/b")
    made = app.openapi()
    thing = made["components"]["schemas"]["Thing_2"]
    assert thing["oneOf"] == [{"$ref": "#/components/schemas/Thing_2"}]
    assert thing["discriminator"]["mapping"] == {
        "a": "#/components/schemas/Thing_2",
        "b": "Thing_2",
    }
    assert made["paths"]["/b/things/{id}"]["get"]["security"] == [{"key_2": []}]


def test_one_path_may_have_methods_of_both_but_no_method_twice():
    app = Spikard()

    @app.post("/things/{id}")
    async def change(id: str) -> str:  # noqa: A002
        return id

    app.merge_openapi(described(type="string"))
    item = valid(app.openapi())["paths"]["/things/{id}"]
    assert set(item) == {"post", "get"}
    assert [each["name"] for each in item["get"]["parameters"]] == ["id"]

    @app.get("/things/{id}")
    async def read(id: str) -> str:  # noqa: A002
        return id

    with pytest.raises(RouteError, match=r"merge_openapi: GET '/things/\{id\}' is described twice"):
        app.openapi()


def test_clash_stops_the_start_of_a_server_that_shows_the_document():
    app = own()
    app.merge_openapi(own().openapi())
    app.config = ServerConfig(openapi=OpenApiConfig(enabled=True))
    with pytest.raises(RouteError, match="GET '/items' is described twice"), TestClient(app):
        pass


@pytest.mark.parametrize("door", DOORS)
def test_served_document_has_both(door):
    app = own()
    app.mount("/old", old())
    app.merge_openapi(old().openapi(), prefix="/old")
    with door(app, ServerConfig(openapi=OpenApiConfig(enabled=True))) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {"/items", "/old/items"} <= set(paths)


@pytest.mark.parametrize(
    ("document", "prefix", "message"),
    [
        ({"swagger": "2.0"}, "", "expected a document of OpenAPI 3, got None"),
        ({"openapi": "2.0"}, "", "expected a document of OpenAPI 3, got '2.0'"),
        ({"openapi": "3.1.0", "paths": []}, "", "paths: expected a mapping, got list"),
        ({"openapi": "3.1.0"}, "old", "prefix: expected a path like '/old'"),
        ({"openapi": "3.1.0"}, "/old/", "without a slash at its end, got '/old/'"),
    ],
)
def test_what_is_no_document_is_refused(document, prefix, message):
    with pytest.raises(ValueError, match=message):
        Spikard().merge_openapi(document, prefix)
