"""The snippets of the Python binding's page run as printed, each with a request that proves it.

`spec_page/snippets.txt` has them in the page's order. The page's one typo, `body.body.description`,
is the only text that is changed before it runs.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from spikard import Request, Spikard
from spikard.testing import TestClient

pytestmark = pytest.mark.anyio

_TEXT = Path(__file__).with_name("spec_page").joinpath("snippets.txt").read_text()
SNIPPETS = {
    name: code.strip("\n")
    for name, code in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", _TEXT, re.DOTALL | re.MULTILINE)
}
PAGE = Path(__file__).parents[2].parent / "shared" / "spec" / "python-binding.md"
CODE = re.compile(r"^\s*(from \w|import \w|@\w|async |def |class |app[.(= ]|config|if __name__)")


def run(name: str, **given: Any) -> dict[str, Any]:
    """Run a snippet and return its names; `app` is a new application unless given."""
    names = {"app": Spikard(), "__name__": "page", **given}
    code = SNIPPETS[name].replace("body.body.description", "body.description")
    exec(compile(code, f"<snippet {name}>", "exec", dont_inherit=True), names)
    return names


def configured(name: str) -> Spikard:
    app = Spikard(config=run(name)["config"])

    @app.get("/")
    async def index() -> str:
        return "x" * 4000

    return app


def program(tmp_path: Path, code: str) -> tuple[subprocess.Popen[str], str]:
    """Start a program that serves; return it with the URL that it says."""
    path = tmp_path / "program.py"
    path.write_text(code)
    environment = {**os.environ, "SPIKARD_HOST": "127.0.0.1", "SPIKARD_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, str(path)], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"serving on (http://\S+)", line)
        if found:
            return process, found[1]
    raise AssertionError(f"the program ended with {process.wait(timeout=10)}")


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    return process.returncode


def token(claims: dict[str, Any], secret: str) -> str:
    """Return a JWT (RFC 7519) signed with HS256."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    signature = hmac.new(secret.encode(), signed, "sha256").digest()
    return (signed + b"." + part(signature)).decode()


def test_the_snippets_are_those_of_the_page():
    if not PAGE.exists():
        pytest.skip(f"no page to compare with: {PAGE}")
    rest = PAGE.read_text()
    for name, code in SNIPPETS.items():
        assert code in rest, f"{name} is not on the page as it stands here"
        rest = rest.replace(code, "", 1)
    assert [line for line in rest.splitlines() if CODE.match(line)] == []


def test_quickstart(tmp_path):
    process, url = program(tmp_path, SNIPPETS["quickstart"])
    try:
        with urllib.request.urlopen(f"{url}/users/7", timeout=10) as response:
            assert json.load(response) == {"id": 7, "name": "Alice"}
    finally:
        code = stop(process)
    assert code == 0


def test_serve(tmp_path):
    # Inside a program of the user, how to log is the program's to say.
    before = """
import logging
from spikard import Spikard
logging.basicConfig(level=logging.INFO)
app = Spikard()
@app.get("/")
def hello() -> int:
    return 1
"""
    process, url = program(tmp_path, before + SNIPPETS["serve"])
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert json.load(response) == 1
    finally:
        code = stop(process)
    assert code == 0


async def test_router():
    async with TestClient(run("router")["app"]) as client:
        assert (await client.get("/users/3")).assert_status_ok().json() == {"id": 3}
        assert (await client.get("/users/x")).status_code == 422


async def test_body():
    async with TestClient(run("body")["app"]) as client:
        payment = {"id": "p", "amount": 1.5}
        assert (await client.post("/payments", json=payment)).json() == payment
        assert (await client.post("/payments", json={"id": "p"})).status_code == 422


async def test_dependency():
    made: list[int] = []

    async def create_pool() -> Any:
        made.append(1)
        return names["DatabasePool"]()

    names: dict[str, Any] = {}
    names |= run("dependency", create_pool=create_pool)
    async with TestClient(names["app"]) as client:
        for _ in range(2):
            assert (await client.get("/data")).json() == {"status": "ok"}
    assert made == [1]


async def test_hook(capsys):
    app = run("hook")["app"]

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    async with TestClient(app) as client:
        assert (await client.get("/hello")).json() == "hello"
    assert capsys.readouterr().out == "GET /hello\n"


async def test_test_client():
    app = Spikard()

    @app.get("/data")
    async def data() -> int:
        return 1

    await run("test_client", app=app)["test_endpoint"]()


async def test_test_client_user():
    names = run("quickstart")
    await run("test_client_user", app=names["app"])["test_get_user"]()


async def test_live_test_client():
    names = run("quickstart")
    await run("live_test_client", app=names["app"])["test_with_real_server"]()


@pytest.mark.parametrize(
    ("name", "path", "options", "answer"),
    [
        ("query", "/search?q=x", {}, {"query": "x", "limit": 10}),
        ("query", "/search?q=x&limit=3", {}, {"query": "x", "limit": 3}),
        ("path", "/users/5", {}, {"id": 5}),
        ("header", "/info", {"headers": {"X-Token": "t"}}, {"token": "t"}),
        ("cookie", "/profile", {"cookies": {"session_id": "s"}}, {"session": "s"}),
        ("struct_response", "/users/9", {}, {"id": 9, "name": "Alice"}),
    ],
)
async def test_parameters(name, path, options, answer):
    async with TestClient(run(name)["app"]) as client:
        assert (await client.get(path, **options)).assert_status_ok().json() == answer


@pytest.mark.parametrize("name", ["query", "header", "cookie"])
async def test_missing_parameters_are_422(name):
    paths = {"query": "/search", "header": "/info", "cookie": "/profile"}
    async with TestClient(run(name)["app"]) as client:
        answer = (await client.get(paths[name])).assert_status(422)
        assert [each["type"] for each in answer.json()["errors"]] == ["missing"]


async def test_response():
    async with TestClient(run("response")["app"]) as client:
        answer = await client.get("/download")
        assert answer.content == b"file data"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == 'attachment; filename="file.bin"'


async def test_streaming():
    async with TestClient(run("streaming")["app"]) as client:
        answer = await client.get("/stream")
        assert answer.text() == "".join(f"chunk {number}\n" for number in range(100))
        assert answer.headers["content-type"].startswith("text/plain")


def test_config():
    names = run("config")
    config = names["app"].config
    assert (config.host, config.port, config.workers) == ("0.0.0.0", 8000, 4)


async def test_compression():
    app = configured("compression")

    @app.get("/short")
    async def short() -> str:
        return "x" * 1500

    async with TestClient(app) as client:
        headers = {"accept-encoding": "gzip"}
        answer = await client.get("/", headers=headers)
        assert (answer.headers["content-encoding"], answer.json()) == ("gzip", "x" * 4000)
        assert "content-encoding" not in (await client.get("/short", headers=headers)).headers
        answer = await client.get("/", headers={"accept-encoding": "br"})
        assert answer.headers["content-encoding"] == "br"


async def test_rate_limit():
    async with TestClient(configured("rate_limit")) as client:
        answers = [await client.get("/") for _ in range(201)]
        assert {each.status_code for each in answers[:200]} == {200}
        assert answers[0].headers["ratelimit-limit"]


async def test_jwt():
    claims = {
        "aud": ["api.example.com"],
        "iss": "auth.example.com",
        "exp": int(time.time()) + 600,
        "role": "admin",
    }
    with pytest.warns(UserWarning, match="shorter than 32 bytes"):
        app = configured("jwt")

    @app.get("/claims")
    async def shown(request: Request) -> Any:
        return request.state.claims

    async with TestClient(app) as client:
        assert (await client.get("/")).status_code == 401
        for secret, status in (("your-secret-key", 200), ("another", 401)):
            headers = {"authorization": f"Bearer {token(claims, secret)}"}
            assert (await client.get("/claims", headers=headers)).status_code == status
        late = token({**claims, "exp": int(time.time()) - 60}, "your-secret-key")
        answer = await client.get("/", headers={"authorization": f"Bearer {late}"})
        assert answer.assert_status(401).json()["detail"] == "Token has expired"
        good = token(claims, "your-secret-key")
        answer = await client.get("/claims", headers={"authorization": f"Bearer {good}"})
        assert answer.json() == claims


async def test_api_key():
    async with TestClient(configured("api_key")) as client:
        assert (await client.get("/")).status_code == 401
        for key, status in (("secret-key-1", 200), ("secret-key-2", 200), ("other", 401)):
            answer = await client.get("/", headers={"X-API-Key": key})
            assert answer.status_code == status


async def test_static_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "hello.txt").write_text("hello")
    async with TestClient(configured("static_files")) as client:
        answer = await client.get("/static/hello.txt")
        assert answer.text() == "hello"
        assert answer.headers["cache-control"] == "public, max-age=3600"


async def test_openapi():
    async with TestClient(configured("openapi")) as client:
        document = (await client.get("/openapi.json")).assert_status_ok().json()
        assert document["info"] == {
            "title": "My API",
            "version": "1.0.0",
            "description": "API documentation",
            "contact": {"name": "API Support", "email": "support@example.com"},
            "license": {"name": "MIT", "url": "https://opensource.org/licenses/MIT"},
        }
        assert document["servers"] == [
            {"url": "https://api.example.com", "description": "Production"},
            {"url": "http://localhost:8000", "description": "Development"},
        ]
        assert "/" in document["paths"]


async def test_upload():
    async with TestClient(run("upload")["app"]) as client:
        files = {"file": ("a.txt", b"content", "text/plain")}
        answer = await client.post("/upload", files=files, data={"description": "a text"})
        assert answer.assert_status_ok().json() == {
            "filename": "a.txt",
            "size": 7,
            "content_type": "text/plain",
            "description": "a text",
        }


async def test_sse(monkeypatch):
    names = run("sse")
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))
    async with TestClient(names["app"]) as client:
        answer = await client.get("/notifications")
        assert answer.headers["content-type"].startswith("text/event-stream")
        data = [
            json.loads(each) for each in re.findall(r"^data: ?(.*)$", answer.text(), re.MULTILINE)
        ]
        assert data == [{"message": f"Notification {n}", "count": n} for n in range(10)]


@pytest.mark.xfail(reason="gRPC is not built yet", raises=ModuleNotFoundError)
def test_grpc():
    assert run("grpc", user_pb2=None)["UserServiceHandler"]


async def test_websocket():
    async with (
        TestClient(run("websocket")["app"]) as client,
        client.websocket("/chat") as socket,
    ):
        for message in ({"text": "hello"}, {"n": [1, 2]}):
            await socket.send_json(message)
            assert await socket.receive_json() == {"echo": message}
