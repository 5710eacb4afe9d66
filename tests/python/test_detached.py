"""Handlers and their clients' end: cancelled, or run on with ``cancel_on_disconnect=False``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator  # noqa: TC003 - handlers' annotations are read
from typing import Any

import pytest

from spikard import Provide, ServerConfig, Spikard, TestClient, WebSocket
from spikard._loop import new_event_loop
from spikard._server import Server

pytestmark = pytest.mark.anyio


class Watched:
    """An application whose handlers tell what becomes of them."""

    def __init__(self, **options: Any) -> None:
        self.called, self.go_on = asyncio.Event(), asyncio.Event()
        self.log: list[str] = []
        self.over = asyncio.Event()
        self.app = Spikard(config=ServerConfig(request_timeout=60))
        self.app.provide("resource", Provide(self._resource))

        @self.app.get("/", **options)
        async def handler(resource: str) -> str:
            return await self._work()

        @self.app.get("/raises", **options)
        async def raises() -> str:
            await self._work()
            self.over.set()
            raise LookupError("alone")

        @self.app.get("/late", request_timeout=0.05, **options)
        async def late(resource: str) -> str:
            return await self._work()

        @self.app.websocket("/socket", **options)
        async def socket(socket: WebSocket) -> None:
            await socket.accept()
            try:
                await self._work()
            finally:
                self.over.set()

    async def _resource(self) -> AsyncIterator[str]:
        try:
            yield "resource"
        finally:
            self.log.append("released")
            self.over.set()

    async def _work(self) -> str:
        self.called.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        self.log.append("finished")
        return "done"


async def leave(watched: Watched, path: str = "/") -> None:
    """Ask, wait until the handler runs, and go away."""
    async with TestClient(watched.app) as client:
        task = asyncio.create_task(client.get(path))
        await watched.called.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        watched.go_on.set()


async def test_a_handler_is_cancelled_when_its_client_goes():
    watched = Watched()
    await leave(watched)
    assert watched.log == ["cancelled", "released"]


async def test_a_handler_that_is_not_to_be_cancelled_finishes_with_its_dependencies():
    watched = Watched(cancel_on_disconnect=False)
    await leave(watched)  # the application's shutdown waits for it
    assert watched.log == ["finished", "released"]


async def test_what_it_raises_is_logged(caplog):
    watched = Watched(cancel_on_disconnect=False)
    with caplog.at_level(logging.ERROR):
        await leave(watched, "/raises")
    assert "LookupError: alone" in caplog.text


async def test_a_client_that_stays_gets_the_answer():
    watched = Watched(cancel_on_disconnect=False)
    watched.go_on.set()
    async with TestClient(watched.app) as client:
        assert (await client.get("/")).json() == "done"


class Served:
    """An application on the server, on an event loop of its own."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def run(self, scenario: Any) -> None:
        import socket

        from spikard._loop import reactor_on

        loop = new_event_loop()
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener, reactor_on(loop) as reactor:

                async def main() -> None:
                    watched = self._make()
                    config = watched.app.config.copy(shutdown_timeout=10)
                    server = Server(watched.app, config, [listener], reactor)
                    await server.start()
                    await scenario(watched, listener.getsockname()[1])
                    await server.stop()

                loop.run_until_complete(asyncio.wait_for(main(), 20))
        finally:
            loop.close()


@pytest.mark.parametrize(("options", "log"), [
    ({}, ["cancelled", "released"]),
    ({"cancel_on_disconnect": False}, ["finished", "released"]),
])  # fmt: skip
def test_on_the_server_a_closed_connection_is_a_client_that_goes(options, log):
    async def scenario(watched: Watched, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await watched.called.wait()
        writer.close()
        if not options:
            await watched.over.wait()
        else:
            # The connection's end has been seen once the server answers a later one.
            reader, other = await asyncio.open_connection("127.0.0.1", port)
            other.write(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            other.close()
        watched.go_on.set()
        await watched.over.wait()
        assert watched.log == log

    Served(lambda: Watched(**options)).run(scenario)


@pytest.mark.parametrize("options", [{}, {"cancel_on_disconnect": False}])
def test_on_the_server_the_time_limit_ends_every_handler(options):
    async def scenario(watched: Watched, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        await watched.over.wait()
        assert watched.log == ["cancelled", "released"]
        writer.close()

    Served(lambda: Watched(**options)).run(scenario)
