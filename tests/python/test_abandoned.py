"""`cancel_abandoned_streams`: ASGI applications that wait in a response whose client has left."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import fastapi
import fastapi.sse
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.python.doors import PATIENCE, our_server

from spikard import ServerConfig, Spikard
from spikard._server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ON = ServerConfig(port=0, cancel_abandoned_streams=True)
START = {"type": "http.response.start", "status": 200}
PIECE = {"type": "http.response.body", "body": b"first", "more_body": True}


class Watch:
    """What an application did, for the test's thread."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.waits = threading.Event()
        self.over = threading.Event()
        self.release = threading.Event()

    def end(self, word: str) -> None:
        self.words.append(word)
        self.over.set()

    async def for_ever(self) -> None:
        self.waits.set()
        await asyncio.Event().wait()

    async def released(self) -> None:
        self.waits.set()
        await asyncio.to_thread(self.release.wait, PATIENCE)


def leave(client: Any, watch: Watch) -> None:
    """Ask, go once the application waits, and come back when the server has seen that."""
    with client.stream("GET", "/") as response:
        assert next(response.iter_raw())
        assert watch.waits.wait(PATIENCE)
    seen(client)


def seen(client: Any) -> None:
    # The end of the other connection came before these, and all are served by one thread.
    for _ in range(2):
        client.get("/other")


def starlette(watch: Watch) -> Any:
    async def idle() -> AsyncIterator[str]:
        try:
            yield "first"
            await watch.for_ever()
        finally:
            watch.end("left")

    async def endpoint(_: Any) -> Any:
        return StreamingResponse(idle())

    return Starlette(routes=[Route("/", endpoint)])


def sse(watch: Watch) -> Any:
    app = fastapi.FastAPI()

    @app.get("/", response_class=fastapi.sse.EventSourceResponse)
    async def events() -> AsyncIterator[dict[str, int]]:
        try:
            yield {"n": 1}
            await watch.for_ever()
        finally:
            watch.end("left")

    return app


def mounted(watch: Watch) -> Any:
    app = Spikard()
    app.fallback(starlette(watch))
    return app


def hooked(watch: Watch) -> Any:
    app = mounted(watch)
    app.on_response(lambda request, response: response)
    return app


@pytest.mark.parametrize("make", [starlette, sse, mounted, hooked])
def test_stream_that_waits_ends_with_its_client(make, caplog):
    watch = Watch()
    with our_server(make(watch), ON) as client:
        leave(client, watch)
        assert watch.over.wait(PATIENCE)
    assert watch.words == ["left"]
    assert not [record for record in caplog.records if record.name == "spikard.error"]


def test_stream_ends_with_its_client_beside_another_loop():
    uvloop = pytest.importorskip("uvloop")
    watch = Watch()

    async def main() -> bool:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(serve(starlette(watch), ON, ready.set_result))
        url = await ready
        async with (
            httpx.AsyncClient(timeout=PATIENCE) as client,
            client.stream("GET", url) as response,
        ):
            await anext(response.aiter_raw())
            assert await asyncio.to_thread(watch.waits.wait, PATIENCE)
        is_over = await asyncio.to_thread(watch.over.wait, PATIENCE)
        serving.cancel()
        await asyncio.wait([serving])
        return is_over

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main())
    finally:
        loop.close()


def watching(watch: Watch, begins: Any, waits: Any) -> Any:
    """Return an application that begins, waits until it is released, and says how that ended."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or scope["path"] != "/":
            await send({**START, "status": 204})
            await send({"type": "http.response.body"})
            return
        await begins(send)
        try:
            await waits(receive)
            watch.end("went on")
        except asyncio.CancelledError:
            watch.end("cancelled")
            raise

    return app


async def stream(send: Any) -> None:
    await send(START)
    await send(PIECE)


async def whole(send: Any) -> None:
    await send(START)
    await send({**PIECE, "more_body": False})


@pytest.mark.parametrize(
    ("config", "begins", "word"),
    [
        pytest.param(ON, stream, "cancelled", id="on"),
        pytest.param(ServerConfig(port=0), stream, "went on", id="off"),
        pytest.param(ON, whole, "went on", id="response complete"),
    ],
)
def test_only_a_stream_is_cancelled_and_only_if_asked(config, begins, word):
    watch = Watch()
    with our_server(watching(watch, begins, lambda _: watch.released()), config) as client:
        leave(client, watch)
        if word == "cancelled":
            assert watch.over.wait(PATIENCE)
        watch.release.set()
        assert watch.over.wait(PATIENCE)
    assert watch.words == [word]


def test_application_that_has_not_answered_yet_goes_on():
    watch, called = Watch(), threading.Event()

    async def nothing(_: Any) -> None:
        called.set()

    with our_server(watching(watch, nothing, lambda _: watch.released()), ON) as client:
        url = client.base_url
        left = threading.Thread(target=_ask_and_leave, args=(url.host, url.port, called))
        left.start()
        left.join(PATIENCE)
        seen(client)
        watch.release.set()
        assert watch.over.wait(PATIENCE)
    assert watch.words == ["went on"]


def _ask_and_leave(host: str, port: int, called: threading.Event) -> None:
    import socket

    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert called.wait(PATIENCE)


def test_application_that_listens_is_told_and_may_take_its_time():
    watch = Watch()

    async def listens(receive: Any) -> None:
        watch.waits.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        watch.words.append("told")
        await watch.released()

    with our_server(watching(watch, stream, listens), ON) as client:
        leave(client, watch)
        watch.release.set()
        assert watch.over.wait(PATIENCE)
    assert watch.words == ["told", "went on"]


def test_send_that_waits_for_room_raises_and_is_not_cancelled():
    watch = Watch()
    big = {**PIECE, "body": b"x" * (1 << 20)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await send({**START, "status": 204})
            await send({"type": "http.response.body"})
            return
        await send(START)
        try:
            while True:
                watch.waits.set()
                await send(big)
        except OSError:
            watch.end("raised")
        except asyncio.CancelledError:
            watch.end("cancelled")

    with our_server(app, ON) as client:
        leave(client, watch)
        assert watch.over.wait(PATIENCE)
    assert watch.words == ["raised"]
