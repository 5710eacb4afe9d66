"""ASGI by itself: its types, and the server for any application, without Spikard's own API.

| module | has |
|---|---|
| `spikard_asgi.types` | the scopes, events and callables as types |
| `spikard_asgi.application` | what counts as an application; older forms made new |
| `spikard_asgi.lifespan` | an application's start-up and shutdown, as its server runs them |
| `spikard_asgi.server` | `serve` in a running event loop, `run` for a whole process |
| `spikard_asgi.exceptions` | what goes wrong between the two sides |

Nothing of the framework is imported: no routes, no validation, no optional library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard.config import ServerConfig
    from spikard_asgi.application import single_callable
    from spikard_asgi.exceptions import ClientDisconnected, ProtocolError
    from spikard_asgi.lifespan import Lifespan, LifespanFailed
    from spikard_asgi.server import run, serve

__all__ = [
    "ClientDisconnected",
    "Lifespan",
    "LifespanFailed",
    "ProtocolError",
    "ServerConfig",
    "run",
    "serve",
    "single_callable",
]

_MODULES = {
    "ClientDisconnected": "spikard_asgi.exceptions",
    "Lifespan": "spikard_asgi.lifespan",
    "LifespanFailed": "spikard_asgi.lifespan",
    "ProtocolError": "spikard_asgi.exceptions",
    "ServerConfig": "spikard.config",
    "run": "spikard_asgi.server",
    "serve": "spikard_asgi.server",
    "single_callable": "spikard_asgi.application",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'spikard_asgi' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
