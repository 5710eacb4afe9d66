"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
import pytest

from spikard.datastructures import Request, cookie_pairs
from spikard.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spikard._endpoint import ArgSpec, RouteSpec
    from spikard.app import Spikard


@pytest.fixture
def anyio_backend() -> str:
    """Run `@pytest.mark.anyio` tests on asyncio: the reactor is an asyncio selector."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_spikard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide SPIKARD_… variables of the developer's shell, which would change the configuration."""
    for name in [name for name in os.environ if name.startswith("SPIKARD_")]:
        monkeypatch.delenv(name)


class Head:
    """A request's head, as the server would have parsed it."""

    http_version = "1.1"
    scheme = "http"
    root_path = ""
    client = ("127.0.0.1", 50000)
    server = ("127.0.0.1", 8000)
    claims = None

    def __init__(self, method: str, target: str, headers: dict[str, Any]) -> None:
        raw_path, _, query = target.partition("?")
        self.method = method
        self.raw_path = raw_path.encode()
        self.path = unquote(raw_path)
        self.query_string = query.encode()
        self._headers = [
            (name.lower().encode(), each.encode("latin-1"))
            for name, value in headers.items()
            for each in (value if isinstance(value, list) else [value])
        ]
        self.path_params: dict[str, str] = {}
        self.request_id = "request-1"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self._headers)

    def header(self, name: str) -> str | None:
        return next(iter(self.header_all(name)), None)

    def header_all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for field, value in self._headers if field == name.encode()]

    def query_pairs(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query_string.decode(), keep_blank_values=True)

    def cookies(self) -> dict[str, str]:
        return cookie_pairs(self.header_all("cookie"))


class Exchange:
    """A request's body, all there at once."""

    forms = None

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def body(self) -> bytes:
        return self._body

    def hold(self, max_body_bytes: int | None, request_timeout: float | None) -> None:
        raise AssertionError("only the doors do this")

    async def stream(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]

    def is_disconnected(self) -> bool:
        return False

    async def early_hints(self, links: list[str]) -> None:
        raise AssertionError("nothing here sends hints")


class Answer:
    """A response that has been sent, its background work done."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.raw_headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        return next(
            (value.decode() for field, value in self.raw_headers if field == name.encode()), None
        )

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def errors(self) -> set[tuple[str, str]]:
        """Return the (type, dotted location) pairs of a 422."""
        assert self.status == 422, self.body
        return {(each["type"], ".".join(each["loc"])) for each in self.json()["errors"]}


class Door:
    """Drives an application's `RouteSpec`s as the server does, without one."""

    head = Head

    def __init__(self, app: Spikard) -> None:
        self.app = app
        self.events: list[str] = []

    def get(self, target: str, **options: Any) -> Answer:
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> Answer:
        return self.request("POST", target, **options)

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, Any] | None = None,
        json: Any = ...,
        body: bytes = b"",
    ) -> Answer:
        given = dict(headers or {})
        if json is not ...:
            body = msgspec.json.encode(json)
            given.setdefault("content-type", "application/json")
        return asyncio.run(self.answer(Head(method, target, given), body))

    async def answer(self, head: Head, body: bytes) -> Answer:
        spec = self._match(head)
        request = Request(head, Exchange(body))
        try:
            response = await self._endpoint(spec, request, body)
        except Exception as exc:
            failed = spec.fail(request, exc)
            response = await failed if inspect.isawaitable(failed) else failed
        content = response.body or b""
        if response.stream is not None:
            content = b"".join([chunk async for chunk in response.stream])
        self.events.append("sent")
        if response.background is not None:
            await response.background()
        return Answer(response.status_code, response.raw_headers, content)

    def _match(self, head: Head) -> RouteSpec:
        for spec in self.app.freeze():
            pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", spec.path)
            pattern = re.sub(r"\{(\w+)(?::\w+)?\}", r"(?P<\1>[^/]+)", pattern)
            match = re.fullmatch(pattern, head.path)
            if match and head.method in spec.methods:
                head.path_params = match.groupdict()
                return spec
        raise AssertionError(f"no route for {head.method} {head.path}")

    async def _endpoint(self, spec: RouteSpec, request: Request, body: bytes) -> Response:
        try:
            args = [self._value(arg, spec, request, body) for arg in spec.args]
        except DoesNotFit:
            explained = spec.explain(request, body, False)
            if isinstance(explained, Response):
                return explained
            args = list(explained)
        result = spec.call(*args)
        if spec.is_async:
            result = await result
        if isinstance(result, Response):
            return result
        response = Response(None, spec.status_code)
        response.body = result if type(result) is bytes else spec.encode(result)
        media = b"application/octet-stream" if type(result) is bytes else spec.media_type
        response.raw_headers = [(b"content-type", media)] if media else []
        return response

    def _value(self, arg: ArgSpec, spec: RouteSpec, request: Request, body: bytes) -> Any:
        if arg.source == "request":
            return self._converted(arg, request)
        if arg.source == "body":
            assert spec.body is not None
            media = request.headers.get("content-type", "application/json")
            if not body or (spec.body.media == "json" and media != "application/json"):
                raise DoesNotFit
            return self._converted(arg, memoryview(body))
        raws = self._raws(arg, request)
        if not raws:
            if arg.required:
                raise DoesNotFit
            return arg.default if arg.default_factory is None else arg.default_factory()
        raw = raws if arg.many else (raws[0] if arg.source == "header" else raws[-1])
        if arg.kind == "convert":
            return self._converted(arg, raw)
        return self._parsed(arg.kind, raw)

    @staticmethod
    def _raws(arg: ArgSpec, request: Request) -> list[str]:
        if arg.source == "path":
            return [request.path_params[arg.name]]
        if arg.source == "cookie":
            return [value for name, value in request.cookies.items() if name == arg.name]
        if arg.source == "header":
            return request.headers.getlist(arg.name)
        return request.query_params.getlist(arg.name)

    @staticmethod
    def _converted(arg: ArgSpec, raw: Any) -> Any:
        assert arg.convert is not None
        try:
            return arg.convert(raw)
        except Exception as exc:
            raise DoesNotFit from exc

    @staticmethod
    def _parsed(kind: str, raw: Any) -> Any:
        patterns = {"int": r"-?[0-9]+", "float": r"-?[0-9.]+(e-?[0-9]+)?", "uuid": r"[0-9a-f-]{36}"}
        if kind in patterns:
            if len(raw) > 4300 or not re.fullmatch(patterns[kind], raw, re.ASCII):
                raise DoesNotFit
            return {"int": int, "float": float, "uuid": UUID}[kind](raw)
        if kind == "bool":
            if raw.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
                raise DoesNotFit
            return raw.lower() in ("true", "1", "yes", "on")
        return raw


class DoesNotFit(Exception):  # noqa: N818 - what the server's quick extraction reports
    """A value that is left to the slow pass."""


@pytest.fixture
def door() -> type[Door]:
    """Return a class that drives an application without a server: ``door(app).get("/")``."""
    return Door
