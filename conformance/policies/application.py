"""The application under test: one set of routes of every kind, under the configuration that `CONFORMANCE_PROFILE` names."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator  # noqa: TC003 - read when the application freezes
from typing import Any

from conformance.asgi.apps import note
from conformance.policies import tokens
from spikard import (
    FileResponse,
    HTTPException,
    RedirectResponse,
    Request,
    Response,
    Router,
    ServerConfig,
    Spikard,
    SseEvent,
    StreamingResponse,
    WebSocket,
)
from spikard.config import (
    ApiKeyConfig,
    CompressionConfig,
    CorsConfig,
    DecompressionConfig,
    JwtConfig,
    OpenApiConfig,
    RateLimitConfig,
    SecurityHeadersConfig,
    StaticFilesConfig,
)

FILES = os.environ.get("CONFORMANCE_FILES", ".")
TEXT = "the same words again and again; " * 200
HARMFUL_TITLE = "</script><script>alert(1)</script>"
ENDLESS = RateLimitConfig(per_second=1_000_000, burst=1_000_000, ip_based=False)
KEY, HASHED_KEY = "a-key-as-it-is", "a-key-of-which-the-server-has-the-digest"
HASHED = "sha256:f3a1c5dc67975ff62fb1f5bee62f1fcce1365b7649dda1faa584f07b5af1516d"

DIRECTORY = StaticFilesConfig(directory=FILES, route_prefix="/static", cache_control="max-age=9")
PAGES = StaticFilesConfig(directory=FILES, route_prefix="/pages", spa_fallback=True)
LINKS = StaticFilesConfig(directory=FILES, route_prefix="/links", follow_symlinks=True)
BARE = StaticFilesConfig(
    directory=FILES, route_prefix="/bare", index_file=False, precompressed=False
)
OPEN = StaticFilesConfig(directory=FILES, route_prefix="/public", public=True)
DOCUMENTED = OpenApiConfig(enabled=True, title=HARMFUL_TITLE, description=HARMFUL_TITLE)
JWT = JwtConfig(secret=tokens.SECRET, audience=tokens.AUDIENCE, issuer=tokens.ISSUER)
KEYS = ApiKeyConfig(keys=[KEY, HASHED])
CORS = CorsConfig(
    allow_origins=["https://example.com", "https://app.example.com:8443"],
    allow_origin_regex=r"https://[a-z]+\.example\.net",
    allow_methods=["GET", "POST"],
    allow_headers=["X-Token"],
    allow_credentials=True,
    expose_headers=["X-Total"],
)
FEW = RateLimitConfig(per_second=0.01, burst=3)

PROFILES: dict[str, dict[str, Any]] = {
    "plain": {
        "static_files": [DIRECTORY, PAGES, LINKS, BARE],
        "openapi": DOCUMENTED,
        "max_body_size": 10_000,
    },
    "jwt": {"jwt_auth": JWT, "static_files": [DIRECTORY, OPEN], "openapi": DOCUMENTED},
    "leeway": {"jwt_auth": JwtConfig(secret=tokens.SECRET, leeway=60, required_claims=["sub"])},
    "rs256": {
        "jwt_auth": {"secret": os.environ.get("CONFORMANCE_PUBLIC_KEY"), "algorithm": "RS256"}
    },
    "jwks": {"jwt_auth": {"jwks": os.environ.get("CONFORMANCE_JWKS"), "algorithm": "ES256"}},
    "key": {"api_key_auth": KEYS, "static_files": [DIRECTORY, OPEN]},
    "key-in-query": {"api_key_auth": KEYS.copy(query_param="api_key")},
    "both": {"api_key_auth": KEYS, "jwt_auth": JWT},
    "limit": {"rate_limit": FEW, "trusted_proxies": ["127.0.0.1", "unix"]},
    "limit-and-key": {"rate_limit": FEW, "api_key_auth": KEYS},
    "limit-by-key": {
        "rate_limit": RateLimitConfig(per_second=0.01, burst=3, by="api_key"),
        "api_key_auth": KEYS,
    },
    "limit-by-claim": {
        "rate_limit": RateLimitConfig(per_second=0.01, burst=3, by="claim:sub"),
        "jwt_auth": JWT,
    },
    "burst": {"rate_limit": RateLimitConfig(per_second=0.01, burst=200, ip_based=False)},
    "rate": {"rate_limit": RateLimitConfig(per_second=100, burst=200, ip_based=False)},
    "many": {
        "rate_limit": RateLimitConfig(per_second=0.01, burst=1),
        "trusted_proxies": ["127.0.0.1"],
    },
    "cors": {"cors": CORS},
    "cors-any": {"cors": CorsConfig(allow_origins=["*"], allow_headers=["*"])},
    "compression": {
        "compression": CompressionConfig(min_size=100),
        "max_body_size": 10_000,
        "static_files": [DIRECTORY],
    },
    "best": {"compression": CompressionConfig(quality=11)},
    "decompression": {"decompression": DecompressionConfig(), "max_body_size": 50_000},
    "proxy": {"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]},
    "hosts": {"allowed_hosts": ["a", "example.com", "*.example.net"]},
    "matrix": {
        "jwt_auth": JWT,
        "api_key_auth": KEYS,
        "rate_limit": FEW,
        "trusted_proxies": ["127.0.0.1"],
        "allowed_hosts": ["a"],
        "cors": CorsConfig(allow_origins=["https://example.com"]),
        "compression": CompressionConfig(min_size=1),
        "headers": [("x-own", "1")],
        "security_headers": SecurityHeadersConfig(),
        "static_files": [DIRECTORY, OPEN],
        "openapi": DOCUMENTED,
        "max_body_size": 10_000,
        "request_timeout": 0.5,
    },
}
"""Fields of `ServerConfig`; a token's keys that a run makes come in the environment."""


def configured(profile: str) -> ServerConfig:
    """Return the configuration of a profile."""
    fields = dict(PROFILES[profile])
    if isinstance(fields.get("jwt_auth"), dict):
        fields["jwt_auth"] = JwtConfig(
            **fields["jwt_auth"], audience=tokens.AUDIENCE, issuer=tokens.ISSUER
        )
    return ServerConfig(**fields)


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Answer as an application of somebody else."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    fields = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": TEXT.encode()})


def make(profile: str) -> Spikard:
    """Return the application under the configuration of `profile`."""
    app = Spikard(config=configured(profile), debug="CONFORMANCE_DEBUG" in os.environ)
    _add_common(app)
    _add_odd_responses(app)
    _add_nested(app)
    if app.config is not None and app.config.jwt_auth is not None:
        _add_granted(app)
    app.mount("/mounted", mounted)
    return app


def _add_common(app: Spikard) -> None:
    @app.get("/ping", require_auth=False, rate_limit=ENDLESS, media_type="text/plain")
    async def ping() -> Response:
        return Response(str(os.getpid()))

    @app.get("/smug/{tag}", require_auth=False)
    async def smug(tag: str) -> Response:
        note(tag, "smug")
        return Response("smuggled")

    @app.get("/text")
    async def text() -> Response:
        return Response(TEXT)

    @app.post("/text")
    async def take(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @app.post("/length")
    async def length(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.get("/who")
    async def who(request: Request) -> dict[str, Any]:
        claims = getattr(request.state, "claims", None)
        spoofed = request.headers.get("x-spikard-jwt-claims")
        client = request.client
        return {
            "client": client and client[0],
            "url": str(request.url),
            "claims": claims,
            "spoofed": spoofed,
        }

    @app.get("/open", require_auth=False)
    async def opened(request: Request) -> Any:
        return request.headers.get("x-spikard-jwt-claims")

    @app.get("/own-limit", rate_limit=RateLimitConfig(per_second=0.01, burst=1))
    async def own_limit() -> str:
        return "counted by itself"

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(60)
        return "late"

    for name, limit in (("low", 10), ("high", 20_000), ("none", None)):
        app.post(f"/limits/{name}", max_body_size=limit)(take)

    @app.get("/limits/quick", request_timeout=0.1)
    async def quick() -> str:
        await asyncio.sleep(60)
        return "late"

    @app.sse("/events")
    async def events() -> AsyncIterator[Any]:
        yield "one"
        yield SseEvent("a\n\nid: 7\rdata: b", event_type="odd")
        for name in ("event_type", "id"):
            with contextlib.suppress(ValueError):
                yield SseEvent("x", **{name: "a\nb"})  # type: ignore[arg-type]

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        async for message in socket.iter_text():
            await socket.send_text(message)


def _add_granted(app: Spikard) -> None:
    @app.get("/scoped", scopes=["read", "write"])
    async def scoped() -> str:
        return "granted"

    @app.get("/for-roles", roles=["admin", "editor"])
    async def for_roles() -> str:
        return "granted"


def _add_odd_responses(app: Spikard) -> None:
    @app.get("/cookies/{kind}")
    async def cookies(kind: str, request: Request) -> Any:
        if kind == "seen":
            return request.cookies
        response = Response("set")
        given: dict[str, dict[str, Any]] = {
            "semicolon": {"key": "a", "value": "b; Path=/x"},
            "line": {"key": "a", "value": "b\r\nx: y"},
            "nul": {"key": "a", "value": "b\0"},
            "name": {"key": "a=b", "value": "c"},
            "path": {"key": "a", "value": "b", "path": "/;domain=evil.example"},
            "host-path": {"key": "__Host-a", "value": "b", "secure": True, "path": "/x"},
            "host-insecure": {"key": "__Host-a", "value": "b"},
            "host-domain": {"key": "__Host-a", "value": "b", "secure": True, "domain": "a.example"},
            "secure": {"key": "__Secure-a", "value": "b"},
            "same-site": {"key": "a", "value": "b", "samesite": "none"},
            "good": {"key": "__Host-a", "value": "b", "secure": True},
        }
        try:
            response.set_cookie(**given[kind])
        except ValueError:
            return Response("refused")
        return response

    @app.get("/redirect/{kind}")
    async def redirect(kind: str) -> Response:
        targets = {"line": "https://x.example/\r\nx-injected: 1", "plain": "/text"}
        return RedirectResponse(targets[kind])

    @app.get("/header/{kind}")
    async def header(kind: str) -> Response:
        values = {"line": "a\r\nx-injected: 1", "nul": "a\0b", "name": "a"}
        return Response("x", headers={"x-a b" if kind == "name" else "x-a": values[kind]})

    @app.get("/download")
    async def download(name: str) -> Response:
        return FileResponse(os.path.join(FILES, "letters.txt"), filename=name)

    @app.get("/raises")
    async def raises() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(418, "short")

    @app.get("/bodies/{kind}")
    async def bodies(kind: str) -> Response:
        body = TEXT.encode()
        made: dict[str, tuple[int, dict[str, str]]] = {
            "plain": (200, {}),
            "empty": (204, {}),
            "partial": (206, {"content-range": f"bytes 0-{len(body) - 1}/99999"}),
            "encoded": (200, {"content-encoding": "deflate"}),
            "untouched": (200, {"cache-control": "no-transform"}),
            "tagged": (200, {"etag": '"1"'}),
            "picture": (200, {"content-type": "image/png"}),
            "grpc": (200, {"content-type": "application/grpc"}),
            "varying": (200, {"vary": "Accept-Language"}),
        }
        status, headers = made[kind]
        fields = {"content-type": "text/plain", **headers}
        return Response(None if kind == "empty" else body, status, fields)

    @app.get("/uncompressed", compress=False)
    async def uncompressed() -> Response:
        return Response(TEXT)

    @app.get("/large")
    async def large(size: int) -> Response:
        words = b"".join(b"%d: words of every kind, " % number for number in range(size // 24))
        return Response(words, media_type="text/plain")

    @app.get("/stream")
    async def stream(tag: str) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first chunk; "
            note(tag, "yielded")
            await asyncio.sleep(60)

        return StreamingResponse(chunks(), media_type="text/plain")


def _add_nested(app: Spikard) -> None:
    outer, inner = Router("/outer"), Router("/inner")

    @inner.get("/text")
    async def text() -> Response:
        return Response(TEXT)

    @inner.get("/open", require_auth=False)
    async def opened() -> Response:
        return Response(TEXT)

    outer.include_router(inner)
    app.include_router(outer, prefix="/api")


app = make(os.environ.get("CONFORMANCE_PROFILE", "plain"))
