"""Fixtures that every test may use."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run `@pytest.mark.anyio` tests on asyncio: the reactor is an asyncio selector."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_spikard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide SPIKARD_… variables of the developer's shell, which would change the configuration."""
    for name in [name for name in os.environ if name.startswith("SPIKARD_")]:
        monkeypatch.delenv(name)
