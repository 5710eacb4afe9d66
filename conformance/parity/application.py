"""A native application with something of everything whose answers do not depend on the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003 - read when the application freezes
from typing import Annotated, Any

from msgspec import Meta, Struct

from spikard import (
    BackgroundTasks,
    Cookie,
    FileResponse,
    Header,
    HTMLResponse,
    HTTPException,
    Query,
    RedirectResponse,
    Request,
    Response,
    ServerConfig,
    Spikard,
    StreamingResponse,
    UploadFile,
)
from spikard.config import CorsConfig, DecompressionConfig, JwtConfig

CONFIG = ServerConfig(
    max_body_size=10_000,
    enable_request_id=False,
    cors=CorsConfig(allow_origins=["https://example.com"], allow_methods=["GET", "POST"]),
)
DECODING = ServerConfig(
    max_body_size=10_000, enable_request_id=False, decompression=DecompressionConfig(brotli=False)
)
GUARDED = ServerConfig(enable_request_id=False, jwt_auth=JwtConfig(secret="x" * 32))


class Item(Struct):
    """A body."""

    name: Annotated[str, Meta(min_length=2)]
    price: float = 0.0
    tags: list[str] = []


class Session:
    """A dependency that is closed after the response."""


def make(config: ServerConfig = CONFIG, *, with_hooks: bool = False) -> Spikard:
    """Return the application; with hooks, every request goes through Python's driver."""
    app = Spikard(config=config)

    async def session() -> AsyncIterator[Session]:
        yield Session()

    app.provide(Session, session)
    if with_hooks:

        @app.on_request
        async def mark(request: Request) -> None:
            request.state.marked = True
            if request.path == "/early":
                raise HTTPException(403, "not today")

        @app.on_response
        async def stamp(response: Response) -> Response:
            response.headers["x-stamp"] = "1"
            return response

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/sync")
    def sync() -> dict[str, Any]:
        return {"sync": True}

    @app.get("/users/{user_id:int}")
    async def user(user_id: int, q: str = "", limit: Annotated[int, Meta(ge=1)] = 10) -> Any:
        return {"id": user_id, "q": q, "limit": limit}

    @app.get("/files/{path:path}")
    async def path(path: str) -> str:
        return path

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.post("/upload")
    async def upload(file: UploadFile) -> Any:
        return {"name": file.filename, "size": file.size, "text": file.read().decode()}

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type=request.content_type)

    @app.get("/inputs")
    async def inputs(
        token: Annotated[str, Header(alias="x-token")],
        session: Annotated[str, Cookie()] = "none",
        tags: Annotated[list[int], Query()] = [],  # noqa: B006 - a parameter's default
    ) -> Any:
        return [token, session, tags]

    @app.get("/none", status_code=204)
    async def none() -> None:
        return None

    @app.get("/bytes")
    async def octets() -> bytes:
        return b"\x00\x01"

    @app.get("/cookies")
    async def cookies() -> Response:
        response = HTMLResponse("<p>ü</p>", headers={"x-a": "1"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.get("/moved")
    async def moved() -> Response:
        return RedirectResponse("/hello")

    @app.get("/stream")
    async def stream() -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for number in range(200):
                await asyncio.sleep(0)
                yield b"chunk %d\n" % number

        return StreamingResponse(chunks(), media_type="text/plain")

    @app.get("/large")
    async def large() -> list[int]:
        return list(range(2000))

    @app.get("/self")
    async def itself() -> Response:
        return FileResponse(__file__, media_type="text/x-python")

    @app.get("/slow", request_timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.get("/raises")
    async def raises() -> None:
        raise ValueError("not for clients")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short", headers={"x-pot": "tea"})

    @app.get("/unfit")
    async def unfit() -> Item:
        return "no item"  # type: ignore[return-value]

    @app.get("/depends")
    async def depends(session: Session, tasks: BackgroundTasks) -> str:
        tasks.add_task(asyncio.sleep, 0)
        return type(session).__name__

    @app.get("/seen")
    async def seen(request: Request) -> Any:
        return [request.method, request.path, request.query_params.multi_items()]

    return app
