"""A small HTTP/2 client made of raw frames (RFC 9113): well-behaved by its methods, hostile by `frame` and `block`."""

from __future__ import annotations

import dataclasses
import struct
import time
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder, HPACKError

from conformance import websocket_client
from conformance.client import DEADLINE_SECONDS, ClosedError, Connection
from conformance.verdict import BrokenError, broken, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.trial import Trial

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
) = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x3, 0x8, 0xB
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, ENABLE_CONNECT_PROTOCOL = 0x4, 0x3, 0x8
DEFAULT_WINDOW = 65535
_CREDIT = 1 << 24

Fields = list[tuple[str, str]]


class StreamResetError(BrokenError):
    """The server reset the stream; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset with {code:#x}")
        self.code = code


class GoneAwayError(BrokenError):
    """The server sent GOAWAY with an error; `code` says which."""

    def __init__(self, code: int) -> None:
        super().__init__(f"GOAWAY with {code:#x}")
        self.code = code


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame."""

    type: int
    flags: int
    stream: int
    payload: bytes


@dataclasses.dataclass
class Response:
    """An answer on one stream; the headers hold no pseudo headers."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    interim: list[Response] = dataclasses.field(default_factory=list)
    ended: bool = False

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every header called `name`."""
        return [value for key, value in self.headers if key == name]


class Http2:
    """One HTTP/2 connection with prior knowledge (or ALPN, given a TLS connection that negotiated it)."""

    def __init__(
        self,
        trial: Trial,
        *,
        connection: Connection | None = None,
        settings: dict[int, int] | None = None,
        credit: int = _CREDIT,
    ) -> None:
        self.trial = trial
        self.connection = connection or trial.connect()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.settings: dict[int, int] = {}
        self.went_away: int | None = None
        self.resets: dict[int, int] = {}
        self.answers: dict[int, Response] = {}
        self._next = 1
        self.connection.send(PREFACE)
        self.frame(
            SETTINGS,
            payload=b"".join(
                struct.pack("!HI", key, value) for key, value in (settings or {}).items()
            ),
        )
        if credit:
            self.frame(WINDOW_UPDATE, payload=struct.pack("!I", credit))
        self.until(lambda: bool(self.settings))

    # ---- well-behaved ----

    def request(
        self,
        handler: str,
        suffix: str = "",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        authority: str = "a",
        tag: str = "",
        open: bool = False,
    ) -> int:
        """Send a request and return its stream; with `open` its end is left to the caller."""
        path = f"/{handler}/{tag or self.trial.tag}{suffix}"
        fields = [*pseudo(path, method=method, authority=authority), *headers]
        stream = self.send_fields(fields, end=body is None and not open)
        if body is not None:
            self.frame(DATA, 0 if open else END_STREAM, stream, body)
        return stream

    def ask(
        self,
        handler: str,
        suffix: str = "",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        authority: str = "a",
        tag: str = "",
    ) -> Response:
        """Send a request and return its answer."""
        return self.response(
            self.request(
                handler,
                suffix,
                method=method,
                body=body,
                headers=headers,
                authority=authority,
                tag=tag,
            )
        )

    def try_ask(
        self, handler: str, *, authority: str = "a", headers: Iterable[tuple[str, str]] = ()
    ) -> Response | None:
        """Send a request and return its answer, None if the server resets the stream or goes away."""
        try:
            return self.ask(handler, authority=authority, headers=headers)
        except (StreamResetError, GoneAwayError, ClosedError):
            return None

    def response(self, stream: int, *, within: float = DEADLINE_SECONDS) -> Response:
        """Read the whole answer on `stream`.

        Raises:
            StreamResetError: it was reset, also after a part of the answer.
            GoneAwayError: the server ended the connection with an error.
        """
        self.until(
            lambda: self._answer(stream).ended or stream in self.resets or bool(self.went_away),
            within=within,
        )
        if not self._answer(stream).ended:
            if stream in self.resets:
                raise StreamResetError(self.resets[stream])
            raise GoneAwayError(self.went_away or 0)
        return self._answer(stream)

    def reset(self, stream: int, code: int = CANCEL) -> None:
        """Send RST_STREAM."""
        self.frame(RST_STREAM, 0, stream, struct.pack("!I", code))

    # ---- raw ----

    def frame(self, type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame of any shape."""
        self.connection.send(frame(type, flags, stream, payload))

    def block(self, fields: Fields) -> bytes:
        """Return the header block of `fields`, names and values as they are."""
        return self.encoder.encode(fields, huffman=False)

    def new_stream(self) -> int:
        """Return the next stream's number."""
        self._next += 2
        return self._next - 2

    def send_fields(self, fields: Fields, *, end: bool = True, stream: int | None = None) -> int:
        """Send `fields` as one HEADERS frame on a new stream and return its number."""
        stream = stream or self.new_stream()
        self.frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields))
        return stream

    def until(self, done: Callable[[], bool], *, within: float = DEADLINE_SECONDS) -> None:
        """Read frames until `done()`.

        Raises:
            BrokenError: the deadline passed, or the connection ended.
        """
        end = time.monotonic() + within
        while not done():
            self._take(self._read(end))

    def ending(self, stream: int, *, within: float = DEADLINE_SECONDS) -> str:
        """Return how `stream` ends: `200`, `reset 0x1`, `goaway 0x1` or `closed`."""
        try:
            return str(self.response(stream, within=within).status)
        except StreamResetError as error:
            return f"reset {error.code:#x}"
        except GoneAwayError as error:
            return f"goaway {error.code:#x}"
        except ClosedError:
            return f"goaway {self.went_away:#x}" if self.went_away else "closed"

    def goaway(self, *, within: float = DEADLINE_SECONDS) -> int:
        """Read up to GOAWAY (or the end of the connection without one: -1) and return its code."""
        try:
            self.until(lambda: self.went_away is not None, within=within)
        except ClosedError:
            return -1 if self.went_away is None else self.went_away
        return self.went_away or 0

    def alive(self) -> None:
        """Check that the connection still answers a PING."""
        self._pong = False
        self.frame(PING, payload=b"alive?!?")
        self.until(lambda: self._pong)

    _pong = False

    def _answer(self, stream: int) -> Response:
        return self.answers.setdefault(stream, Response())

    def _read(self, end: float) -> Frame:
        head = self.connection.exactly(9, end)
        length, type, flags, stream = (
            int.from_bytes(head[:3], "big"),
            head[3],
            head[4],
            int.from_bytes(head[5:], "big"),
        )
        payload = self.connection.exactly(length, end)
        if type in (HEADERS, CONTINUATION) and not flags & END_HEADERS:
            more = self._read(end)
            check(
                (more.type, more.stream) == (CONTINUATION, stream), "a header block is interrupted"
            )
            return Frame(type, flags | more.flags & END_HEADERS, stream, payload + more.payload)
        return Frame(type, flags, stream, payload)

    def _take(self, received: Frame) -> None:
        type, flags, stream, payload = (
            received.type,
            received.flags,
            received.stream,
            received.payload,
        )
        if type == SETTINGS and not flags & ACK:
            self.settings |= dict(struct.iter_unpack("!HI", payload)) or {0: 0}
            self.frame(SETTINGS, ACK)
        elif type == PING:
            if flags & ACK:
                self._pong = True
            else:
                self.frame(PING, ACK, payload=payload)
        elif type == GOAWAY:
            self.went_away = int.from_bytes(payload[4:8], "big")
        elif type == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif type == DATA:
            self._answer(stream).body += payload
            if payload:
                self.frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", len(payload)))
            self._answer(stream).ended = bool(flags & END_STREAM)
        elif type == HEADERS:
            self._fields(self._answer(stream), payload, ended=bool(flags & END_STREAM))
        elif type == PUSH_PROMISE:
            broken("the server pushes")

    def _fields(self, answer: Response, block: bytes, *, ended: bool) -> None:
        try:
            fields = [
                (bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)
            ]
        except HPACKError as error:
            broken(f"header block: {error}")
        answer.ended = ended
        status = dict(fields).get(b":status")
        if status is None:
            answer.trailers = fields
            return
        regular = [pair for pair in fields if not pair[0].startswith(b":")]
        check(
            not [
                name
                for name, _ in regular
                if name in (b"connection", b"transfer-encoding", b"keep-alive")
            ],
            "a connection header on HTTP/2",
        )
        if int(status) < 200:
            answer.interim.append(Response(int(status), regular))
        else:
            answer.status, answer.headers = int(status), regular


class WebSocketStream:
    """A WebSocket on one HTTP/2 stream (RFC 8441); `status` is the answer to the extended CONNECT."""

    def __init__(
        self,
        client: Http2,
        handler: str,
        suffix: str = "",
        *,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.client = client
        path = f"/{handler}/{client.trial.tag}{suffix}"
        fields = [
            *pseudo(path, method="CONNECT"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
        ]
        fields += headers
        self.stream = client.send_fields(fields, end=False)
        client.until(lambda: self._answer.status > 0 or self.stream in client.resets)
        self.status = self._answer.status
        self._read = 0

    @property
    def _answer(self) -> Response:
        return self.client.answers.setdefault(self.stream, Response())

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Send DATA."""
        self.client.frame(DATA, END_STREAM if end else 0, self.stream, data)

    def text(self, text: str) -> None:
        """Send a text message."""
        self.send(websocket_client.frame(websocket_client.TEXT, text.encode()))

    def text_received(self) -> str:
        """Read one short text message."""
        return self._frame(websocket_client.TEXT).decode()

    def closed(self) -> tuple[int, str]:
        """Read up to the close frame and return its code and reason."""
        payload = self._frame(websocket_client.CLOSE)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def _frame(self, opcode: int) -> bytes:
        self._until(2)
        head = self._answer.body[self._read : self._read + 2]
        check(head[0] == 0x80 | opcode, f"frame begins with {head!r}")
        self._until(2 + head[1])
        self._read += 2 + head[1]
        return self._answer.body[self._read - head[1] : self._read]

    def _until(self, count: int) -> None:
        self.client.until(lambda: len(self._answer.body) >= self._read + count)


def pseudo(path: str, *, method: str = "GET", authority: str = "a", scheme: str = "http") -> Fields:
    """Return the four pseudo headers of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]


def frame(type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return (
        len(payload).to_bytes(3, "big") + bytes([type, flags]) + stream.to_bytes(4, "big") + payload
    )
