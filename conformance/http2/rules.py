"""What h2spec tests, section by section of RFC 9113 and RFC 7541, in frames of our own client.

h2spec itself is a Go program that no package index has. Its cases are small: a state of stream 1,
some frames, and one of four outcomes. Those that are not in `cases` already are the lines below; an
id is `R`, the section and what is sent. A connection error may be a GOAWAY with one of the codes or
the end of the connection; a stream error may be a reset with one of the codes too. PROTOCOL_ERROR, the
unspecific code (RFC 9113 §7), may stand for STREAM_CLOSED.
"""

from __future__ import annotations

import dataclasses
import struct
import time
from typing import TYPE_CHECKING

from conformance.case import MUST, Case
from conformance.client import DEADLINE_SECONDS, ClosedError
from conformance.http2.cases import GET, NEEDS, SUITE, case, window
from conformance.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    WebSocketStream,
    frame,
    pseudo,
)
from conformance.verdict import NotApplicableError, check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
COMPRESSION_ERROR = 0x9
PRIORITIZED = 0x20
FRAME_BYTES = 1 << 14

# ---- what state stream 1 is in ----

IDLE, OPEN, HALF_CLOSED, RESET, ENDED = "idle", "open", "half-closed", "reset", "ended"


def enter(client: Http2, state: str) -> None:
    """Bring stream 1 into `state`."""
    if state == IDLE:
        return
    if state == ENDED:
        client.ending(client.request("echo"))
        return
    client.request("receive-for-ever", open=state != HALF_CLOSED)
    if state == RESET:
        client.reset(1)


# ---- what may come of it ----


@dataclasses.dataclass(frozen=True)
class Lives:
    """The connection answers another request."""


@dataclasses.dataclass(frozen=True)
class Breaks:
    """An error with one of these codes."""

    codes: tuple[int, ...]
    stream: bool = False  # of the stream, for which one of the connection may stand too


LIVES = Lives()


def connection_error(*codes: int) -> Breaks:
    """Return the outcome that ends the connection."""
    return Breaks(codes)


def stream_error(*codes: int) -> Breaks:
    """Return the outcome that ends stream 1."""
    return Breaks(codes, stream=True)


def outcome(client: Http2) -> str:
    """Return `goaway 0x1`, `reset 0x5` (of stream 1), `closed`, or `alive`."""
    try:
        for _ in range(2):  # the answer to a PING may overtake a reset
            client.alive()
            if client.went_away is not None or 1 in client.resets:
                break
    except ClosedError:
        if client.went_away is None:
            return "closed"
    if client.went_away is not None:
        return f"goaway {client.went_away:#x}"
    return f"reset {client.resets[1]:#x}" if 1 in client.resets else "alive"


def judge(client: Http2, expected: Lives | Breaks) -> None:
    """Check that what was sent has come to what was expected."""
    found = outcome(client)
    if isinstance(expected, Lives):
        equal(found, "alive", "outcome")
        client._next = max(client._next, 101)  # noqa: SLF001 - above every stream of the table
        equal(client.ask("echo", method="POST", body=b"x").body, b"x", "body of a later request")
        return
    allowed = {"closed", *(f"goaway {code:#x}" for code in expected.codes)}
    if expected.stream:
        allowed |= {f"reset {code:#x}" for code in expected.codes}
    check(found in allowed, f"{found} instead of {sorted(allowed)}")


def setting(number: int, value: int) -> bytes:
    """Return one entry of SETTINGS."""
    return struct.pack("!HI", number, value)


def depends_on(stream: int, weight: int = 16, *, exclusive: bool = False) -> bytes:
    """Return the payload of PRIORITY."""
    return struct.pack("!IB", stream | exclusive << 31, weight - 1)


HEAD = END_HEADERS | END_STREAM
DATA_1 = frame(DATA, END_STREAM, 1, b"x")
HEADERS_1 = frame(HEADERS, HEAD, 1, GET)
CONTINUATION_1 = frame(CONTINUATION, END_HEADERS, 1, GET)
PING_FRAME = frame(PING, 0, 0, b"12345678")

RULES: list[tuple[str, str, str, bytes, Lives | Breaks]] = [
    # RFC 9113, 4.1: frame format
    ("4.1-flags", "undefined flags are ignored", IDLE, frame(PING, 0x16, 0, b"12345678"), LIVES),
    ("4.1-reserved", "the reserved bit is ignored", IDLE, frame(PING, 0, 1 << 31, b"12345678"), LIVES),
    # 4.2: frame size
    ("4.2-data", "DATA of 2^14 bytes is taken", OPEN, frame(DATA, 0, 1, bytes(FRAME_BYTES)), LIVES),
    ("4.2-headers", "HEADERS of more than 2^14 bytes", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x90" * FRAME_BYTES), connection_error(FRAME_SIZE_ERROR)),
    # 4.3: field section compression
    ("4.3-priority", "PRIORITY inside a header block", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(PRIORITY, 0, 1, depends_on(0)), connection_error(PROTOCOL_ERROR)),
    ("4.3-headers", "HEADERS of another stream inside a header block", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(HEADERS, HEAD, 3, GET), connection_error(PROTOCOL_ERROR)),
    # 5.1: stream states
    ("5.1-idle-priority", "PRIORITY on an idle stream is ignored", IDLE, frame(PRIORITY, 0, 1, depends_on(0)), LIVES),
    ("5.1-idle-continuation", "CONTINUATION on an idle stream", IDLE, CONTINUATION_1, connection_error(PROTOCOL_ERROR)),
    ("5.1-half-data", "DATA on a half-closed stream", HALF_CLOSED, DATA_1, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-half-headers", "HEADERS on a half-closed stream", HALF_CLOSED, HEADERS_1, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-half-continuation", "CONTINUATION on a half-closed stream", HALF_CLOSED, CONTINUATION_1, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-half-window", "WINDOW_UPDATE on a half-closed stream is fine", HALF_CLOSED, frame(WINDOW_UPDATE, 0, 1, window(1)), LIVES),
    ("5.1-half-priority", "PRIORITY on a half-closed stream is fine", HALF_CLOSED, frame(PRIORITY, 0, 1, depends_on(0)), LIVES),
    ("5.1-half-reset", "RST_STREAM on a half-closed stream is fine", HALF_CLOSED, frame(RST_STREAM, 0, 1, window(8)), LIVES),
    ("5.1-reset-data", "DATA on a stream that the client has reset", RESET, DATA_1, stream_error(STREAM_CLOSED)),
    ("5.1-reset-headers", "HEADERS on a stream that the client has reset", RESET, HEADERS_1, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-reset-continuation", "CONTINUATION on a stream that the client has reset", RESET, CONTINUATION_1, stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-reset-priority", "PRIORITY on a stream that the client has reset is fine", RESET, frame(PRIORITY, 0, 1, depends_on(0)), LIVES),
    ("5.1-ended-data", "DATA on a stream that has ended", ENDED, DATA_1, stream_error(STREAM_CLOSED)),
    ("5.1-ended-headers", "HEADERS on a stream that has ended", ENDED, HEADERS_1, connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-ended-continuation", "CONTINUATION on a stream that has ended", ENDED, CONTINUATION_1, connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1-ended-window", "WINDOW_UPDATE and RST_STREAM on a stream that has ended are ignored", ENDED, frame(WINDOW_UPDATE, 0, 1, window(1)) + frame(RST_STREAM, 0, 1, window(8)), LIVES),
    ("5.1-ended-priority", "PRIORITY on a stream that has ended is ignored", ENDED, frame(PRIORITY, 0, 1, depends_on(0)), LIVES),
    # 5.3 (RFC 7540 5.3.1): a stream that depends on itself
    ("5.3-headers", "HEADERS of a stream that depends on itself", IDLE, frame(HEADERS, HEAD | PRIORITIZED, 1, depends_on(1) + GET), stream_error(PROTOCOL_ERROR)),
    ("5.3-priority", "PRIORITY of a stream that depends on itself", OPEN, frame(PRIORITY, 0, 1, depends_on(1)), stream_error(PROTOCOL_ERROR)),
    ("5.3-values", "every weight, exclusive or not, on any stream", IDLE, b"".join(frame(PRIORITY, 0, 2 * weight + 1, depends_on(0, weight, exclusive=weight % 2 == 0)) for weight in range(1, 257)), LIVES),
    # 5.5: extensions
    ("5.5-block", "an unknown frame inside a header block", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(0xBE, 0, 1, b"x"), connection_error(PROTOCOL_ERROR)),
    # 6.1, 6.2: DATA and HEADERS
    ("6.1-padding", "DATA with padding of zero length and of 255 bytes", OPEN, frame(DATA, PADDED, 1, b"\0x") + frame(DATA, PADDED, 1, b"\xffx" + bytes(255)), LIVES),
    ("6.1-all-padding", "DATA whose padding is as long as the payload", OPEN, frame(DATA, PADDED, 1, b"\x06hello"), connection_error(PROTOCOL_ERROR)),
    ("6.2-padding", "HEADERS with padding longer than the frame", IDLE, frame(HEADERS, HEAD | PADDED, 1, b"\xff" + GET), connection_error(PROTOCOL_ERROR)),
    ("6.2-priority", "HEADERS shorter than its priority", IDLE, frame(HEADERS, HEAD | PRIORITIZED, 1, b"\0\0\0"), connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    # 6.3, 6.4: PRIORITY and RST_STREAM
    ("6.3-stream", "PRIORITY on stream 0", IDLE, frame(PRIORITY, 0, 0, depends_on(0)), connection_error(PROTOCOL_ERROR)),
    ("6.3-size", "PRIORITY of 4 bytes", OPEN, frame(PRIORITY, 0, 1, bytes(4)), stream_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("6.4-long", "RST_STREAM of 5 bytes", OPEN, frame(RST_STREAM, 0, 1, bytes(5)), connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    # 6.5: SETTINGS
    ("6.5-frame-size", "SETTINGS_MAX_FRAME_SIZE of 2^24", IDLE, frame(SETTINGS, 0, 0, setting(5, 1 << 24)), connection_error(PROTOCOL_ERROR)),
    ("6.5-many", "all settings at once, with unknown ones", IDLE, frame(SETTINGS, 0, 0, b"".join(setting(number, value) for number, value in ((1, 0), (2, 0), (3, 0), (4, 65535), (5, 1 << 14), (6, 100), (7, 1), (0xFFFF, 9)))), LIVES),
    # 6.7, 6.8: PING and GOAWAY
    ("6.7-ack", "an answer to no PING is ignored", IDLE, frame(PING, ACK, 0, b"12345678"), LIVES),
    ("6.7-long", "PING of 9 bytes", IDLE, frame(PING, 0, 0, bytes(9)), connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ("6.8-stream", "GOAWAY on a stream", IDLE, frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    # 6.9: WINDOW_UPDATE
    ("6.9-overflow", "WINDOW_UPDATE beyond 2^31-1 on a stream", OPEN, frame(WINDOW_UPDATE, 0, 1, window((1 << 31) - 1)) * 2, stream_error(FLOW_CONTROL_ERROR)),
    # 6.10: CONTINUATION
    ("6.10-stream", "CONTINUATION on stream 0", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(CONTINUATION, END_HEADERS, 0), connection_error(PROTOCOL_ERROR)),
    ("6.10-headers", "CONTINUATION after a block that has ended", OPEN, CONTINUATION_1, connection_error(PROTOCOL_ERROR)),
    ("6.10-continuation", "CONTINUATION after a CONTINUATION that ended the block", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(CONTINUATION, END_HEADERS, 1) * 2, connection_error(PROTOCOL_ERROR)),
    ("6.10-data", "CONTINUATION after DATA", OPEN, frame(DATA, 0, 1, b"x") + CONTINUATION_1, connection_error(PROTOCOL_ERROR)),
    ("6.10-reset", "RST_STREAM inside a header block", IDLE, frame(HEADERS, END_STREAM, 1, GET) + frame(CONTINUATION, 0, 1) + frame(RST_STREAM, 0, 1, window(8)), connection_error(PROTOCOL_ERROR)),
    # 7: error codes
    ("7-reset", "RST_STREAM with an unknown code", OPEN, frame(RST_STREAM, 0, 1, window(0xFF)), LIVES),
    # 8.1: messages
    ("8.1-second-headers", "a second HEADERS that does not end the stream", OPEN, frame(HEADERS, END_HEADERS, 1, b"\x00\x01x\x01y"), stream_error(PROTOCOL_ERROR)),
    ("8.1-trailer-pseudo", "a pseudo-header in trailers", OPEN, frame(HEADERS, HEAD, 1, b"\x82"), stream_error(PROTOCOL_ERROR)),
    ("8.1-trailer-connection", "connection in trailers", OPEN, frame(HEADERS, HEAD, 1, b"\x00\x0aconnection\x05close"), stream_error(PROTOCOL_ERROR)),
    # RFC 7541
    ("hpack-2.3.3", "a name beyond the table", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x7f\x0f\x01x"), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ("hpack-4.2", "a table size at the end of a block", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x20"), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ("hpack-5.2-long", "Huffman padding of more than 7 bits", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x00\x85\xf2\xb2\x4a\x84\xff\x81x"), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ("hpack-5.2-zero", "Huffman padding of zeros", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x00\x01x\x81\xf0"), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ("hpack-5.2-eos", "a Huffman string with EOS in it", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x00\x01x\x88" + b"\xff" * 8), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ("hpack-6.1", "index 0", IDLE, frame(HEADERS, HEAD, 1, GET + b"\x80"), connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
]  # fmt: skip

for _id, _title, _state, _sent, _expected in RULES:

    def _run(
        trial: Trial, state: str = _state, sent: bytes = _sent, expected: Lives | Breaks = _expected
    ) -> None:
        client = Http2(trial)
        enter(client, state)
        client.connection.send(sent)
        judge(client, expected)

    SUITE.add(Case(id=f"R{_id}", level=MUST, title=_title, run=_run, needs=NEEDS, hostile=True))


# ---- what needs more than frames and an outcome ----


def first_data(client: Http2, stream: int) -> bytes:
    """Return the payload of the first DATA frame on `stream`."""
    while True:
        received = client._read(time.monotonic() + DEADLINE_SECONDS)  # noqa: SLF001
        if received.type == DATA and received.stream == stream:
            return received.payload


@case("R6.5-last", "of two values of a setting the last one counts")
def last_setting(trial: Trial) -> None:
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 1})
    values = setting(INITIAL_WINDOW_SIZE, 100) + setting(INITIAL_WINDOW_SIZE, 3)
    client.frame(SETTINGS, payload=values)
    equal(len(first_data(client, client.request("flood"))), 3, "bytes in the window")


@case("R6.5-acknowledged", "SETTINGS are acknowledged, and PING comes back as it was")
def acknowledged(trial: Trial) -> None:
    client = Http2(trial)
    client.frame(SETTINGS)
    client.connection.send(PING_FRAME)
    seen: set[tuple[int, bytes]] = set()
    while not seen >= {(SETTINGS, b""), (PING, b"12345678")}:
        received = client._read(time.monotonic() + DEADLINE_SECONDS)  # noqa: SLF001
        if received.flags & ACK:
            seen.add((received.type, received.payload))


@case("R6.9.1-one", "a window of one byte gives one byte of DATA")
def one_byte(trial: Trial) -> None:
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 1})
    equal(first_data(client, client.request("echo", method="POST", body=b"abc")), b"a", "DATA")


@case("R6.9.2-later", "a window that opens by SETTINGS after the request lets the response go")
def later_window(trial: Trial) -> None:
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 0})
    stream = client.request("echo", method="POST", body=b"abc")
    client.alive()
    equal(
        client.answers[stream].body if stream in client.answers else b"",
        b"",
        "body behind a closed window",
    )
    client.frame(SETTINGS, payload=setting(INITIAL_WINDOW_SIZE, 1))
    equal(client.response(stream).body, b"abc", "body")


@case("R6.10-many", "a header block in many CONTINUATION frames")
def many_continuations(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.new_stream()
    block = client.block(pseudo(trial.target("scope")))
    third = len(block) // 3
    client.frame(HEADERS, END_STREAM, stream, block[:third])
    client.frame(CONTINUATION, 0, stream, block[third:-1])
    client.frame(CONTINUATION, END_HEADERS, stream, block[-1:])
    equal(client.ending(stream), "200", "answer")


@case("R7-goaway", "GOAWAY with an unknown code lets streams finish")
def unknown_goaway(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.request("echo", method="POST", open=True)
    client.frame(GOAWAY, payload=struct.pack("!II", 0, 0xFF))
    client.frame(DATA, END_STREAM, stream, b"last")
    equal(client.response(stream).body, b"last", "body")
    client.connection.rest()


@case("R8.1-trailers", "trailers end a request")
def trailers(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.request("echo", method="POST", open=True)
    client.frame(DATA, 0, stream, b"body")
    client.send_fields([("x-checksum", "1")], stream=stream)
    equal(client.response(stream).body, b"body", "body")


@case("R8.1.1-parts", "several DATA frames that do not add up to content-length")
def wrong_sum(trial: Trial) -> None:
    for first, second in ((b"ab", b"cd"), (b"a", b"b")):
        client = Http2(trial)
        fields = [*pseudo("/echo/x", method="POST"), ("content-length", "3")]
        stream = client.send_fields(fields, end=False)
        client.frame(DATA, 0, stream, first)
        client.frame(DATA, END_STREAM, stream, second)
        found = client.ending(stream)
        check(found in ("reset 0x1", "goaway 0x1", "400", "closed"), f"ends with {found}")


@case("R8.3.1-two-schemes", "two :scheme")
def two_schemes(trial: Trial) -> None:
    client = Http2(trial)
    found = client.ending(client.send_fields([*pseudo("/scope/x"), (":scheme", "http")]))
    check(found in ("reset 0x1", "goaway 0x1", "400"), f"ends with {found}")


@case("R-hpack-forms", "every form of a field: indexed, with and without indexing, Huffman or not")
def hpack_forms(trial: Trial) -> None:
    client = Http2(trial)
    block = client.encoder.encode(pseudo("/ping"), huffman=True)
    stream = client.new_stream()
    client.frame(HEADERS, HEAD, stream, block)
    equal(client.ending(stream), "200", "answer to a Huffman block")
    path = f"/scope/{trial.tag}".encode()
    block = (
        b"\x3f\xe1\x1f"  # a table of 4,096 bytes, as before
        b"\x82\x86"  # indexed
        + b"\x04" + bytes([len(path)]) + path  # without indexing, indexed name
        + b"\x41\x01a"  # with indexing, indexed name
        b"\x40\x02xa\x011"  # with indexing, new name
        b"\x00\x02xb\x012"  # without indexing, new name
        b"\x10\x02xc\x013"  # never indexed
    )  # fmt: skip
    stream = client.new_stream()
    client.frame(HEADERS, HEAD, stream, block + b"\xbe")  # and the entry that was made last
    equal(client.ending(stream), "200", "answer")
    fields = [pair for pair in trial.seen("scope")["headers"] if pair[0].startswith(b"x")]
    expected = [(b"xa", b"1"), (b"xb", b"2"), (b"xc", b"3"), (b"xa", b"1")]
    equal(sorted(map(tuple, fields)), sorted(expected), "fields")


@case("D27", "extended CONNECT: WebSocket works, another protocol is refused")
def extended_connect(trial: Trial) -> None:
    client = Http2(trial)
    if not client.settings.get(ENABLE_CONNECT_PROTOCOL):
        raise NotApplicableError("SETTINGS_ENABLE_CONNECT_PROTOCOL is not sent")
    stream = WebSocketStream(client, "ws-echo")
    stream.text("over h2")
    equal(stream.text_received(), "over h2", "message")
    connect = pseudo(trial.target("scope"), method="CONNECT")
    for name, fields in (
        ("another protocol", [*connect, (":protocol", "connect-udp")]),
        ("no protocol", connect),
        (
            "no path",
            [pair for pair in connect if pair[0] != ":path"] + [(":protocol", "websocket")],
        ),
    ):
        found = client.ending(client.send_fields(fields))
        refused = found[:1] in ("4", "5") and found != "500"
        check(refused or found.startswith("reset"), f"{name} ends with {found}")
    client.alive()
