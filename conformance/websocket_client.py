"""A raw WebSocket client (RFC 6455): sends exactly the frames it is given, well-formed or not, and checks those it gets."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import os
import struct
import time
from typing import TYPE_CHECKING

from conformance.client import DEADLINE_SECONDS, Connection, Response
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.trial import Trial

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NO_CODE = 1005


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame as it was received."""

    opcode: int
    payload: bytes
    fin: bool = True


def handshake(
    trial: Trial,
    handler: str,
    suffix: str = "",
    *,
    headers: Iterable[str] = (),
    connection: Connection | None = None,
) -> tuple[Connection, str]:
    """Send an opening handshake and return the connection with the key that was used."""
    connection = connection or trial.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    connection.request(trial.target(handler, suffix), headers=fields)
    return connection, key


def refusal(
    trial: Trial, handler: str, suffix: str = "", *, headers: Iterable[str] = ()
) -> Response:
    """Send an opening handshake and return the answer, which must not be 101."""
    connection, _ = handshake(trial, handler, suffix, headers=headers)
    answer = connection.response()
    check(answer.status != 101, "the handshake was accepted")
    return answer


class WebSocket:
    """An accepted WebSocket over HTTP/1.1."""

    def __init__(
        self,
        trial: Trial,
        handler: str,
        suffix: str = "",
        *,
        headers: Iterable[str] = (),
        connection: Connection | None = None,
    ) -> None:
        self.connection, key = handshake(
            trial, handler, suffix, headers=headers, connection=connection
        )
        self.answer = self.connection.response()
        equal(self.answer.status, 101, "status of the handshake")
        expected = base64.b64encode(
            hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
        )
        equal(self.answer.header(b"sec-websocket-accept"), expected, "sec-websocket-accept")

    def send(
        self,
        opcode: int,
        payload: bytes,
        *,
        fin: bool = True,
        masked: bool = True,
        reserved: int = 0,
    ) -> None:
        """Send one frame."""
        self.connection.send(frame(opcode, payload, fin=fin, masked=masked, reserved=reserved))

    def text(self, text: str) -> None:
        """Send a text message."""
        self.send(TEXT, text.encode())

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame, empty without a code."""
        self.send(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())

    def receive(self, *, within: float = DEADLINE_SECONDS, skip: tuple[int, ...] = ()) -> Frame:
        """Read the next frame whose opcode is not to be skipped."""
        end = time.monotonic() + within
        while True:
            first, second = self.connection.exactly(2, end)
            check(not first & 0x70, "a reserved bit is set")
            check(not second & 0x80, "a server's frame is masked")
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self.connection.exactly(2, end))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.connection.exactly(8, end))
            received = Frame(first & 0x0F, self.connection.exactly(length, end), bool(first & 0x80))
            if received.opcode not in skip:
                return received

    def message(self) -> bytes | str:
        """Read one message, fragments joined, answering nothing."""
        parts: list[bytes] = []
        opcode = None
        while True:
            part = self.receive(skip=(PING, PONG))
            check(part.opcode != CLOSE, f"closed with {part.payload!r} where a message was due")
            opcode = part.opcode if opcode is None else opcode
            parts.append(part.payload)
            if part.fin:
                whole = b"".join(parts)
                return whole.decode() if opcode == TEXT else whole

    def closed(self, *, within: float = DEADLINE_SECONDS, reply: bool = True) -> tuple[int, str]:
        """Read up to the server's close frame and the end of the connection; return code and reason."""
        ended = self.receive(within=within, skip=(PING, PONG, TEXT, BINARY, CONTINUATION))
        payload = ended.payload
        check(len(payload) != 1, "a close frame of one byte")
        code = struct.unpack("!H", payload[:2])[0] if payload else NO_CODE
        if reply:
            self.send(CLOSE, payload[:2])
        self.connection.closed(within=6)
        return code, payload[2:].decode()


def frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
    length: int | None = None,
) -> bytes:
    """Return the bytes of one frame; `length` may lie about the payload."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (mask(payload) if masked else payload)


_MASK = b"\x37\xfa\x21\x3d"


def mask(payload: bytes) -> bytes:
    """Return `payload` behind a masking key."""
    if len(payload) < 4096:
        return _MASK + bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(_MASK)))
    keys = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    return _MASK + (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(
        len(payload), "big"
    )
