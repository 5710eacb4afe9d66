"""The OpenAPI document, and the pages that show it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import importlib
import ipaddress  # noqa: TC003 - annotations are read at run time
import re
import uuid  # noqa: TC003 - as above
from pathlib import Path as FilePath
from typing import Annotated, Any, Generic, Optional, TypedDict, TypeVar

import attrs
import httpx
import msgspec
import pydantic
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from spikard import (
    Body,
    Cookie,
    Form,
    Header,
    HTMLResponse,
    Path,
    Query,
    Router,
    ServerConfig,
    Spikard,
    UploadFile,
    _documentation,
    config,
)
from spikard.config import (
    ApiKeyConfig,
    ContactInfo,
    JwtConfig,
    LicenseInfo,
    OpenApiConfig,
    RateLimitConfig,
    SecuritySchemeInfo,
    ServerInfo,
)
from spikard.testing import TestClient

EXAMPLES = FilePath(__file__).parents[2] / "examples"

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, examples=["root"])]
    children: list[Node] = []
    address: ipaddress.IPv4Address | None = None


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(ge=1)
    inner: Optional[Model] = None  # noqa: UP045 - Pydantic reads it on 3.10 too


class Holder(msgspec.Struct):
    model: Model


class Filters(msgspec.Struct):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    colour: Colour | None = None


class Listed(TypedDict):
    number: int


@dataclasses.dataclass
class Upload:
    file: UploadFile
    description: str


@attrs.define
class Point:
    x: int


def documented(app: Spikard, **settings: Any) -> dict[str, Any]:
    """Return an application's document once it has passed the validator."""
    app.config = ServerConfig(**settings)
    made: dict[str, Any] = app.openapi()
    problems = [
        f"{list(error.absolute_path)}: {error.message}"
        for error in OpenAPIV31SpecValidator(made).iter_errors()
    ]
    assert problems == []
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return decoded


def rich() -> Spikard:
    """Return an application with one route per kind of declaration."""
    app = Spikard()
    nodes = Router(prefix="/nodes", tags=["nodes"], responses={404: {"description": "No node"}})

    @nodes.get("/{id:int}")
    async def read_node(
        id: int,  # noqa: A002 - the name of the path parameter
        colour: Colour = Colour.RED,
        tags: Annotated[list[str], Query(alias="tag", description="any of", max_length=5)] = [],  # noqa: B006
        x_token: Annotated[str, Header()] = "none",
        session: Annotated[str | None, Cookie()] = None,
    ) -> Node:
        """Return one node.

        It comes with its children.

        Args:
            id: Not for the API's readers.
        """
        raise NotImplementedError

    @nodes.post("", status_code=201, deprecated=True, operation_id="addNode")
    async def create_node(body: Node) -> Page[Node]:
        raise NotImplementedError

    @nodes.delete("/{number}", status_code=204)
    async def delete_node(number: Annotated[int, Path(ge=1)]) -> None:
        raise NotImplementedError

    app.include_router(nodes)

    @app.get("/models")
    async def models(filters: Annotated[Filters, Query()]) -> Page[Model]:
        raise NotImplementedError

    @app.post("/models")
    async def model(model: Model) -> Model:
        raise NotImplementedError

    @app.post("/holders")
    async def holder(body: Holder) -> Point:
        raise NotImplementedError

    @app.put("/listed/{key}")
    async def listed(key: uuid.UUID, body: Listed) -> list[Listed]:
        raise NotImplementedError

    @app.post("/uploads")
    async def upload(body: Upload) -> dict[str, int]:
        raise NotImplementedError

    @app.post("/forms")
    async def form(age: Form[int], photo: UploadFile, more: list[UploadFile]) -> str:
        raise NotImplementedError

    @app.patch("/two")
    async def two(first: Body[Node], second: Body[Model]) -> None:
        raise NotImplementedError

    @app.post("/octets")
    async def octets(body: bytes) -> bytes:
        raise NotImplementedError

    @app.post("/unions")
    async def unions(body: Node | Model) -> list[Node | Colour]:
        raise NotImplementedError

    @app.sse("/events", event_schema={"type": "object"})
    async def events():
        yield {}

    @app.websocket("/socket")
    async def socket(message: dict[str, Any]) -> None:
        raise NotImplementedError

    @app.get("/page")
    async def page() -> HTMLResponse:
        raise NotImplementedError

    @app.get("/hidden", include_in_schema=False)
    async def hidden() -> str:
        raise NotImplementedError

    @app.route("/both", methods=("OPTIONS", "HEAD", "TRACE"))
    async def both() -> None:
        raise NotImplementedError

    @app.register_route(
        "post",
        "/schemas",
        body_schema={"type": "object", "properties": {"next": {"$ref": "#"}}},
        parameter_schema={"query": {"size": {"type": "integer", "minimum": 1}}},
    )
    async def schemas(body: Any) -> None:
        raise NotImplementedError

    return app


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return documented(rich())


def operation(made: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = made["paths"][path][method]
    return found


def parameters(made: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    return {each["name"]: each for each in operation(made, method, path)["parameters"]}


def test_shows_every_http_route_and_no_other(made):
    assert {(path, method) for path, item in made["paths"].items() for method in item} == {
        ("/nodes/{id}", "get"),
        ("/nodes/{id}", "delete"),
        ("/nodes", "post"),
        ("/models", "get"),
        ("/models", "post"),
        ("/holders", "post"),
        ("/listed/{key}", "put"),
        ("/uploads", "post"),
        ("/forms", "post"),
        ("/two", "patch"),
        ("/octets", "post"),
        ("/unions", "post"),
        ("/events", "get"),
        ("/page", "get"),
        ("/both", "options"),
        ("/both", "head"),
        ("/both", "trace"),
        ("/schemas", "post"),
    }


def test_operation_says_what_docstring_and_options_say(made):
    read = operation(made, "get", "/nodes/{id}")
    assert (read["summary"], read["description"]) == (
        "Return one node",
        "It comes with its children.",
    )
    assert read["tags"] == ["nodes"]
    assert made["tags"] == [{"name": "nodes"}]
    created = operation(made, "post", "/nodes")
    assert created["deprecated"] is True
    assert created["summary"] == "Create node"
    assert created["operationId"] == "addNode"


def test_operation_ids_are_unique(made):
    found = [each["operationId"] for item in made["paths"].values() for each in item.values()]
    assert len(found) == len(set(found)) == 18


def test_parameters_of_every_source_have_schema_default_and_required(made):
    found = parameters(made, "get", "/nodes/{id}")
    assert {name: (each["in"], each.get("required", False)) for name, each in found.items()} == {
        "id": ("path", True),
        "colour": ("query", False),
        "tag": ("query", False),
        "x-token": ("header", False),
        "session": ("cookie", False),
    }
    assert found["colour"]["schema"] == {"$ref": "#/components/schemas/Colour", "default": "red"}
    assert found["tag"]["description"] == "any of"
    assert found["tag"]["schema"] == {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 5,
        "default": [],
    }
    assert found["x-token"]["schema"] == {"type": "string", "default": "none"}


def test_parameters_of_paths_that_differ_in_names_only_take_the_first_name(made):
    found = parameters(made, "delete", "/nodes/{id}")
    assert found["id"]["schema"] == {"type": "integer", "minimum": 1}


def test_parameter_model_is_shown_as_its_fields(made):
    found = parameters(made, "get", "/models")
    assert set(found) == {"limit", "colour"}
    assert found["limit"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 10,
    }


def test_types_become_components(made):
    schemas = made["components"]["schemas"]
    assert schemas["Node"]["properties"]["children"]["items"] == {
        "$ref": "#/components/schemas/Node"
    }
    assert schemas["Node"]["properties"]["name"]["minLength"] == 1
    assert schemas["Node"]["properties"]["name"]["examples"] == ["root"]
    assert schemas["Page_Node_"]["title"] == "Page[Node]"
    assert schemas["Holder"]["properties"]["model"] == {"$ref": "#/components/schemas/Model"}
    assert schemas["Model"]["properties"]["number"]["minimum"] == 1
    assert schemas["Colour"] == {"title": "Colour", "type": "string", "enum": ["blue", "red"]}
    assert {"Point", "Listed", "Upload"} <= set(schemas)


def test_raw_schema_that_refers_to_itself_becomes_a_component(made):
    content = operation(made, "post", "/schemas")["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert made["components"]["schemas"][name]["properties"]["next"] == {
        "$ref": f"#/components/schemas/{name}"
    }


@pytest.mark.parametrize(
    ("method", "path", "media"),
    [
        ("post", "/nodes", ["application/json", "application/msgpack"]),
        ("post", "/uploads", ["multipart/form-data"]),
        ("post", "/forms", ["multipart/form-data"]),
        ("post", "/octets", ["application/octet-stream"]),
    ],
)
def test_bodies_are_listed_by_content_type(made, method, path, media):
    body = operation(made, method, path)["requestBody"]
    assert body["required"] is True
    assert list(body["content"]) == media


def test_files_are_binary_strings(made):
    body = operation(made, "post", "/forms")["requestBody"]
    binary = {"type": "string", "format": "binary"}
    assert body["content"]["multipart/form-data"]["schema"] == {
        "type": "object",
        "properties": {
            "age": {"type": "integer"},
            "photo": binary,
            "more": {"type": "array", "items": binary},
        },
        "required": ["age", "photo", "more"],
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "media"),
    [
        ("get", "/nodes/{id}", "200", ["application/json"]),
        ("post", "/nodes", "201", ["application/json"]),
        ("delete", "/nodes/{id}", "204", []),
        ("post", "/octets", "200", ["application/octet-stream"]),
        ("get", "/events", "200", ["text/event-stream"]),
        ("get", "/page", "200", ["text/html"]),
        ("head", "/both", "200", []),
    ],
)
def test_success_has_the_media_type_of_the_result(made, method, path, status, media):
    assert list(operation(made, method, path)["responses"][status].get("content", {})) == media


def test_routes_document_the_refusals_that_can_happen(made):
    assert set(operation(made, "get", "/nodes/{id}")["responses"]) == {"200", "404", "422"}
    assert set(operation(made, "post", "/nodes")["responses"]) == {
        *("201", "400", "404", "413", "415", "422"),
    }
    assert set(operation(made, "get", "/page")["responses"]) == {"200"}


def test_types_of_one_name_get_names_of_their_own():
    app = Spikard()

    def struct() -> Any:
        return msgspec.defstruct("Same", [("text", str)], module="one")

    @app.post("/a")
    async def a(body: struct()) -> None: ...  # type: ignore[valid-type] # made at run time

    model = pydantic.create_model("Same", number=(int, ...))

    @app.post("/b")
    async def b(body: model) -> None: ...  # type: ignore[valid-type] # made at run time

    schemas = documented(app)["components"]["schemas"]
    assert [set(schemas[name]["properties"]) for name in ("Same", "Same2")] == [
        {"text"},
        {"number"},
    ]


def test_document_describes_the_api_and_its_security(monkeypatch):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())
    app = Spikard()

    @app.get("/secret", scopes=["read"])
    async def secret() -> str:
        raise NotImplementedError

    @app.get("/open", require_auth=False)
    async def opened() -> str:
        raise NotImplementedError

    made = documented(
        app,
        jwt_auth=JwtConfig(secret="0123456789abcdef0123456789abcdef"),
        api_key_auth=ApiKeyConfig(keys=["0123456789abcdef"], query_param="key"),
        rate_limit=RateLimitConfig(per_second=1, burst=1),
        openapi=OpenApiConfig(
            title="Shop",
            version="2.1",
            description="Sells.",
            contact=ContactInfo(name="Support", email="a@example.com"),
            license=LicenseInfo(name="MIT"),
            servers=[ServerInfo(url="https://example.com", description="Production")],
            security_schemes={
                "login": SecuritySchemeInfo(type="apiKey", name="sid", location="cookie")
            },
        ),
    )
    assert made["openapi"] == "3.1.0"
    assert made["info"] == {
        "title": "Shop",
        "version": "2.1",
        "description": "Sells.",
        "contact": {"name": "Support", "email": "a@example.com"},
        "license": {"name": "MIT"},
    }
    assert made["servers"] == [{"url": "https://example.com", "description": "Production"}]
    assert made["components"]["securitySchemes"] == {
        "bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "apiKeyQuery": {"type": "apiKey", "in": "query", "name": "key"},
        "login": {"type": "apiKey", "in": "cookie", "name": "sid"},
    }
    locked = operation(made, "get", "/secret")
    assert locked["security"] == [
        {"apiKeyAuth": [], "bearerAuth": ["read"]},
        {"apiKeyQuery": [], "bearerAuth": ["read"]},
    ]
    assert set(locked["responses"]) == {"200", "401", "403", "429"}
    opened_too = operation(made, "get", "/open")
    assert "security" not in opened_too
    assert set(opened_too["responses"]) == {"200", "429"}


def test_title_and_version_of_the_application_stand_in_for_the_defaults():
    made = documented(Spikard(title="Mine", version="3"))
    assert made["info"] == {"title": "Mine", "version": "3"}


# --- the pages ------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script>"


def shown(**settings: Any) -> Spikard:
    """Return an application that serves its documentation."""
    app = Spikard(
        config=ServerConfig(openapi=OpenApiConfig(enabled=True, title=HOSTILE, **settings))
    )

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        return name

    return app


def linked(page: str) -> list[str]:
    """Return the addresses of what a page loads."""
    return re.findall(r'<(?:link|script) [^>]*(?:href|src)="([^"]*)"', page)


def test_document_is_served_as_json():
    app = shown()
    with TestClient(app) as client:
        response = client.get("/openapi.json").assert_status_ok()
        assert response.headers["content-type"] == "application/json"
        assert response.json() == app.openapi()
        assert response.json()["info"]["title"] == HOSTILE
        assert list(response.json()["paths"]) == ["/things/{name}"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_loads_everything_from_its_own_origin(path):
    with TestClient(shown()) as client:
        page = client.get(path).assert_status_ok()
        addresses = linked(page.text())
        assert len(addresses) >= 4
        for address in addresses:
            assert re.fullmatch(r"[\w./-]+", address)
            file = client.get(f"/{address}").assert_status_ok()
            assert file.headers["x-content-type-options"] == "nosniff"
            assert len(file.bytes()) > 0
        assert client.get(f"{path}/unknown.js").status_code == 404


def test_file_that_the_browser_has_is_not_sent_again():
    with TestClient(shown()) as client:
        tag = client.get("/docs/swagger-ui.css").headers["etag"]
        for given in (tag, f'"other", {tag}'):
            again = client.get("/docs/swagger-ui.css", headers={"if-none-match": given})
            assert (again.status_code, again.bytes()) == (304, b"")
        other = client.get("/docs/swagger-ui.css", headers={"if-none-match": '"other"'})
        assert other.status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_has_a_strict_policy_and_no_script_inside(path):
    with TestClient(shown()) as client:
        page = client.get(path)
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert "script-src" not in policy  # so default-src holds: no inline, no eval
    assert page.headers["x-content-type-options"] == "nosniff"
    for attributes, content in re.findall(r"<script([^>]*)>(.*?)</script>", page.text(), re.DOTALL):
        assert 'type="application/json"' in attributes or content == ""
    assert HOSTILE not in page.text()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_does_not_depend_on_the_request(path):
    with TestClient(shown()) as client:
        plain = client.get(path)
        hostile = client.get(
            path,
            params={"url": "https://evil.test/x.json", "configUrl": "https://evil.test/c.json"},
            headers={"x-forwarded-prefix": "');alert(1)//", "x-forwarded-host": "evil.test"},
        )
        assert hostile.text() == plain.text()
        assert "queryConfigEnabled: false" in client.get("/docs/start.js").text()


def test_paths_can_be_chosen_and_pages_left_out():
    app = shown(swagger_ui_path="/a/b/ui", redoc_path=None, openapi_json_path="/spec/api.json")
    with TestClient(app) as client:
        page = client.get("/a/b/ui").assert_status_ok()
        assert '{"document":"../../spec/api.json"}' in page.text()
        assert client.get("/a/b/ui/swagger-ui.css").status_code == 200
        assert client.get("/spec/api.json").status_code == 200
        assert [client.get(path).status_code for path in ("/redoc", "/docs")] == [404, 404]


def test_page_at_the_root_finds_its_files():
    with TestClient(shown(swagger_ui_path="/")) as client:
        assert "start.js" in linked(client.get("/").text())
        assert client.get("/start.js").status_code == 200


def test_nothing_is_served_unless_enabled():
    app = Spikard(config=ServerConfig(openapi=OpenApiConfig()))
    with TestClient(app) as client:
        assert {client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {
            404
        }


def test_servers_to_try_are_allowed_by_the_policy_and_cannot_end_it():
    app = shown(
        servers=[
            ServerInfo(url="https://api.example.com/v1"),
            ServerInfo(url="https://x; script-src *"),
            ServerInfo(url="https://{region}.example.com"),
            ServerInfo(url="/relative"),
        ]
    )
    with TestClient(app) as client:
        policy = client.get("/docs").headers["content-security-policy"]
    assert "connect-src 'self' https://api.example.com;" in policy
    assert "script-src" not in policy


async def behind(app: Spikard, path: str, root_path: str) -> httpx.Response:
    """Return the answer to a request that another server's prefix leads here."""
    transport = httpx.ASGITransport(app=app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(root_path + path)


def test_document_below_a_prefix_names_it_as_the_server():
    answer = asyncio.run(behind(shown(), "/openapi.json", "/tenant"))
    assert answer.json()["servers"] == [{"url": "/tenant"}]
    named = shown(servers=[ServerInfo(url="https://example.com")])
    answer = asyncio.run(behind(named, "/openapi.json", "/tenant"))
    assert answer.json()["servers"] == [{"url": "https://example.com"}]


def test_page_below_a_prefix_loads_its_files():
    app = shown()
    page = asyncio.run(behind(app, "/docs", "/tenant"))
    for address in linked(page.text):
        assert asyncio.run(behind(app, f"/{address}", "/tenant")).status_code == 200


def test_missing_package_is_named_with_its_extra(monkeypatch, caplog):
    absent = dataclasses.replace(_documentation.SWAGGER_UI, package="package_that_is_absent")
    monkeypatch.setattr(_documentation, "SWAGGER_UI", absent)
    with TestClient(shown()) as client:
        answer = client.get("/docs").assert_status(501)
        assert answer.json()["detail"] == 'Swagger UI is not installed: pip install "spikard[docs]"'
        assert client.get("/openapi.json").status_code == 200
    assert 'pip install "spikard[docs]"' in caplog.text


def test_scalar_is_shown_where_it_is_asked_for_and_asks_nobody():
    pytest.importorskip("flask_openapi_scalar", reason="Scalar's package wants Python 3.11")
    with TestClient(shown()) as client:
        assert client.get("/scalar").status_code == 404
    with TestClient(shown(scalar_path="/scalar")) as client:
        assert "scalar.standalone.js" in client.get("/scalar").assert_status_ok().text()
        assert client.get("/scalar/scalar.standalone.js").status_code == 200
        start = client.get("/scalar/start.js").text()
    for setting in ("withDefaultFonts: false", "telemetry: false", 'proxyUrl: ""'):
        assert setting in start


@pytest.mark.parametrize(("public", "status"), [(False, 401), (True, 200)])
def test_pages_want_credentials_unless_public(monkeypatch, public, status):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())
    app = shown(public=public)
    assert app.config is not None
    app.config = app.config.copy(api_key_auth=ApiKeyConfig(keys=["0123456789abcdef"]))
    with TestClient(app) as client:
        for path in ("/openapi.json", "/docs", "/docs/swagger-ui.css", "/redoc"):
            assert client.get(path).status_code == status
        assert client.get("/things/x").status_code == 401


def test_document_is_made_anew_after_a_registration():
    app = Spikard()
    assert app.openapi()["paths"] == {}
    assert app.openapi() is app.openapi()

    @app.get("/late")
    async def late() -> None:
        raise NotImplementedError

    assert set(app.openapi()["paths"]) == {"/late"}


@pytest.mark.parametrize("name", ["quickstart", "bookshop"])
def test_examples_have_a_valid_document(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    app = importlib.import_module(name).app
    problems = list(OpenAPIV31SpecValidator(app.openapi()).iter_errors())
    assert problems == []


def test_a_handler_without_a_name_is_called_by_its_route():
    app = Spikard()
    app.post("/things/{id}")(lambda id: id)  # noqa: A006 - the name of the path parameter
    operation = app.openapi()["paths"]["/things/{id}"]["post"]
    assert operation["operationId"] == "lambda_things_id_post"
    assert operation["summary"] == "POST /things/{id}"
