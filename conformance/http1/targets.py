"""Group Q: odd paths and queries, for a foreign ASGI application (contracts §4): U+FFFD and an untouched raw_path; NUL is a 400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.case import MUST, USED
from conformance.http1.judge import judge
from conformance.http1.suite import SUITE, Line, table
from conformance.server import Options
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial


def request(target: bytes) -> bytes:
    """Return a GET of `target`."""
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"


LINES: list[Line] = [
    ("Q01", request(b"/scope/x/a%00b"), "400c 400", "an encoded NUL in the path"),
    ("Q08-many", request(b"/scope/x?" + b"a=1&" * 8000), "414c 431c", "8,000 query parameters"),
    ("Q08-ampersands", request(b"/scope/x?" + b"&" * 30000), "414c 431c", "30,000 ampersands"),
    ("Q10-path", request(b"/scope/x/\xc3\xa9"), "400c", "raw 8-bit in the path"),
    ("Q10-query", request(b"/scope/x?\xff"), "400c", "raw 8-bit in the query"),
    ("Q10-control", request(b"/scope/x/a\x7fb"), "400c", "DEL in the path"),
]
table(LINES)

# id, suffix of the target as sent, what follows the tag in the decoded path
DECODED = [
    (
        "Q02-overlong",
        "/%c0%ae%c0%ae/x",
        "/\ufffd\ufffd\ufffd\ufffd/x",
        "overlong dots become U+FFFD",
    ),
    ("Q02-ff", "/%ff", "/\ufffd", "an invalid byte becomes U+FFFD"),
    ("Q04", "/a%2fb", "/a/b", "an encoded slash is decoded once"),
    ("Q04-twice", "/%252e", "/%2e", "an encoded per cent is decoded once"),
    ("Q05-dots", "/a/../../b", "/a/../../b", "dots are the application's"),
    ("Q05-slashes", "//evil.com/x", "//evil.com/x", "double slashes are the application's"),
    ("Q05-dot", "/./x", "/./x", "a dot segment is the application's"),
    ("Q05-parameters", "/a;v=1/b", "/a;v=1/b", "path parameters are the application's"),
]


def _decoded(trial: Trial, suffix: str, path: str) -> None:
    scope = trial.scope(suffix)
    equal(scope.get("raw_path"), trial.target("scope", suffix).encode(), "raw_path")
    equal(scope["path"], trial.target("scope", path), "path")


for _id, _suffix, _path, _title in DECODED:

    @SUITE.case(_id, MUST, _title, hostile=True)
    def _(trial: Trial, suffix: str = _suffix, path: str = _path) -> None:
        _decoded(trial, suffix, path)


QUERIES = [
    ("Q07-digits", "a=" + "1" * 5000),
    ("Q07-odd", "a=1_000&b=%D9%A1&c=%20 1".replace(" ", "%20")),
    ("Q09", "a=1&a=2&a[]=&a=1;b=2"),
]

for _id, _query in QUERIES:

    @SUITE.case(_id, MUST, "the query reaches the application untouched", hostile=True)
    def _(trial: Trial, query: str = _query) -> None:
        equal(trial.scope(f"?{query}")["query_string"], query.encode(), "query_string")


@SUITE.case("Q03", USED, "malformed escapes are left as they are or refused", hostile=True)
def malformed_escapes(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask(trial.target("scope", "/%zz%1"))
    if answer.status != 400:
        scope: dict[str, Any] = trial.seen("scope")
        equal(scope["path"], trial.target("scope", "/%zz%1"), "path")


@SUITE.case("Q06", MUST, "an encoded line break reaches neither a header nor the log as such")
def encoded_line_break(trial: Trial) -> None:
    judge(
        trial,
        b"GET /header-from-path/x/a%0d%0aX-Injected:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "500 500c close",
    )
    server = trial.start(Options(access_log=True))
    connection = trial.connect(server=server)
    connection.ask(trial.target("scope", "/a%0d%0aInjected:1%1b[31m"))
    check(
        not any(line.startswith("Injected") for line in server.log().splitlines()),
        "the line break is in the log",
    )
    check("\x1b[31m" not in server.log(), "an escape sequence is in the log")
