"""The applications of the matrix: one surface, in plain ASGI, with Spikard, FastAPI and Django, and mounted in one another.

| path | does |
|---|---|
| `GET /hello?name=` | answers with the name |
| `POST /items` | answers 201 with the item |
| `POST /upload` | marks `upload` at the first piece of the body, counts the bytes |
| `GET /ws/x` | a WebSocket that echoes, and closes with 3001 at `bye` |
| `GET /events` | an event, then another once `go` is marked |
| `GET /endless` | a piece, then nothing; marks `left` when it is ended |
| `GET /state` | what the application's lifespan stored |
| `GET /where` | the root path that the application sees |
| `GET /raises` | raises |
| `POST /mark/{name}` | marks |
| `GET /marked/{name}?within=` | answers once it is marked, with false after so many seconds |
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator  # noqa: TC003 - read when a handler is registered
from typing import TYPE_CHECKING, Any

from conformance.hosts.marks import MESSAGE, WORD, endless, event_lines, events, marks

if TYPE_CHECKING:
    from collections.abc import Callable

MOUNTED = {"spikard in fastapi": "/sub", "fastapi in spikard": "/sub"}
"""Where the surface is, if not at the root."""


def make(name: str) -> Any:
    """Return the application of this name."""
    return APPLICATIONS[name]()


def spikard() -> Any:
    """Return the surface as a Spikard application."""
    from msgspec import Struct

    from spikard import Request, ServerConfig, Spikard, StreamingResponse, WebSocket

    class Item(Struct):
        name: str
        price: float

    @contextlib.asynccontextmanager
    async def lifespan(_: Spikard) -> AsyncIterator[dict[str, str]]:
        yield {"word": WORD}

    app = Spikard(ServerConfig(port=0, access_log=False), lifespan=lifespan)

    @app.get("/hello")
    async def hello(name: str) -> dict[str, str]:
        return {"hello": name}

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.post("/upload")
    async def upload(request: Request) -> dict[str, int]:
        count = 0
        async for piece in request.stream():
            count += len(piece)
            marks.set("upload")
        return {"bytes": count}

    @app.websocket("/ws/x")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            if text == "bye":
                await socket.close(3001, "bye")
                return
            await socket.send_text(text)

    app.sse("/events")(events)

    @app.get("/endless")
    async def stay() -> StreamingResponse:
        return StreamingResponse(endless())

    @app.get("/state")
    async def state(request: Request) -> dict[str, str]:
        return {"word": request.state.word}

    @app.get("/where")
    async def where(request: Request) -> dict[str, str]:
        return {"root_path": request.root_path}

    @app.get("/raises")
    async def raises() -> None:
        raise RuntimeError(MESSAGE)

    @app.post("/mark/{name}")
    async def mark(name: str) -> None:
        marks.set(name)

    @app.get("/marked/{name}")
    async def marked(name: str, within: float) -> bool:
        return await marks.wait(name, within)

    return app


def fastapi() -> Any:
    """Return the surface as a FastAPI application."""
    from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str
        price: float

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"word": WORD}

    app = FastAPI(lifespan=lifespan)

    async def hello(name: str) -> Any:
        return {"hello": name}

    async def create(item: Item) -> Any:
        return item

    async def upload(request: Request) -> Any:
        count = 0
        async for piece in request.stream():
            count += len(piece)
            marks.set("upload")
        return {"bytes": count}

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while (text := await socket.receive_text()) != "bye":
                await socket.send_text(text)
            await socket.close(3001, "bye")

    async def stream_events() -> Any:
        return StreamingResponse(event_lines(), media_type="text/event-stream")

    async def stay() -> Any:
        return StreamingResponse(endless())

    async def state(request: Request) -> Any:
        return {"word": request.state.word}

    async def where(request: Request) -> Any:
        return {"root_path": request.scope["root_path"]}

    async def raises() -> None:
        raise RuntimeError(MESSAGE)

    async def mark(name: str) -> None:
        marks.set(name)

    async def marked(name: str, within: float) -> Any:
        return await marks.wait(name, within)

    for function in (create, upload, where, raises, hello, mark, marked, stay, state):
        # FastAPI reads annotations by name in the module, where these types are not.
        known = {"Item": Item, "Request": Request, "str": str, "float": float}
        hints = {key: known.get(str(hint), Any) for key, hint in function.__annotations__.items()}
        function.__annotations__ = hints
    echo.__annotations__ = {"socket": WebSocket}
    app.get("/hello")(hello)
    app.post("/items", status_code=201)(create)
    app.post("/upload")(upload)
    app.websocket("/ws/x")(echo)
    app.get("/events")(stream_events)
    app.get("/endless")(stay)
    app.get("/state")(state)
    app.get("/where")(where)
    app.get("/raises")(raises)
    app.post("/mark/{name}")(mark)
    app.get("/marked/{name}")(marked)
    return app


def django() -> Any:
    """Return the surface as Django's ASGI application."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import JsonResponse, StreamingHttpResponse
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=tuple(_django_routes(path, JsonResponse, StreamingHttpResponse)),
        SECRET_KEY="a key for a test",  # noqa: S106 - Django insists on one
        LOGGING={
            "version": 1,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
        },
    )
    django.setup(set_prefix=False)
    return get_asgi_application()


def _django_routes(
    path: Callable[..., Any], answer: Callable[..., Any], streaming: Callable[..., Any]
) -> list[Any]:
    async def hello(request: Any) -> Any:
        return answer({"hello": request.GET["name"]})

    async def create(request: Any) -> Any:
        return answer(json.loads(request.body), status=201)

    async def upload(request: Any) -> Any:
        count = 0
        while piece := request.read(65536):
            count += len(piece)
            marks.set("upload")
        return answer({"bytes": count})

    async def stream_events(_: Any) -> Any:
        return streaming(event_lines(), content_type="text/event-stream")

    async def stay(_: Any) -> Any:
        return streaming(endless())

    async def state(request: Any) -> Any:
        return answer({"word": request.scope["state"]["word"]})

    async def where(request: Any) -> Any:
        return answer({"root_path": request.META["SCRIPT_NAME"]})

    async def raises(_: Any) -> Any:
        raise RuntimeError(MESSAGE)

    async def mark(_: Any, name: str) -> Any:
        marks.set(name)
        return answer(None, safe=False)

    async def marked(request: Any, name: str) -> Any:
        within = float(request.GET["within"])
        return answer(await marks.wait(name, within), safe=False)

    return [
        path("hello", hello),
        path("items", create),
        path("upload", upload),
        path("events", stream_events),
        path("endless", stay),
        path("state", state),
        path("where", where),
        path("raises", raises),
        path("mark/<str:name>", mark),
        path("marked/<str:name>", marked),
    ]


def spikard_in_fastapi() -> Any:
    """Return a FastAPI application that has mounted the surface, whose start nobody cares for."""
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/sub", spikard())
    return app


def fastapi_in_spikard() -> Any:
    """Return a Spikard application that has mounted the surface."""
    from spikard import ServerConfig, Spikard

    app = Spikard(ServerConfig(port=0, access_log=False))
    app.mount("/sub", fastapi())
    return app


def plain() -> Any:
    """Return the surface without a framework."""
    from conformance.hosts.plain import application

    return application


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "plain": plain,
    "spikard": spikard,
    "fastapi": fastapi,
    "django": django,
    "spikard in fastapi": spikard_in_fastapi,
    "fastapi in spikard": fastapi_in_spikard,
}
