"""The application's life, and how light its import is."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from typing import Any

import pytest

import spikard
from spikard import Spikard


def test_lifespan_state_and_hooks_run_in_order():
    events: list[str] = []

    async def lifespan(app: Spikard) -> Any:
        events.append("lifespan in")
        yield {"answer": 42}
        events.append("lifespan out")

    app = Spikard(lifespan=lifespan)

    @app.on_startup
    async def start(app: Spikard) -> None:
        events.append(f"start {app.state.answer}")

    @app.on_shutdown
    def stop() -> None:
        events.append("stop")

    async def run() -> None:
        async with app._lifespan():
            events.append("serving")

    asyncio.run(run())
    assert events == ["lifespan in", "start 42", "serving", "stop", "lifespan out"]


def test_failing_startup_still_leaves_the_lifespan():
    events: list[str] = []

    async def lifespan(app: Spikard) -> Any:
        try:
            yield
        finally:
            events.append("out")

    app = Spikard(lifespan=lifespan)

    @app.on_startup
    def fails() -> None:
        raise RuntimeError("no database")

    async def run() -> None:
        async with app._lifespan():
            raise AssertionError("must not serve")

    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(run())
    assert events == ["out"]


def test_def_handler_runs_in_a_thread_unless_told_otherwise(door):
    app = Spikard()

    @app.get("/pool")
    def pool() -> bool:
        return threading.current_thread() is threading.main_thread()

    @app.get("/inline", sync_to_thread=False)
    def inline() -> bool:
        return threading.current_thread() is threading.main_thread()

    client = door(app)
    assert client.get("/pool").json() is False
    assert client.get("/inline").json() is True
    assert app.freeze()[1].call is inline


def test_callable_objects_and_partials_are_handlers(door):
    class Handler:
        async def __call__(self, n: int) -> int:
            return n + 1

    async def add(a: int, n: int) -> int:
        return a + n

    app = Spikard()
    app.get("/object")(Handler())
    app.get("/partial")(functools.partial(add, 10))
    client = door(app)
    assert client.get("/object?n=1").json() == 2
    assert client.get("/partial?n=1").json() == 11


@pytest.mark.parametrize("name", ["Spikard", "Query", "Struct", "get", "TestClient"])
def test_lazy_names_are_listed_or_refused(name):
    assert (name in dir(spikard)) == (name != "Struct")
    if name == "Struct":
        with pytest.raises(AttributeError):
            getattr(spikard, name)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=True
    )
    return done.stdout.strip()


def test_import_starts_no_thread_and_loads_nothing_optional():
    code = """
import sys, threading
before = set(sys.modules)
import spikard
assert not {name for name in sys.modules if name.startswith("spikard.")}
from spikard import *
""".replace(
        "from spikard import *", "from spikard import Spikard, Router, Query, Provide, Response"
    )
    code += """
app = Spikard()
@app.get("/{x}")
async def handler(x: int, q: str = "") -> dict: ...
app.freeze()
optional = ("pydantic", "attrs", "attr", "httpx", "google.protobuf", "anyio", "numpy")
print([name for name in optional if name in sys.modules], threading.active_count())
"""
    assert run_python(code) == "[] 1"


def test_package_attribute_of_a_decorator_is_not_shadowed_by_a_module():
    code = """
import spikard, spikard.events, spikard.websockets
from spikard import SseEvent, WebSocket, sse, websocket, get, options
print(callable(sse), callable(websocket), callable(options))
"""
    assert run_python(code) == "True True True"
