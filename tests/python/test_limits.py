"""The server's own limits are settings: each changes what is answered, on a socket.

A row has the limit, what is sent, and the status lines that come back with it and without it. What
the limits of time do is in `conformance` (http1/slow.py, http2/cases.py).
"""

from __future__ import annotations

import base64
import re
import socket
import struct
from typing import Any

import pytest
from tests.python.doors import PATIENCE

from spikard import Spikard, WebSocket
from spikard.config import ServerConfig
from spikard.testing import serve_in_thread

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
LAST = GET + b"Connection: close\r\n\r\n"


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
            key = base64.b64encode(bytes(16)).decode()
            client.sendall(
                b"GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key.encode() + b"\r\n\r\n"
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            for index in range(count):
                opcode = 1 if index == 0 else 0
                client.sendall(frame(opcode, b"x" * size, is_last=index == count - 1))
            first, second = client.recv(1)[0], client.recv(1)[0]
            if is_limited:
                assert (first, struct.unpack("!H", client.recv(2))[0]) == (0x88, code)
            else:
                assert (first, second) == (0x81, count * size)


def frame(opcode: int, data: bytes, *, is_last: bool) -> bytes:
    """A masked frame whose mask changes nothing."""
    return bytes([opcode | (0x80 if is_last else 0), 0x80 | len(data)]) + bytes(4) + data


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def rest(client: socket.socket) -> bytes:
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    return answer
