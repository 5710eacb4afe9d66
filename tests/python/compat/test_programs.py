"""The same programs on FastAPI and on `spikard.compat.fastapi`: same answers, same document.

A program of `programs/` is an ordinary FastAPI program. It is loaded twice, once as it is and
once with ``fastapi`` in its import lines replaced; then both get the same requests, in process.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest

from spikard.testing import serve_in_thread

# FastAPI and Starlette warn about things that these programs do on purpose (events, root_path).
pytestmark = pytest.mark.filterwarnings("ignore")

PROGRAMS = Path(__file__).parent / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py"))

EXERCISES = [
    name for name in NAMES if "def exercise" in (PROGRAMS / f"{name}.py").read_text("utf-8")
]

COMPARED = (
    "content-type",
    "location",
    "www-authenticate",
    "allow",
    "x-a",
    "x-cat",
    "x-error",
    "x-marked",
    "content-encoding",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
)
"""Headers that must be the same; others are the servers' own (dates, tags, lengths)."""

ANSWERS: dict[tuple[str, str], str] = {
    ("first_steps", "POST /"): "HEAD and OPTIONS are answered, and `allow` says so",
    ("first_steps", "HEAD /"): "as above",
    ("first_steps", "OPTIONS /"): "as above",
    ("default_responses", "DELETE /both"): "as above",
    ("own_error_handlers", "PATCH /items/1"): "as above",
    ("static_files", "GET /static/hello.txt"): "the server does not guess a file's charset",
    ("static_files", "GET /site/"): "the server does not guess a file's charset",
    ("sub_applications", "POST /api/sub"): "HEAD and OPTIONS are answered, and `allow` says so",
    ("cors", "GET / evil"): "no header of CORS goes to an origin that is not allowed",
}
"""Requests, by program and ``METHOD path``, whose answers may differ, and why."""

DOCUMENTS: dict[str, str] = {}
"""Programs whose documents may differ, and why."""


@functools.cache
def program(name: str, framework: str) -> types.ModuleType:
    """Return a program, loaded for one framework."""
    source = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    if framework != "fastapi":
        source = re.sub(r"(?m)^(from|import) fastapi\b", rf"\1 {framework}", source)
        # The one thing that programs take from Starlette by its name.
        source = source.replace(
            "from starlette.exceptions import HTTPException",
            f"from {framework}.exceptions import HTTPException",
        )
    module = types.ModuleType(f"programs_{framework.replace('.', '_')}_{name}")
    module.__file__ = str(PROGRAMS / f"{name}.py")
    sys.modules[module.__name__] = module
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


FRAMEWORKS = ("fastapi", "spikard.compat.fastapi")


def client_of(name: str, framework: str) -> Any:
    testclient = importlib.import_module(f"{framework}.testclient")
    return testclient.TestClient(program(name, framework).app)


def body_of(response: Any) -> Any:
    if response.content and response.headers.get("content-type", "").endswith("json"):
        return response.json()
    return response.content


def answers(name: str, framework: str, client: Any = None) -> list[Any]:
    client = client or client_of(name, framework)
    seen: list[Any] = []
    for method, path, *options in program(name, framework).REQUESTS:
        response = client.request(method, path, **(options[0] if options else {}))
        headers = {each: response.headers[each] for each in COMPARED if each in response.headers}
        if response.status_code == 204:
            headers.pop("content-type", None)  # FastAPI names the type of content that is not there
        cookies = sorted(cookie(each) for each in set_cookies(response))
        seen.append(
            {
                "request": f"{method} {path} {origin(options)}".strip(),
                "status": response.status_code,
                "body": body_of(response),
                "headers": headers,
                "cookies": cookies,
            }
        )
    return seen


def origin(options: list[dict[str, Any]]) -> str:
    headers = options[0].get("headers", {}) if options else {}
    return "evil" if "evil" in headers.get("origin", "") else ""


def set_cookies(response: Any) -> list[str]:
    headers = response.headers
    found: list[str] = (
        headers.getlist("set-cookie")
        if hasattr(headers, "getlist")
        else headers.get_list("set-cookie")
    )
    return found


def cookie(field: str) -> tuple[str, ...]:
    """Return a cookie with its attributes in one order and case.

    Without their dates: the end of a deleted cookie lies in the past, wherever.
    """
    first, *attributes = (part.strip().replace('""', "") for part in field.split(";"))
    kept = [each.lower() for each in attributes if not each.lower().startswith("expires=")]
    return (first, *sorted(kept))


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_the_same(name: str) -> None:
    real, ours = (answers(name, framework) for framework in FRAMEWORKS)
    compare(name, real, ours)


@pytest.mark.parametrize("name", NAMES)
def test_answers_of_the_server_are_the_same(name: str) -> None:
    """The quick pass of the server and the one of the in-process client must agree."""
    ours = FRAMEWORKS[1]
    app = program(name, ours).app
    with (
        serve_in_thread(app, config=app.config) as url,
        httpx.Client(
            base_url="http://testserver",
            headers={"user-agent": "testclient"},
            follow_redirects=True,
            transport=Rerouted(url),
        ) as client,
    ):
        compare(name, answers(name, FRAMEWORKS[0]), answers(name, ours, client))


@pytest.mark.parametrize("name", NAMES)
def test_answers_under_an_asgi_host_are_the_same(name: str) -> None:
    ours = FRAMEWORKS[1]
    hosted = Hosted(program(name, ours).app)
    compare(name, answers(name, FRAMEWORKS[0]), answers(name, ours, hosted))


class Hosted:
    """A client of an application that some ASGI server runs: httpx is that server."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport,
                base_url="http://testserver",
                headers={"user-agent": "testclient"},
                follow_redirects=True,
            ) as client:
                return await client.request(method, url, **options)

        return asyncio.run(send())


class Rerouted(httpx.HTTPTransport):
    """Sends every request to one server, whatever host it is for."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host=self._url.host, port=self._url.port)
        return super().handle_request(request)


def compare(name: str, real: list[Any], ours: list[Any]) -> None:
    for expected, got in zip(real, ours, strict=True):
        if (name, expected["request"]) in ANSWERS:
            assert got != expected, f"{expected['request']} is listed as different: take it out"
            continue
        assert differences(expected, got) == []


@pytest.mark.parametrize(
    "name", [each for each in NAMES if "def exercise" in (PROGRAMS / f"{each}.py").read_text()]
)
def test_behaviour_is_the_same(name: str) -> None:
    real, ours = (
        list(program(name, framework).exercise(client_of(name, framework)))
        for framework in FRAMEWORKS
    )
    assert differences(real, ours) == []


@pytest.mark.parametrize("name", NAMES)
def test_document_is_the_same(name: str) -> None:
    real, ours = (
        normalised(json.loads(json.dumps(program(name, framework).app.openapi())))
        for framework in FRAMEWORKS
    )
    if name in DOCUMENTS:
        assert ours != real, f"{name} is listed as different: take it out"
        return
    assert differences(real, ours) == []


def differences(expected: Any, got: Any, where: str = "") -> list[str]:
    """Return where two values of JSON's types differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return [
            found
            for key in sorted({*expected, *got}, key=str)
            for found in differences(
                expected.get(key, "<absent>"), got.get(key, "<absent>"), f"{where}/{key}"
            )
        ]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [
            found
            for index, (one, other) in enumerate(zip(expected, got, strict=True))
            for found in differences(one, other, f"{where}/{index}")
        ]
    if expected == got and isinstance(expected, bool) == isinstance(got, bool):
        return []
    return [f"{where}: expected {expected!r}, got {got!r}"]


def normalised(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its parameters in one order: their order means nothing."""
    for item in [*document["paths"].values(), *document.get("webhooks", {}).values()]:
        for operation in item.values():
            if "parameters" in operation:
                operation["parameters"].sort(key=lambda each: (each["in"], each["name"]))
    return document


def test_every_topic_has_a_program() -> None:
    assert len(NAMES) >= 28
    for name in NAMES:
        assert program(name, "fastapi").__doc__


def test_neither_fastapi_nor_starlette_is_imported() -> None:
    import subprocess

    code = (
        "import sys; from spikard.compat.fastapi import *\n"
        "import spikard.compat.fastapi.testclient, spikard.compat.fastapi.security\n"
        "import spikard.compat.fastapi.middleware.base, spikard.compat.fastapi.openapi.utils\n"
        "print([name for name in ('fastapi', 'starlette') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert printed.stdout.strip() == b"[]", printed.stderr
