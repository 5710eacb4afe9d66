"""Spikard: a Rust HTTP server with a typed Python API.

Names load on first use (PEP 562), so `import spikard` starts no thread and imports nothing that
the program does not use. A new public name goes into `_MODULES` and into the `TYPE_CHECKING` block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from spikard.app import Spikard
    from spikard.background import BackgroundTasks
    from spikard.config import ServerConfig
    from spikard.datastructures import FormData, Headers, Request, State, UploadFile
    from spikard.di import Depends, Provide
    from spikard.events import SseEvent
    from spikard.exceptions import (
        HTTPException,
        RequestValidationError,
        RouteError,
        SpikardError,
        WebSocketDisconnect,
    )
    from spikard.grpc import GrpcHandler, GrpcRequest, GrpcResponse, GrpcService
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
    from spikard.routing import Router
    from spikard.testing import LiveTestClient, TestClient
    from spikard.websockets import WebSocket

__all__ = [
    "BackgroundTasks",
    "Body",
    "Cookie",
    "Depends",
    "File",
    "FileResponse",
    "Form",
    "FormData",
    "GrpcHandler",
    "GrpcRequest",
    "GrpcResponse",
    "GrpcService",
    "HTMLResponse",
    "HTTPException",
    "Header",
    "Headers",
    "JSONResponse",
    "LiveTestClient",
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
    "ServerConfig",
    "Spikard",
    "SpikardError",
    "SseEvent",
    "State",
    "StreamingResponse",
    "TestClient",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "route",
    "sse",
    "trace",
    "websocket",
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
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'spikard' has no attribute {name!r}")
    value = getattr(import_module(f"spikard.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
