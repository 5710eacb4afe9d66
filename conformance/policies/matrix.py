"""V04: every kind of route stands behind every policy. The rows come from the application's own route table, so a new route is a new row."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import TYPE_CHECKING

from conformance.case import MUST, Case
from conformance.policies.application import KEY, make
from conformance.policies.suite import SUITE, profile
from conformance.policies.tokens import bearer, claims, signed
from conformance.verdict import broken, check
from spikard import ServerConfig
from spikard._documentation import documentation_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.client import Response
    from conformance.trial import Trial
    from spikard.routing import BoundRoute

MATRIX = profile("matrix")
OURS = "https://example.com"
CREDENTIALS = [
    bearer(signed(claims(scope="read write", roles=["admin"]))),
    f"X-API-Key: {KEY}",
]
HANDSHAKE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
BURST = 3
LIMIT_BYTES = 10_000

# What a path or query parameter is given.
SAMPLES = {"kind": "plain", "name": "a.txt", "size": "100", "tag": "x"}
QUERIES = {"/download": "?name=a.txt", "/large": "?size=100", "/stream": "?tag=x"}

_clients = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Row:
    """One target of the route table.

    Attributes:
        is_open: it says that it needs no credentials.
        is_read: its request body reaches somebody, so that the server's limit holds.
        is_counted: the server's limit counts it, or one of its own that is lower.
        is_compressed: what it answers may be compressed.
    """

    kind: str
    method: str
    target: str
    is_open: bool = False
    is_read: bool = False
    is_counted: bool = True
    is_compressed: bool = True
    is_handshake: bool = False

    def ask(self, trial: Trial, *lines: str, client: str = "", host: str = "a") -> Response:
        """Send its request, by default for a client of its own, and return the head of the answer."""
        number = next(_clients)
        client = client or f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        headers = [*(HANDSHAKE if self.is_handshake else []), *lines]
        connection = trial.connect()
        connection.request(
            self.target,
            method=self.method,
            headers=[*headers, f"X-Forwarded-For: {client}"],
            host=host,
        )
        return connection.head()


def _rows() -> Iterator[Row]:
    app = make("matrix")
    app.freeze()
    config = app.config or ServerConfig()
    for bound in app.routes:
        yield from _of(bound, "nested" if len(bound.chain) > 1 else "route")
    for bound in documentation_routes(app, config):
        yield from _of(bound, "docs")
    yield Row("static", "GET", "/static/letters.txt")
    yield Row("static", "GET", "/static/sub/")
    yield Row("static", "HEAD", "/static/letters.txt")
    yield Row("static-nothing", "GET", "/static/nothing")
    yield Row("static-method", "DELETE", "/static/letters.txt")
    yield Row("static-public", "GET", "/public/letters.txt", is_open=True)
    yield Row("mount", "GET", "/mounted/", is_read=True)
    yield Row("mount", "PATCH", "/mounted/a/b", is_read=True)
    yield Row("mount-websocket", "GET", "/mounted/socket", is_handshake=True)
    for target in ("/nothing", "/api/outer/nothing", "/static2", "/ping/below"):
        yield Row("404", "GET", target)
    yield Row("404-handshake", "GET", "/nothing", is_handshake=True)


def _of(bound: BoundRoute, kind: str) -> Iterator[Row]:
    filled = re.sub(r"\{(\w+)\}", lambda match: SAMPLES[match[1]], bound.path)
    options = bound.options
    row = Row(
        kind,
        bound.methods[0],
        filled + QUERIES.get(bound.path, ""),
        is_open=options.get("require_auth") is False,
        is_read="max_body_size" not in options,
        is_counted=bound.path != "/ping",
        is_compressed=options.get("compress") is not False,
    )
    if bound.route.protocol == "websocket":
        yield dataclasses.replace(row, kind="websocket", is_handshake=True, is_read=False)
        return
    if row.is_open and kind == "route":
        row = dataclasses.replace(row, kind="open")
    if bound.route.protocol == "sse":
        row = dataclasses.replace(row, kind="sse")
    yield row
    if "GET" not in bound.methods:
        return
    yield dataclasses.replace(row, kind=f"{kind}-head", method="HEAD")
    # What no route answers has no route's options.
    closed = dataclasses.replace(
        row, is_open=False, is_read=False, is_counted=True, is_compressed=True
    )
    yield dataclasses.replace(closed, kind=f"{kind}-options", method="OPTIONS")
    yield dataclasses.replace(closed, kind=f"{kind}-405", method="PURGE")


def _refuses(row: Row, trial: Trial, *lines: str) -> None:
    status = row.ask(trial, *lines).status
    if row.is_open:
        check(status != 401, "an open route asks for credentials")
    else:
        check(status == 401, f"answers {status}")


def no_credentials(row: Row, trial: Trial) -> None:
    """Without credentials it is a 401."""
    _refuses(row, trial)


def key_alone(row: Row, trial: Trial) -> None:
    """A key without a token is a 401."""
    _refuses(row, trial, CREDENTIALS[1])


def token_alone(row: Row, trial: Trial) -> None:
    """A token without a key is a 401."""
    _refuses(row, trial, CREDENTIALS[0])


def credentials(row: Row, trial: Trial) -> None:
    """With both it is what the route makes of it."""
    status = row.ask(trial, *CREDENTIALS).status
    check(status not in (400, 401, 403, 429, 503), f"answers {status}")
    if "404" in row.kind or "nothing" in row.kind:
        check(status == 404, f"answers {status}")
    if row.is_handshake and "404" not in row.kind:
        check(status == 101, f"answers {status}")


def rate_limit(row: Row, trial: Trial) -> None:
    """The request over the limit is a 429, and says so."""
    client = f"198.51.{next(_clients) >> 8}.{next(_clients) & 255}"
    found = [row.ask(trial, *CREDENTIALS, client=client) for _ in range(BURST + 1)]
    status = found[-1].status
    if not row.is_counted:
        check(status != 429, "a limit of its own does not count")
        return
    check(status == 429, f"answers {status}")
    check(found[-1].header(b"retry-after"), "no retry-after")
    for answer in found:
        check(answer.header(b"ratelimit-limit"), "no ratelimit-limit")


def limit_before_credentials(row: Row, trial: Trial) -> None:
    """Who guesses is limited too."""
    client = f"198.18.{next(_clients) >> 8}.{next(_clients) & 255}"
    found = [row.ask(trial, client=client).status for _ in range(BURST + 1)]
    check(not row.is_counted or found[-1] == 429, f"answers {found[-1]}")


def cors(row: Row, trial: Trial) -> None:
    """A listed origin may read the answer, a refusal too; another may not."""
    if row.is_handshake:
        status = row.ask(trial, *CREDENTIALS, "Origin: https://evil.example").status
        expected = 404 if "404" in row.kind else 403
        check(status in (403, expected), f"a foreign origin's handshake is answered {status}")
        return
    for lines in ([], CREDENTIALS):
        answer = row.ask(trial, *lines, f"Origin: {OURS}")
        check(answer.header(b"access-control-allow-origin") == OURS.encode(), "not allowed")
        answer = row.ask(trial, *lines, "Origin: https://evil.example")
        check(answer.header(b"access-control-allow-origin") is None, "allowed")
        check(b"Origin" in b",".join(answer.all(b"vary")), "no vary")


def preflight(row: Row, trial: Trial) -> None:
    """A preflight needs no credentials and tells nothing of the route."""
    asked = dataclasses.replace(row, method="OPTIONS", is_handshake=False)
    answer = asked.ask(trial, f"Origin: {OURS}", "Access-Control-Request-Method: GET")
    check(answer.status == 204, f"answers {answer.status}")
    check(answer.header(b"access-control-allow-origin") == OURS.encode(), "not allowed")


def request_id(row: Row, trial: Trial) -> None:
    """Every answer carries the request's id."""
    for lines in ([], CREDENTIALS):
        answer = row.ask(trial, *lines, "X-Request-ID: own-1")
        check(answer.all(b"x-request-id") == [b"own-1"], "the client's is lost")
        made = row.ask(trial, *lines).all(b"x-request-id")
        check(len(made) == 1 and len(made[0]) == 36, f"made {made}")


def headers(row: Row, trial: Trial) -> None:
    """Every answer carries the configured fields."""
    for lines in ([], CREDENTIALS):
        answer = row.ask(trial, *lines)
        check(answer.header(b"x-own") == b"1", "no x-own")
        check(answer.header(b"x-content-type-options") == b"nosniff", "no nosniff")


def allowed_hosts(row: Row, trial: Trial) -> None:
    """A foreign host is a 400."""
    status = row.ask(trial, *CREDENTIALS, host="evil.example").status
    check(status == 400, f"answers {status}")


def compression(row: Row, trial: Trial) -> None:
    """What is text is compressed, for those who take it."""
    for lines in ([], CREDENTIALS):
        answer = row.ask(trial, *lines, "Accept-Encoding: gzip")
        media = answer.header(b"content-type") or b""
        is_text = media.startswith((b"text/", b"application/json", b"application/problem+json"))
        has_body = row.method != "HEAD" and answer.status not in (101, 204, 206)
        refused = answer.status == 401
        coded = answer.header(b"content-encoding")
        if coded is not None:
            check(has_body and (row.is_compressed or refused), f"{media!r} is {coded!r}")
        elif is_text and has_body and (row.is_compressed or refused):
            length = int(answer.header(b"content-length") or 1 << 20)
            check(length < 200, f"{length} bytes of {media!r} are not compressed")


def body_limit(row: Row, trial: Trial) -> None:
    """A body over the limit is a 413 where somebody would read it, and read nowhere."""
    if row.target in ("/limits/high", "/limits/none"):
        return  # more than the server's: V07-body
    status = row.ask(trial, *CREDENTIALS, f"Content-Length: {LIMIT_BYTES + 1}").status
    if row.is_read:
        check(status == 413, f"answers {status}")
    else:
        check(status < 500, f"answers {status}")


POLICIES: list[Callable[[Row, Trial], None]] = [
    no_credentials,
    key_alone,
    token_alone,
    credentials,
    rate_limit,
    limit_before_credentials,
    cors,
    preflight,
    request_id,
    headers,
    allowed_hosts,
    compression,
    body_limit,
]

ROWS: dict[str, list[Row]] = {}
for _row in _rows():
    ROWS.setdefault(_row.kind, []).append(_row)

for _kind, _policy in itertools.product(ROWS, POLICIES):

    def _run(
        trial: Trial,
        rows: list[Row] = ROWS[_kind],
        policy: Callable[[Row, Trial], None] = _policy,
    ) -> None:
        wrong: list[str] = []
        for row in rows:
            try:
                policy(row, trial)
            except Exception as error:  # noqa: PERF203 - all rows that fail are told
                wrong.append(f"{row.method} {row.target}: {error}")
        if wrong:
            broken("; ".join(wrong))

    SUITE.add(
        Case(
            id=f"V04-{_kind}-{_policy.__name__}",
            level=MUST,
            title=f"{_kind} ({len(ROWS[_kind])} rows): {_policy.__doc__}",
            run=_run,
            on=MATRIX,
        )
    )
