"""The limits of HTTP/2 are settings: each changes which frames come back on a socket.

Each test has two servers, one with an unusual value and one without, and the same frames for both
(RFC 9113). Of times no test knows when they are over: what ends on one connection is still there
on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.python.doors import PATIENCE

from spikard import Spikard, StreamingResponse
from spikard.config import ServerConfig
from spikard.testing import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DATA, HEADERS, _, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE = range(9)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
REFUSED_STREAM, ENHANCE_YOUR_CALM = 0x7, 0xB
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x3, 0x4
FIRST_WINDOW = 65535  # RFC 9113 §6.9.2: of a connection, before any frame
WIDEST_WINDOW = 2**31 - 1
KIB = 1024
CHUNK = bytes(64 * KIB)
MUCH = 16 * KIB * KIB  # more than two sockets hold


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    def number(self, index: int = 0) -> int:
        return int.from_bytes(self.payload[index : index + 4], "big")


class Peer:
    """A client that sends and receives frames."""

    def __init__(self, url: str, settings: dict[int, int] | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._stream = self._socket.makefile("rb")
        pairs = b"".join(struct.pack("!HI", *pair) for pair in (settings or {}).items())
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, payload=pairs))

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Send all in one piece."""
        self._socket.sendall(b"".join(frames))

    def frames(self) -> Iterator[Frame]:
        """Yield what comes, to the end of the connection."""
        while len(head := self._stream.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            yield Frame(kind, flags, stream, self._stream.read(length))

    def before(self, is_last: Callable[[Frame], bool]) -> list[Frame]:
        """Return what comes up to and with the first frame that `is_last`."""
        found = []
        for received in self.frames():
            found.append(received)
            if is_last(received):
                return found
        raise AssertionError(f"the connection ended after {found}")

    def before_pong(self) -> list[Frame]:
        """Return what the server sends before it has seen all that was sent so far."""
        self.send(frame(PING, payload=b"all seen"))
        pong = Frame(PING, ACK, 0, b"all seen")
        return self.before(lambda received: received == pong)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def request(
    stream: int, path: bytes = b"/", more: bytes = b"", *, flags: int = END_STREAM
) -> bytes:
    """A GET, or an open POST; RFC 7541: three indexed fields, two literal ones."""
    method = b"\x82" if flags & END_STREAM else b"\x83"
    block = method + b"\x86\x04" + bytes([len(path)]) + path + b"\x01\x01a" + more
    return frame(HEADERS, flags | END_HEADERS, stream, block)


class Waiting:
    """An application of which one route never answers, and one tells how far it came."""

    def __init__(self) -> None:
        self.app = Spikard()
        self.sent = 0
        self.has_sent_much = threading.Event()

        @self.app.get("/")
        async def index() -> str:
            return "fine"

        @self.app.get("/hang")
        async def hang() -> None:
            await asyncio.Event().wait()

        @self.app.get("/endless")
        async def endless() -> StreamingResponse:
            return StreamingResponse(self._chunks())

        @self.app.post("/read")
        async def read(body: bytes) -> int:
            return len(body)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += len(CHUNK)
            if self.sent > MUCH:
                self.has_sent_much.set()
            yield CHUNK


@contextlib.contextmanager
def peer(
    config: ServerConfig, settings: dict[int, int] | None = None, app: Spikard | None = None
) -> Iterator[Peer]:
    config = config.copy(shutdown_timeout=0.0)
    with serve_in_thread(app or Waiting().app, config=config) as url:
        client = Peer(url, settings)
        try:
            yield client
        finally:
            client.close()


def announced(received: list[Frame]) -> dict[int, int]:
    settings = next(given for given in received if given.kind == SETTINGS)
    return dict(struct.iter_unpack("!HI", settings.payload))


@pytest.mark.parametrize(
    ("config", "stream_window", "connection_window"),
    [
        (ServerConfig(), 256 * KIB, KIB * KIB),
        (ServerConfig(h2_stream_window=70_000), 70_000, KIB * KIB),
        (ServerConfig(h2_connection_window=300_000), 256 * KIB, 300_000),
    ],
    ids=["usual", "h2_stream_window", "h2_connection_window"],
)
def test_a_window_is_a_setting(config, stream_window, connection_window):
    with peer(config) as client:
        received = client.before(lambda received: received.kind == WINDOW_UPDATE)
        assert announced(received)[INITIAL_WINDOW_SIZE] == stream_window
        wider = received[-1]
        assert (wider.stream, wider.number()) == (0, connection_window - FIRST_WINDOW)


def test_max_concurrent_streams_is_a_setting():
    for limit, config in ((3, ServerConfig(max_concurrent_streams=3)), (100, ServerConfig())):
        with peer(config) as client:
            client.send(*(request(2 * index + 1, b"/hang") for index in range(limit + 1)))
            received = client.before_pong()
            assert announced(received)[MAX_CONCURRENT_STREAMS] == limit
            resets = [given for given in received if given.kind == RST_STREAM]
            assert [(given.stream, given.number()) for given in resets] == [
                (2 * limit + 1, REFUSED_STREAM)
            ]


def reset_at_once(stream: int) -> bytes:
    return request(stream) + frame(RST_STREAM, 0, stream, struct.pack("!I", 8))


def malformed(stream: int) -> bytes:
    """A request with a field that begins with a space (RFC 9113 §8.2.1)."""
    return request(stream, more=b"\x00\x01x\x02 a")


@pytest.mark.parametrize(
    ("config", "offence", "count"),
    [
        (ServerConfig(h2_max_pending_reset_streams=80), reset_at_once, 40),
        (ServerConfig(h2_max_local_reset_streams=80), malformed, 60),
    ],
    ids=["h2_max_pending_reset_streams", "h2_max_local_reset_streams"],
)
def test_patience_with_streams_that_are_reset_is_a_setting(config, offence, count):
    offences = [offence(2 * index + 1) for index in range(count)]
    with peer(config) as client:
        client.send(*offences)
        client.before_pong()
        client.send(request(2 * count + 1))
        client.before(lambda received: received.kind == HEADERS)
    with peer(ServerConfig()) as client:
        client.send(*offences)
        last = client.before(lambda received: received.kind == GOAWAY)[-1]
        assert last.number(4) == ENHANCE_YOUR_CALM


def test_h2_send_buffer_is_a_setting():
    # The windows are open, but nobody reads: what the sockets do not hold stays with the server.
    windows = {INITIAL_WINDOW_SIZE: WIDEST_WINDOW}
    wider = frame(WINDOW_UPDATE, payload=struct.pack("!I", WIDEST_WINDOW - FIRST_WINDOW))
    large, usual = Waiting(), Waiting()
    with (
        peer(ServerConfig(), windows, usual.app) as other,
        peer(ServerConfig(h2_send_buffer=4 * MUCH), windows, large.app) as client,
    ):
        for each in (other, client):
            each.send(wider, request(1, b"/endless"))
        assert large.has_sent_much.wait(PATIENCE)
        assert 0 < usual.sent < MUCH


def is_ping(received: Frame) -> bool:
    return received.kind == PING and not received.flags & ACK


def test_h2_ping_interval_is_a_setting():
    with peer(ServerConfig(h2_ping_interval=0.1)) as client, peer(ServerConfig()) as quiet:
        for each in (client, quiet):
            each.send(request(1, b"/hang"))
        for _ in range(2):
            pinged = client.before(is_ping)[-1]
            client.send(frame(PING, ACK, payload=pinged.payload))
        assert not any(is_ping(received) for received in quiet.before_pong())


def test_h2_ping_timeout_is_a_setting():
    short = ServerConfig(h2_ping_interval=0.1, h2_ping_timeout=0.1)
    with peer(short) as client, peer(short.copy(h2_ping_timeout=3600.0)) as patient:
        for each in (patient, client):
            each.send(request(1, b"/hang"))
            each.before(is_ping)
        # Nobody answers: one connection ends, and the other has not.
        assert not any(received.kind == DATA for received in client.frames())
        assert not any(received.kind == GOAWAY for received in patient.before_pong())


def test_min_body_rate_is_a_setting_of_http_2_too():
    fast = ServerConfig(min_body_rate=1_000_000_000, body_timeout=3600.0, request_timeout=None)
    with peer(fast) as client, peer(fast.copy(min_body_rate=0)) as patient:
        for each in (patient, client):
            each.send(request(1, b"/read", flags=0), frame(DATA, 0, 1, b"some"))
        refused = client.before(lambda received: received.stream == 1)[-1]
        assert refused.kind in (HEADERS, RST_STREAM)
        patient.send(frame(DATA, END_STREAM, 1, b"thing"))
        answer = patient.before(lambda received: received.kind == DATA)[-1]
        assert answer.payload == b"9"
