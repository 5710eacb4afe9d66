"""Group S: static files give what is in their directory, and nothing else."""

from __future__ import annotations

import contextlib
import os
import threading
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies import files
from conformance.policies.files import LETTERS, OUTSIDE, PAGE, SCRIPT
from conformance.policies.suite import SUITE, Line, profile, table
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

PLAIN = profile("plain")

ESCAPES = {
    "dots": "/static/../outside/secret.txt",
    "dots-deep": "/static/sub/../../outside/secret.txt",
    "encoded-dots": "/static/%2e%2e/outside/secret.txt",
    "encoded-slash": "/static/..%2foutside/secret.txt",
    "encoded-twice": "/static/%252e%252e/outside/secret.txt",
    "backslash": "/static/..%5coutside%5csecret.txt",
    "bare-backslash": "/static/..\\outside\\secret.txt",
    "overlong": "/static/%c0%ae%c0%ae/outside/secret.txt",
    "slashes": "/static//etc/passwd",
    "slash": "/static/%2fetc/passwd",
    "drive": "/static/c:/windows/win.ini",
    "root": "/static/..",
}
LINES: list[Line] = [
    *((f"S01-{name}", f"GET {path}", [], "404 400c 400", path) for name, path in ESCAPES.items()),
    ("S02-prefix", "GET /static2/secret.txt", [], "404", "another path with the same beginning"),
    ("S02-sibling", "GET /static/../public2/secret.txt", [], "404", "a directory beside"),
    ("S02-letters", "GET /staticletters.txt", [], "404", "the prefix without its slash"),
    ("S03-file", "GET /static/link-out.txt", [], "404", "a link to a file outside"),
    ("S03-absolute", "GET /static/link-absolute.txt", [], "404", "an absolute link outside"),
    ("S03-directory", "GET /static/link-dir/secret.txt", [], "404", "through a link outside"),
    ("S03-proc", "GET /static/link-proc/environ", [], "404", "a link into /proc"),
    ("S03-inside", "GET /static/link-in.txt", [], "200", "a link that stays inside"),
    ("S03-follow", "GET /links/link-out.txt", [], "200", "a link outside, with follow_symlinks"),
    ("S04", "GET /static/sub-out/", [], "404", "an index that is a link outside"),
    ("S04-bare", "GET /static/sub-out", [], "404", "the same without the slash"),
    ("S05-fifo", "GET /static/fifo", [], "404", "a pipe without a writer"),
    ("S05-socket", "GET /static/socket", [], "404", "a socket"),
    ("S05-device", "GET /static/zero", [], "404", "a link to a device"),
    ("S05-follow", "GET /links/zero", [], "404", "a device, with follow_symlinks"),
    ("S06-env", "GET /static/.env", [], "404", "a hidden file"),
    ("S06-git", "GET /static/.git/config", [], "404", "a file in a hidden directory"),
    ("S06-known", "GET /static/.well-known/security.txt", [], "200", ".well-known is public"),
    ("S07-name", f"GET /static/{'n' * 300}", [], "404", "a name of 300 characters"),
    ("S07-path", f"GET /static/{'n/' * 3000}", [], "404", "a path of 6 KB"),
    ("S07-nul", "GET /static/letters.txt%00.png", [], "404 400", "a NUL in the path"),
    ("S07-line", "GET /static/a%0d%0ab", [], "404", "a line break in the path"),
    ("S08-bare", "GET /bare/sub/", [], "404", "a directory where there are no index files"),
]
table("plain", LINES)


@SUITE.case("S06-follow", MUST, "links do not bring hidden files back", on=PLAIN)
def hidden_with_links(trial: Trial) -> None:
    equal(trial.connect().ask("/links/.env").status, 404, "status")


@SUITE.case("S08", MUST, "other methods are 405 with allow; OPTIONS and HEAD answer", on=PLAIN)
def methods(trial: Trial) -> None:
    connection = trial.connect()
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE"):
        body = None if method == "TRACE" else b""
        answer = connection.ask("/static/letters.txt", method=method, body=body)
        equal(answer.status, 405, f"status of {method}")
        equal(answer.header(b"allow"), b"GET, HEAD, OPTIONS", f"allow for {method}")
    answer = connection.ask("/static/letters.txt", method="OPTIONS")
    equal(answer.status, 204, "status of OPTIONS")
    answer = connection.ask("/static/letters.txt", method="HEAD")
    equal((answer.status, answer.header(b"content-length")), (200, b"10"), "HEAD")


DISJOINT = ",".join(f"{start}-{start}" for start in range(0, 10_000, 2))
# id, header lines, status, body where it is not multipart
RANGES = [
    ("overlapping", f"bytes={','.join(['0-'] * 1000)}", 200, LETTERS),
    ("disjoint", f"bytes={DISJOINT}"[:16_000], 200, LETTERS),
    ("digits", "bytes=\u0660-\u0661".encode().decode("latin-1"), 200, LETTERS),
    ("long", f"bytes={'9' * 5000}-", 416, b""),
    ("long-end", f"bytes=8-{'9' * 5000}", 206, LETTERS[8:]),
    ("minus-nothing", "bytes=-0", 416, b""),
    ("unit", "items=0-1", 200, LETTERS),
    ("twice-all", "bytes=0-,0-", 200, LETTERS),
    ("backwards", "bytes=4-2", 200, LETTERS),
    ("first", "bytes=0-3", 206, LETTERS[:4]),
    ("last", "bytes=-3", 206, LETTERS[-3:]),
    ("beyond", "bytes=99-", 416, b""),
    ("seventeen", "bytes=" + ",".join(["0-0"] * 17), 200, LETTERS),
]

for _id, _range, _status, _body in RANGES:

    @SUITE.case(f"S09-{_id}", MUST, f"range: {_range[:40]}", on=PLAIN, hostile=True)
    def _(trial: Trial, value: str = _range, status: int = _status, body: bytes = _body) -> None:
        connection = trial.connect()
        answer = connection.ask("/static/letters.txt", headers=[f"Range: {value}"])
        equal((answer.status, answer.body), (status, body), "status and body")
        if status == 416:
            equal(answer.header(b"content-range"), b"bytes */10", "content-range")
        equal(connection.ask("/ping").status, 200, "status of the next request")


@SUITE.case("S09-sixteen", MUST, "sixteen ranges travel as the parts of one body", on=PLAIN)
def sixteen_ranges(trial: Trial) -> None:
    ranges = ",".join(f"{start}-{start}" for start in range(0, 32, 2))
    answer = trial.connect().ask("/static/page.css", headers=[f"Range: bytes={ranges}"])
    equal(answer.status, 206, "status")
    media = answer.header(b"content-type") or b""
    check(media.startswith(b"multipart/byteranges; boundary="), f"content-type {media!r}")
    parts = answer.body.split(b"--" + media.partition(b"boundary=")[2])[1:-1]
    found = b"".join(part.partition(b"\r\n\r\n")[2][:-2] for part in parts)
    equal(found, SCRIPT[0:32:2], "the parts' bytes")


def _conditions() -> list[tuple[str, str, list[str], int]]:
    """Return id, method, header lines and status; ETAG, WEAK and DATE stand for the file's own."""
    later, earlier = formatdate(2_000_000_000, usegmt=True), formatdate(1, usegmt=True)
    return [
        ("none-match", "GET", ["If-None-Match: ETAG"], 304),
        ("none-match-weak", "GET", ["If-None-Match: WEAK"], 304),
        ("none-match-star", "GET", ["If-None-Match: *"], 304),
        ("none-match-list", "HEAD", ['If-None-Match: "x", ETAG'], 304),
        ("none-match-other", "GET", ['If-None-Match: "x"'], 200),
        ("none-match-first", "GET", ['If-None-Match: "x"', f"If-Modified-Since: {later}"], 200),
        ("modified-since", "GET", ["If-Modified-Since: DATE"], 304),
        ("modified-since-before", "GET", [f"If-Modified-Since: {earlier}"], 200),
        ("modified-since-garbage", "GET", ["If-Modified-Since: yesterday"], 200),
        ("match", "GET", ["If-Match: ETAG"], 200),
        ("match-weak", "GET", ["If-Match: WEAK"], 412),
        ("match-other", "GET", ['If-Match: "x"'], 412),
        ("unmodified-since", "GET", [f"If-Unmodified-Since: {earlier}"], 412),
        ("range-same", "GET", ["Range: bytes=0-1", "If-Range: ETAG"], 206),
        ("range-date", "GET", ["Range: bytes=0-1", "If-Range: DATE"], 206),
        ("range-weak", "GET", ["Range: bytes=0-1", "If-Range: WEAK"], 200),
        ("range-other", "GET", ["Range: bytes=0-1", 'If-Range: "x"'], 200),
        ("range-head", "HEAD", ["Range: bytes=0-1"], 200),
    ]


@SUITE.case("S10", MUST, "conditions are judged in RFC 9110's order; a 304 has no body", on=PLAIN)
def conditions(trial: Trial) -> None:
    connection = trial.connect()
    first = connection.ask("/static/letters.txt")
    etag, date = (first.header(name) or b"" for name in (b"etag", b"last-modified"))
    parsedate_to_datetime(date.decode())
    for id, method, lines, status in _conditions():
        given = [
            line.replace("ETAG", etag.decode())
            .replace("WEAK", f"W/{etag.decode()}")
            .replace("DATE", date.decode())
            for line in lines
        ]
        answer = connection.ask("/static/letters.txt", method=method, headers=given)
        equal(answer.status, status, f"status of {id}")
        if status == 304:
            equal((answer.body, answer.header(b"etag")), (b"", etag), id)


@SUITE.case(
    "S11", MUST, "a file has its type, length, validators, nosniff, cache-control", on=PLAIN
)
def fields(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask("/static/page.css")
    for name, value in (
        (b"content-type", b"text/css"),
        (b"content-length", b"%d" % len(SCRIPT)),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"max-age=9"),
    ):
        equal(answer.header(name), value, name.decode())
    equal(answer.body, SCRIPT, "body")
    answer = connection.ask("/static/empty")
    equal((answer.status, answer.header(b"content-length"), answer.body), (200, b"0", b""), "empty")
    equal(connection.ask("/static/%C3%A9%20%C3%BC.txt").body, LETTERS, "a name beyond ASCII")


@SUITE.case("S11-index", MUST, "a directory answers with its index, below its own slash", on=PLAIN)
def index(trial: Trial) -> None:
    connection = trial.connect()
    for target in ("/static/", "/static/sub/"):
        equal(connection.ask(target).body, PAGE, target)
    answer = connection.ask("/static/sub?a=1")
    equal((answer.status, answer.header(b"location")), (307, b"./sub/?a=1"), "without the slash")
    equal(connection.ask("/static/dir/").status, 404, "a directory without an index")


@SUITE.case("S11-fallback", MUST, "a page that is not there is index.html, a script 404", on=PLAIN)
def fallback(trial: Trial) -> None:
    connection = trial.connect()
    page = ["Accept: text/html,*/*;q=0.8"]
    answer = connection.ask("/pages/users/7", headers=page)
    equal((answer.status, answer.body), (200, PAGE), "a page")
    equal(connection.ask("/pages/app.js", headers=["Accept: */*"]).status, 404, "a script")
    equal(connection.ask("/static/users/7", headers=page).status, 404, "where it is off")
    equal(connection.ask("/pages/.env", headers=page).status, 404, "a hidden file")


@SUITE.case("S11-neighbours", MUST, "precompressed neighbours stand in for a file", on=PLAIN)
def neighbours(trial: Trial) -> None:
    connection = trial.connect()
    for accepted, coding in (
        ("gzip", b"gzip"),
        ("br", b"br"),
        ("zstd", b"zstd"),
        ("gzip;q=1, br;q=0.5", b"gzip"),
        ("identity", None),
        ("gzip;q=0", None),
    ):
        answer = connection.ask("/static/script.js", headers=[f"Accept-Encoding: {accepted}"])
        equal(answer.header(b"content-encoding"), coding, f"coding for {accepted}")
        equal(answer.header(b"content-type"), b"text/javascript", "content-type")
        check(b"accept-encoding" in (answer.header(b"vary") or b"").lower(), "no vary")
    answer = connection.ask("/bare/script.js", headers=["Accept-Encoding: gzip"])
    check(
        answer.header(b"content-length") != b"%d" % (files.root() / "script.js.gz").stat().st_size,
        "a neighbour was sent where they are off",
    )


@SUITE.case("S12", MUST, "a file that is swapped for a link while it is asked for", on=PLAIN)
def swapped(trial: Trial) -> None:
    root = files.root()
    done = threading.Event()

    def swap() -> None:
        place, made = root / "swapped.txt", root / "being-made"
        while not done.is_set():
            made.write_bytes(LETTERS)
            os.replace(made, place)
            with contextlib.suppress(FileExistsError):
                made.symlink_to("../outside/secret.txt")
            os.replace(made, place)

    (root / "swapped.txt").write_bytes(LETTERS)
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        connection = trial.connect()
        for _ in range(300):
            answer = connection.ask("/static/swapped.txt")
            check(answer.status in (200, 404), f"status {answer.status}")
            check(OUTSIDE not in answer.body, "the file outside came out")
    finally:
        done.set()
        thread.join()
        (root / "swapped.txt").unlink()


@SUITE.case("S14", MUST, "a file that changes is sent as it is now, with another etag", on=PLAIN)
def changed(trial: Trial) -> None:
    path = files.root() / "changing.txt"
    connection = trial.connect()
    seen: set[bytes | None] = set()
    for content in (b"one", b"two", b"six", b"three"):
        path.write_bytes(content)
        for _ in range(2):
            answer = connection.ask("/static/changing.txt")
            equal(answer.body, content, "body")
        seen.add(answer.header(b"etag"))
    path.unlink()
    equal(len(seen), 4, "number of etags")
    equal(connection.ask("/static/changing.txt").status, 404, "status once it is gone")


@SUITE.case(
    "S15", MUST, "files and documentation ask for a token unless they are public", on=profile("jwt")
)
def covered(trial: Trial) -> None:
    connection = trial.connect()
    for target in ("/static/letters.txt", "/static/nothing", "/docs", "/redoc", "/openapi.json"):
        equal(connection.ask(target).status, 401, f"status of {target}")
    equal(connection.ask("/public/letters.txt").body, LETTERS, "a public directory")
    equal(connection.ask("/public/../static/letters.txt").status, 404, "from one to the other")


@SUITE.case("S16", MUST, "many clients that read a large file slowly cost little memory", on=PLAIN)
def slow_readers(trial: Trial) -> None:
    count = 100
    trial.server.ping()
    before = trial.server.memory()
    connections = [trial.connect(receive_buffer=4096) for _ in range(count)]
    for connection in connections:
        connection.request("/static/large.bin")
    for connection in connections:
        equal(connection.head().status, 200, "status")
    trial.server.ping()
    grown = trial.server.memory() - before
    check(grown < count * (256 << 10), f"memory grew by {grown >> 10} KiB")


SUITE.left_out("S13", "names of Windows devices", "Linux is what is claimed")
