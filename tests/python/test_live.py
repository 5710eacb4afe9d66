"""The live test client: a real server in its own process, from a module or from a fork."""

from __future__ import annotations

import os
from typing import Any

import pytest

from spikard import Request, ServerConfig, Spikard
from spikard.testing import LiveTestClient
from spikard.testing.live import ServerFailedError

pytestmark = pytest.mark.anyio

app = Spikard(config=ServerConfig(max_body_size=1000))


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.post("/echo")
async def echo(request: Request) -> dict[str, Any]:
    body = await request.body()
    return {"body": body.decode(), "query": request.query_params.multi_items()}


@app.get("/says")
async def says() -> None:
    print("something", flush=True)  # noqa: T201


@app.get("/login")
async def login(request: Request) -> dict[str, str]:
    return request.cookies


failing = Spikard()


@failing.on_startup
async def fail() -> None:
    raise LookupError("no database")


async def test_a_module_s_application_is_served_by_another_process():
    async with LiveTestClient(app) as client:
        assert (await client.get("/pid")).json() == client.pid != os.getpid()
        assert client.base_url.startswith("http://127.0.0.1:")
        assert client.ws_url == client.base_url.replace("http", "ws")
        answer = await client.post("/echo", params={"a": "1"}, content=[b"one", b"two"])
        assert answer.json() == {"body": "onetwo", "query": [["a", "1"]]}
        assert answer.headers["date"]
        assert (await client.post("/echo", content=b"x" * 2000)).status_code == 413
        assert (await client.head("/pid")).content == b""
        client.cookies["a"] = "1"
        assert (await client.get("/login")).json() == {"a": "1"}


async def test_the_process_ends_with_the_block():
    async with LiveTestClient(app) as client:
        pid = client.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_application_of_no_module_is_served_by_a_fork():
    local = Spikard()

    @local.get("/pid")
    async def pid() -> int:
        return os.getpid()

    async with LiveTestClient(local) as client:
        assert (await client.get("/pid")).json() == client.pid != os.getpid()


def test_synchronous_tests_use_a_plain_with():
    with LiveTestClient(app) as client:
        assert client.get("/pid").json() == client.pid
        assert client.base_url.startswith("http://127.0.0.1:")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_any_asgi_application_is_served():
    async with LiveTestClient(hello) as client:
        assert (await client.get("/")).text() == "hello"


async def test_a_server_that_cannot_start_shows_its_log():
    with pytest.raises(ServerFailedError, match="no database"):
        async with LiveTestClient(failing):
            pass


async def test_a_failure_shows_the_log_of_the_server(capfd):
    async def fails() -> None:
        async with LiveTestClient(app) as client:
            await client.get("/says")
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    assert "something" in capfd.readouterr().err
