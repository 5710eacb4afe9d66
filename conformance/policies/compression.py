"""Group Z: what is compressed, what is not, and what a compressed request costs."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.application import TEXT
from conformance.policies.files import SCRIPT
from conformance.policies.suite import SUITE, problem, profile
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.trial import Trial

ON = profile("compression")
BODY = TEXT.encode()


def bomb(size: int) -> bytes:
    """Return a gzip stream of that many zeros."""
    return gzip.compress(bytes(size))


def stored_brotli(data: bytes) -> bytes:
    """Return a brotli stream with one uncompressed block."""
    return (len(data) - 1 << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"


def zstd_block(kind: int, size: int, data: bytes, *, last: bool) -> bytes:
    """Return a block of a zstd frame: raw (0), or one byte again and again (1)."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + data


def zstd_frame(*blocks: bytes) -> bytes:
    """Return a zstd frame with a window of 128 KiB that does not say how long it is."""
    return bytes.fromhex("28b52ffd") + b"\x00\x38" + b"".join(blocks)


BROTLI_ZEROS = (
    "a5ffff074002201e0b24f7fe41ffff0f8004401c1680eefd83feff1f000980382c00ddfb07fdff3f"
    "001200715800baf70ffaff7f002400e2b00074ef1ff4ffff004800c46101e8de3fe8ffff01900088"
    "c302d0bd7fd0ffff032001108705a07bff600003"
)
"""8 MiB of zeros, as an encoder makes them of several blocks."""

JSON = b'{"a": "' + b"b" * 500 + b'"}'
GOOD = {
    "gzip": gzip.compress(JSON),
    "x-gzip": gzip.compress(JSON[:100]) + gzip.compress(JSON[100:]),
    "deflate": zlib.compress(JSON),
    "br": stored_brotli(JSON),
    "zstd": zstd_frame(zstd_block(0, len(JSON), JSON, last=True)),
}
BOMBS = {
    "gzip": bomb(64 << 20),
    "deflate": zlib.compress(bytes(64 << 20)),
    "br": bytes.fromhex(BROTLI_ZEROS),
    "zstd": zstd_frame(*(zstd_block(1, 1 << 17, b"\0", last=n == 511) for n in range(512))),
}

# id, coding, body
ENCODED = [
    *((f"Z01-{coding}", coding, body) for coding, body in BOMBS.items()),
    ("Z01-nested", "gzip, gzip", gzip.compress(BOMBS["gzip"])),
    ("Z01-unknown", "x-mystery", b"{}"),
    ("Z03-truncated", "gzip", GOOD["gzip"][:-9]),
    ("Z03-trailing", "gzip", GOOD["gzip"] + b"garbage"),
    ("Z03-not", "gzip", b"{}"),
]


def send_coded(trial: Trial, coding: str, sent: bytes, target: str = "/text") -> Response:
    """Send a coded JSON body."""
    fields = ["Content-Type: application/json", f"Content-Encoding: {coding}"]
    return trial.connect().ask(target, method="POST", headers=fields, body=sent)


for _id, _coding, _sent in ENCODED:

    @SUITE.case(
        _id,
        MUST,
        f"an encoded request body ({_coding}) is refused, not decoded",
        on=ON,
        hostile=True,
    )
    def _(trial: Trial, coding: str = _coding, sent: bytes = _sent) -> None:
        before = trial.server.memory()
        answer = send_coded(trial, coding, sent[:9000])
        document = problem(answer, 415)
        check(document["type"].endswith("/unsupported-content-encoding"), document["type"])
        equal(answer.header(b"accept-encoding"), b"identity", "accept-encoding")
        grown = trial.server.memory() - before
        check(grown < 1 << 20, f"memory grew by {grown >> 10} KiB")


DECODING = profile("decompression")

# id, coding, body, status
DECODED = [
    *((f"Z01-on-{coding}", coding, body, 413) for coding, body in BOMBS.items()),
    *((f"Z01-on-good-{coding}", coding, body, 200) for coding, body in GOOD.items()),
    ("Z01-on-identity", "identity", JSON, 200),
    ("Z01-on-nested", "gzip, gzip", gzip.compress(GOOD["gzip"]), 415),
    ("Z01-on-unknown", "x-mystery", JSON, 415),
    ("Z01-on-members", "gzip", gzip.compress(b" ") * 16 + GOOD["gzip"], 400),
    ("Z01-on-long", "gzip", gzip.compress(b'{"a": "' + os.urandom(30_000).hex().encode()), 413),
    *((f"Z03-on-truncated-{coding}", coding, body[:-1], 400) for coding, body in GOOD.items()),
    *(
        (f"Z03-on-trailing-{coding}", coding, body + b"garbage", 400)
        for coding, body in GOOD.items()
    ),
    *((f"Z03-on-not-{coding}", coding, b"no such coding at all", 400) for coding in GOOD),
]

for _id, _coding, _sent, _status in DECODED:

    @SUITE.case(_id, MUST, f"decoding on, {_coding}: {_status}", on=DECODING, hostile=True)
    def _(trial: Trial, coding: str = _coding, sent: bytes = _sent, status: int = _status) -> None:
        # The decoder's own code and tables are there before memory is looked at.
        known = coding if coding in GOOD else "gzip"
        equal(send_coded(trial, known, GOOD[known]).body, JSON.replace(b" ", b""), "before")
        before = trial.server.memory()
        for target in ("/text", "/length"):
            answer = send_coded(trial, coding, sent, target)
            if status == 200:
                expected = JSON.replace(b" ", b"") if target == "/text" else b"%d" % len(JSON)
                equal((answer.status, answer.body), (200, expected), f"answer of {target}")
            else:
                problem(answer, status)
            if status == 415:
                offered = b"gzip, deflate, br, zstd"
                equal(answer.header(b"accept-encoding"), offered, "accept-encoding")
        grown = trial.server.memory() - before
        check(grown < 1 << 20, f"memory grew by {grown >> 10} KiB")


# id, accept-encoding, coding that is expected
NEGOTIATED = [
    ("gzip", "gzip", b"gzip"),
    ("x-gzip", "x-gzip", b"gzip"),
    ("best", "gzip, deflate, br, zstd", b"zstd"),
    ("weights", "br;q=0.5, gzip;q=0.9", b"gzip"),
    ("star", "*", b"zstd"),
    ("star-but", "zstd;q=0, br;q=0, *", b"gzip"),
    ("nothing", "gzip;q=0, *;q=0", None),
    ("zero", "gzip;q=0", None),
    ("identity", "identity", None),
    ("not-identity", "identity;q=0", None),
    ("identity-first", "identity;q=1, gzip;q=0.5", None),
    ("high", "br;q=1.0001", None),
    ("negative", "br;q=-1", None),
    ("word", "br;q=x", None),
    ("empty", "", None),
    ("unknown", "deflate, compress", None),
    ("list", ",".join(f"x{n};q=0.5" for n in range(1200)), None),
]

for _id, _accepted, _coding in NEGOTIATED:

    @SUITE.case(f"Z04-{_id}", MUST, f"accept-encoding: {_accepted[:40]}", on=ON, hostile=True)
    def _(trial: Trial, accepted: str = _accepted, coding: bytes | None = _coding) -> None:
        answer = trial.connect().ask("/text", headers=[f"Accept-Encoding: {accepted}"])
        equal((answer.status, answer.header(b"content-encoding")), (200, coding), "coding")
        equal(answer.header(b"vary"), b"Accept-Encoding", "vary")
        if coding == b"gzip":
            equal(gzip.decompress(answer.body), BODY, "body")
        equal(answer.header(b"content-length"), b"%d" % len(answer.body), "content-length")


# kind of body, whether it is compressed
BODIES = [
    ("plain", True),
    ("empty", False),
    ("partial", False),
    ("encoded", False),
    ("untouched", False),
    ("tagged", True),
    ("picture", False),
    ("grpc", False),
    ("varying", True),
]

for _kind, _compressed in BODIES:

    @SUITE.case(f"Z05-{_kind}", MUST, f"{'' if _compressed else 'not '}compressed: {_kind}", on=ON)
    def _(trial: Trial, kind: str = _kind, compressed: bool = _compressed) -> None:
        answer = trial.connect().ask(f"/bodies/{kind}", headers=["Accept-Encoding: gzip"])
        coding = answer.header(b"content-encoding")
        if not compressed:
            equal(coding, b"deflate" if kind == "encoded" else None, "content-encoding")
            equal(answer.body, b"" if kind == "empty" else BODY, "body")
            return
        equal(coding, b"gzip", "content-encoding")
        equal(gzip.decompress(answer.body), BODY, "body")
        equal(answer.header(b"content-length"), b"%d" % len(answer.body), "content-length")
        if kind == "tagged":
            equal(answer.header(b"etag"), b'W/"1"', "etag")
        vary = b", ".join(answer.all(b"vary"))
        expected = b"Accept-Language, Accept-Encoding" if kind == "varying" else b"Accept-Encoding"
        equal(vary, expected, "vary")


@SUITE.case("Z05-head", MUST, "HEAD says nothing of a coding whose length it cannot know", on=ON)
def head(trial: Trial) -> None:
    answer = trial.connect().ask("/text", method="HEAD", headers=["Accept-Encoding: gzip"])
    equal(answer.header(b"vary"), b"Accept-Encoding", "vary")
    check(answer.header(b"content-encoding") is None, "a coding without a body")


@SUITE.case("Z05-route", MUST, "a route may opt out", on=ON)
def opted_out(trial: Trial) -> None:
    answer = trial.connect().ask("/uncompressed", headers=["Accept-Encoding: gzip"])
    equal((answer.header(b"content-encoding"), answer.body), (None, BODY), "answer")


@SUITE.case("Z05-small", MUST, "a body below min_size is left alone", on=ON)
def small(trial: Trial) -> None:
    answer = trial.connect().ask("/own-limit", headers=["Accept-Encoding: gzip"])
    equal(answer.header(b"content-encoding"), None, "content-encoding")


@SUITE.case("Z05-file", MUST, "a file is compressed, its etag weak; a range of it is not", on=ON)
def file(trial: Trial) -> None:
    connection = trial.connect()
    accepted = "Accept-Encoding: gzip"
    answer = connection.ask("/static/page.css", headers=[accepted])
    equal(answer.header(b"content-encoding"), b"gzip", "content-encoding")
    equal(gzip.decompress(answer.body), SCRIPT, "body")
    etag = answer.header(b"etag") or b""
    check(etag.startswith(b"W/"), f"etag {etag!r}")
    again = connection.ask(
        "/static/page.css", headers=[accepted, f"If-None-Match: {etag.decode()}"]
    )
    equal(again.status, 304, "status with the weak etag")
    answer = connection.ask("/static/page.css", headers=[accepted, "Range: bytes=0-1999"])
    equal((answer.status, answer.header(b"content-encoding")), (206, None), "a range")


@SUITE.case("Z06", MUST, "each chunk of a stream can be decoded before the next is made", on=ON)
def stream(trial: Trial) -> None:
    for coding in ("gzip", "br", "zstd"):
        tag = trial.new_tag()
        connection = trial.connect()
        connection.request(f"/stream?tag={tag}", headers=[f"Accept-Encoding: {coding}"])
        answer = connection.head()
        equal(answer.header(b"content-encoding"), coding.encode(), "content-encoding")
        trial.seen("yielded")
        end = time.monotonic() + 3
        size = int(connection.until(b"\r\n", end)[:-2], 16)
        chunk = connection.exactly(size, end)
        check(chunk, "an empty chunk")
        if coding == "gzip":
            decoded = zlib.decompressobj(31).decompress(chunk)
            equal(decoded, b"first chunk; ", "what the first chunk decodes to")


@SUITE.case("Z08", MUST, "an expensive level for a large body holds up nobody", on=profile("best"))
def expensive(trial: Trial) -> None:
    connection = trial.connect()
    connection.request("/large?size=4000000", headers=["Accept-Encoding: br"])
    equal(connection.head().header(b"content-encoding"), b"br", "content-encoding")
    # It is being encoded now: that takes seconds at this level.
    for _ in range(5):
        trial.server.ping(within=2)


SUITE.left_out(
    "Z07", "BREACH", "a route with secrets opts out (compress=False), as the documentation says"
)
