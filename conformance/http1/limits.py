"""Group C: limits of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.http1.judge import judge
from conformance.http1.suite import SUITE, Line, table
from conformance.server import Options
from conformance.verdict import check

if TYPE_CHECKING:
    from conformance.trial import Trial

HEAD = b"GET /scope/x HTTP/1.1\r\nHost: a\r\n"
KIB = 1024


def field(size: int) -> bytes:
    """Return a head with one header field of `size` bytes."""
    return HEAD + b"X: " + b"a" * (size - 5) + b"\r\n\r\n"


LINES: list[Line] = [
    (
        "C01-line",
        b"GET /" + b"a" * (17 * KIB) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "414c 431c",
        "a target of 17 KiB",
    ),
    (
        "C01-line-60k",
        b"GET /" + b"a" * (60 * KIB) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "414c 431c",
        "a target of 60 KiB",
    ),
    ("C02-60k", field(60 * KIB), "431c", "a header of 60 KB"),
    ("C02-300k", field(300 * KIB), "431c", "a header of 300 KB"),
    ("C02-1m", field(1024 * KIB), "431c", "a header of 1 MB"),
    (
        "C03-many",
        HEAD + b"".join(b"X%d: a\r\n" % n for n in range(150)) + b"\r\n",
        "431c",
        "150 headers",
    ),
    (
        "C03-allowed",
        HEAD + b"".join(b"X%d: a\r\n" % n for n in range(90)) + b"\r\n",
        "200",
        "91 headers",
    ),
    (
        "C03-size",
        HEAD + b"".join(b"X%d: %s\r\n" % (n, b"a" * 1000) for n in range(40)) + b"\r\n",
        "431c",
        "40 KB in 40 headers",
    ),
    (
        "C03-size-allowed",
        HEAD + b"".join(b"X%d: %s\r\n" % (n, b"a" * 1000) for n in range(25)) + b"\r\n",
        "200",
        "25 KB in 25 headers",
    ),
]
table(LINES)


@SUITE.case("C05", MUST, "held heads cost at most twice their limit")
def held_heads(trial: Trial) -> None:
    server = trial.start(Options())
    head = HEAD + b"X: " + b"a" * (31 * KIB)

    def hold(count: int) -> int:
        for connection in [trial.connect(server=server) for _ in range(count)]:
            connection.send(head)
        server.ping()
        return server.memory()

    before, count = hold(50), 200  # the first ones fill the allocator's pools
    each = (hold(count) - before) // count
    check(each <= 2 * 32 * KIB * 1.1, f"{each >> 10} KiB for each held head of 31 KiB")


@SUITE.case("C07", MUST, "the refusal arrives although 1 MB is still being sent", hostile=True)
def refusal_arrives(trial: Trial) -> None:
    for _ in range(5):
        judge(trial, field(1 << 20), "431c")
