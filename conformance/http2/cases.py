"""Group D and the rules of RFC 9113 that a client can break: what each ends in."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from conformance.case import MUST, Case, Suite
from conformance.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    frame,
    pseudo,
)
from conformance.verdict import BrokenError, check, equal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.trial import Trial

SUITE = Suite("http2")
NEEDS = frozenset({"http2"})
MIB = 1 << 20
MAX_WINDOW = (1 << 31) - 1
REFUSED = ("reset 0x1", "goaway 0x1", "400")  # ways to refuse a malformed request


def case(id: str, title: str) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a hostile case of HTTP/2."""
    return SUITE.case(id, MUST, title, needs=NEEDS, hostile=True)


def window(increment: int) -> bytes:
    """Return the payload of WINDOW_UPDATE."""
    return struct.pack("!I", increment)


# ---- D17 to D23: fields; every line is a request that has to be refused ----

PATH = "/scope/x"
PSEUDO = pseudo(PATH)
Fields = list[tuple[str, str]]

FIELDS: list[tuple[str, str, Fields]] = [
    ("D17-upper-case", "upper-case name", [*PSEUDO, ("X-Upper", "a")]),
    ("D17-connection", "connection", [*PSEUDO, ("connection", "close")]),
    ("D17-keep-alive", "keep-alive", [*PSEUDO, ("keep-alive", "1")]),
    ("D17-proxy-connection", "proxy-connection", [*PSEUDO, ("proxy-connection", "close")]),
    ("D17-upgrade", "upgrade", [*PSEUDO, ("upgrade", "websocket")]),
    ("D17-te", "te: gzip", [*PSEUDO, ("te", "gzip")]),
    ("D17-transfer-encoding", "transfer-encoding", [*PSEUDO, ("transfer-encoding", "chunked")]),
    *(
        (f"D17-{name}", f"field {field[0]!r}: {field[1]!r}", [*PSEUDO, field])
        for name, field in {
            "cr": ("x", "a\rb"),
            "lf": ("x", "a\nb"),
            "crlf": ("x", "a\r\ny: b"),
            "nul": ("x", "a\0b"),
            "crlf-name": ("x\r\ny", "b"),
            "nul-name": ("x\0", "b"),
            "colon-name": ("x:y", "b"),
            "space-name": ("x y", "b"),
            "empty-name": ("", "b"),
        }.items()
    ),
    ("D18-no-method", "no :method", [pair for pair in PSEUDO if pair[0] != ":method"]),
    ("D18-no-scheme", "no :scheme", [pair for pair in PSEUDO if pair[0] != ":scheme"]),
    ("D18-no-path", "no :path", [pair for pair in PSEUDO if pair[0] != ":path"]),
    ("D18-twice", "two :path", [*PSEUDO, (":path", PATH)]),
    ("D18-two-methods", "two :method", [*PSEUDO, (":method", "POST")]),
    ("D18-late", "pseudo header after a field", [*PSEUDO[:3], ("x", "a"), PSEUDO[3]]),
    ("D18-unknown", "unknown pseudo header", [*PSEUDO, (":unknown", "a")]),
    ("D18-status", ":status in a request", [*PSEUDO, (":status", "200")]),
    *((f"D19-{name}", f":path {path!r}", pseudo(path)) for name, path in {
        "no-slash": "foo", "empty": "", "space": "/a b", "absolute": "http://evil/x", "crlf": "/\r\nx", "nul": "/a\0",
    }.items()),
    ("D21-method", ":method with a request line in it", pseudo(PATH, method="GET / HTTP/1.1")),
    ("D21-empty-method", "empty :method", pseudo(PATH, method="")),
    ("D21-scheme", ":scheme http://x", pseudo(PATH, scheme="http://x")),
    ("D21-authority", ":authority with a path", pseudo(PATH, authority="a/b@c d")),
    ("D21-two-hosts", "host that conflicts with :authority", [*PSEUDO, ("host", "b")]),
]  # fmt: skip


def _refused(trial: Trial, fields: Fields) -> None:
    client = Http2(trial)
    found = client.ending(client.send_fields(fields))
    check(found in REFUSED, f"ends with {found}")
    trial.server.ping()
    equal(trial.observer.all("x", "smug"), [], "marker requests")


for _id, _title, _fields in FIELDS:

    def _run(trial: Trial, fields: Fields = _fields) -> None:
        _refused(trial, fields)

    SUITE.add(Case(id=_id, level=MUST, title=_title, run=_run, needs=NEEDS, hostile=True))


@case("D17-te-trailers", "te: trailers is allowed, so is an absent :authority with host")
def allowed_fields(trial: Trial) -> None:
    client = Http2(trial)
    equal(client.ending(client.send_fields([*PSEUDO, ("te", "trailers")])), "200", "answer")
    without = [pair for pair in PSEUDO if pair[0] != ":authority"]
    equal(client.ending(client.send_fields([*without, ("host", "a")])), "200", "answer")


@case("D19-fragment", "a fragment in :path never reaches the application")
def fragment(trial: Trial) -> None:
    client = Http2(trial)
    found = client.ending(client.request("scope", "/a#b"))
    if found == "200":
        scope = trial.seen("scope")
        check(
            "#" not in scope["path"] and b"#" not in scope["raw_path"], f"path is {scope['path']!r}"
        )
    else:
        check(found in REFUSED, f"ends with {found}")


@case("D22", "a body that disagrees with content-length")
def wrong_length(trial: Trial) -> None:
    for name, length, body in (
        ("longer", "3", b"abcdef"),
        ("shorter", "10", b"abc"),
        ("none", "5", None),
        ("not a number", "x", b"abc"),
    ):
        client = Http2(trial)
        fields = [*pseudo("/echo/x", method="POST"), ("content-length", length)]
        stream = client.send_fields(fields, end=body is None)
        if body is not None:
            client.frame(DATA, END_STREAM, stream, body)
        found = client.ending(stream)
        check(found in REFUSED, f"{name}: ends with {found}")


@case("D23", "spaces around a value are refused or stripped")
def spaces(trial: Trial) -> None:
    for value in (" a", "a ", "\ta"):
        trial.new_tag()
        client = Http2(trial)
        found = client.ending(client.request("scope", headers=[("x-space", value)]))
        if found == "200":
            equal(dict(trial.seen("scope")["headers"])[b"x-space"], b"a", f"value of {value!r}")
        else:
            check(found in REFUSED, f"{value!r} ends with {found}")


# ---- RFC 9113, frame rules: bytes on a fresh connection, and how the connection ends ----

GET = b"\x82\x86\x84\x41\x01a"  # :method GET, :scheme http, :path /, :authority a

# id, title, bytes after the preface and SETTINGS, error codes of GOAWAY (-1: closed without)
FRAMES: list[tuple[str, str, bytes, tuple[int, ...]]] = [
    ("R-data-0", "DATA on stream 0", frame(DATA, 0, 0, b"a"), (0x1,)),
    ("R-headers-0", "HEADERS on stream 0", frame(HEADERS, 5, 0, GET), (0x1,)),
    ("R-headers-even", "HEADERS on an even stream", frame(HEADERS, 5, 2, GET), (0x1,)),
    ("R-headers-lower", "a stream below an earlier one", frame(HEADERS, 5, 5, GET) + frame(HEADERS, 5, 3, GET), (0x1, 0x5)),
    ("R-data-idle", "DATA on an idle stream", frame(DATA, 0, 1, b"a"), (0x1, 0x5)),
    ("R-reset-idle", "RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, bytes(4)), (0x1,)),
    ("R-reset-0", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, bytes(4)), (0x1,)),
    ("R-reset-size", "RST_STREAM of 3 bytes", frame(HEADERS, 4, 1, GET) + frame(RST_STREAM, 0, 1, bytes(3)), (0x6,)),
    ("R-window-idle", "WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, window(1)), (0x1,)),
    ("R-window-zero", "WINDOW_UPDATE of 0 on the connection", frame(WINDOW_UPDATE, 0, 0, window(0)), (0x1,)),
    ("R-window-size", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), (0x6,)),
    ("R-ping-size", "PING of 6 bytes", frame(PING, 0, 0, bytes(6)), (0x6,)),
    ("R-ping-stream", "PING on a stream", frame(PING, 0, 1, bytes(8)), (0x1,)),
    ("R-settings-size", "SETTINGS of 3 bytes", frame(SETTINGS, 0, 0, bytes(3)), (0x6,)),
    ("R-settings-stream", "SETTINGS on a stream", frame(SETTINGS, 0, 1), (0x1,)),
    ("R-settings-ack", "SETTINGS acknowledgement with a payload", frame(SETTINGS, 1, 0, bytes(6)), (0x6,)),
    ("R-settings-window", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 1 << 31)), (0x3,)),
    ("R-settings-frame", "SETTINGS_MAX_FRAME_SIZE of 1", frame(SETTINGS, 0, 0, struct.pack("!HI", 5, 1)), (0x1,)),
    ("R-settings-push", "SETTINGS_ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, struct.pack("!HI", 2, 2)), (0x1,)),
    ("R-large", "a frame over SETTINGS_MAX_FRAME_SIZE", frame(HEADERS, 4, 1, GET) + frame(DATA, 0, 1, bytes(1 << 20)), (0x6, -1)),
    ("R-push", "PUSH_PROMISE from a client", frame(HEADERS, 4, 1, GET) + frame(PUSH_PROMISE, 4, 1, window(2) + GET), (0x1,)),
    ("R-continuation", "CONTINUATION without HEADERS", frame(CONTINUATION, 4, 1, GET), (0x1,)),
    ("R-interrupted", "PING inside a header block", frame(HEADERS, 1, 1, GET) + frame(PING, 0, 0, bytes(8)), (0x1,)),
    ("R-other-stream", "CONTINUATION of another stream", frame(HEADERS, 1, 1, GET) + frame(CONTINUATION, 4, 3, b""), (0x1,)),
    ("R-hpack", "a header block that cannot be decoded", frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"), (0x9,)),
    ("R-hpack-index", "an index beyond the table", frame(HEADERS, 5, 1, GET + b"\xfe"), (0x9,)),
    ("R-hpack-resize", "a table size over the limit", frame(HEADERS, 5, 1, b"\x3f\xff\xff\x07" + GET), (0x9,)),
    ("D15", "WINDOW_UPDATE beyond 2^31-1 on the connection", frame(WINDOW_UPDATE, 0, 0, window(MAX_WINDOW)) * 2, (FLOW_CONTROL_ERROR,)),
    ("D24-pad", "padding longer than the frame", frame(HEADERS, 4, 1, GET) + frame(DATA, PADDED, 1, b"\x05abc"), (0x1,)),
]  # fmt: skip


def _goes_away(trial: Trial, data: bytes, codes: tuple[int, ...]) -> None:
    client = Http2(trial)
    client.connection.send(data)
    found = client.goaway()
    # RFC 9113 §7: a code is for information, and PROTOCOL_ERROR is the unspecific one.
    check(found in (*codes, PROTOCOL_ERROR, -1), f"GOAWAY with {found:#x}")
    if found != -1:
        client.connection.rest()


for _id, _title, _data, _codes in FRAMES:

    def _run_frame(trial: Trial, data: bytes = _data, codes: tuple[int, ...] = _codes) -> None:
        _goes_away(trial, data, codes)

    SUITE.add(Case(id=_id, level=MUST, title=_title, run=_run_frame, needs=NEEDS, hostile=True))


@case("R-preface", "a wrong preface after its first line")
def wrong_preface(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(PREFACE[:-4] + b"XX\r\n" + frame(SETTINGS))
    connection.rest()


@case("R-unknown", "unknown frame types and settings are ignored")
def unknown_frames(trial: Trial) -> None:
    client = Http2(trial)
    client.frame(0xBE, 0xFF, 0, b"whatever")
    client.frame(SETTINGS, payload=struct.pack("!HI", 0xFFF, 1))
    equal(client.ask("echo", method="POST", body=b"x").body, b"x", "body")


@case("D03", "WINDOW_UPDATE of 0, and self-dependency, on a stream")
def zero_window_update(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.request("receive-for-ever")
    client.frame(WINDOW_UPDATE, 0, stream, window(0))
    found = client.ending(stream)
    check(found in REFUSED, f"ends with {found}")
    trial.seen("again")


# ---- floods ----


def flood(client: Http2, unit: bytes, count: int, *, batch: int = 500) -> int:
    """Send `unit` `count` times, looking for GOAWAY between batches; return its code, -1 if closed without.

    Raises:
        BrokenError: all was taken.
    """
    for _ in range(count // batch):
        client.connection.send(unit * batch)
        if client.connection.has_ended(0):
            break
    try:
        return client.goaway(within=5)
    except BrokenError as error:
        raise BrokenError(f"{count} times and no GOAWAY: {error}") from None


def calm(code: int) -> None:
    """Check that a flood ended the connection, by ENHANCE_YOUR_CALM or in some other way."""
    check(code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, -1), f"GOAWAY with {code:#x}")


def flat(trial: Trial, before: int, limit: int = 4 * MIB) -> None:
    """Check that memory has grown by less than `limit` bytes."""
    trial.server.ping()
    grown = trial.server.memory() - before
    check(grown < limit, f"memory grew by {grown >> 10} KiB")


@case("D01", "rapid reset ends with GOAWAY; few handlers are started")
def rapid_reset(trial: Trial) -> None:
    before = trial.server.memory()
    client = Http2(trial)
    block = client.block(pseudo(trial.target("receive-for-ever")))
    code = -1
    for _ in range(200):
        pairs = b""
        for _ in range(100):
            stream = client.new_stream()
            pairs += frame(HEADERS, END_HEADERS | END_STREAM, stream, block) + frame(
                RST_STREAM, 0, stream, window(8)
            )
        client.connection.send(pairs)
        if client.connection.has_ended(0):
            break
    code = client.goaway(within=5)
    check(code in (ENHANCE_YOUR_CALM, -1), f"GOAWAY with {code:#x}")
    flat(trial, before, 8 * MIB)
    calls = len(trial.observer.settled(trial.tag, "called"))
    check(calls <= 200, f"{calls} handlers were started")


@case("D02", "made-you-reset ends with GOAWAY; the handlers are cancelled")
def made_you_reset(trial: Trial) -> None:
    for name, offence in (
        ("window overflow", frame(WINDOW_UPDATE, 0, 0x7777, window(MAX_WINDOW))),
        ("DATA after the end", frame(DATA, 0, 0x7777, b"x")),
    ):
        trial.new_tag()
        client = Http2(trial)
        block = client.block(pseudo(trial.target("receive-for-ever")))
        for _ in range(50):
            pairs = b""
            for _ in range(100):
                stream = client.new_stream()
                number = stream.to_bytes(4, "big")
                pairs += frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
                pairs += offence[:5] + number + offence[9:]
            client.connection.send(pairs)
            if client.connection.has_ended(0):
                break
        code = client.goaway(within=5)
        check(
            code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 0x5, -1), f"{name}: GOAWAY with {code:#x}"
        )
        calls = len(trial.observer.settled(trial.tag, "called"))
        check(calls <= 200, f"{name}: {calls} handlers were started")
        client.connection.close()
        trial.observer.wait(trial.tag, "again", count=2 * calls)


@case("D04-large", "a header block without end, 8 KB a frame")
def continuation_flood(trial: Trial) -> None:
    _continuations(trial, b"\x00\x01x\x7f\x80\x3e" + b"a" * 8063, 2000, 20)


@case("D04-empty", "empty CONTINUATION frames without end")
def empty_continuations(trial: Trial) -> None:
    _continuations(trial, b"", 5000, 500)


def _continuations(trial: Trial, payload: bytes, count: int, batch: int) -> None:
    before = trial.server.memory()
    client = Http2(trial)
    client.frame(HEADERS, END_STREAM, 1, GET)
    calm(flood(client, frame(CONTINUATION, 0, 1, payload), count, batch=batch))
    flat(trial, before)


# Frames that cost the sender little; the connection has to end before all are taken.
FLOODS: list[tuple[str, str, bytes, int]] = [
    ("D05", "100,000 PINGs", frame(PING, 0, 0, b"12345678"), 100_000),
    ("D06", "100,000 SETTINGS", frame(SETTINGS), 100_000),
    ("D06-values", "100,000 SETTINGS that change the window", frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 70000)), 100_000),
    ("D07-priority", "100,000 PRIORITY frames", frame(PRIORITY, 0, 1, struct.pack("!IB", 0, 1)), 100_000),
    ("D07-window", "300,000 WINDOW_UPDATEs of 1", frame(WINDOW_UPDATE, 0, 0, window(1)), 300_000),
    ("D07-unknown", "300,000 frames of an unknown type", frame(0xBE), 300_000),
]  # fmt: skip

for _id, _title, _unit, _count in FLOODS:

    @case(_id, _title)
    def _(trial: Trial, unit: bytes = _unit, count: int = _count) -> None:
        before = trial.server.memory()
        calm(flood(Http2(trial, credit=0), unit, count, batch=2000))
        flat(trial, before)


@case("D08", "300,000 empty DATA frames on an open stream")
def empty_data(trial: Trial) -> None:
    before = trial.server.memory()
    client = Http2(trial)
    stream = client.request("receive-for-ever", method="POST", open=True)
    calm(flood(client, frame(DATA, 0, stream), 300_000, batch=2000))
    flat(trial, before)
    number = len(trial.observer.settled(trial.tag, "received"))
    check(number <= 1000, f"the application got {number} messages")


@case("D09", "60,000 DATA frames of one byte are coalesced or refused")
def tiny_data(trial: Trial) -> None:
    before = trial.server.memory()
    client = Http2(trial)
    stream = client.request("count", method="POST", open=True)
    for _ in range(60):
        client.connection.send(frame(DATA, 0, stream, b"x") * 1000)
    client.frame(DATA, END_STREAM, stream, b"")
    found = client.ending(stream, within=10)
    flat(trial, before, 16 * MIB)  # less than 30 times what was on the wire
    if found == "200":
        number, length = trial.seen("count")
        equal(length, 60_000, "length")
        check(number <= 10_000, f"the application got {number} messages")
    else:
        check(found in ("goaway 0xb", "goaway 0x1", "reset 0xb", "closed"), f"ends with {found}")


@case("D11", "the HTTP/2 bomb: a quarter of a million indexed fields on 20 streams")
def bomb(trial: Trial) -> None:
    before = trial.server.memory()
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 0})
    for _ in range(20):
        stream = client.new_stream()
        block = client.block(pseudo(trial.target("scope"))) + b"\x90" * 250_000
        parts = [block[start : start + 16384] for start in range(0, len(block), 16384)]
        client.frame(HEADERS, END_STREAM, stream, parts[0])
        for part in parts[1:-1]:
            client.frame(CONTINUATION, 0, stream, part)
        client.frame(CONTINUATION, END_HEADERS, stream, parts[-1])
    for stream in range(1, 41, 2):
        found = client.ending(stream)
        check(
            found == "431" or found.startswith(("reset", "goaway", "closed")), f"ends with {found}"
        )
    flat(trial, before)
    equal(trial.observer.all(trial.tag, "called"), [], "calls of the application")


@case("D11-fields", "more than 100 fields, or more than 32 KiB of them")
def many_fields(trial: Trial) -> None:
    for name, fields in (
        ("150 fields", [(f"x{number}", "a") for number in range(150)]),
        ("40 KiB", [(f"x{number}", "a" * 1000) for number in range(40)]),
    ):
        client = Http2(trial)
        stream = client.new_stream()
        block = client.block([*pseudo(trial.target("scope")), *fields])
        client.frame(HEADERS, END_STREAM, stream, block[:16000])
        for start in range(16000, len(block), 16000):
            client.frame(CONTINUATION, 0, stream, block[start : start + 16000])
        client.frame(CONTINUATION, END_HEADERS, stream)
        found = client.ending(stream)
        check(found == "431" or found.startswith(("reset", "goaway")), f"{name} ends with {found}")


@case("D12", "cookie crumbs are joined, and counted")
def cookie_crumbs(trial: Trial) -> None:
    client = Http2(trial)
    crumbs = [("cookie", f"c{number}=1") for number in range(50)]
    equal(client.ending(client.request("scope", headers=crumbs)), "200", "answer to 50 crumbs")
    cookies = [value for name, value in trial.seen("scope")["headers"] if name == b"cookie"]
    equal(cookies, ["; ".join(value for _, value in crumbs).encode()], "cookie")
    found = client.ending(
        client.request("scope", headers=[("cookie", f"c{number}=1") for number in range(1000)])
    )
    check(found == "431" or found.startswith(("reset", "goaway")), f"1,000 crumbs end with {found}")


@case("D13", "a response to a closed window is held, bounded, and goes with the stream")
def zero_window(trial: Trial) -> None:
    before = trial.server.memory()
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 0})
    streams = [client.request("flood") for _ in range(20)]
    client.alive()
    trial.observer.settled(trial.tag, "mib")
    flat(trial, before, 12 * MIB)
    for stream in streams:
        client.reset(stream)
    trial.observer.wait(trial.tag, "flood-error", count=20)
    check(
        all(error["os_error"] for error in trial.observer.all(trial.tag, "flood-error")),
        "send raised no OSError",
    )
    client.alive()


@case("D14", "a window that shrinks below zero under a response")
def shrinking_window(trial: Trial) -> None:
    client = Http2(trial, settings={INITIAL_WINDOW_SIZE: 60_000})
    stream = client.request("flood")
    client.until(
        lambda: client.answers.get(stream) is not None and bool(client.answers[stream].body)
    )
    client.frame(SETTINGS, payload=struct.pack("!HI", INITIAL_WINDOW_SIZE, 0))
    client.frame(WINDOW_UPDATE, 0, stream, window(1))
    client.alive()


@case("D24", "padding is charged to the window")
def padding(trial: Trial) -> None:
    client = Http2(trial)
    stream = client.request("count", method="POST", open=True)
    padded = frame(DATA, PADDED, stream, b"\xff" + bytes(255))
    for _ in range(100):
        client.connection.send(padded)
    client.frame(DATA, END_STREAM, stream, b"x")
    found = client.ending(stream)
    check(found in ("200", "goaway 0xb"), f"ends with {found}")


@case("D26-streams", "streams above the announced limit are refused")
def too_many_streams(trial: Trial) -> None:
    client = Http2(trial)
    limit = client.settings.get(3)
    check(limit is not None and limit <= 250, f"SETTINGS_MAX_CONCURRENT_STREAMS is {limit}")
    streams = [client.request("receive-for-ever") for _ in range((limit or 0) + 10)]
    found = client.ending(streams[-1])
    check(found.startswith(("reset", "goaway")), f"stream {len(streams)} ends with {found}")
    check(
        len(trial.observer.all(trial.tag, "called")) <= (limit or 0),
        "more handlers than streams allowed",
    )
