"""Spikard: a Rust HTTP server with a typed Python API.

Names load on first use (PEP 562), so `import spikard` starts no thread and imports nothing that
the program does not use. A new public name goes into `_MODULES` and into the `TYPE_CHECKING` block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard import status
    from spikard._marks import (
        delete,
        get,
        head,
        options,
        patch,
        post,
        put,
        route,
        sse,
        trace,
        websocket,
    )
    from spikard._wsgi import wsgi
    from spikard.app import Spikard
    from spikard.background import BackgroundTasks
    from spikard.config import ServerConfig
    from spikard.datastructures import FormData, Headers, Request, State, UploadFile
    from spikard.di import Depends, Provide, Security
    from spikard.encoders import jsonable_encoder
    from spikard.events import SseEvent
    from spikard.exceptions import (
        HTTPException,
        RequestValidationError,
        RouteError,
        SpikardError,
        WebSocketDisconnect,
        WebSocketException,
    )
    from spikard.grpc import GrpcHandler, GrpcRequest, GrpcResponse, GrpcService
    from spikard.middleware import (
        CORSMiddleware,
        GZipMiddleware,
        HTTPSRedirectMiddleware,
        TrustedHostMiddleware,
    )
    from spikard.params import Body, Cookie, File, Form, Header, Path, Query
    from spikard.responses import (
        FileResponse,
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        RedirectResponse,
        Response,
        StreamingResponse,
    )
    from spikard.routing import APIRouter, Router
    from spikard.security import (
        APIKeyCookie,
        APIKeyHeader,
        APIKeyQuery,
        HTTPAuthorizationCredentials,
        HTTPBasic,
        HTTPBasicCredentials,
        HTTPBearer,
        HTTPDigest,
        OAuth2,
        OAuth2AuthorizationCodeBearer,
        OAuth2PasswordBearer,
        OAuth2PasswordRequestForm,
        OAuth2PasswordRequestFormStrict,
        OpenIdConnect,
        SecurityScopes,
    )
    from spikard.staticfiles import StaticFiles
    from spikard.templating import Jinja2Templates
    from spikard.testing import LiveTestClient, TestClient
    from spikard.websockets import WebSocket

__all__ = [
    "APIKeyCookie",
    "APIKeyHeader",
    "APIKeyQuery",
    "APIRouter",
    "BackgroundTasks",
    "Body",
    "CORSMiddleware",
    "Cookie",
    "Depends",
    "File",
    "FileResponse",
    "Form",
    "FormData",
    "GZipMiddleware",
    "GrpcHandler",
    "GrpcRequest",
    "GrpcResponse",
    "GrpcService",
    "HTMLResponse",
    "HTTPAuthorizationCredentials",
    "HTTPBasic",
    "HTTPBasicCredentials",
    "HTTPBearer",
    "HTTPDigest",
    "HTTPException",
    "HTTPSRedirectMiddleware",
    "Header",
    "Headers",
    "JSONResponse",
    "Jinja2Templates",
    "LiveTestClient",
    "OAuth2",
    "OAuth2AuthorizationCodeBearer",
    "OAuth2PasswordBearer",
    "OAuth2PasswordRequestForm",
    "OAuth2PasswordRequestFormStrict",
    "OpenIdConnect",
    "Path",
    "PlainTextResponse",
    "Provide",
    "Query",
    "RedirectResponse",
    "Request",
    "RequestValidationError",
    "Response",
    "RouteError",
    "Router",
    "Security",
    "SecurityScopes",
    "ServerConfig",
    "Spikard",
    "SpikardError",
    "SseEvent",
    "State",
    "StaticFiles",
    "StreamingResponse",
    "TestClient",
    "TrustedHostMiddleware",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketException",
    "delete",
    "get",
    "head",
    "jsonable_encoder",
    "options",
    "patch",
    "post",
    "put",
    "route",
    "sse",
    "status",
    "trace",
    "websocket",
    "wsgi",
]

_MODULES = {
    "delete": "_marks",
    "get": "_marks",
    "head": "_marks",
    "options": "_marks",
    "patch": "_marks",
    "post": "_marks",
    "put": "_marks",
    "route": "_marks",
    "sse": "_marks",
    "trace": "_marks",
    "websocket": "_marks",
    "wsgi": "_wsgi",
    "Spikard": "app",
    "BackgroundTasks": "background",
    "ServerConfig": "config",
    "FormData": "datastructures",
    "Headers": "datastructures",
    "Request": "datastructures",
    "State": "datastructures",
    "UploadFile": "datastructures",
    "Depends": "di",
    "Provide": "di",
    "HTTPException": "exceptions",
    "RequestValidationError": "exceptions",
    "RouteError": "exceptions",
    "SpikardError": "exceptions",
    "WebSocketDisconnect": "exceptions",
    "WebSocketException": "exceptions",
    "GrpcHandler": "grpc",
    "GrpcRequest": "grpc",
    "GrpcResponse": "grpc",
    "GrpcService": "grpc",
    "Body": "params",
    "Cookie": "params",
    "File": "params",
    "Form": "params",
    "Header": "params",
    "Path": "params",
    "Query": "params",
    "FileResponse": "responses",
    "HTMLResponse": "responses",
    "JSONResponse": "responses",
    "PlainTextResponse": "responses",
    "RedirectResponse": "responses",
    "Response": "responses",
    "StreamingResponse": "responses",
    "Router": "routing",
    "SseEvent": "events",
    "LiveTestClient": "testing",
    "TestClient": "testing",
    "WebSocket": "websockets",
    "CORSMiddleware": "middleware",
    "GZipMiddleware": "middleware",
    "HTTPSRedirectMiddleware": "middleware",
    "TrustedHostMiddleware": "middleware",
    "APIKeyCookie": "security",
    "APIKeyHeader": "security",
    "APIKeyQuery": "security",
    "HTTPAuthorizationCredentials": "security",
    "HTTPBasic": "security",
    "HTTPBasicCredentials": "security",
    "HTTPBearer": "security",
    "HTTPDigest": "security",
    "OAuth2": "security",
    "OAuth2AuthorizationCodeBearer": "security",
    "OAuth2PasswordBearer": "security",
    "OAuth2PasswordRequestForm": "security",
    "OAuth2PasswordRequestFormStrict": "security",
    "OpenIdConnect": "security",
    "SecurityScopes": "security",
    "jsonable_encoder": "encoders",
    "Jinja2Templates": "templating",
    "StaticFiles": "staticfiles",
    "Security": "di",
    "APIRouter": "routing",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "status":
        return import_module("spikard.status")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'spikard' has no attribute {name!r}")
    value = getattr(import_module(f"spikard.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
