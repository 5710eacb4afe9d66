"""Spikard: a Rust HTTP server with a typed Python API.

Names load on first use (PEP 562), so `import spikard` starts no thread and imports nothing that
the program does not use. A new public name goes into `_MODULES` and into the `TYPE_CHECKING` block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard.config import ServerConfig

__all__ = ["ServerConfig"]

_MODULES = {"ServerConfig": "config"}


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
