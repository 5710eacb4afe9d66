"""The server's own limits are settings: each changes what is answered, on a socket.

A row has the limit, what is sent, and the status lines that come back with it and without it. Of
times no test knows when they are over: what ends on one connection is still there on another, whose
server has a longer one. More limits of time are in `conformance` (http1/slow.py), those of HTTP/2
in test_limits_http2.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.doors import PATIENCE

from spikard import Spikard, StreamingResponse, WebSocket
from spikard.config import ServerConfig
from spikard.testing import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
LAST = GET + b"Connection: close\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
SETTINGS = b"\x00\x00\x18\x04"  # a frame of four of them
CLOSED = b"\x88\x02\x03\xe8"


def application() -> Spikard:
    app = Spikard()

    @app.get("/")
    async def index() -> str:
        return "fine"

    @app.websocket("/socket")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for message in socket.iter_text():
            await socket.send_text(message)

    return app


LIMITS: list[tuple[dict[str, Any], bytes, list[int], list[int]]] = [
    ({"max_request_line": 64}, b"GET /?" + b"x" * 80 + LAST[5:], [414], [200]),
    ({"max_headers": 3}, GET + b"A: b\r\n" * 3 + LAST[len(GET) :], [431], [200]),
    ({"max_header_field": 64}, GET + b"A: " + b"b" * 80 + b"\r\n" + LAST[len(GET) :], [431], [200]),
    (
        {"max_header_size": 1024, "max_header_field": 1024, "max_request_line": 1024},
        GET + b"".join(b"A%d: %b\r\n" % (n, b"b" * 50) for n in range(30)) + LAST[len(GET) :],
        [431],
        [200],
    ),
    ({"max_requests_per_connection": 2}, (GET + b"\r\n") * 2 + LAST, [200, 200], [200] * 3),
    ({"strict_http1": False}, LAST.replace(b"\r\n", b"\n"), [200], [400]),
]


@pytest.mark.parametrize(
    ("fields", "sent", "limited", "usual"), LIMITS, ids=lambda given: next(iter(given), "")
)
def test_a_limit_of_the_head_is_a_setting(fields, sent, limited, usual):
    app = application()
    for config, expected in ((ServerConfig(**fields), limited), (ServerConfig(), usual)):
        with serve_in_thread(app, config=config) as url, connected(url) as client:
            client.sendall(sent)
            assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", rest(client))] == expected


SOCKETS: list[tuple[dict[str, Any], int, int, int]] = [
    # the limit, fragments, bytes of each, the close code
    ({"ws_max_message_size": 100}, 2, 60, 1009),
    ({"ws_max_fragments": 3}, 4, 1, 1009),
]


@pytest.mark.parametrize(
    ("fields", "count", "size", "code"), SOCKETS, ids=lambda given: str(next(iter(given), ""))
    if isinstance(given, dict) else "",
)  # fmt: skip
def test_a_limit_of_messages_is_a_setting(fields, count, size, code):
    app = application()
    for config, is_limited in ((ServerConfig(**fields), True), (ServerConfig(), False)):
        with serve_in_thread(app, config=config) as url, connected(url) as client:
            upgrade(client, b"/socket")
            for index in range(count):
                opcode = 1 if index == 0 else 0
                client.sendall(frame(opcode, b"x" * size, is_last=index == count - 1))
            first, second = client.recv(1)[0], client.recv(1)[0]
            if is_limited:
                assert (first, struct.unpack("!H", client.recv(2))[0]) == (0x88, code)
            else:
                assert (first, second) == (0x81, count * size)


def test_ws_close_timeout_is_a_setting():
    app = Spikard()

    @app.websocket("/socket")
    async def leave(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    short = ServerConfig(ws_close_timeout=0.1)
    with connected_to(app, short.copy(ws_close_timeout=3600.0)) as patient:
        upgrade(patient, b"/socket")
        assert received(patient, 4) == CLOSED
        with connected_to(app, short) as client:
            upgrade(client, b"/socket")
            # No close frame answers: one connection ends, and the other has not.
            assert rest(client) == CLOSED
        patient.setblocking(False)
        with pytest.raises(BlockingIOError):
            patient.recv(1)
        patient.settimeout(PATIENCE)
        patient.sendall(frame(8, CLOSED[2:], is_last=True))
        assert rest(patient) == b""


def reading_late(may_read: threading.Event) -> Spikard:
    app = Spikard()

    @app.websocket("/socket")
    async def read(socket: WebSocket) -> None:
        await socket.accept()
        await asyncio.to_thread(may_read.wait, PATIENCE)
        await socket.send_text("reading")
        async for _ in socket.iter_text():
            pass

    return app


def test_ws_max_queue_is_a_setting():
    # The pong comes when all before the ping is read; the handler says when it begins to.
    messages = frame(1, b"x", is_last=True) * 3 + frame(9, b"", is_last=True)
    pong, reading = b"\x8a\x00", b"\x81\x07reading"
    may_read = threading.Event()
    with connected_to(reading_late(may_read), ServerConfig()) as client:
        upgrade(client, b"/socket")
        client.sendall(messages)
        assert received(client, len(pong)) == pong
        may_read.set()
        assert received(client, len(reading)) == reading
    may_read = threading.Event()
    with connected_to(reading_late(may_read), ServerConfig(ws_max_queue=3)) as client:
        upgrade(client, b"/socket")
        client.sendall(messages)
        may_read.set()
        assert received(client, len(reading + pong)) == reading + pong


def test_min_body_rate_is_a_setting():
    fast = ServerConfig(min_body_rate=1_000_000_000, body_timeout=3600.0, request_timeout=None)
    app = Spikard()

    @app.post("/")
    async def length(body: bytes) -> int:
        return len(body)

    head = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 9\r\n" + HOST + b"\r\n"
    with (
        connected_to(app, fast.copy(min_body_rate=0)) as patient,
        connected_to(app, fast) as client,
    ):
        for each in (patient, client):
            each.sendall(head + b"some")
        assert rest(client).startswith(b"HTTP/1.1 408 ")
        patient.sendall(b"thing")
        assert rest(patient).startswith(b"HTTP/1.1 200 ")


def large(size: int, is_cut: threading.Event) -> Spikard:
    app = Spikard()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            for _ in range(size >> 16):
                yield bytes(1 << 16)
        except (asyncio.CancelledError, GeneratorExit):
            is_cut.set()
            raise

    @app.get("/")
    async def send() -> StreamingResponse:
        return StreamingResponse(chunks())

    return app


def test_min_write_rate_is_a_setting():
    size = 16 << 20  # more than two sockets hold
    fast = ServerConfig(min_write_rate=1_000_000_000, write_stall_timeout=3600.0)
    is_cut, is_cut_too = threading.Event(), threading.Event()
    with (
        connected_to(large(size, is_cut_too), fast.copy(min_write_rate=0)) as patient,
        connected_to(large(size, is_cut), fast) as client,
    ):
        for each in (patient, client):
            each.sendall(LAST)
        # Nobody reads: one response is given up, and the other is still whole.
        assert is_cut.wait(PATIENCE)
        assert not is_cut_too.is_set()
        assert len(rest(patient)) > size


def test_graceful_shutdown_is_a_setting():
    is_cancelled = threading.Event()
    app = Spikard()

    @app.get("/")
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    at_once = ServerConfig(graceful_shutdown=False, shutdown_timeout=3600.0, request_timeout=None)
    with connected_to(app, at_once) as client:
        client.sendall(LAST + b"\r\n")
    assert is_cancelled.wait(PATIENCE)


@pytest.mark.parametrize(
    ("version", "sent", "answer"),
    [
        ("auto", LAST, b"HTTP/1.1 200 "),
        ("1", LAST, b"HTTP/1.1 200 "),
        ("2", LAST, SETTINGS),
        ("auto", PREFACE, SETTINGS),
        ("1", PREFACE, b"HTTP/1.1 400 "),
        ("2", PREFACE, SETTINGS),
    ],
    ids=["auto-1", "1-1", "2-1", "auto-2", "1-2", "2-2"],
)
def test_the_version_of_http_is_a_setting(version, sent, answer):
    with connected_to(application(), ServerConfig(http=version)) as client:
        client.sendall(sent)
        assert received(client, len(answer)) == answer


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the backlog of a listener")
def test_backlog_is_a_setting():
    for backlog in (7, 8):
        with serve_in_thread(application(), config=ServerConfig(backlog=backlog)) as url:
            assert backlogs(int(url.rpartition(":")[2])) == {backlog}


def backlogs(port: int) -> set[int]:
    """What the listeners of this process on this port hold, as TCP_INFO tells it."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as listener:
            if (
                listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                and listener.family == socket.AF_INET
                and listener.getsockname()[1] == port
            ):
                info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
                found.add(struct.unpack_from("I", info, 28)[0])
    return found


def upgrade(client: socket.socket, path: bytes) -> None:
    """Open a WebSocket and read the answer's head."""
    key = base64.b64encode(bytes(16))
    client.sendall(
        b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += received(client, 1)


def frame(opcode: int, data: bytes, *, is_last: bool) -> bytes:
    """A masked frame whose mask changes nothing."""
    return bytes([opcode | (0x80 if is_last else 0), 0x80 | len(data)]) + bytes(4) + data


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE)


@contextlib.contextmanager
def connected_to(app: Spikard, config: ServerConfig) -> Iterator[socket.socket]:
    with serve_in_thread(app, config=config) as url, connected(url) as client:
        yield client


def received(client: socket.socket, count: int) -> bytes:
    """Read so many bytes, or to the end."""
    answer = b""
    while len(answer) < count and (chunk := client.recv(count - len(answer))):
        answer += chunk
    return answer


def rest(client: socket.socket) -> bytes:
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    return answer
