"""`BaseHTTPMiddleware` around any ASGI application."""

import asyncio
from typing import Any

import httpx
import pytest

from spikard.compat.fastapi import Request
from spikard.compat.fastapi.middleware.base import BaseHTTPMiddleware
from spikard.compat.fastapi.responses import PlainTextResponse


async def inner(scope: Any, receive: Any, send: Any) -> None:
    event = await receive()
    if scope["path"] == "/broken":
        raise LookupError("broken")
    headers = [(b"x-inner", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    for part in (b"echo ", event.get("body", b"")):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    scope["state"]["finished"] = True  # background work of the application inside


def request(app: Any, method: str, path: str, content: bytes = b"") -> httpx.Response:
    async def send() -> httpx.Response:
        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = STATE
            await app(scope, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(send())


STATE: dict[str, Any] = {}


def test_response_passes_through_and_can_change() -> None:
    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-outer"] = f"{request.method} {request.url.path}"
        return response

    STATE.clear()
    response = request(BaseHTTPMiddleware(inner, dispatch=dispatch), "POST", "/a", b"body")
    assert response.status_code == 201
    assert response.text == "echo body"
    assert response.headers["x-inner"] == "1"
    assert response.headers["x-outer"] == "POST /a"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert STATE["finished"]


def test_body_that_was_read_is_there_for_the_application() -> None:
    async def dispatch(request: Request, call_next: Any) -> Any:
        assert await request.body() == b"body"
        return await call_next(request)

    assert request(BaseHTTPMiddleware(inner, dispatch), "POST", "/a", b"body").text == "echo body"


def test_middleware_can_answer_itself() -> None:
    class Refusing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return PlainTextResponse("refused", status_code=403)

    response = request(Refusing(inner), "GET", "/a")
    assert (response.status_code, response.text) == (403, "refused")
    assert response.headers["content-length"] == "7"


def test_what_the_application_raises_reaches_the_middleware() -> None:
    seen: list[str] = []

    async def dispatch(request: Request, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except LookupError as exc:
            seen.append(str(exc))
            raise

    with pytest.raises(LookupError, match="broken"):
        request(BaseHTTPMiddleware(inner, dispatch), "GET", "/broken")
    assert seen == ["broken"]


def test_other_connections_pass_by() -> None:
    scopes: list[str] = []

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope["type"])

    asyncio.run(BaseHTTPMiddleware(lifespan)({"type": "lifespan"}, None, None))
    assert scopes == ["lifespan"]
