"""What the best published implementation of the page gets wrong: each one a test here."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import threading
import zlib
from collections.abc import AsyncIterator  # noqa: TC003 - read when applications freeze
from typing import Annotated, Any

import pytest
from msgspec import Struct

from spikard import (
    BackgroundTasks,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    ServerConfig,
    Spikard,
    StreamingResponse,
    TestClient,
    UploadFile,
)
from spikard.config import ApiKeyConfig, RateLimitConfig, StaticFilesConfig
from spikard.testing import serve_in_thread

pytestmark = pytest.mark.anyio


class Item(Struct):
    name: str


async def test_the_body_may_stand_anywhere_in_the_signature():
    app = Spikard()

    @app.post("/{shelf}")
    async def create(shelf: int, item: Item, *, q: Query[str], x: Header[str]) -> Any:
        return [shelf, item.name, q, x]

    async with TestClient(app) as client:
        answer = await client.post("/3?q=a", json={"name": "n"}, headers={"x": "h"})
        assert answer.assert_status_ok().json() == [3, "n", "a", "h"]


@pytest.mark.parametrize("ip_based", [True, False])
async def test_a_rate_limit_lets_the_burst_through_and_no_more(ip_based):
    limit = RateLimitConfig(per_second=1, burst=3, ip_based=ip_based)
    app = Spikard(config=ServerConfig(rate_limit=limit))

    @app.get("/")
    async def index() -> int:
        return 1

    async with TestClient(app) as client:
        answers = [await client.get("/") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert int(answers[3].headers["retry-after"]) >= 1


async def test_bytes_are_sent_as_they_are():
    app = Spikard()

    @app.get("/")
    async def index() -> bytes:
        return b"\x00\xff"

    async with TestClient(app) as client:
        answer = await client.get("/")
    assert answer.content == b"\x00\xff"
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_several_cookies_are_kept():
    app = Spikard()

    @app.get("/")
    async def index() -> Response:
        response = Response()
        for name in "abc":
            response.set_cookie(name, name)
        return response

    async with TestClient(app) as client:
        assert (await client.get("/")).cookies == {"a": "a", "b": "b", "c": "c"}


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none_on_the_wire(status):
    app = Spikard()

    @app.get("/")
    async def index() -> Response:
        return Response(b"not to be sent", status)

    with serve_in_thread(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        for _ in range(2):  # a body would be taken for the second answer
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
        connection.close()


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_each_chunk_of_a_stream_is_flushed_as_it_comes(coding):
    app = Spikard()
    seen = threading.Event()

    @app.get("/")
    async def index() -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            assert await asyncio.to_thread(seen.wait, 20)
            yield b"second"

        return StreamingResponse(chunks(), media_type="text/plain")

    with serve_in_thread(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/", headers={"accept-encoding": coding})
        answer = connection.getresponse()
        first = answer.read1()
        seen.set()
        rest = answer.read()
        connection.close()
    if coding == "gzip":
        assert zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(first) == b"first"
        assert gzip.decompress(first + rest) == b"firstsecond"
    else:
        assert (first, rest) == (b"first", b"second")


async def test_a_result_that_does_not_fit_is_the_server_s_fault(caplog):
    app = Spikard()

    @app.get("/")
    async def index() -> Item:
        return {"name": 1}  # type: ignore[return-value]

    async with TestClient(app) as client:
        assert (await client.get("/")).status_code == 500
    assert "GET / raised" in caplog.text


async def test_the_body_limit_holds_whether_declared_or_not():
    app = Spikard(config=ServerConfig(max_body_size=1000))
    reached: list[int] = []

    @app.post("/")
    async def index(request: Request) -> None:
        await request.body()
        reached.append(1)

    async with TestClient(app) as client:
        assert (await client.post("/", content=b"x" * 1001)).status_code == 413
        assert (await client.post("/", content=[b"x" * 600] * 2)).status_code == 413
        assert reached == []
        assert (await client.post("/", content=b"x" * 1000)).status_code == 200


async def test_an_exception_reaches_the_log_whole_and_the_client_not_at_all(caplog):
    app = Spikard()

    @app.get("/")
    async def index() -> None:
        raise ValueError("inside")

    async with TestClient(app) as client:
        answer = (await client.get("/")).assert_status(500)
    assert "inside" not in answer.text()
    assert "ValueError: inside" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text


async def test_authentication_covers_every_kind_of_route(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    statics = StaticFilesConfig(directory=str(tmp_path), route_prefix="/static")
    app = Spikard(
        config=ServerConfig(api_key_auth=ApiKeyConfig(keys=["key"]), static_files=[statics])
    )

    @app.get("/")
    async def index() -> int:
        return 1

    @app.get("/open", require_auth=False)
    async def opened() -> int:
        return 1

    async with TestClient(app) as client:
        for path in ("/", "/static/secret.txt"):
            assert (await client.get(path)).status_code == 401
            answer = await client.get(path, headers={"x-api-key": "key"})
            assert answer.status_code == 200
        assert (await client.get("/open")).status_code == 200


async def test_what_a_hook_changes_is_seen_downstream():
    app = Spikard()

    @app.on_request
    async def mark(request: Request) -> Request:
        request.headers["x-user"] = "from the hook"
        request.state.mark = request["method"]
        return request

    @app.get("/")
    async def index(request: Request, user: Annotated[str, Header(alias="x-user")]) -> Any:
        return [user, request.state.mark]

    async with TestClient(app) as client:
        assert (await client.get("/")).json() == ["from the hook", "GET"]


class Resource:
    pass


async def test_dependencies_run_on_the_loop_of_the_application():
    app = Spikard()
    loops: list[Any] = []

    async def make() -> Resource:
        loops.append(asyncio.get_running_loop())
        return Resource()

    app.provide(Resource, make)

    @app.get("/")
    async def index(resource: Resource) -> bool:
        return asyncio.get_running_loop() is loops[0]

    async with TestClient(app) as client:
        assert (await client.get("/")).json() is True


@pytest.mark.parametrize("fails", [False, True])
async def test_teardown_runs_in_reverse_after_the_response_and_sees_exceptions(fails):
    app = Spikard()
    events: list[str] = []

    async def outer() -> AsyncIterator[str]:
        try:
            yield "outer"
        except HTTPException as error:
            events.append(f"outer saw {error.status_code}")
            raise
        finally:
            events.append("outer closed")

    async def inner(outer: str) -> AsyncIterator[str]:
        try:
            yield "inner"
        finally:
            events.append("inner closed")

    app.provide("outer", outer)
    app.provide("inner", inner)

    @app.get("/")
    async def index(inner: str) -> Response:
        if fails:
            raise HTTPException(409)

        async def chunks() -> AsyncIterator[bytes]:
            events.append("sending")
            yield b"x"

        return StreamingResponse(chunks())

    async with TestClient(app) as client:
        assert (await client.get("/")).status_code == (409 if fails else 200)
    if fails:
        assert events == ["inner closed", "outer saw 409", "outer closed"]
    else:
        assert events == ["sending", "inner closed", "outer closed"]


async def test_each_client_of_an_event_stream_has_its_own_generator():
    app = Spikard()

    @app.sse("/events")
    async def events() -> AsyncIterator[dict[str, int]]:
        for number in range(3):
            await asyncio.sleep(0)
            yield {"n": number}

    async with TestClient(app) as client:
        one, two = await asyncio.gather(client.get("/events"), client.get("/events"))
    assert one.text() == two.text()
    assert one.text().count("data:") == 3


@pytest.mark.parametrize("size", [256, 3_000_000])
def test_an_upload_arrives_byte_for_byte(size):
    app = Spikard()

    @app.post("/")
    async def index(file: UploadFile) -> Any:
        content = file.read()
        return [file.size, file.rolled_to_disk, hashlib.sha256(content).hexdigest()]

    content = bytes(number * 7 % 251 for number in range(1000)) * (size // 1000) or b"\r\n--x" * 64
    expected = [len(content), len(content) > 1 << 20, hashlib.sha256(content).hexdigest()]
    with TestClient(app) as client:
        assert client.post("/", files={"file": ("a.bin", content)}).json() == expected
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body += content + b"\r\n--b--\r\n"
    with serve_in_thread(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        headers = {"content-type": "multipart/form-data; boundary=b"}
        connection.request("POST", "/", body, headers)
        assert connection.getresponse().read().startswith(b"[%d," % len(content))
        connection.close()


async def test_whether_the_client_has_gone_can_be_asked_with_and_without_await():
    app = Spikard()

    @app.get("/")
    async def index(request: Request) -> Any:
        return [bool(request.is_disconnected()), await request.is_disconnected()]

    async with TestClient(app) as client:
        assert (await client.get("/")).json() == [False, False]


def test_a_server_in_a_thread_takes_the_application_s_configuration():
    app = Spikard(config=ServerConfig(api_key_auth=ApiKeyConfig(keys=["key"])))
    with serve_in_thread(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 401
        connection.close()


def test_background_work_is_finished_before_the_application_shuts_down():
    app = Spikard()
    events: list[str] = []

    @app.get("/")
    async def index(tasks: BackgroundTasks) -> str:
        async def work() -> None:
            for _ in range(20):
                await asyncio.sleep(0.01)
            events.append("worked")

        tasks.add_task(work)
        return "sent"

    @app.on_shutdown
    def stop() -> None:
        events.append("stopped")

    with serve_in_thread(app) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b'"sent"'
        connection.close()
        events.append("answered")
    assert events == ["answered", "worked", "stopped"]
