"""Tools for the tests of applications; each name loads on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard.testing._thread import serve_in_thread
    from spikard.testing.client import SyncTestClient, TestClient
    from spikard.testing.events import EventsRefusedError, TestEvent, TestEvents
    from spikard.testing.live import LiveTestClient, SyncLiveTestClient
    from spikard.testing.response import TestResponse
    from spikard.testing.stream import ResponseAbortedError, TestStream
    from spikard.testing.websocket import TestWebSocket, WebSocketRejectedError

__all__ = [
    "EventsRefusedError",
    "LiveTestClient",
    "ResponseAbortedError",
    "SyncLiveTestClient",
    "SyncTestClient",
    "TestClient",
    "TestEvent",
    "TestEvents",
    "TestResponse",
    "TestStream",
    "TestWebSocket",
    "WebSocketRejectedError",
    "serve_in_thread",
]

_MODULES = {
    "EventsRefusedError": "events",
    "ResponseAbortedError": "stream",
    "TestEvent": "events",
    "TestEvents": "events",
    "TestStream": "stream",
    "LiveTestClient": "live",
    "SyncLiveTestClient": "live",
    "SyncTestClient": "client",
    "TestClient": "client",
    "TestResponse": "response",
    "TestWebSocket": "websocket",
    "WebSocketRejectedError": "websocket",
    "serve_in_thread": "_thread",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'spikard.testing' has no attribute {name!r}")
    value = getattr(import_module(f"spikard.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
