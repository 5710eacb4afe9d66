"""Fan-out of server-sent events: many clients listen, and one event goes to all of them.

Figures: resident memory for each client, time from the request that publishes an event until the
last client has it, and CPU time for each delivery, over several events.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.arms import ARMS
from benchmarks.measure import READY_SECONDS, Setting
from benchmarks.memory import GRANIAN_ROOM, raise_file_limit
from benchmarks.server import Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENTS = 2_000
EVENTS = 10
TIMEOUT_SECONDS = 30
LISTEN = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
PUBLISH = b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"

FAN_OUT_ARMS: Mapping[str, str] = {
    "spikard": "benchmarks.apps.spikard_streams:app",
    "fastapi": "benchmarks.apps.fastapi_streams:app",
    "litestar": f"benchmarks.apps.litestar_streams:app {GRANIAN_ROOM}",
}


@dataclass(frozen=True)
class FanOut:
    """One arm's figures."""

    arm: str
    label: str
    clients: int
    per_client_bytes: float
    last_ms: float  # median over the events
    cpu_us: float  # for each delivery


def measure_fan_out(setting: Setting, arm: str) -> FanOut:
    """Measure one arm.

    Raises:
        ServerError: the server did not start, or lost a client.
    """
    raise_file_limit(CLIENTS + 200)
    with setting.start(arm, FAN_OUT_ARMS[arm]) as server:
        try:
            return asyncio.run(_measured(server, arm))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            raise ServerError(f"lost a client: {error!r}; {server.last_line()}") from error


async def _measured(server: Server, arm: str) -> FanOut:
    await _ready(server)
    fresh = server.rss_bytes()
    clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for _ in range(CLIENTS):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            clients.append((reader, writer))
            writer.write(LISTEN)
            await _heard(reader, 0)
        held = server.rss_bytes()
        publisher, publish = await asyncio.open_connection("127.0.0.1", server.port)
        lasted: list[float] = []
        cpu = server.cpu_seconds()
        for number in range(1, EVENTS + 1):
            hearing = [asyncio.ensure_future(_heard(reader, number)) for reader, _ in clients]
            await asyncio.sleep(0)
            start = time.perf_counter()
            publish.write(PUBLISH)
            await asyncio.gather(*hearing)
            lasted.append(time.perf_counter() - start)
            await asyncio.wait_for(publisher.readuntil(b"\r\n\r\n"), TIMEOUT_SECONDS)
        used = server.cpu_seconds() - cpu
        publish.transport.abort()
    finally:
        for _, writer in clients:
            writer.transport.abort()
    return FanOut(
        arm,
        ARMS[arm].label,
        CLIENTS,
        (held - fresh) / CLIENTS,
        sorted(lasted)[len(lasted) // 2] * 1e3,
        used / (CLIENTS * EVENTS) * 1e6,
    )


async def _ready(server: Server) -> None:
    for _ in range(READY_SECONDS * 10):
        server.check_alive()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.transport.abort()
        return
    raise ServerError(f"not ready; {server.last_line()}")


async def _heard(reader: asyncio.StreamReader, number: int) -> None:
    await asyncio.wait_for(reader.readuntil(b'{"number":%d}' % number), TIMEOUT_SECONDS)
