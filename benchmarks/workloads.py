"""The workloads: what is asked, what must be answered, which application each arm serves."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from benchmarks import static
from benchmarks.arms import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

HELLO = b"Hello, World!"
CONNECTIONS = 64  # keep-alive connections (HTTP/1.1, WebSocket); for HTTP/2 the streams in flight


@dataclass(frozen=True)
class Workload:
    """One kind of request, and the arms that are compared on it."""

    name: str
    title: str
    arms: Mapping[str, str]  # arm name → its `{app}`
    path: str = "/"
    body: bytes | None = None  # a POST when there is one
    content_type: str = "application/json"
    expect: bytes | object = HELLO  # bytes: this body; None: any body; else this JSON value
    statuses: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)  # sent to every arm; wrk only
    load: Literal["wrk", "h2load", "websocket"] = "wrk"
    tls: bool = False
    message_bytes: int = 0  # WebSocket only
    tools: tuple[str, ...] = field(default=("wrk",))
    reference: str = LIMIT  # the arm that the ratios are relative to


def asgi(module: str, rsgi: str | None = None) -> dict[str, str]:
    """Return the arms of a raw ASGI application."""
    app = f"benchmarks.apps.{module}:app"
    arms = {LIMIT: "", "spikard": app, "granian": app}
    if rsgi:
        arms["granian-rsgi"] = f"benchmarks.apps.{rsgi}:app"
    return {**arms, "uvicorn": app}


def frameworks(*without: str, hooked: bool = False) -> dict[str, str]:
    """Return the arms of a framework workload."""
    name = "hooked" if hooked else "app"
    arms = {
        LIMIT: "",
        "spikard": f"benchmarks.apps.spikard_{name}:app",
        "django-bolt": "django_bolt_hooked_settings" if hooked else "django_bolt_settings",
        "blacksheep": f"benchmarks.apps.blacksheep_app:{name}",
        "blacksheep-uvicorn": f"benchmarks.apps.blacksheep_app:{name}",
        "litestar": f"benchmarks.apps.litestar_app:{name}",
        "litestar-uvicorn": f"benchmarks.apps.litestar_app:{name}",
        "robyn": "hooked" if hooked else "",
        "granian-fastapi": f"benchmarks.apps.fastapi_app:{name}",
        "fastapi": f"benchmarks.apps.fastapi_app:{name}",
    }
    missing = {each for arm in without for each in (arm, f"{arm}-uvicorn")}
    return {arm: app for arm, app in arms.items() if arm not in missing}


def order(*, valid: bool) -> bytes:
    """Return a 1 KiB order as JSON; the invalid one has two mistakes deep in its items."""
    items: list[dict[str, object]] = [
        {
            "sku": f"SKU-{n:05}",
            "name": f"Item number {n}",
            "quantity": n + 1,
            "price": 9.5,
            "tags": ["new", "blue"],
        }
        for n in range(9)
    ]
    if not valid:
        items[4]["quantity"] = "many"
        items[7]["price"] = None
    document = {
        "id": 1001,
        "customer": "Alice Example",
        "email": "alice@example.com",
        "paid": True,
        "items": items,
        "note": "",
    }
    document["note"] = "x" * (1024 - len(json.dumps(document)))
    return json.dumps(document).encode()


def token(secret: str) -> str:
    """Return a JWT signed with HS256."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    claims = {"sub": "alice", "scope": "read write", "exp": 4_000_000_000}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, "sha256"))).decode()


USER = {"id": 42, "name": "Alice"}
# Our server closes a connection after 10,000 requests; h2load would not open another one.
ENDLESS = "--max-requests-per-connection 1000000000"
TLS_FLAGS = "--ssl-certfile {certificate} --ssl-keyfile {key}"
HELLO_APP = "benchmarks.apps.asgi_hello:app"
WEBSOCKET_APP = "benchmarks.apps.asgi_websocket:app"
POLICIES_SECRET = "the benchmark's secret, of more than 32 bytes"  # noqa: S105 - it guards nothing
REDIS_APP = "benchmarks.apps.asgi_redis:app"
FASTAPI_APP = "benchmarks.apps.fastapi_app:app"
SPIKARD_APP = "benchmarks.apps.spikard_app:app"


def websocket(name: str, title: str, message_bytes: int) -> Workload:
    """Return a WebSocket echo: one message in flight on each connection."""
    return Workload(
        name,
        title,
        {
            "spikard": WEBSOCKET_APP,
            "granian": WEBSOCKET_APP,
            "granian-rsgi": "benchmarks.apps.rsgi:app",
            "uvicorn": WEBSOCKET_APP,
        },
        load="websocket",
        message_bytes=message_bytes,
        tools=(),
        reference="uvicorn",
    )


def streams(**further: str) -> dict[str, str]:
    """Return the arms of a stream workload of frameworks."""
    return {
        "spikard": "benchmarks.apps.spikard_streams:app",
        "fastapi": "benchmarks.apps.fastapi_streams:app",
        "litestar": "benchmarks.apps.litestar_streams:app",
        **further,
    }


def native_websocket(name: str, title: str, message_bytes: int) -> Workload:
    """Return a WebSocket echo of the frameworks, and of granian's own interface."""
    return Workload(
        name,
        title,
        streams(**{"granian-rsgi": "benchmarks.apps.rsgi:app"}),
        load="websocket",
        message_bytes=message_bytes,
        tools=(),
        reference="granian-rsgi",
    )


UPLOAD_BYTES = 1 << 20
UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="%b"; filename="f"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n"
)
STREAM_APP = "benchmarks.apps.asgi_stream:app"

WORKLOADS: tuple[Workload, ...] = (
    Workload("asgi-hello", "ASGI hello", asgi("asgi_hello", "rsgi")),
    Workload(
        "asgi-echo",
        "ASGI echo, 1 KiB POST",
        asgi("asgi_echo", "rsgi"),
        path="/echo",
        body=b"x" * 1024,
        content_type="application/octet-stream",
        expect=b"x" * 1024,
    ),
    Workload(
        "asgi-10k",
        "ASGI, 10 KiB response",
        {**asgi("asgi_10k", "rsgi"), LIMIT: "h1 10240"},
        path="/10k",
        expect=b"x" * 10_240,
    ),
    Workload("hello", "native hello", frameworks(), path="/hello"),
    Workload("json", "path parameter, JSON out", frameworks(), path="/users/42", expect=USER),
    Workload(
        "typed-get",
        "typed path + query, JSON out",
        frameworks(),
        path="/search/books?q=rust&limit=25&exact=true",
        expect={"category": "books", "q": "rust", "limit": 25, "exact": True},
    ),
    Workload(
        "typed-post",
        "1 KiB JSON POST, typed",
        frameworks(),
        path="/orders",
        body=order(valid=True),
        expect={"id": 1001, "lines": 9, "total": 427.5},
    ),
    Workload(
        "typed-invalid",
        "1 KiB JSON POST, invalid",
        frameworks(),
        path="/orders",
        body=order(valid=False),
        expect=None,
        statuses=(400, 422),
    ),
    Workload("list", "list of 200 objects", frameworks(), path="/items", expect=None),
    Workload(
        "dependency",
        "one dependency with yield",
        {
            **frameworks("django-bolt", "blacksheep", "robyn"),
            "spikard": "benchmarks.apps.spikard_session:app",
        },
        path="/session",
        expect={"open": True},
    ),
    Workload("hook", "one request hook", frameworks(hooked=True), path="/users/42", expect=USER),
    Workload(
        "fastapi",
        "a FastAPI application",
        {
            LIMIT: "",
            "spikard-fastapi": FASTAPI_APP,
            "granian-fastapi": FASTAPI_APP,
            "fastapi": FASTAPI_APP,
        },
        path="/users/42",
        expect=USER,
        reference="fastapi",
    ),
    Workload(
        "on-uvicorn",
        "applications on uvicorn: path parameter, JSON out",
        {"spikard-uvicorn": SPIKARD_APP, "fastapi": FASTAPI_APP},
        path="/users/42",
        expect=USER,
        reference="fastapi",
    ),
    Workload(
        "on-uvicorn-post",
        "applications on uvicorn: 1 KiB JSON POST, typed",
        {"spikard-uvicorn": SPIKARD_APP, "fastapi": FASTAPI_APP},
        path="/orders",
        body=order(valid=True),
        expect={"id": 1001, "lines": 9, "total": 427.5},
        reference="fastapi",
    ),
    Workload(
        "mount",
        "a FastAPI application below a mount",
        {
            # FastAPI itself does more with a root path, whoever gives it one: two references.
            "spikard-fastapi-root": f"{FASTAPI_APP} --root-path /old",
            "spikard-fastapi": "benchmarks.apps.fastapi_app:below",
            "spikard-mounted": "benchmarks.apps.spikard_around:mounted",
            "fastapi": "benchmarks.apps.fastapi_app:below",
        },
        path="/old/users/42",
        expect=USER,
        reference="spikard-fastapi-root",
    ),
    Workload(
        "middleware",
        "one ASGI middleware",
        {
            LIMIT: "",
            "spikard": "benchmarks.apps.spikard_around:wrapped",
            "fastapi": "benchmarks.apps.fastapi_app:wrapped",
        },
        path="/users/42",
        expect=USER,
    ),
    Workload(
        "redis",
        "ASGI, awaits a Redis GET",
        {
            "spikard": REDIS_APP,
            "granian": REDIS_APP,
            "uvicorn": REDIS_APP,
            "uvicorn-asyncio": REDIS_APP,
        },
        tools=("wrk", "redis-server"),
        reference="uvicorn",
    ),
    Workload(
        "policies",
        "no policies, the defaults, and JWT + rate limit + request id + CORS",
        {
            "spikard": "benchmarks.apps.spikard_policies:off",
            "spikard-default": "benchmarks.apps.spikard_policies:default",
            "spikard-guarded": "benchmarks.apps.spikard_policies:guarded",
        },
        path="/users/42",
        headers={
            "Authorization": f"Bearer {token(POLICIES_SECRET)}",
            "Origin": "https://example.com",
        },
        expect=USER,
        reference="spikard",
    ),
    Workload(
        "static",
        "a static file of 64 KiB",
        {
            "nginx": "",
            "spikard": f"{HELLO_APP} --static-files /static={{files}}",
            "granian": f"--static-path-mount {{files}} {HELLO_APP}",
        },
        path="/static/64k.bin",
        expect=static.CONTENT,
        tools=("wrk", "nginx"),
        reference="nginx",
    ),
    Workload(
        "http2",
        "ASGI hello, HTTP/2",
        {
            LIMIT: "h2",
            "spikard": f"{HELLO_APP} {ENDLESS}",
            "granian": HELLO_APP,
            "uvicorn-zttp": HELLO_APP,
            "hypercorn": HELLO_APP,
        },
        load="h2load",
        tools=("h2load",),
    ),
    Workload(
        "tls",
        "ASGI hello, TLS",
        {
            "spikard": f"{HELLO_APP} {TLS_FLAGS}",
            "granian": f"{HELLO_APP} --ssl-certificate {{certificate}} --ssl-keyfile {{key}}",
            "uvicorn": f"{HELLO_APP} {TLS_FLAGS}",
        },
        tls=True,
        tools=("wrk", "openssl"),
        reference="uvicorn",
    ),
    websocket("websocket-64", "WebSocket echo, 64 B", 64),
    websocket("websocket-16k", "WebSocket echo, 16 KiB", 16_384),
    native_websocket("native-websocket-64", "native WebSocket echo, 64 B", 64),
    native_websocket("native-websocket-16k", "native WebSocket echo, 16 KiB", 16_384),
    Workload(
        "upload",
        "1 MiB upload, multipart",
        streams(),
        path="/upload",
        body=UPLOAD % (b"file", b"x" * UPLOAD_BYTES),
        content_type="multipart/form-data; boundary=b",
        expect={"size": UPLOAD_BYTES},
        reference="fastapi",
    ),
    Workload(
        "stream",
        "100 chunks of 100 B",
        streams(),
        path="/stream",
        expect=b"x" * 10_000,
        reference="fastapi",
    ),
    Workload(
        "asgi-stream",
        "ASGI, 100 chunks of 100 B",
        {
            "spikard": STREAM_APP,
            "granian": STREAM_APP,
            "granian-rsgi": "benchmarks.apps.rsgi:app",
            "uvicorn": STREAM_APP,
        },
        path="/stream",
        expect=b"x" * 10_000,
        reference="uvicorn",
    ),
    Workload(
        "workers",
        "ASGI hello, two workers",
        {
            LIMIT: "",
            "spikard": HELLO_APP,
            "spikard-2": HELLO_APP,
            "granian-2": HELLO_APP,
            "uvicorn-2": HELLO_APP,
        },
    ),
)
