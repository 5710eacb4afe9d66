r"""Group A: parsing and framing of HTTP/1 messages.

Every message is sent raw, followed by a marker request. `GET /smug` inside a body is a hidden request: the runner
fails any case after which the application has seen it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.http1.judge import judge, judge_sent
from conformance.http1.suite import SUITE, Line, table
from conformance.http2_client import SETTINGS
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUG = b"GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"


def post(fields: bytes, body: bytes = b"", *, version: bytes = b"1.1") -> bytes:
    """Return a POST to the echo handler with these header fields and this body."""
    return b"POST /echo/x HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n" + body


def get(fields: bytes = b"", *, line: bytes = b"GET /scope/x HTTP/1.1") -> bytes:
    """Return a GET with these header fields after Host."""
    return line + b"\r\n" + HOST + fields + b"\r\n"


def length(value: bytes) -> bytes:
    """Return a Content-Length field."""
    return b"Content-Length: " + value + b"\r\n"


def coding(value: bytes) -> bytes:
    """Return a Transfer-Encoding field."""
    return b"Transfer-Encoding: " + value + b"\r\n"


def chunks(body: bytes) -> bytes:
    """Return a chunked POST whose body is written out."""
    return post(CHUNKED, body)


END = b"0\r\n\r\n"
CHUNK = b"3\r\nabc\r\n"

LINES: list[Line] = [
    (
        "A01-length-first",
        post(length(b"6") + CHUNKED, END + SMUG),
        "400c",
        "Content-Length before Transfer-Encoding",
    ),
    (
        "A01-coding-first",
        post(CHUNKED + length(b"6"), END + SMUG),
        "400c",
        "Transfer-Encoding before Content-Length",
    ),
    ("A02", post(length(b"3") + length(b"5"), b"abc"), "400c", "two lengths that differ"),
    (
        "A03-two-lines",
        post(length(b"3") + length(b"3"), b"abc"),
        "400c 200",
        "the same length on two lines",
    ),
    ("A03-list", post(length(b"3, 3"), b"abc"), "400c 200", "the same length as a list"),
    *(
        (f"A04-{name}", post(length(value), b"abc"), "400c", f"Content-Length {value!r}")
        for name, value in {
            "plus": b"+3",
            "minus": b"-1",
            "underscore": b"1_0",
            "hex": b"0x3",
            "empty": b"",
            "nbsp": b"\xa03",
            "float": b"3.0",
            "inner-space": b"3 3",
        }.items()
    ),
    (
        "A05-overflow",
        post(length(b"18446744073709551616"), b"abc"),
        "400c 413c",
        "Content-Length 2^64",
    ),
    (
        "A05-largest",
        post(length(b"18446744073709551615"), b"abc"),
        "400c 413c",
        "Content-Length 2^64-1",
    ),
    ("A06-unknown", post(coding(b"xchunked"), CHUNK + END), "400c 501c", "unknown transfer coding"),
    (
        "A06-not-last",
        post(coding(b"chunked, identity"), CHUNK + END),
        "400c 501c",
        "chunked is not the last coding",
    ),
    (
        "A07-gzip",
        post(coding(b"gzip, chunked"), CHUNK + END),
        "501c 400c",
        "a coding before chunked",
    ),
    (
        "A07-identity",
        post(coding(b"identity, chunked"), CHUNK + END),
        "501c 400c",
        "identity before chunked",
    ),
    (
        "A07-comma",
        post(coding(b",chunked"), CHUNK + END),
        "501c 400c",
        "an empty coding before chunked",
    ),
    ("A08", post(CHUNKED + CHUNKED, CHUNK + END), "400c", "two chunked lines"),
    (
        "A09-vtab",
        post(coding(b"\x0bchunked"), CHUNK + END),
        "400c 501c",
        "vertical tab before chunked",
    ),
    (
        "A09-nbsp",
        post(coding(b"\xa0chunked"), CHUNK + END),
        "400c 501c",
        "no-break space before chunked",
    ),
    (
        "A09-space",
        post(b"Transfer-Encoding : chunked\r\n", CHUNK + END),
        "400c",
        "space before the colon",
    ),
    (
        "A09-fold",
        post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNK + END),
        "400c",
        "folded Transfer-Encoding",
    ),
    ("A10", post(CHUNKED, CHUNK + END, version=b"1.0"), "400c", "chunked in HTTP/1.0"),
    *(
        (f"A11-{name}", chunks(size + b"\r\nabc\r\n" + END), "400c", f"chunk size {size!r}")
        for name, size in {
            "plus": b"+3",
            "minus": b"-3",
            "hex": b"0x3",
            "underscore": b"0_3",
            "space": b" 3",
            "empty": b"",
            "overflow": b"10000000000000003",
            "letter": b"g",
        }.items()
    ),
    ("A13-all", chunks(b"3\nabc\n0\n\n"), "400c", "bare LF throughout the chunks"),
    ("A13-size", chunks(b"3\nabc\r\n" + END), "400c", "bare LF after a chunk size"),
    ("A14-lf", chunks(b"3;a\nb\r\nabc\r\n" + END), "400c", "LF in a chunk extension"),
    ("A14-cr", chunks(b"3;a\rb\r\nabc\r\n" + END), "400c", "CR in a chunk extension"),
    ("A14-nul", chunks(b"3;a\0b\r\nabc\r\n" + END), "400c", "NUL in a chunk extension"),
    (
        "A14-long",
        chunks(b"3;" + b"a" * 40000 + b"\r\nabc\r\n" + END),
        "400c 431c 413c",
        "40 KB of chunk extension",
    ),
    ("A15-wrong", chunks(b"3\r\nabcX\r\n" + END), "400c", "wrong terminator after a chunk"),
    ("A15-longer", chunks(b"3\r\nabcdef\r\n" + END), "400c", "chunk longer than its size"),
    (
        "A18-many",
        chunks(CHUNK + b"0\r\n" + b"".join(b"t%d: x\r\n" % n for n in range(200)) + b"\r\n"),
        "400c 431c",
        "200 trailers",
    ),
    (
        "A18-long",
        chunks(CHUNK + b"0\r\nt: " + b"x" * 20000 + b"\r\n\r\n"),
        "400c 431c",
        "a trailer of 20 KB",
    ),
    ("A18-bad", chunks(CHUNK + b"0\r\nbadtrailer\r\n\r\n"), "400c", "a trailer without a colon"),
    ("A19-none", b"GET /scope/x HTTP/1.1\r\n\r\n", "400c", "no Host"),
    ("A19-two", get(HOST), "400c", "two Hosts"),
    ("A19-invalid", b"GET /scope/x HTTP/1.1\r\nHost: a/b@c d\r\n\r\n", "400c", "invalid Host"),
    ("A19-empty", b"GET /scope/x HTTP/1.1\r\nHost:\r\n\r\n", "400c", "empty Host"),
    *(
        (f"A22-{name}", get(line=line), "400c 505c", f"request line {line!r}")
        for name, line in {
            "1.2": b"GET /scope/x HTTP/1.2",
            "2.0": b"GET /scope/x HTTP/2.0",
            "lower": b"GET /scope/x http/1.1",
            "two-spaces": b"GET  /scope/x HTTP/1.1",
            "tab": b"GET\t/scope/x\tHTTP/1.1",
            "0.9": b"GET /scope/x",
        }.items()
    ),
    ("A23-at", get(line=b"G@T /scope/x HTTP/1.1"), "400c", "method G@T"),
    (
        "A23-long",
        get(line=b"G" * 5000 + b" /scope/x HTTP/1.1"),
        "501c 400c",
        "method of 5,000 bytes",
    ),
    *(
        (f"A24-{name}", get(field), "400c", f"header {field!r}")
        for name, field in {
            "nul": b"X: a\0b\r\n",
            "cr": b"X: a\rb\r\n",
            "control": b"X: a\x01b\r\n",
            "empty-name": b": a\r\n",
            "no-colon": b"X\r\n",
            "paren": b"X(a: b\r\n",
            "utf8-name": b"X\xc3\xa9: b\r\n",
            "space-in-name": b"X y: b\r\n",
            "space-before-colon": b"X : b\r\n",
        }.items()
    ),
    (
        "A24-leading-space",
        b"GET /scope/x HTTP/1.1\r\n " + HOST + b"\r\n",
        "400c",
        "space before the first name",
    ),
    ("A24-fold", get(b"X: a\r\n b\r\n"), "400c", "a folded header"),
    ("A25-all", b"GET /scope/x HTTP/1.1\nHost: a\n\n", "400c", "bare LF throughout the head"),
    (
        "A25-one",
        b"GET /scope/x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "400c",
        "one bare LF in the head",
    ),
    (
        "A27-unknown",
        post(b"Expect: 200-foo\r\n" + length(b"3"), b"abc"),
        "417c 417",
        "an unknown expectation",
    ),
    (
        "A27-list",
        post(b"Expect: y 100-continue\r\n" + length(b"3"), b"abc"),
        "417c 417",
        "garbage before 100-continue",
    ),
    (
        "A30",
        get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
        "200",
        "Upgrade: h2c is ignored",
    ),
    (
        "A32-tls",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
        "400c close",
        "a TLS ClientHello on a plain port",
    ),
    *(
        (
            f"A32-{byte:02x}",
            bytes([byte]) * 4 + b"\r\n\r\n",
            "400c close",
            f"four bytes {byte:#04x}",
        )
        for byte in (0x00, 0x7F, 0x80, 0xFF)
    ),
    ("A32-empty-lines", b"\r\n\r\n" + get(), "200 400c", "empty lines before the request"),
]
table(LINES)

# The application is at fault here, not the client: a traceback in the log is in order.
FAULTS: list[Line] = [
    (
        "A33-longer",
        get(line=b"GET /send/x/too-long HTTP/1.1"),
        "200c 500c 500 close",
        "an application's body longer than its length",
    ),
    (
        "A33-shorter",
        get(line=b"GET /send/x/too-short HTTP/1.1"),
        "close 500c 500",
        "an application's body shorter than its length",
    ),
    (
        "A33-cut",
        get(line=b"GET /fail/x/in-body HTTP/1.1"),
        "close",
        "an application that raises within a chunked body",
    ),
]
table(FAULTS, hostile=False)


@SUITE.case(
    "A17", MUST, "20,000 chunks of one byte are coalesced before the application", hostile=True
)
def tiny_chunks(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(
        f"POST {trial.target('count')} HTTP/1.1\r\n".encode()
        + HOST
        + CHUNKED
        + b"\r\n"
        + b"1\r\nx\r\n" * 20000
        + END
    )
    equal(connection.response().status, 200, "status")
    number, size = trial.seen("count")
    equal(size, 20000, "length")
    check(number <= 2000, f"the application got {number} messages")


@SUITE.case("A18-merged", MUST, "trailers never become headers or framing", hostile=True)
def trailers_never_merged(trial: Trial) -> None:
    fields = length(b"50") + CHUNKED + b"Host: evil\r\nAuthorization: x\r\nCookie: x\r\n"
    judge(
        trial,
        b"POST /messages/x HTTP/1.1\r\n"
        + HOST
        + CHUNKED
        + b"\r\n"
        + CHUNK
        + b"0\r\n"
        + fields
        + b"\r\n",
        "200 400c",
    )


@SUITE.case("A23-lower-case", MUST, "get is not GET, or refused", hostile=True)
def lower_case_method(trial: Trial) -> None:
    answer = trial.ask("scope", method="get")
    check(answer.status in (200, 400, 405, 501), f"answered {answer.status}")


@SUITE.case(
    "A26", MUST, "an underscore spelling is never merged with the dashed name", hostile=True
)
def underscore_names(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(
        trial.target("scope"), headers=["X-Forwarded-For: 2.2.2.2", "X_Forwarded_For: 1.1.1.1"]
    )
    if connection.response().status == 400:
        return
    headers = trial.seen("scope")["headers"]
    equal(
        [value for name, value in headers if re.fullmatch(rb"x[-_]forwarded[-_]for", name)],
        [b"2.2.2.2"],
        "values",
    )


@SUITE.case(
    "A28-small",
    MUST,
    "a body that the handler leaves unread is never taken for a request",
    hostile=True,
)
def small_unread_body(trial: Trial) -> None:
    judge(
        trial,
        b"POST /reply-unread/x HTTP/1.1\r\n" + HOST + length(b"%d" % len(SMUG)) + b"\r\n" + SMUG,
        "200 200c",
    )


@SUITE.case(
    "A28-large", MUST, "a large unread body is answered, then the connection ends", hostile=True
)
def large_unread_body(trial: Trial) -> None:
    size = 100 << 20
    connection = trial.connect()
    connection.send(b"POST /reply-unread/x HTTP/1.1\r\n" + HOST + length(b"%d" % size) + b"\r\n")
    sent = connection.send_until_blocked((SMUG * (size // len(SMUG) + 1))[:size])
    check(sent < size, f"{sent >> 20} MiB of a body that nobody reads were taken")
    equal(connection.outcome(), 200, "status")
    connection.closed()


@SUITE.case(
    "A29", MUST, "pipelined requests before a malformed one are answered in order", hostile=True
)
def pipelined(trial: Trial) -> None:
    requests = [f"GET {trial.target('headers-get')} HTTP/1.1\r\nHost: a\r\n\r\n".encode()] * 100
    requests[56] = b"GET / bad HTTP/1.1\r\n" + HOST + b"\r\n"
    connection = trial.connect()
    connection.send(b"".join(requests))
    for _ in range(56):
        equal(connection.response().status, 200, "status")
    judge_sent(trial, connection, "400c")


@SUITE.case("A32-preface", MUST, "PRI * is HTTP/2 or refused", hostile=True)
def http2_preface(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    if "http2" in trial.capabilities:
        check(connection.exactly(9)[3] == SETTINGS, "the preface is not answered with SETTINGS")
    else:
        judge_sent(trial, connection, "400c 505c close")
