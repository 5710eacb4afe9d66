"""FastAPI's names with FastAPI's meaning, on Spikard's server.

A program changes its import line, ``from spikard.compat.fastapi import FastAPI``, and the
submodules mirror FastAPI's (`responses`, `security`, `testclient`, ``middleware.cors``, …).
Routes are translated when they are registered and frozen into the same plans as Spikard's own;
Pydantic validates. Nothing of FastAPI or Starlette is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard import status
    from spikard.background import BackgroundTasks
    from spikard.compat.fastapi.applications import FastAPI
    from spikard.compat.fastapi.datastructures import UploadFile
    from spikard.compat.fastapi.exceptions import HTTPException, WebSocketException
    from spikard.compat.fastapi.params import (
        Body,
        Cookie,
        Depends,
        File,
        Form,
        Header,
        Path,
        Query,
        Security,
    )
    from spikard.compat.fastapi.requests import Request
    from spikard.compat.fastapi.routing import APIRouter
    from spikard.compat.fastapi.websockets import WebSocket
    from spikard.exceptions import WebSocketDisconnect
    from spikard.responses import Response

__all__ = [
    "APIRouter",
    "BackgroundTasks",
    "Body",
    "Cookie",
    "Depends",
    "FastAPI",
    "File",
    "Form",
    "HTTPException",
    "Header",
    "Path",
    "Query",
    "Request",
    "Response",
    "Security",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketException",
    "status",
]

_MODULES = {
    "APIRouter": "routing",
    "BackgroundTasks": "background",
    "Body": "params",
    "Cookie": "params",
    "Depends": "params",
    "FastAPI": "applications",
    "File": "params",
    "Form": "params",
    "HTTPException": "exceptions",
    "Header": "params",
    "Path": "params",
    "Query": "params",
    "Request": "requests",
    "Response": "responses",
    "Security": "params",
    "UploadFile": "datastructures",
    "WebSocket": "websockets",
    "WebSocketDisconnect": "exceptions",
    "WebSocketException": "exceptions",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "status":
        return import_module("spikard.status")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'spikard.compat.fastapi' has no attribute {name!r}")
    value = getattr(import_module(f"spikard.compat.fastapi.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
