"""Every policy field has its effect behind every door, from one table.

The doors: our own server on a socket, the pipeline as `TestClient` drives it, and another ASGI
server (uvicorn). An ASGI application that is not ours gets the same from our server when asked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import pytest
import uvicorn

from spikard import Spikard
from spikard.config import (
    ApiKeyConfig,
    CompressionConfig,
    CorsConfig,
    JwtConfig,
    OpenApiConfig,
    RateLimitConfig,
    SecurityHeadersConfig,
    ServerConfig,
    StaticFilesConfig,
)
from spikard.testing import TestClient, serve_in_thread

PATIENCE = 20  # seconds, for anything that should happen at all
RELEASED = threading.Event()  # what `/held` waits for
SECRET = "a secret that is long enough for HS256"


def token(claims: dict[str, Any]) -> str:
    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(SECRET.encode(), signed, "sha256"))).decode()


def bearer(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token({'exp': int(time.time()) + 60, **claims})}"}


def application(config: ServerConfig | None) -> Spikard:
    app = Spikard(config=config)

    @app.get("/")
    async def index() -> str:
        return "x" * 4000

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(PATIENCE)
        return "late"

    @app.get("/held")
    async def held() -> str:
        await asyncio.to_thread(RELEASED.wait, PATIENCE)
        return "done"

    @app.post("/")
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    app.mount("/mounted", foreign)
    return app


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """Do what `application` does at its root, with nothing of ours."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(PATIENCE)
    if scope["path"] == "/held":
        await asyncio.to_thread(RELEASED.wait, PATIENCE)
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    if event["type"] == "http.disconnect":
        return
    body = body or b'"' + b"x" * 4000 + b'"'
    fields = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


Sender = Any
"""`send(method, target, **options)` of httpx's client, or what behaves like it."""


@contextlib.contextmanager
def our_server(config: ServerConfig):
    with (
        serve_in_thread(application(config), config=config) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as client,
    ):
        yield client.request


@contextlib.contextmanager
def our_server_with_hooks(config: ServerConfig):
    app = application(config)
    app.mounts.clear()

    @app.on_request
    async def nothing(request: Any) -> Any:
        return request

    with (
        serve_in_thread(app, config=config) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as client,
    ):
        yield client.request


@contextlib.contextmanager
def our_server_with_another_application(config: ServerConfig):
    with (
        serve_in_thread(foreign, config=config) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as client,
    ):
        yield client.request


@contextlib.contextmanager
def in_process(config: ServerConfig):
    with TestClient(application(config)) as client:
        yield client.request


@contextlib.contextmanager
def under_uvicorn(config: ServerConfig):
    app = application(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Headers as the table has them: uvicorn would look at forwarded ones itself.
        made = uvicorn.Config(app, log_level="error", proxy_headers=False, server_header=False)
        server = uvicorn.Server(made)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                yield client.request
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


DOORS = [
    our_server,
    our_server_with_hooks,
    our_server_with_another_application,
    in_process,
    under_uvicorn,
]


def compression_on(send: Sender) -> None:
    for coding in ("gzip", "br", "zstd"):
        answer = send("GET", "/", headers={"accept-encoding": coding})
        assert answer.headers["content-encoding"] == coding
        assert answer.headers["vary"] == "Accept-Encoding"


def compression_off(send: Sender) -> None:
    answer = send("GET", "/", headers={"accept-encoding": "gzip, br, zstd"})
    assert "content-encoding" not in answer.headers


def only_gzip(send: Sender) -> None:
    answer = send("GET", "/", headers={"accept-encoding": "zstd, br, gzip;q=0.1"})
    assert answer.headers["content-encoding"] == "gzip"


def cors(send: Sender) -> None:
    ours, other = {"origin": "https://a.example"}, {"origin": "https://b.example"}
    asks = {"access-control-request-method": "POST"}
    preflight = send("OPTIONS", "/", headers=ours | asks)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-max-age"] == "7"
    assert send("OPTIONS", "/", headers=other | asks).status_code == 403
    answer = send("GET", "/", headers=ours)
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in send("GET", "/", headers=other).headers


def rate_limit(send: Sender) -> None:
    answers = [send("GET", "/") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-limit"] == "3"
    assert int(answers[3].headers["retry-after"]) >= 1


def jwt(send: Sender) -> None:
    assert send("GET", "/").status_code == 401
    assert send("GET", "/", headers=bearer(exp=1)).status_code == 401
    assert send("GET", "/", headers=bearer()).status_code == 200


def api_key(send: Sender) -> None:
    assert send("GET", "/").status_code == 401
    assert send("GET", "/", headers={"x-key": "wrong"}).status_code == 401
    assert send("GET", "/", headers={"x-key": "right"}).status_code == 200
    assert send("GET", "/?key=right").status_code == 200


def request_id(send: Sender) -> None:
    assert len(send("GET", "/").headers["x-request-id"]) >= 16
    answer = send("GET", "/", headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"


def no_request_id(send: Sender) -> None:
    assert "x-request-id" not in send("GET", "/").headers


def body_limit(send: Sender) -> None:
    media = {"content-type": "application/json"}
    small, large = b'{"a": 1}', b'{"a": "' + b"x" * 100 + b'"}'
    assert send("POST", "/", content=small, headers=media).status_code == 200
    assert send("POST", "/", content=large, headers=media).status_code == 413


def timeout(send: Sender) -> None:
    assert send("GET", "/slow").status_code == 408
    assert send("GET", "/").status_code == 200


def headers(send: Sender) -> None:
    assert send("GET", "/").headers["x-own"] == "1"
    assert send("GET", "/nothing/here").headers["x-own"] == "1"


def security_headers(send: Sender) -> None:
    answer = send("GET", "/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "strict-transport-security" not in answer.headers


def hosts(send: Sender) -> None:
    assert send("GET", "/", headers={"host": "a.example"}).status_code == 200
    assert send("GET", "/", headers={"host": "b.example"}).status_code == 400


def static(send: Sender) -> None:
    answer = send("GET", "/static/a.txt")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "9")
    assert answer.headers["cache-control"] == "max-age=9"


def proxies(send: Sender) -> None:
    # One client, said to be two: each has its own budget.
    for client in ("192.0.2.1", "192.0.2.2"):
        for status in (200, 429):
            answer = send("GET", "/", headers={"x-forwarded-for": client})
            assert answer.status_code == status


def no_proxies(send: Sender) -> None:
    assert send("GET", "/", headers={"x-forwarded-for": "192.0.2.1"}).status_code == 200
    assert send("GET", "/", headers={"x-forwarded-for": "192.0.2.2"}).status_code == 429


ONE = RateLimitConfig(per_second=0.01, burst=1)
HS256 = JwtConfig(secret=SECRET)
EFFECTS: list[tuple[Any, dict[str, Any]]] = [
    (compression_on, {"compression": CompressionConfig(min_size=100, quality=1)}),
    (compression_off, {"compression": None}),
    (compression_off, {"compression": CompressionConfig(min_size=1 << 20)}),
    (only_gzip, {"compression": CompressionConfig(brotli=False, zstd=False)}),
    (cors, {"cors": CorsConfig(allow_origins=["https://a.example"], max_age=7)}),
    (rate_limit, {"rate_limit": RateLimitConfig(per_second=0.01, burst=3)}),
    (rate_limit, {"rate_limit": RateLimitConfig(per_second=0.01, burst=3, ip_based=False)}),
    (jwt, {"jwt_auth": HS256}),
    (
        api_key,
        {"api_key_auth": ApiKeyConfig(keys=["right"], header_name="x-key", query_param="key")},
    ),
    (body_limit, {"max_body_size": 50}),
    (timeout, {"request_timeout": 0.05}),
    (headers, {"headers": [("x-own", "1")]}),
    (security_headers, {"security_headers": SecurityHeadersConfig(frame_options="SAMEORIGIN")}),
    (hosts, {"allowed_hosts": ["a.example"]}),
    (static, {"static_files": "directory"}),
    (proxies, {"rate_limit": ONE, "trusted_proxies": ["127.0.0.1"]}),
    (no_proxies, {"rate_limit": ONE}),
]
"""An effect, and the fields that have it."""

DEFAULTS: list[tuple[Any, dict[str, Any]]] = [
    (request_id, {}),
    (compression_on, {}),
    (no_request_id, {"enable_request_id": False}),
]
"""What an application of ours has by default, and another has not."""


def configured(fields: dict[str, Any], tmp_path: Any) -> ServerConfig:
    if "static_files" in fields:
        (tmp_path / "a.txt").write_text("text of a")
        static = StaticFilesConfig(
            directory=str(tmp_path), route_prefix="/static", cache_control="max-age=9"
        )
        fields = {"static_files": [static]}
    return ServerConfig(**fields)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("effect", "fields"), EFFECTS, ids=lambda given: getattr(given, "__name__", "")
)
def test_policy_has_its_effect(effect, fields, door, tmp_path):
    with door(configured(fields, tmp_path)) as send:
        effect(send)


@pytest.mark.parametrize("door", [our_server, our_server_with_hooks, in_process, under_uvicorn])
@pytest.mark.parametrize(
    ("effect", "fields"), DEFAULTS, ids=lambda given: getattr(given, "__name__", "")
)
def test_default_has_its_effect(effect, fields, door, tmp_path):
    with door(configured(fields, tmp_path)) as send:
        effect(send)


@pytest.mark.parametrize("effect", [compression_off, no_request_id])
def test_another_application_has_no_policy_by_default(effect):
    with our_server_with_another_application(ServerConfig()) as send:
        effect(send)


@pytest.mark.parametrize("door", DOORS)
def test_requests_above_the_queue_are_refused_and_the_others_wait_their_turn(door):
    config = ServerConfig(max_concurrency=1, max_queue=1)
    RELEASED.clear()
    with door(config) as send, ThreadPoolExecutor(3) as pool:
        try:
            sent = [pool.submit(send, "GET", "/held") for _ in range(3)]
            refused = next(as_completed(sent, timeout=PATIENCE)).result()
        finally:
            RELEASED.set()
        statuses = sorted(each.result().status_code for each in sent)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert statuses == [200, 200, 503]


PROGRAM = """
import os
from spikard import Spikard
from spikard.config import RateLimitConfig, ServerConfig
limit = RateLimitConfig(per_second=0.01, burst=10, ip_based=False)
app = Spikard(config=ServerConfig(port=0, workers=2, rate_limit=limit))
@app.get("/")
async def pid() -> int:
    return os.getpid()
if __name__ == "__main__":
    app.run()
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers share counts on Linux only")
def test_rate_limit_holds_for_all_workers_together(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        url = None
        while url is None:
            line = process.stderr.readline()
            assert line, f"the program ended with {process.wait(timeout=PATIENCE)}"
            url = re.search(r"serving on (http://\S+)", line)
        # A connection each, so that the kernel spreads them over the workers.
        answers = [httpx.get(url[1], timeout=PATIENCE) for _ in range(40)]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    passed = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(passed) == 10
    assert {answer.status_code for answer in answers} == {200, 429}


ROUTE_KINDS = {
    "route": ("GET", "/"),
    "nothing": ("GET", "/nothing"),
    "wrong method": ("DELETE", "/"),
    "static": ("GET", "/static/a.txt"),
    "mount": ("GET", "/mounted/"),
    "docs": ("GET", "/openapi.json"),
}


@pytest.mark.parametrize("door", [our_server, under_uvicorn])
@pytest.mark.parametrize("kind", ROUTE_KINDS)
def test_every_kind_of_route_is_behind_every_policy(kind, door, tmp_path):
    if (kind, door) == ("mount", under_uvicorn):
        pytest.skip("mounts behind another server are not available yet")
    (tmp_path / "a.txt").write_text("text of a")
    directory = StaticFilesConfig(directory=str(tmp_path), route_prefix="/static")
    config = ServerConfig(
        api_key_auth=ApiKeyConfig(keys=["right"]),
        cors=CorsConfig(allow_origins=["https://a.example"]),
        headers=[("x-own", "1")],
        rate_limit=RateLimitConfig(per_second=0.01, burst=3),
        security_headers=SecurityHeadersConfig(),
        static_files=[directory],
        openapi=OpenApiConfig(enabled=True, swagger_ui_path=None, redoc_path=None),
    )
    method, target = ROUTE_KINDS[kind]
    origin = {"origin": "https://a.example"}
    with door(config) as send:
        refused = send(method, target, headers=origin)
        passed = send(method, target, headers=origin | {"x-api-key": "right"})
        preflight = send(
            "OPTIONS", target, headers=origin | {"access-control-request-method": "GET"}
        )
        send(method, target)
        limited = send(method, target, headers=origin | {"x-api-key": "right"})
    assert refused.status_code == 401
    assert passed.status_code == {"nothing": 404, "wrong method": 405}.get(kind, 200)
    assert preflight.status_code == 204
    assert limited.status_code == 429
    for answer in (refused, passed, preflight, limited):
        assert answer.headers["x-own"] == "1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert len(answer.headers["x-request-id"]) >= 16
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
