"""Group F: forms, malformed, over a limit, cut, and larger than the disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from typing import TYPE_CHECKING

from conformance.case import MUST, Case
from conformance.streams.suite import NATIVE, NEEDS, SUITE
from conformance.verdict import check, equal, eventually

if TYPE_CHECKING:
    from conformance.client import Connection, Response
    from conformance.trial import Trial

KIB, MIB = 1 << 10, 1 << 20
FORM = "Content-Type: multipart/form-data; boundary=b"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"


def part(head: bytes, content: bytes = b"x") -> bytes:
    """Return one part."""
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def named(name: bytes = b'name="a"', content: bytes = b"x") -> bytes:
    """Return a part whose disposition has these parameters."""
    return part(b"Content-Disposition: form-data; " + name, content)


def uploaded(content: bytes, filename: bytes = b"f") -> bytes:
    """Return a complete form with one file."""
    return named(b'name="file"; filename="' + filename + b'"', content) + b"--b--\r\n"


END = b"--b--\r\n"

# id, media type, body, acceptable statuses, title
LINES: list[tuple[str, str, bytes, tuple[int, ...], str]] = [
    ("F01-none", "Content-Type: multipart/form-data", named() + END, (400,), "no boundary"),
    ("F01-empty", "Content-Type: multipart/form-data; boundary=", named() + END, (400,), "empty"),
    (
        "F01-long",
        "Content-Type: multipart/form-data; boundary=" + "b" * 5000,
        named() + END,
        (400,),
        "boundary of 5,000 characters",
    ),
    ("F02-cut", FORM, named()[:-4], (400,), "body cut within a part"),
    ("F02-unclosed", FORM, named(), (400,), "no closing delimiter"),
    ("F02-file", FORM, named(b'name="f"; filename="f"', bytes(2 * MIB))[:-4], (400,), "cut file"),
    ("F04", FORM, named(content=bytes(2 * MIB)) + END, (413,), "field of 2 MiB"),
    ("F05-size", FORM, part(b"X: " + b"y" * MIB) + END, (400, 431), "part header of 1 MB"),
    ("F05-count", FORM, part(b"\r\n".join([b"X: y"] * 50_000)) + END, (400, 431), "50,000 fields"),
    ("F05-parts", FORM, named() * 1001 + END, (413,), "1,001 parts"),
    ("F09-no-name", FORM, named(b"") + END, (400,), "no name"),
    ("F09-none", FORM, part(b"Content-Type: text/plain") + END, (400,), "no disposition"),
    ("F09-twice", FORM, named(b'name="a"; name="b"') + END, (400,), "two names"),
    ("F09-utf8", FORM, named(b'name="\xff"') + END, (400,), "name that is not UTF-8"),
    ("F09-value", FORM, named(content=b"\xff\xfe") + END, (400,), "field that is not UTF-8"),
    ("F10", FORM, (named() + END).replace(b"\r\n", b"\n"), (400,), "LF for CRLF"),
    ("F16-fields", URLENCODED, b"a=1&" * 100_000, (400, 413), "100,000 urlencoded fields"),
    ("F16-value", URLENCODED, b"a=" + b"x" * (5 * MIB), (400, 413), "urlencoded value of 5 MB"),
    ("F16-utf8", URLENCODED, b"a=%ff", (400,), "urlencoded value that is not UTF-8"),
    ("F17", URLENCODED, b"&" * (3 * MIB), (400, 413), "3 MB of &"),
]


def post(trial: Trial, handler: str, body: bytes, media_type: str = FORM) -> Response:
    """Send a body and return the answer, which may come before the body's end."""
    connection = trial.connect()
    connection.request(
        trial.target(handler),
        method="POST",
        headers=[media_type, f"Content-Length: {len(body)}"],
    )
    connection.send(body)
    return connection.response()


def refused(trial: Trial, media_type: str, body: bytes, statuses: tuple[int, ...]) -> None:
    """Send a bad form: it is answered, the handler is not reached, and nothing stays on disk."""
    answer = post(trial, "form", body, media_type)
    check(answer.status in statuses, f"answered {answer.status}, not {statuses}")
    problem = answer.header(b"content-type")
    equal(problem, b"application/problem+json", "media type of the answer")
    trial.observer.never(trial.tag, "called", window=0)
    nothing_left(trial)


def stats(trial: Trial) -> dict[str, int]:
    """Return what the application counts of itself."""
    with trial.connect() as connection:  # it must not stay among what is counted
        found: dict[str, int] = json.loads(connection.ask(trial.target("stats")).body)
    return found


def nothing_left(trial: Trial) -> None:
    """Wait until no upload is on disk."""
    eventually(
        lambda: (found := stats(trial))["spools"] == 0 and found["on_disk"] == 0,
        "uploads stay on disk",
    )


for _id, _media, _body, _statuses, _title in LINES:

    def _run(
        trial: Trial,
        media: str = _media,
        body: bytes = _body,
        statuses: tuple[int, ...] = _statuses,
    ) -> None:
        refused(trial, media, body, statuses)

    SUITE.add(
        Case(id=_id, level=MUST, title=_title, run=_run, needs=NEEDS, on=NATIVE, hostile=True)
    )

NAMES = {
    b"../../etc/passwd": "passwd",
    b"C:\\x\\CON.txt": "CON.txt",
    b"a\x00.txt": "a.txt",
    b"a\xe2\x80\xaetxt.exe": "atxt.exe",
    b"n" * 10_000: "n" * 255,
}


@SUITE.case("F08", MUST, "a file's name is its last component, clean", needs=NEEDS, on=NATIVE)
def filenames(trial: Trial) -> None:
    for sent, expected in NAMES.items():
        trial.new_tag()
        answer = post(trial, "hash", uploaded(b"x", sent))
        if len(sent) > 8 * KIB:
            equal(answer.status, 431, "status for a head over its limit")
            continue
        if answer.status == 400:
            check(b"\x00" in sent, f"{sent!r} is refused")
            continue
        equal(json.loads(answer.body)["filename"], expected, f"name of {sent!r}")
    form = named(b"name=\"file\"; filename*=utf-8''%2e%2e%2fpwn") + END
    answer = post(trial, "hash", form)
    if answer.status == 200:
        equal(json.loads(answer.body)["filename"], "pwn", "extended name")


def send_file(connection: Connection, target: str, length: int, *, until: int | None = None) -> str:
    """Send a form with a file of `length` bytes that is never whole in memory; return its hash."""
    head = named(b'name="file"; filename="f"', b"")[:-2]
    tail = b"\r\n" + END
    connection.request(
        target,
        method="POST",
        headers=[FORM, f"Content-Length: {len(head) + length + len(tail)}"],
    )
    connection.send(head)
    digest = hashlib.sha256()
    sent = 0
    while sent < (length if until is None else until):
        piece = hashlib.sha256(str(sent).encode()).digest() * 2048
        piece = piece[: min(len(piece), length - sent)]
        digest.update(piece)
        connection.send(piece)
        sent += len(piece)
    if until is None:
        connection.send(tail)
    return digest.hexdigest()


@SUITE.case(
    "F06", MUST, "uploads of 256 bytes, 3 MB and 300 MiB arrive as they are", needs=NEEDS, on=NATIVE
)
def sizes(trial: Trial) -> None:
    for length in (256, MIB - 1, MIB, MIB + 1, 3_000_000):
        trial.new_tag()
        connection = trial.connect()
        sha256 = send_file(connection, trial.target("hash"), length)
        found = json.loads(connection.response().body)
        equal((found["sha256"], found["size"]), (sha256, length), f"upload of {length} bytes")
        equal(found["on_disk"], length > MIB, f"on disk with {length} bytes")
    before = trial.server.memory()
    trial.new_tag()
    connection = trial.connect()
    sha256 = send_file(connection, trial.target("hash"), 300 * MIB)
    held = trial.server.memory() - before
    found = json.loads(connection.response(within=60).body)
    equal((found["sha256"], found["size"]), (sha256, 300 * MIB), "upload of 300 MiB")
    grown = max(held, trial.server.memory() - before)
    check(grown <= 16 * MIB, f"memory grew by {grown / MIB:.1f} MiB")
    nothing_left(trial)


@SUITE.case("F11", MUST, "an upload that is broken off leaves nothing", needs=NEEDS, on=NATIVE)
def broken_off(trial: Trial) -> None:
    for leave in ("reset", "close"):
        trial.new_tag()
        connection = trial.connect()
        send_file(connection, trial.target("hash"), 4 * MIB, until=2 * MIB)
        eventually(lambda: stats(trial)["spools"] == 1, "the upload is not on disk")
        getattr(connection, leave)()
        nothing_left(trial)
        trial.observer.never(trial.tag, "called", window=0)


@SUITE.case("F12", MUST, "a disk that is full is a 507", needs=NEEDS, hostile=True)
def disk_full(trial: Trial) -> None:
    server = trial.start(dataclasses.replace(NATIVE, file_bytes=2 * MIB))
    connection = trial.connect(server=server)
    send_file(connection, trial.target("hash"), 8 * MIB)
    equal(connection.response(within=10).status, 507, "status")
    server.ping()
    small = trial.connect(server=server)
    send_file(small, trial.target("hash"), 1000)
    equal(small.response().status, 200, "status of an upload that has room")


@SUITE.case("F13", MUST, "many uploads at once stay out of memory", needs=NEEDS, on=NATIVE)
def many(trial: Trial) -> None:
    count, length = 24, 8 * MIB
    before = trial.server.memory()
    slowest = 0.0
    connections = []
    for _ in range(count):
        connection = trial.connect()
        connections.append(connection)
        send_file(connection, trial.target("keep"), length)
        start = time.monotonic()
        trial.server.ping()
        slowest = max(slowest, time.monotonic() - start)
    trial.seen("called", count=count, timeout=30)
    grown = trial.server.memory() - before
    check(grown < count * MIB, f"memory grew by {grown / MIB:.1f} MiB with {count} uploads")
    check(slowest < 1.0, f"a ping took {slowest:.2f} s beside uploads")
    for connection in connections:
        connection.close()
    trial.seen("cancelled", count=count, timeout=10)
    nothing_left(trial)


@SUITE.case("F14", MUST, "uploads over the quota are a 503 for now", needs=NEEDS, hostile=True)
def quota(trial: Trial) -> None:
    limits = (("SPIKARD_SPOOL_QUOTA", str(6 * MIB)),)
    server = trial.start(dataclasses.replace(NATIVE, environment=limits))
    first = trial.connect(server=server)
    send_file(first, trial.target("keep"), 4 * MIB)
    trial.seen("called")
    second = trial.connect(server=server)
    send_file(second, trial.target("hash"), 4 * MIB)
    answer = second.response()
    equal(answer.status, 503, "status of the second upload")
    check(answer.header(b"retry-after"), "no retry-after")
    first.close()
    trial.seen("cancelled")

    def accepted() -> bool:
        third = trial.connect(server=server)
        send_file(third, trial.target("hash"), 4 * MIB)
        return third.response().status == 200

    eventually(accepted, "there is no room after the first has gone")


@SUITE.case("F15", MUST, "limits of forms are settings", needs=NEEDS)
def settings(trial: Trial) -> None:
    limits = (
        ("SPIKARD_MAX_FORM_PARTS", "2"),
        ("SPIKARD_MAX_FORM_FIELD_SIZE", "10"),
        ("SPIKARD_SPOOL_MEMORY", "100"),
    )
    server = trial.start(dataclasses.replace(NATIVE, environment=limits))

    def answer(handler: str, body: bytes, media_type: str = FORM) -> Response:
        connection = trial.connect(server=server)
        connection.request(trial.target(handler), method="POST", headers=[media_type], body=body)
        return connection.response()

    equal(answer("form", named() * 3 + END).status, 413, "status of three parts")
    equal(answer("form", named(content=b"x" * 11) + END).status, 413, "status of a long field")
    equal(answer("form", b"a=1&b=2&c=3", URLENCODED).status, 413, "status of three fields")
    equal(answer("form", b"a=12345678901", URLENCODED).status, 413, "status of a long value")
    equal(answer("form", named() * 2 + END).status, 200, "status of two parts")
    found = json.loads(answer("hash", uploaded(b"x" * 200)).body)
    equal(found["on_disk"], True, "a file over spool_memory on disk")
