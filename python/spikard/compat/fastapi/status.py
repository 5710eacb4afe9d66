"""Names of status codes: Spikard's own."""

from __future__ import annotations

from typing import Any

from spikard import status


def __getattr__(name: str) -> Any:
    return getattr(status, name)


def __dir__() -> list[str]:
    return dir(status)
