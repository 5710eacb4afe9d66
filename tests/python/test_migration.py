"""The programs of docs/migration*.md run, one after another as the reader takes the steps."""

from __future__ import annotations

import importlib
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from spikard.testing import TestClient, serve_in_thread

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/migration"
PATIENCE = 30

STEPS = ["before", "step2_mount", "step3_routes", "step4_dependencies"]


@pytest.fixture(autouse=True)
def _fresh_programs(monkeypatch):
    """Import each program anew, from its directory."""
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("step", STEPS)
def test_service_does_the_same_after_each_step(step):
    app = importlib.import_module(step).app
    order = {"item": "tea", "quantity": 2}
    with serve_in_thread(app) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        taken = client.post("/orders", json=order)
        assert (taken.status_code, taken.json()) == (201, {"id": 1, **order})
        assert client.get("/orders/1").json() == {"id": 1, **order}
        assert client.get("/orders?limit=5").json() == [{"id": 1, **order}]
        assert client.get("/orders/9").status_code == 404
        assert client.get("/orders/x").status_code == 422
        assert client.post("/orders", json={"item": "tea"}).status_code == 422
        if step == "step2_mount":
            assert client.get("/health").json() == {"status": "ok"}
        if step in ("before", "step2_mount"):
            assert client.get("/openapi.json").json()["info"]["title"] == "Orders"


def commands() -> list[str]:
    """Return the commands of the pages that start a server, without their comments."""
    found: list[str] = []
    for page in ("migration.md", "migration-litestar.md", "migration-robyn.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
        lines = [*blocks.splitlines(), *re.findall(r"`((?:spikard|uvicorn) \S[^`]*)`", text)]
        found += [line.partition("#")[0].strip() for line in lines]
    return [each for each in found if re.match(r"(spikard|uvicorn) (before|step\w+):app", each)]


def test_pages_have_commands():
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", commands())
@pytest.mark.timeout(120)  # workers that import FastAPI, on a machine that may be busy
def test_command_of_a_page_serves(command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    local = re.sub(r"--port \d+|--host \S+", "", command).replace("--workers 4", "--workers 2")
    program, *words = local.split()
    arguments = [sys.executable, "-m", program, *words, "--port", str(port)]
    said = re.compile(r"serving on|Application startup complete")
    with subprocess.Popen(
        arguments, cwd=EXAMPLES, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if said.search(line):
                    break
            else:
                pytest.fail("".join(lines))
            answer = httpx.get(f"http://127.0.0.1:{port}/openapi.json", timeout=PATIENCE)
            assert answer.status_code in (200, 404)
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.wait(PATIENCE)
        finally:
            process.kill()


def test_moved_route_answers_itself_and_the_others_from_the_mount():
    app = importlib.import_module("step3_routes").app
    with serve_in_thread(app) as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        ours, theirs = client.get("/orders/9"), client.get("/orders/9/nothing")
    assert ours.headers["content-type"] == "application/problem+json"
    assert theirs.json() == {"detail": "Not Found"}


def test_dependency_is_closed_after_each_request():
    module = importlib.import_module("step4_dependencies")
    with TestClient(module.app) as client:
        client.get("/orders")
        client.get("/orders/9")
    assert module.Store.opened == 0


def test_tests_of_the_last_step_pass():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "step5_tests.py"]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_program_from_litestar():
    app = importlib.import_module("from_litestar").app
    with TestClient(app) as client:
        assert client.post("/orders", json={"item": "tea"}).status_code == 201
        found = client.get("/orders/1")
        assert found.json() == {"item": "tea", "quantity": 1}
        assert found.headers["x-region"] == "north"
        assert client.delete("/orders/1").status_code == 204
        assert client.get("/orders/1", headers={"user-agent": "a bot"}).status_code == 403
        assert client.get("/orders/x").status_code == 422


def test_program_from_robyn():
    app = importlib.import_module("from_robyn").app
    with TestClient(app) as client:
        assert client.get("/").text() == "orders"
        assert client.post("/orders", json={"item": "tea", "quantity": 2}).json() == {"id": 1}
        assert client.get("/orders/1").json() == {"item": "tea", "quantity": 2}
        assert client.get("/orders/9").status_code == 404
        assert client.post("/orders", json={"quantity": 2}).status_code == 422
        with client.websocket("/echo") as socket:
            socket.send("hello")
            assert socket.receive() == "hello"


def test_pages_link_to_programs_that_exist():
    for page in (ROOT / "docs").glob("migration*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
