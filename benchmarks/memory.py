"""Memory: a fresh server, and what an idle connection costs.

A fresh server answers the readiness probe: that is its resident memory. Then many connections ask
once each, wait for the answer and stay open; two seconds after the last answer the growth is
divided by their number.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load import load_for
from benchmarks.measure import Setting, wait_until_ready
from benchmarks.server import ServerError
from benchmarks.websocket_client import HANDSHAKE
from benchmarks.workloads import HELLO, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IDLE_SECONDS = 2
TIMEOUT_SECONDS = 30

# Connection preface, empty SETTINGS, then HEADERS of stream 1: GET http://127.0.0.1/ in HPACK.
HTTP2_GET = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x09127.0.0.1"
)
# granian holds 1,024 connections by default and closes or starves the others.
GRANIAN_ROOM = "--backlog 4096 --backpressure 4096"
HTTP2_SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


@dataclass(frozen=True)
class Idle:
    """A kind of connection that is opened, used once and left alone."""

    name: str
    workload: str  # whose applications the arms serve
    arms: Mapping[str, str]  # arm name → options beside the defaults
    connections: int
    ask: bytes
    answered: bytes  # in what comes back, when the answer is complete
    then: bytes = b""


IDLE_KINDS = (
    Idle(
        "idle HTTP/1.1",
        "asgi-hello",
        {"spikard": "", "granian": GRANIAN_ROOM, "uvicorn": ""},
        2_000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        HELLO,
    ),
    Idle(
        "idle HTTP/2",
        "http2",
        {"spikard": "", "granian": GRANIAN_ROOM, "uvicorn-zttp": "", "hypercorn": ""},
        2_000,
        HTTP2_GET,
        HELLO,
        HTTP2_SETTINGS_ACK,
    ),
    Idle(
        "idle WebSocket",
        "websocket-64",
        {"spikard": "", "granian": GRANIAN_ROOM, "uvicorn": ""},
        1_000,
        HANDSHAKE,
        b"\r\n\r\n",
    ),
    Idle(
        "idle native WebSocket",
        "native-websocket-64",
        {"spikard": "", "fastapi": "", "litestar": GRANIAN_ROOM, "granian-rsgi": GRANIAN_ROOM},
        1_000,
        HANDSHAKE,
        b"\r\n\r\n",
    ),
)


@dataclass(frozen=True)
class Memory:
    """One arm's figures for one kind of connection."""

    kind: str
    arm: str
    fresh_bytes: int
    per_connection_bytes: float


def measure_memory(setting: Setting, kind: Idle, arm: str) -> Memory:
    """Measure one arm.

    Raises:
        ServerError: the server did not start, did not answer or closed a connection.
    """
    raise_file_limit(kind.connections + 200)
    forget_libraries()
    workload = next(w for w in WORKLOADS if w.name == kind.workload)
    with setting.start(arm, f"{workload.arms[arm]} {kind.arms[arm]}") as server:
        wait_until_ready(server, load_for(workload), check_body=True)
        fresh = server.rss_bytes()
        try:
            idle = asyncio.run(hold_idle(server.port, kind, server.rss_bytes))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            raise ServerError(f"lost a connection: {error!r}") from error
    return Memory(kind.name, arm, fresh, (idle - fresh) / kind.connections)


async def hold_idle(port: int, kind: Idle, rss_bytes: Callable[[], int]) -> int:
    """Open the connections, let them lie and return the server's memory then."""
    streams = []
    try:
        for _ in range(kind.connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            streams.append((reader, writer))
            writer.write(kind.ask)
            await asyncio.wait_for(reader.readuntil(kind.answered), TIMEOUT_SECONDS)
            writer.write(kind.then)
        await asyncio.sleep(IDLE_SECONDS)
        closed = sum(reader.at_eof() for reader, _ in streams)
        if closed:
            raise ServerError(f"closed {closed} idle connections")
        return rss_bytes()
    finally:
        for _, writer in streams:
            writer.transport.abort()


def forget_libraries() -> None:
    """Take the environment's extension modules out of the page cache, where the system can.

    What was written a moment ago lies there in large pieces, which are mapped whole: as much as
    5 MiB more for the same module than after a reboot.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for library in Path(sys.prefix).rglob("*.so"):
        descriptor = os.open(library, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def raise_file_limit(wanted: int) -> None:
    """Let this process and the servers it starts open that many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
