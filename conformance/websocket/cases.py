"""Group E: what a WebSocket peer may do wrong, and the close code that answers it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from conformance.case import MUST, SHOULD, Case, Suite
from conformance.client import Connection
from conformance.server import Options
from conformance.verdict import broken, check, equal
from conformance.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    WebSocket,
    frame,
    handshake,
)

if TYPE_CHECKING:
    from conformance.trial import Trial

SUITE = Suite("websocket")
NEEDS = frozenset({"websocket"})
MIB = 1 << 20


def closing(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


OPENING = frame(TEXT, b"a", fin=False)

# id, bytes after the handshake, acceptable close codes, title
LINES: list[tuple[str, bytes, tuple[int, ...], str]] = [
    ("E01-unmasked", frame(TEXT, b"a", masked=False), (1002,), "unmasked frame"),
    *(
        (f"E01-rsv{bit}", frame(TEXT, b"a", reserved=bit), (1002,), f"reserved bits {bit:03b}")
        for bit in (4, 2, 1)
    ),
    *(
        (f"E01-opcode-{code}", frame(code, b""), (1002,), f"opcode {code}")
        for code in (3, 7, 11, 15)
    ),
    ("E01-ping-part", frame(PING, b"", fin=False), (1002,), "fragmented ping"),
    ("E01-ping-126", frame(PING, b"x" * 126), (1002,), "ping of 126 bytes"),
    ("E01-close-126", closing(1000, b"x" * 124), (1002,), "close of 126 bytes"),
    ("E01-continuation", frame(CONTINUATION, b"a"), (1002,), "continuation first"),
    ("E01-text-inside", OPENING + frame(TEXT, b"b"), (1002,), "text inside a fragmented message"),
    *(
        (f"E02-{name}", frame(TEXT, text), (1007,), f"text {text!r}")
        for name, text in {
            "invalid": b"\xff\xfe",
            "surrogate": b"\xed\xa0\x80",
            "overlong": b"\xc0\xaf",
            "cut": b"a\xc3",
        }.items()
    ),
    (
        "E02-split",
        frame(TEXT, b"a\xed", fin=False) + frame(CONTINUATION, b"\xa0\x80"),
        (1007,),
        "invalid text split between frames",
    ),
    (
        "E02-fast",
        frame(TEXT, b"a\xff", fin=False),
        (1007,),
        "invalid text in a first fragment, at once",
    ),
    ("E02-reason", closing(1000, b"\xff"), (1007,), "close reason that is not UTF-8"),
    ("E03-one-byte", frame(CLOSE, b"\x03"), (1002,), "close of one byte"),
    *(
        (f"E03-{code}", closing(code), (1002,), f"close code {code}")
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    ),
    ("E04-2-63", frame(BINARY, b"abc", length=(1 << 63) + 5), (1002, 1009), "length of 2^63+5"),
    (
        "E04-1-gib",
        frame(BINARY, b"abc", length=1 << 30),
        (1009,),
        "length of 1 GiB, three bytes of it",
    ),
    ("E05-frame", frame(BINARY, bytes(17 * MIB)), (1009,), "frame of 17 MiB"),
    (
        "E05-fragments",
        frame(BINARY, bytes(MIB), fin=False) + frame(CONTINUATION, bytes(MIB), fin=False) * 69,
        (1009,),
        "70 fragments of 1 MiB",
    ),
    *(
        (
            f"E06-{size}",
            frame(BINARY, b"", fin=False) + frame(CONTINUATION, bytes(size), fin=False) * 200_000,
            (1008, 1009),
            f"200,000 fragments of {size} bytes",
        )
        for size in (1, 0)
    ),
]


def violates(trial: Trial, data: bytes, codes: tuple[int, ...]) -> None:
    """Send `data`; the socket closes with one of `codes`, the application hears of it, memory stays flat."""
    before = trial.server.memory()
    socket = WebSocket(trial, "ws-accept")
    socket.connection.send(data)
    code, _ = socket.closed()
    check(code in codes, f"close code is {code}, not {' or '.join(map(str, codes))}")
    trial.observer.wait(trial.tag, "message", count=2)
    grown = trial.server.memory() - before
    check(grown < 24 * MIB, f"memory grew by {grown >> 20} MiB")


for _id, _data, _codes, _title in LINES:

    def _run(trial: Trial, data: bytes = _data, codes: tuple[int, ...] = _codes) -> None:
        violates(trial, data, codes)

    SUITE.add(Case(id=_id, level=MUST, title=_title, run=_run, needs=NEEDS, hostile=True))


@SUITE.case("E03-valid", MUST, "valid close codes are echoed", needs=NEEDS)
def valid_codes(trial: Trial) -> None:
    for code in (1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999):
        trial.new_tag()
        socket = WebSocket(trial, "ws-echo")
        socket.close(code, "x")
        equal(socket.closed(reply=False)[0], code, "echoed code")


@SUITE.case(
    "E07",
    MUST,
    "the answers to pings of a peer that never reads are bounded",
    needs=NEEDS,
    hostile=True,
)
def ping_flood(trial: Trial) -> None:
    before = trial.server.memory()
    socket = WebSocket(trial, "ws-accept", connection=trial.connect(receive_buffer=65536))
    socket.connection.send_until_blocked(frame(PING, b"x" * 125) * 50_000)
    trial.server.ping()
    grown = trial.server.memory() - before
    check(grown < 4 * MIB, f"memory grew by {grown >> 20} MiB")


@SUITE.case(
    "E08",
    MUST,
    "a peer that never reads blocks send, then is given up",
    needs=NEEDS | {"timers"},
    on=Options(shrunk_timers=True),
)
def never_reads(trial: Trial) -> None:
    before = trial.server.memory()
    WebSocket(trial, "ws-flood", connection=trial.connect(receive_buffer=65536))
    error = trial.seen("flood-error", timeout=8)
    check(error["os_error"], f"send raised {error['class']}, not an OSError")
    grown = trial.server.memory() - before
    check(grown < 8 * MIB, f"memory grew by {grown >> 20} MiB")


@SUITE.case(
    "E09", MUST, "permessage-deflate is not negotiated, or bounded", needs=NEEDS, hostile=True
)
def deflate(trial: Trial) -> None:
    for offer in (
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    ):
        _offer(trial, offer)


@SUITE.case(
    "E10", SHOULD, "offers of extensions that make no sense are declined", needs=NEEDS, hostile=True
)
def senseless_offers(trial: Trial) -> None:
    for offer in (
        "permessage-deflate; server_max_window_bits=banana",
        "permessage-deflate; server_max_window_bits=; server_max_window_bits=99",
        "permessage-deflate; x=1; x=1, __proto__; constructor",
        ";;,,==",
        "x" * 8000,
    ):
        _offer(trial, offer)


def _offer(trial: Trial, offer: str) -> None:
    trial.new_tag()
    connection, _ = handshake(trial, "ws-echo", headers=[f"Sec-WebSocket-Extensions: {offer}"])
    answer = connection.response()
    check(answer.status in (101, 400), f"{offer!r} answers {answer.status}")
    if answer.all(b"sec-websocket-extensions"):
        broken(
            f"negotiates {answer.all(b'sec-websocket-extensions')}, for which no case exists yet"
        )


@SUITE.case(
    "E12",
    MUST,
    "a closing handshake ends within five seconds on either side",
    needs=NEEDS,
    hostile=True,
)
def closing_ends(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-echo")
    socket.close(1000)
    socket.closed(reply=False)
    trial.new_tag()
    socket = WebSocket(trial, "ws-send", "/close")
    socket.closed(reply=False)


@SUITE.case(
    "E12-half",
    MUST,
    "data after the peer's close frame is not delivered",
    needs=NEEDS,
    hostile=True,
)
def data_after_close(trial: Trial) -> None:
    socket = WebSocket(trial, "ws-accept")
    socket.connection.send(closing(1000) + frame(TEXT, b"late"))
    socket.closed(reply=False)
    trial.observer.wait(trial.tag, "message", count=2)
    kinds = [message["type"] for message in trial.observer.settled(trial.tag, "message")]
    equal(kinds, ["websocket.connect", "websocket.disconnect"], "messages")


@SUITE.case("E13", MUST, "a reset ends the application's call with 1006", needs=NEEDS, hostile=True)
def reset(trial: Trial) -> None:
    for leave in (Connection.reset, Connection.close):
        trial.new_tag()
        socket = WebSocket(trial, "ws-echo")
        leave(socket.connection)
        equal(trial.seen("disconnect", timeout=1)["code"], 1006, "code")


@SUITE.case("E18", MUST, "an application that raises closes its own socket only", needs=NEEDS)
def application_raises(trial: Trial) -> None:
    other = WebSocket(trial, "ws-echo")
    trial.new_tag()
    code, _ = WebSocket(trial, "ws-end", "/after-raise").closed()
    equal(code, 1011, "close code")
    other.text("still here")
    equal(other.message(), "still here", "message on another socket")


SUITE.left_out(
    "E16",
    "foreign Origin",
    "an ASGI application decides for itself; suite streams has the native API",
)
SUITE.left_out("E21", "authentication", "suite streams has the native API")
