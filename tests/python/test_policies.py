"""Every policy field has its effect behind every door, from one table.

The doors: our own server as `run()`, `serve()`, the command line with one worker and with two, and
a thread of this process start it; the pipeline as `TestClient` drives it; `LiveTestClient`; and
another ASGI server (uvicorn). An ASGI application that is not ours gets the same from our server
when asked.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.python.policy_app import PATIENCE, RELEASED, application, foreign

from spikard.config import (
    _POLICIES_OFF,
    ApiKeyConfig,
    CompressionConfig,
    CorsConfig,
    DecompressionConfig,
    JwtConfig,
    OpenApiConfig,
    RateLimitConfig,
    SecurityHeadersConfig,
    ServerConfig,
    StaticFilesConfig,
)
from spikard.testing import LiveTestClient, TestClient, serve_in_thread

SECRET = "a secret that is long enough for HS256"


def part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(claims: dict[str, Any], **head: str) -> str:
    head = {"alg": "HS256", "typ": "JWT", **head}
    hashed = {"HS256": "sha256", "HS512": "sha512"}[head["alg"]]
    signed = part(json.dumps(head).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(SECRET.encode(), signed, hashed))).decode()


def bearer(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token({'exp': int(time.time()) + 60, **claims})}"}


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


@contextlib.contextmanager
def live(config: ServerConfig):
    with LiveTestClient(application(config)) as client:
        yield client.request


class Programs:
    """Starts servers as programs of their own, from a process that has imported everything."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("policy_doors.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._logs = tempfile.TemporaryDirectory()
        self._count = 0

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        self._logs.cleanup()

    @contextlib.contextmanager
    def door(self, name: str, config: ServerConfig):
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        log = Path(self._logs.name, str(self._count))
        os.mkfifo(log)
        pickled = base64.b64encode(pickle.dumps(config.copy(port=0))).decode()
        self._process.stdin.write(json.dumps([name, pickled, str(log)]) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        with log.open() as lines:
            url = None
            said = []
            while url is None:
                said.append(lines.readline())
                assert said[-1], f"the server ended: {said}"
                url = re.search(r"serving on (http://\S+)", said[-1])
            try:
                with httpx.Client(base_url=url[1], timeout=PATIENCE) as client:
                    yield client.request
            finally:
                os.kill(child, signal.SIGTERM)
                lines.read()  # to its end, and that of its workers


@pytest.fixture(scope="module")
def programs():
    made = Programs()
    yield made
    made.close()


DOORS = [
    our_server,
    our_server_with_hooks,
    our_server_with_another_application,
    in_process,
    under_uvicorn,
    live,
    "run",
    "serve",
    "command",
    "workers",
]


def opened(door: Any, config: ServerConfig, programs: Programs) -> Any:
    return programs.door(door, config) if isinstance(door, str) else door(config)


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


def no_gzip(send: Sender) -> None:
    answer = send("GET", "/", headers={"accept-encoding": "gzip, br;q=0.5"})
    assert answer.headers["content-encoding"] == "br"


def stored_zstd(data: bytes) -> bytes:
    """Return a zstd frame with one raw block."""
    head = bytes.fromhex("28b52ffd") + b"\x80" + b"\x00" + len(data).to_bytes(4, "little")
    return head + (len(data) << 3 | 1).to_bytes(3, "little") + data


def stored_brotli(data: bytes) -> bytes:
    """Return a brotli stream with one uncompressed block."""
    return (len(data) - 1 << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"


CODERS: dict[str, Any] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": stored_brotli,
    "zstd": stored_zstd,
}


def post_coded(send: Sender, coding: str, body: bytes) -> Any:
    fields = {"content-type": "application/json", "content-encoding": coding}
    return send("POST", "/", content=body, headers=fields)


def decompression(send: Sender) -> None:
    plain = b'{"a": "' + b"x" * 1000 + b'"}'
    for coding, encode in CODERS.items():
        answer = post_coded(send, coding, encode(plain))
        assert (answer.status_code, answer.content.replace(b" ", b"")) == (
            200,
            plain.replace(b" ", b""),
        )
    assert post_coded(send, "gzip", gzip.compress(plain)[:-1]).status_code == 400
    bomb = gzip.compress(b'{"a": "' + b"x" * 100_000 + b'"}')
    assert post_coded(send, "gzip", bomb).status_code == 413


def members(send: Sender) -> None:
    plain = b'{"a": "b"}'
    for count, status in ((2, 200), (3, 400)):
        parts = [plain[:4], *([b" "] * (count - 2)), plain[4:]]
        body = b"".join(gzip.compress(part) for part in parts)
        assert post_coded(send, "gzip", body).status_code == status


def some_codings(send: Sender, *refused: str) -> None:
    for coding, encode in CODERS.items():
        answer = post_coded(send, coding, encode(b'{"a": "b"}'))
        assert answer.status_code == (415 if coding in refused else 200), coding
        if coding in refused:
            offered = [name for name in CODERS if name not in refused]
            assert answer.headers["accept-encoding"] == (", ".join(offered) or "identity")
            assert answer.json()["type"].endswith("/unsupported-content-encoding")


def no_gzip_or_zstd(send: Sender) -> None:
    some_codings(send, "gzip", "zstd")


def no_deflate_or_brotli(send: Sender) -> None:
    some_codings(send, "deflate", "br")


def no_decompression(send: Sender) -> None:
    some_codings(send, *CODERS)


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


def short_errors(send: Sender) -> None:
    media = {"content-type": "application/json"}
    answer = send("POST", "/", content=b'{"a": "' + b"x" * 100 + b'"}', headers=media)
    assert (answer.status_code, list(answer.json())) == (413, ["detail"])
    assert answer.headers["content-type"] == "application/json"


def timeout(send: Sender) -> None:
    answer = send("GET", "/slow")
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/request-timeout")
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
    answer = send("GET", "/static/a.txt", headers={"accept-encoding": "identity"})
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


def jwt_rules(send: Sender) -> None:
    def status(**claims: Any) -> int:
        given = {"aud": "api", "iss": "me", "sub": "a", **claims}
        answer: int = send("GET", "/", headers=bearer(**given)).status_code
        return answer

    now = int(time.time())
    assert (status(), status(exp=now - 20), status(exp=now - 120)) == (200, 200, 401)
    assert (status(aud="other"), status(iss="other"), status(sub=None)) == (401, 401, 401)


def jwt_algorithm(send: Sender) -> None:
    claims = {"exp": int(time.time()) + 60}
    for name, status in (("HS512", 200), ("HS256", 401)):
        header = f"Bearer {token(claims, alg=name)}"
        assert send("GET", "/", headers={"authorization": header}).status_code == status


def jwt_keys(send: Sender) -> None:
    claims = {"exp": int(time.time()) + 60}
    for kid, status in (("ours", 200), ("other", 401)):
        header = f"Bearer {token(claims, kid=kid)}"
        assert send("GET", "/", headers={"authorization": header}).status_code == status


def cors_rules(send: Sender) -> None:
    ours = {"origin": "https://a1.example"}
    asks = {"access-control-request-method": "PUT", "access-control-request-headers": "x-a"}
    preflight = send("OPTIONS", "/", headers=ours | asks)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-methods"] == "PUT"
    assert preflight.headers["access-control-allow-headers"] == "x-a"
    other = {"access-control-request-method": "GET"}
    assert send("OPTIONS", "/", headers=ours | other).status_code == 403
    answer = send("GET", "/", headers=ours)
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == "x-b"


def limit_by_key(send: Sender) -> None:
    for key in ("one", "two"):
        for status in (200, 429):
            assert send("GET", "/", headers={"x-api-key": key}).status_code == status


def static_rules(send: Sender) -> None:
    # The keys of the configuration are nobody's: these files are public.
    assert send("GET", "/").status_code == 401
    assert send("GET", "/static/").status_code == 404
    assert send("GET", "/static/link.txt").status_code == 200
    answer = send("GET", "/static/a.txt", headers={"accept-encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "9")


def static_page(send: Sender) -> None:
    html = {"accept": "text/html"}
    answer = send("GET", "/static/users/7", headers=html)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    assert send("GET", "/static/users/7", headers={"accept": "*/*"}).status_code == 404


def documentation(send: Sender) -> None:
    assert send("GET", "/").status_code == 401
    assert send("GET", "/own.json").json()["info"]["title"] == "own title"
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert send("GET", path, headers={"x-api-key": "one"}).status_code == 404


def security_rules(send: Sender) -> None:
    answer = send("GET", "/")
    assert "x-content-type-options" not in answer.headers
    assert "x-frame-options" not in answer.headers
    for name, value in (
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'"),
        ("permissions-policy", "camera=()"),
        ("cross-origin-opener-policy", "unsafe-none"),
    ):
        assert answer.headers[name] == value


def transport_security(send: Sender) -> None:
    answer = send("GET", "/", headers={"x-forwarded-proto": "https"})
    assert answer.headers["strict-transport-security"] == "max-age=60"


def foreign_socket(send: Sender) -> None:
    handshake = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "origin": "https://b.example",
    }
    assert send("GET", "/socket", headers=handshake).status_code == 403


def busy(send: Sender) -> None:
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(send, "GET", "/slow") for _ in range(3)]
        first = next(as_completed(sent, timeout=PATIENCE)).result()
        assert first.status_code == 503
        assert first.headers["retry-after"] == "1"
        assert sorted(each.result().status_code for each in sent) == [408, 408, 503]


def busy_workers(send: Sender) -> None:
    """Each of the two workers counts its own: of five requests one has three at least."""
    with ThreadPoolExecutor(5) as pool:
        answers = [each.result() for each in [pool.submit(send, "GET", "/slow") for _ in range(5)]]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 1 <= len(refused) <= 3
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.status_code for answer in answers} == {408, 503}


def only_over_tls(send: Sender) -> None:
    answer = send("GET", "/", headers={"host": "example.com"})
    assert answer.status_code == 307
    assert answer.headers["location"] == "https://example.com/"


ONE = RateLimitConfig(per_second=0.01, burst=1)
KEYS = ApiKeyConfig(keys=["one", "sha256:" + hashlib.sha256(b"two").hexdigest()])
FILES = StaticFilesConfig(directory=".", route_prefix="/static")
OURS = {"kty": "oct", "kid": "ours", "alg": "HS256", "k": part(SECRET.encode()).decode()}
HS256 = JwtConfig(secret=SECRET)
EFFECTS: list[tuple[Any, dict[str, Any]]] = [
    (compression_on, {"compression": CompressionConfig(min_size=100, quality=1)}),
    (compression_off, {"compression": None}),
    (compression_off, {"compression": CompressionConfig(min_size=1 << 20)}),
    (only_gzip, {"compression": CompressionConfig(brotli=False, zstd=False)}),
    (no_gzip, {"compression": CompressionConfig(gzip=False)}),
    (decompression, {"decompression": DecompressionConfig(max_ratio=5)}),
    (members, {"decompression": DecompressionConfig(max_members=2)}),
    (no_gzip_or_zstd, {"decompression": DecompressionConfig(gzip=False, zstd=False)}),
    (no_deflate_or_brotli, {"decompression": DecompressionConfig(deflate=False, brotli=False)}),
    (cors, {"cors": CorsConfig(allow_origins=["https://a.example"], max_age=7)}),
    (rate_limit, {"rate_limit": RateLimitConfig(per_second=0.01, burst=3)}),
    (rate_limit, {"rate_limit": RateLimitConfig(per_second=0.01, burst=3, ip_based=False)}),
    (jwt, {"jwt_auth": HS256}),
    (
        api_key,
        {"api_key_auth": ApiKeyConfig(keys=["right"], header_name="x-key", query_param="key")},
    ),
    (body_limit, {"max_body_size": 50}),
    (short_errors, {"error_format": "detail", "max_body_size": 50}),
    (timeout, {"request_timeout": 0.05}),
    (headers, {"headers": [("x-own", "1")]}),
    (security_headers, {"security_headers": SecurityHeadersConfig(frame_options="SAMEORIGIN")}),
    (hosts, {"allowed_hosts": ["a.example"]}),
    (
        static,
        {
            "static_files": StaticFilesConfig(
                directory=".", route_prefix="/static", cache_control="max-age=9"
            )
        },
    ),
    (
        static_rules,
        {
            "static_files": FILES.copy(
                index_file=False,
                precompressed=False,
                follow_symlinks=True,
                public=True,
            ),
            "api_key_auth": KEYS,
            "compression": None,
        },
    ),
    (
        static_page,
        {
            "static_files": StaticFilesConfig(
                directory=".", route_prefix="/static", spa_fallback=True
            )
        },
    ),
    (
        jwt_rules,
        {
            "jwt_auth": HS256.copy(
                audience="api", issuer="me", leeway=60, required_claims=["exp", "sub"]
            )
        },
    ),
    (jwt_algorithm, {"jwt_auth": HS256.copy(algorithm="HS512")}),
    (jwt_keys, {"jwt_auth": JwtConfig(jwks={"keys": [OURS, {**OURS, "kid": "b", "k": "AAAA"}]})}),
    (
        cors_rules,
        {
            "cors": CorsConfig(
                allow_origin_regex="https://a[0-9][.]example",
                allow_methods=["PUT"],
                allow_headers=["x-a"],
                allow_credentials=True,
                expose_headers=["x-b"],
            )
        },
    ),
    (limit_by_key, {"rate_limit": ONE.copy(by="api_key"), "api_key_auth": KEYS}),
    (
        documentation,
        {
            "openapi": OpenApiConfig(
                enabled=True,
                title="own title",
                swagger_ui_path=None,
                redoc_path=None,
                openapi_json_path="/own.json",
                public=True,
            ),
            "api_key_auth": KEYS,
        },
    ),
    (
        security_rules,
        {
            "security_headers": SecurityHeadersConfig(
                content_type_options=False,
                frame_options=None,
                referrer_policy="no-referrer",
                content_security_policy="default-src 'none'",
                permissions_policy="camera=()",
                cross_origin_opener_policy="unsafe-none",
            )
        },
    ),
    (
        transport_security,
        {
            "security_headers": SecurityHeadersConfig(hsts_max_age=60),
            "trusted_proxies": ["127.0.0.1"],
        },
    ),
    (foreign_socket, {"ws_allowed_origins": ["https://a.example"]}),
    (only_over_tls, {"https_redirect": True}),
    (busy, {"max_concurrency": 1, "max_queue": 1, "request_timeout": 1.0}),
    (proxies, {"rate_limit": ONE, "trusted_proxies": ["127.0.0.1"]}),
    (no_proxies, {"rate_limit": ONE}),
]
"""An effect, and the fields that have it."""

DEFAULTS: list[tuple[Any, dict[str, Any]]] = [
    (request_id, {}),
    (compression_on, {}),
    (no_request_id, {"enable_request_id": False}),
    (no_decompression, {}),
]
"""What an application of ours has by default, and another has not."""


def configured(fields: dict[str, Any], tmp_path: Any) -> ServerConfig:
    static = fields.get("static_files")
    if static is not None:
        root = tmp_path / "files"
        root.mkdir()
        (root / "a.txt").write_text("text of a")
        (root / "a.txt.gz").write_bytes(b"other")
        (root / "index.html").write_text("<p>")
        (tmp_path / "outside.txt").write_text("outside")
        (root / "link.txt").symlink_to("../outside.txt")
        fields = {**fields, "static_files": [static.copy(directory=str(root))]}
    return ServerConfig(**fields)


def test_every_policy_field_is_in_the_table():
    assert set(_POLICIES_OFF) <= {name for _, given in EFFECTS + DEFAULTS for name in given}
    for kind in (
        CompressionConfig,
        DecompressionConfig,
        CorsConfig,
        RateLimitConfig,
        JwtConfig,
        ApiKeyConfig,
        StaticFilesConfig,
        SecurityHeadersConfig,
    ):
        made = [value for _, given in EFFECTS for value in given.values() if type(value) is kind]
        for field in fields(kind):
            given = [getattr(value, field.name) for value in made]
            assert any(value != field.default for value in given), f"{kind.__name__}.{field.name}"


QUIET = [
    [compression_on, headers, security_headers, static, decompression, foreign_socket],
    [compression_off, cors, members],
    [compression_off, cors_rules, no_gzip_or_zstd],
    [only_gzip, static_page, no_deflate_or_brotli],
    [no_gzip, security_rules, body_limit],
]
"""Effects that leave other requests alone: those of a line share a server."""


def grouped() -> list[list[tuple[Any, dict[str, Any]]]]:
    rows = list(EFFECTS)
    groups: list[list[tuple[Any, dict[str, Any]]]] = []
    for names in QUIET:
        groups.append([])
        for name in names:
            row = next(row for row in rows if row[0] is name)
            rows.remove(row)
            groups[-1].append(row)
    return groups + [[row] for row in rows]


FRAMEWORK = (documentation, foreign_socket, no_gzip_or_zstd, no_deflate_or_brotli)
"""Effects on what an application of others does by itself, or not at all."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "rows", grouped(), ids=lambda rows: "+".join(effect.__name__ for effect, _ in rows)
)
def test_policies_have_their_effects(rows, door, programs, tmp_path):
    if door is in_process:  # a request of the client is no handshake
        rows = [row for row in rows if row[0] is not foreign_socket]
    if door is our_server_with_another_application:
        rows = [row for row in rows if row[0] not in FRAMEWORK]
    if not rows:
        pytest.skip("nothing for this door")
    fields = {name: value for _, given in rows for name, value in given.items()}
    assert len(fields) == sum(len(given) for _, given in rows)
    with opened(door, configured(fields, tmp_path), programs) as send:
        for effect, _ in rows:
            (busy_workers if effect is busy and door == "workers" else effect)(send)


@pytest.mark.parametrize("door", [d for d in DOORS if d is not our_server_with_another_application])
@pytest.mark.parametrize(
    ("effect", "fields"), DEFAULTS, ids=lambda given: getattr(given, "__name__", "")
)
def test_default_has_its_effect(effect, fields, door, programs, tmp_path):
    with opened(door, configured(fields, tmp_path), programs) as send:
        effect(send)


@pytest.mark.parametrize("effect", [compression_off, no_request_id])
def test_another_application_has_no_policy_by_default(effect):
    with our_server_with_another_application(ServerConfig()) as send:
        effect(send)


@pytest.mark.parametrize("door", [d for d in DOORS if d is not live and not isinstance(d, str)])
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
