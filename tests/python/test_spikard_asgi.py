"""`spikard_asgi` by itself: it serves without the framework, and its examples run."""

from __future__ import annotations

import ast
import asyncio
import importlib
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spikard_asgi
from spikard_asgi import single_callable

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20

MODULES = [f"spikard_asgi.{module.name}" for module in pkgutil.iter_modules(spikard_asgi.__path__)]


def examples() -> Iterator[Any]:
    for name in MODULES:
        module = importlib.import_module(name)
        tree = ast.parse(Path(str(module.__file__)).read_text())
        nodes = [tree, *ast.walk(tree)]
        for node in nodes[1:]:
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if "```python" in text:
                    code = text.split("```python")[1].split("```")[0]
                    label = getattr(node, "name", "module")
                    yield pytest.param(textwrap.dedent(code), id=f"{name}.{label}")


@pytest.mark.parametrize("code", list(examples()))
def test_example_of_a_docstring_runs(code, tmp_path):
    program = tmp_path / "example.py"
    program.write_text(code)
    # Not as the main program: what blocks stands under `if __name__ == "__main__"`.
    command = [sys.executable, "-W", "error", "-c", "import runpy; runpy.run_path('example.py')"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


ALONE = """
import asyncio, sys, urllib.request
import spikard_asgi
from spikard_asgi import ServerConfig, serve, types

async def application(scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"alone"})

def fetch(url):
    with urllib.request.urlopen(url) as response:
        return response.read()

async def main():
    ready = asyncio.get_running_loop().create_future()
    config = ServerConfig(port=0, lifespan="off")
    server = asyncio.create_task(serve(application, config=config, on_ready=ready.set_result))
    print(await asyncio.to_thread(fetch, await ready))
    server.cancel()
    try:
        await server
    except asyncio.CancelledError:
        pass

asyncio.run(main())
light = {"_listen", "_logging", "_loop", "_rules", "_server", "_settings", "_spikard", "config"}
light |= {"_transport"}
ours = {name.partition(".")[2] for name in sys.modules if name.startswith("spikard.")}
print(sorted(ours - light))
others = {"pydantic", "attr", "click", "httpx", "watchfiles"}
print(sorted(others & set(sys.modules)))
"""


def test_serving_imports_nothing_of_the_framework():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines() == ["b'alone'", "[]", "[]"], done.stderr


def test_run_blocks_until_a_signal(tmp_path):
    (tmp_path / "program.py").write_text(
        "from spikard_asgi import ServerConfig, run\n"
        "async def application(scope, receive, send): raise NotImplementedError\n"
        "if __name__ == '__main__':\n"
        "    run(application, config=ServerConfig(port=0))\n"
    )
    command = [sys.executable, "program.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                if "serving on http://127.0.0.1:" in line:
                    break
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_run_gives_foreign_applications_no_policies(monkeypatch):
    from spikard import _run

    given: list[Any] = []
    monkeypatch.setattr(_run, "run_app", lambda app, config: given.append(config))
    spikard_asgi.run(lambda scope, receive, send: None)
    assert given[0].compression is None
    assert given[0].enable_request_id is False


async def new(scope: Any, receive: Any, send: Any) -> None:
    await send(scope)


class Legacy:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await send(self.scope)


def legacy_function(scope):
    async def instance(receive, send):
        await send(scope)

    return instance


class CallableObject:
    async def __call__(self, scope, receive, send):
        await send(scope)


@pytest.mark.parametrize(
    "application",
    [
        new,
        Legacy,
        legacy_function,
        CallableObject(),
        lambda scope, receive, send: new(scope, receive, send),
        lambda *given: new(*given),
    ],
    ids=["asgi3", "asgi2 class", "asgi2 function", "object", "not async", "variadic"],
)
def test_every_form_becomes_a_single_callable(application):
    sent: list[Any] = []

    async def send(event):
        sent.append(event)

    async def receive() -> dict[str, Any]:
        raise NotImplementedError

    async def main() -> Any:
        await single_callable(application)({"type": "http"}, receive, send)

    asyncio.run(main())
    assert sent == [{"type": "http"}]


def test_what_cannot_be_called_is_no_application():
    with pytest.raises(TypeError, match="expected an ASGI application, got int"):
        single_callable(3)


def test_names_are_what_all_says():
    for name in spikard_asgi.__all__:
        assert getattr(spikard_asgi, name) is not None
    with pytest.raises(AttributeError):
        spikard_asgi.nothing  # noqa: B018
