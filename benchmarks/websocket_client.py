"""A WebSocket echo client that costs little.

    python -m benchmarks.websocket_client PORT BYTES CONNECTIONS SECONDS

Every connection sends one prepared frame and counts the bytes that come back, whose number
RFC 6455 §5.2 fixes for an unfragmented, uncompressed message. The first echo of each connection is
compared with what was sent. Prints one JSON object: requests, seconds, p99_ms, errors. With
SECONDS 0 it echoes once and leaves.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import cast

import uvloop

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(payload: bytes, *, masked: bool) -> bytes:
    """Return one final binary frame."""
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((0x82, bit | size))
    else:
        head = bytes((0x82, bit | 126)) + size.to_bytes(2, "big")
    # A mask of zeros leaves the payload as it is; the server still has to apply it.
    return head + (bytes(4) if masked else b"") + payload


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self, payload: bytes) -> None:
        self.sent = frame(payload, masked=True)
        self.expected = frame(payload, masked=False)
        self.micros: list[int] = []
        self.ready = asyncio.get_running_loop().create_future()
        self.first = b""
        self._transport: asyncio.Transport | None = None
        self._missing = 0
        self._started = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Count; send again when the echo is complete."""
        if not self.ready.done():
            self._before_ready(data)
            return
        self._missing -= len(data)
        if self._missing <= 0:
            self.micros.append((time.perf_counter_ns() - self._started) // 1000)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if it was too early."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"closed after {self.first[:80]!r}"))

    def send(self) -> None:
        """Send the message and expect its echo."""
        if self._transport is not None:
            self._missing += len(self.expected)
            self._started = time.perf_counter_ns()
            self._transport.write(self.sent)

    def stop(self) -> None:
        """Send no more."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None

    def _before_ready(self, data: bytes) -> None:
        """Collect the handshake's answer, then one echo, and compare both."""
        before = b"\r\n\r\n" in self.first
        self.first += data
        head, blank, echo = self.first.partition(b"\r\n\r\n")
        if blank and not head.startswith(b"HTTP/1.1 101"):
            self.ready.set_exception(ConnectionError(f"handshake refused: {head[:80]!r}"))
        elif blank and not before and self._transport is not None:
            self._transport.write(self.sent)
        if len(echo) >= len(self.expected) and not self.ready.done():
            if echo == self.expected:
                self.ready.set_result(None)
            else:
                self.ready.set_exception(ConnectionError(f"not the message: {echo[:80]!r}"))


async def main(port: int, size: int, connections: int, seconds: float) -> None:
    """Open the connections, echo for that long and print the result."""
    loop = asyncio.get_running_loop()
    payload = os.urandom(size)
    echoes: list[Echo] = []
    for _ in range(connections):
        _, echo = await loop.create_connection(lambda: Echo(payload), "127.0.0.1", port)
        await asyncio.wait_for(echo.ready, 5)
        echoes.append(echo)
    started = time.perf_counter()
    if seconds:
        for echo in echoes:
            echo.send()
        await asyncio.sleep(seconds)
    lasted = time.perf_counter() - started
    for echo in echoes:
        echo.stop()
    micros = [n for echo in echoes for n in echo.micros]
    result = {
        "requests": len(micros),
        "seconds": lasted,
        "p99_ms": statistics.quantiles(micros, n=100)[98] / 1e3 if len(micros) > 1 else None,
        "errors": sum(not echo.micros for echo in echoes) if seconds else 0,
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    port, size, connections = map(int, sys.argv[1:4])
    uvloop.run(main(port, size, connections, float(sys.argv[4])))
