"""A native application that takes input of every kind and does nothing with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from msgspec import Meta, Struct

from spikard import Form, Query, RedirectResponse, Request, Response, ServerConfig, Spikard


class Item(Struct):
    """A recursive type."""

    n: int
    s: str = ""
    of: list[Item] = []


class Model(pydantic.BaseModel):
    """The same, of Pydantic."""

    n: int
    s: str = ""
    of: list[Model] = []


@dataclass
class Record:
    """The same, as a dataclass."""

    n: int
    s: str = ""
    of: list[Record] | None = None


class Login(Struct):
    """Something to keep to oneself."""

    user: str
    password: Annotated[str, Meta(min_length=8, extra={"secret": True})]


Choice = int | str | list[int] | dict[str, int]

BODIES: dict[str, Any] = {
    "struct": Item,
    "model": Model,
    "record": Record,
    "dict": dict,
    "any": Any,
    "numbers": dict[str, int],
    "choices": list[Choice],
    "login": Login,
}

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string"}, "of": {"type": "array"}},
    "required": ["n"],
}


def make() -> Spikard:
    """Return the application: one route for each kind of body, and some for the rest."""
    app = Spikard(config=ServerConfig(enable_request_id=False))

    for name, annotation in BODIES.items():

        async def taken(body: Any) -> str:
            return "taken"

        taken.__annotations__["body"] = annotation
        app.post(f"/{name}")(taken)
    app.register_route("POST", "/schema", _taken, body_schema=SCHEMA)

    @app.post("/self-read")
    async def self_read(request: Request) -> str:
        await request.json()
        return "taken"

    @app.post("/form")
    async def form(a: Annotated[str, Form()], b: Annotated[int, Form()] = 0) -> str:
        return a

    @app.get("/ping")
    async def ping() -> str:
        return "pong"

    @app.get("/deep")
    async def deep() -> Any:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    @app.get("/query")
    async def query(
        i: int = 0,
        f: float = 0,
        b: bool = False,
        many: Annotated[list[int], Query()] = [],  # noqa: B006 - a parameter's default
    ) -> Any:
        return [i, f, b, many]

    @app.get("/nested")
    async def nested(filter: Annotated[dict[str, Any], Query()]) -> Any:
        return filter

    @app.get("/one/{name}")
    async def one(name: str) -> str:
        return name

    @app.get("/inner/{name}/x")
    async def inner(name: str) -> str:
        return name

    @app.get("/number/{i:int}")
    async def number(i: int) -> int:
        return i

    @app.get("/redirect")
    async def redirect(to: str) -> Response:
        return RedirectResponse(to)

    return app


async def _taken(body: Any) -> str:
    return "taken"
