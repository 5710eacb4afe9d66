"""The names and keywords of FastAPI are here, and what is not here says so."""

import importlib
import inspect
import sys
from typing import Annotated, Any

import fastapi
import fastapi.routing
import pytest

import spikard
from spikard.compat.fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    Query,
    Response,
    Security,
    WebSocket,
    WebSocketDisconnect,
)
from spikard.compat.fastapi.middleware.cors import CORSMiddleware
from spikard.compat.fastapi.middleware.trustedhost import TrustedHostMiddleware
from spikard.compat.fastapi.params import MarkerKeywords
from spikard.compat.fastapi.requests import HTTPConnection
from spikard.compat.fastapi.routing import OPTIONS
from spikard.compat.fastapi.sse import ServerSentEvent
from spikard.compat.fastapi.testclient import HTTPStatusError, TestClient
from spikard.exceptions import DependencyError, RegistrationError

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = {
    "fastapi": [name for name in vars(fastapi) if name[0].isupper() or name == "status"],
    "fastapi.security": [
        *("APIKeyCookie", "APIKeyHeader", "APIKeyQuery", "HTTPAuthorizationCredentials"),
        *("HTTPBasic", "HTTPBasicCredentials", "HTTPBearer", "HTTPDigest", "OAuth2"),
        *("OAuth2AuthorizationCodeBearer", "OAuth2PasswordBearer", "OAuth2PasswordRequestForm"),
        *("OAuth2PasswordRequestFormStrict", "OpenIdConnect", "SecurityScopes"),
    ],
    "fastapi.responses": [
        *("FileResponse", "HTMLResponse", "JSONResponse", "ORJSONResponse", "PlainTextResponse"),
        *("RedirectResponse", "Response", "StreamingResponse", "UJSONResponse"),
    ],
    "fastapi.exceptions": [
        *("FastAPIError", "HTTPException", "RequestValidationError", "ResponseValidationError"),
        *("ValidationException", "WebSocketException", "WebSocketRequestValidationError"),
    ],
    "fastapi.testclient": ["TestClient"],
    "fastapi.encoders": ["jsonable_encoder"],
    "fastapi.staticfiles": ["StaticFiles"],
    "fastapi.templating": ["Jinja2Templates"],
    "fastapi.websockets": ["WebSocket", "WebSocketDisconnect", "WebSocketState"],
    "fastapi.requests": ["HTTPConnection", "Request"],
    "fastapi.background": ["BackgroundTasks"],
    "fastapi.concurrency": [
        *("contextmanager_in_threadpool", "iterate_in_threadpool", "run_in_threadpool"),
    ],
    "fastapi.middleware": ["Middleware"],
    "fastapi.middleware.cors": ["CORSMiddleware"],
    "fastapi.middleware.gzip": ["GZipMiddleware"],
    "fastapi.middleware.httpsredirect": ["HTTPSRedirectMiddleware"],
    "fastapi.middleware.trustedhost": ["TrustedHostMiddleware"],
    "fastapi.middleware.wsgi": ["WSGIMiddleware"],
    "fastapi.routing": ["APIRoute", "APIRouter"],
    "fastapi.params": [
        *("Body", "Cookie", "Depends", "File", "Form", "Header", "Path", "Query", "Security"),
    ],
    "fastapi.datastructures": [
        *("Address", "FormData", "Headers", "QueryParams", "State", "URL", "UploadFile"),
    ],
    "fastapi.openapi.utils": ["get_openapi"],
    "fastapi.exception_handlers": [
        *("http_exception_handler", "request_validation_exception_handler"),
    ],
    "fastapi.sse": ["EventSourceResponse", "ServerSentEvent"],
}

MISSING_KEYWORDS = {
    "FastAPI": {"telemetry": "FastAPI's own", "form_limits": "ServerConfig has limits"},
    "APIRouter": {
        "routes": "register with the decorators",
        "default": "app.fallback",
        "dependency_overrides_provider": "the application's",
        "route_class": "routes are compiled, not subclassed",
        "lifespan": "the application's",
        "strict_content_type": "the application's",
        "max_body_size": "of routes and the application",
        "form_limits": "ServerConfig has limits",
    },
    "include_router": {
        "max_body_size": "of routes and the application",
        "form_limits": "ServerConfig has limits",
    },
    "get": {"form_limits": "ServerConfig has limits"},
}
"""Keywords that are refused with a TypeError, and where to turn."""

newest = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the newest FastAPI, whose keywords these are, has left 3.10"
)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names]
)
def test_name_is_here(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)
    ours = importlib.import_module(module.replace("fastapi", "spikard.compat.fastapi", 1))
    assert hasattr(ours, name)


@newest
@pytest.mark.parametrize(
    ("real", "ours", "key"),
    [
        (fastapi.FastAPI.__init__, FastAPI.__init__, "FastAPI"),
        (fastapi.APIRouter.__init__, APIRouter.__init__, "APIRouter"),
        (fastapi.APIRouter.include_router, APIRouter.include_router, "include_router"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keywords_are_here(real: Any, ours: Any, key: str) -> None:
    wanted = {
        name
        for name, parameter in inspect.signature(real).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    missing = wanted - set(inspect.signature(ours).parameters)
    assert missing == set(MISSING_KEYWORDS[key])


@newest
def test_keywords_of_decorators_are_here() -> None:
    wanted = set(inspect.signature(fastapi.FastAPI.get).parameters) - {"self", "path"}
    assert wanted - OPTIONS == set(MISSING_KEYWORDS["get"])


@pytest.mark.parametrize("name", ["Body", "Cookie", "File", "Form", "Header", "Path", "Query"])
def test_keywords_of_markers_are_here(name: str) -> None:
    real = set(inspect.signature(getattr(fastapi, name)).parameters) - {"default", "extra"}
    assert real <= set(MarkerKeywords.__annotations__)


MISSING_ATTRIBUTES = {
    "FastAPI": {"build_middleware_stack", "setup", "host", "frontend"},
    "APIRouter": {
        *("app", "handle", "matches", "not_found", "lifespan"),  # of an ASGI application
        *("mount", "host", "frontend"),
    },
    "UploadFile": set(),
}
"""Public attributes that are not here: Starlette's machinery, and what mounts by host."""


@pytest.mark.parametrize("name", MISSING_ATTRIBUTES)
def test_attributes_are_here(name: str) -> None:
    real = getattr(fastapi, name)
    ours = getattr(importlib.import_module("spikard.compat.fastapi"), name)
    wanted = {each for each in dir(real) if not each.startswith("_")} - {"middleware"}
    assert {each for each in wanted if not hasattr(ours, each)} == MISSING_ATTRIBUTES[name]


def test_response_of_the_client_has_httpx_attributes() -> None:
    app = FastAPI()

    @app.get("/lines")
    async def lines() -> Response:
        return Response("a\nb\n", media_type="text/plain")

    client = TestClient(app)
    with client.stream("GET", "/lines") as response:
        assert list(response.iter_lines()) == ["a", "b"]
        assert b"".join(response.iter_bytes()) == response.read() == b"a\nb\n"
    assert (response.is_success, response.is_error, response.encoding) == (True, False, "utf-8")
    assert response.raise_for_status() is response
    missing = client.get("/nothing")
    assert (missing.is_client_error, missing.is_server_error) == (True, False)
    with pytest.raises(HTTPStatusError, match="404"):
        missing.raise_for_status()


def test_bare_websocket_and_paths_of_routers() -> None:
    app = FastAPI()
    router = APIRouter(prefix="/below")

    @app.websocket_route("/bare")
    async def bare(websocket: WebSocket) -> None:
        await websocket.send_denial_response(Response("no", 418))

    @router.get("/{name}")
    async def one(name: str) -> str:
        return name

    assert router.url_path_for("one", name="a b") == "/below/a%20b"
    with (
        pytest.raises(WebSocketDisconnect),
        TestClient(app).websocket_connect("/bare"),
    ):
        pass


def test_what_is_refused_names_itself() -> None:
    with pytest.raises(TypeError, match="routes"):
        FastAPI(routes=[1])
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["www.example.com"])
    client = TestClient(app, base_url="http://example.com")
    assert client.get("/", follow_redirects=False).status_code == 400


def test_unknown_keyword_is_named() -> None:
    app = FastAPI()
    with pytest.raises(TypeError, match="respnse_model"):
        app.get("/", respnse_model=int)  # type: ignore[call-arg] # the mistake
    with pytest.raises(TypeError, match="tittle"):
        FastAPI(tittle="x")  # type: ignore[call-arg] # the mistake
    with pytest.raises(TypeError, match="route_class"):
        APIRouter(route_class=object)  # type: ignore[call-arg] # the mistake
    with pytest.raises(TypeError, match="mximum"):
        Query(mximum=3)  # type: ignore[call-arg] # the mistake


def test_declaration_that_cannot_be_served_is_named() -> None:
    app = FastAPI()

    class Odd:
        pass

    async def odd(value: Odd) -> None: ...

    app.get("/odd")(odd)
    with pytest.raises(RegistrationError, match=r"handler 'odd' \(.*\): parameter 'value'"):
        app.openapi()
    with pytest.raises(RegistrationError, match="status_code must be"):
        app.get("/", status_code=42)(lambda: None)
    with pytest.raises(ValueError, match="on_event"):
        app.on_event("strtup")(lambda: None)
    with pytest.raises(ValueError, match=r"Depends\.scope"):
        Depends(scope="forever")


def test_dependency_cannot_outlive_what_it_needs() -> None:
    app = FastAPI()

    async def short() -> Any:
        yield 1

    async def long(value: Annotated[int, Depends(short, scope="function")]) -> Any:
        yield value

    @app.get("/")
    async def handler(value: Annotated[int, Depends(long)]) -> int:
        return value

    with pytest.raises(DependencyError, match=r"'request' cannot depend on .*short"):
        TestClient(app).get("/")


def test_any_origin_with_credentials_is_answered_by_name() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)

    @app.get("/")
    async def handler() -> int:
        return 1

    response = TestClient(app).get("/", headers={"origin": "https://any.example"})
    assert response.headers["access-control-allow-origin"] == "https://any.example"
    assert response.headers["access-control-allow-credentials"] == "true"


def test_pages_are_on_by_default_and_can_be_off() -> None:
    client = TestClient(FastAPI())
    assert client.get("/docs").status_code == 200
    assert client.get("/redoc").status_code == 200
    assert client.get("/openapi.json").json()["info"] == {"title": "FastAPI", "version": "0.1.0"}
    off = TestClient(FastAPI(openapi_url=None))
    assert [off.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3


def test_what_differs_from_fastapi_is_as_documented() -> None:
    app = FastAPI()

    @app.get("/items/{name}")
    async def one(name: str) -> str:
        return f"one {name}"

    @app.get("/items/all")
    async def every() -> str:
        return "all"

    @app.get("/numbers/{number:int}")
    async def number(number: int) -> int:
        return number

    @app.post("/body")
    async def body(value: list[int]) -> list[int]:
        return value

    client = TestClient(app)
    assert client.get("/items/all").json() == "all"
    assert client.get("/numbers/x").status_code == 422
    assert client.post("/body", content=b"[1]").json() == [1]


def test_exceptions_reach_the_test_unless_asked_not_to() -> None:
    app = FastAPI()

    @app.get("/")
    async def handler() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        TestClient(app).get("/")
    response = TestClient(app, raise_server_exceptions=False).get("/")
    assert response.status_code == 500
    assert response.text == "Internal Server Error"


def test_debug_shows_the_traceback() -> None:
    app = FastAPI(debug=True)

    @app.get("/")
    async def handler() -> None:
        raise LookupError("lost")

    assert "LookupError: lost" in TestClient(app, raise_server_exceptions=False).get("/").text


def test_dependency_may_take_http_requests_and_websockets() -> None:
    app = FastAPI()

    async def path(connection: HTTPConnection) -> str:
        return connection.url_for("handler")

    @app.get("/http")
    async def handler(path: Annotated[str, Depends(path)]) -> str:
        return path

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, path: Annotated[str, Security(path)]) -> None:
        await websocket.accept()
        await websocket.send_text(path)

    client = TestClient(app)
    assert client.get("/http").json() == "http://testserver/http"
    with client.websocket_connect("/ws") as opened:
        assert opened.receive_text().endswith("://testserver/http")


def test_event_is_one_line_where_it_must_be() -> None:
    with pytest.raises(ValueError, match="one line"):
        ServerSentEvent(event="a\nb")
    with pytest.raises(ValueError, match="not both"):
        ServerSentEvent(data=1, raw_data="1")


def test_plain_parameters_stay_with_the_server() -> None:
    """Pydantic is asked only for what the server does not convert by itself."""
    app = FastAPI()

    @app.get("/items/{number}")
    async def handler(
        number: int, q: str = "x", size: Annotated[int, Query(ge=1)] = 1, flag: bool = False
    ) -> dict[str, Any]:
        return {"number": number}

    spec = app.freeze()[0]
    assert [(each.name, each.kind) for each in spec.args] == [
        ("number", "int"),
        ("q", "str"),
        ("size", "convert"),
        ("flag", "bool"),
    ]
    assert spec.call is handler
    assert spec.simple


def test_markers_of_spikard_keep_their_constraints() -> None:
    app = FastAPI()

    @app.get("/")
    async def handler(size: Annotated[int, spikard.Query(ge=3, description="Of it")]) -> int:
        return size

    client = TestClient(app)
    assert client.get("/?size=3").json() == 3
    assert client.get("/?size=2").json()["detail"][0]["type"] == "greater_than_equal"
    (parameter,) = app.openapi()["paths"]["/"]["get"]["parameters"]
    assert (parameter["schema"]["minimum"], parameter["description"]) == (3, "Of it")
