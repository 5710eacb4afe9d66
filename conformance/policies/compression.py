"""Group Z: what is compressed, what is not, and what a compressed request costs."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.application import TEXT
from conformance.policies.files import SCRIPT
from conformance.policies.suite import SUITE, problem, profile
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

ON = profile("compression")
BODY = TEXT.encode()


def bomb(size: int) -> bytes:
    """Return a gzip stream of that many zeros."""
    return gzip.compress(bytes(size))


# id, coding, body
ENCODED = [
    ("Z01-gzip", "gzip", bomb(64 << 20)),
    ("Z01-nested", "gzip, gzip", gzip.compress(bomb(64 << 20))),
    ("Z01-deflate", "deflate", zlib.compress(bytes(64 << 20))),
    ("Z01-br", "br", b"\x1b\xff\xff\xff" * 16),
    ("Z01-zstd", "zstd", bytes.fromhex("28b52ffd") + b"\0" * 64),
    ("Z03-truncated", "gzip", bomb(1000)[:-9]),
    ("Z03-trailing", "gzip", bomb(1000) + b"garbage"),
]

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
        answer = trial.connect().ask(
            "/text",
            method="POST",
            headers=["Content-Type: application/json", f"Content-Encoding: {coding}"],
            body=sent[:9000],
        )
        # As a coding that is not taken, at the latest as text that is no JSON.
        problem(answer, 415 if answer.status == 415 else 400)
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


SUITE.left_out("Z01-on", "a bomb where decoding is on", "request bodies are never decoded")
SUITE.left_out(
    "Z07", "BREACH", "a route with secrets opts out (compress=False), as the documentation says"
)
