"""Group O: which origins' scripts may read what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.suite import SUITE, problem, profile
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

CORS = profile("cors")
OURS = "https://example.com"

FOREIGN = {
    "null": "null",
    "suffix": "https://example.com.evil",
    "dot": "https://exampleXcom",
    "prefix": "https://evil-example.com",
    "host-case": "https://EXAMPLE.com",
    "scheme-case": "HTTPS://example.com",
    "port": "https://example.com:8443",
    "no-port": "https://app.example.com",
    "scheme": "http://example.com",
    "slash": "https://example.com/",
    "path": "https://example.com/x",
    "user": "https://x@example.com",
    "subdomain": "https://a.example.com",
    "space": "https://example.com evil",
    "regex-suffix": "https://a.example.net.evil",
    "regex-prefix": "https://evil/https://a.example.net",
    "regex-dot": "https://aXexampleXnet",
    "regex-port": "https://a.example.net:8443",
    "star": "*",
    "empty": "",
    "long": "https://" + "a" * 10_000 + ".example.net",
    "bytes": "https://example.com\xff",
}

for _id, _origin in FOREIGN.items():

    @SUITE.case(
        f"{'O02' if _id == 'null' else 'O03'}-{_id}",
        MUST,
        f"a foreign origin: {_origin[:40]}",
        on=CORS,
        hostile=True,
    )
    def _(trial: Trial, origin: str = _origin) -> None:
        connection = trial.connect()
        answer = connection.ask("/text", headers=[f"Origin: {origin}"])
        equal(answer.status, 200, "status")
        check(not _allowances(answer.headers), f"allows {_allowances(answer.headers)}")
        answer = connection.ask(
            "/text",
            method="OPTIONS",
            headers=[f"Origin: {origin}", "Access-Control-Request-Method: GET"],
        )
        problem(answer, 403)
        check(not _allowances(answer.headers), f"allows {_allowances(answer.headers)}")


def _allowances(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [name for name, _ in headers if name.startswith(b"access-control-")]


@SUITE.case("O04", MUST, "a listed or matching origin is named, with what it may do", on=CORS)
def allowed(trial: Trial) -> None:
    connection = trial.connect()
    for origin in (OURS, "https://app.example.com:8443", "https://a.example.net"):
        answer = connection.ask("/text", headers=[f"Origin: {origin}"])
        for name, value in (
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", b"X-Total"),
        ):
            equal(answer.all(name), [value], name.decode())
        check(b"origin" in b",".join(answer.all(b"vary")).lower(), "vary does not name Origin")
    answer = connection.ask("/text")
    check(b"origin" in b",".join(answer.all(b"vary")).lower(), "no vary without an origin")
    answer = connection.ask("/raises", headers=[f"Origin: {OURS}"])
    equal(
        (answer.status, answer.all(b"access-control-allow-origin")), (500, [OURS.encode()]), "500"
    )


# id, target, method that is asked for, field names that are asked for, status
PREFLIGHTS = [
    ("route", "/text", "POST", "x-token, Accept", 204),
    ("nothing", "/nothing/here", "GET", "", 204),
    ("mount", "/mounted/", "GET", "", 204),
    ("method", "/text", "DELETE", "", 403),
    ("method-case", "/text", "get", "", 403),
    ("field", "/text", "GET", "X-Token, X-Other", 403),
    ("fields", "/text", "GET", ",".join(f"x-{n}" for n in range(1000)), 403),
    ("many", "/text", "GET", ",".join(["x-token"] * 1000), 403),
    ("odd-field", "/text", "GET", "x token", 403),
]

for _id, _target, _method, _fields, _status in PREFLIGHTS:

    @SUITE.case(
        f"O05-{_id}", MUST, f"preflight for {_method} {_target}: {_status}", on=CORS, hostile=True
    )
    def _(
        trial: Trial,
        target: str = _target,
        method: str = _method,
        fields: str = _fields,
        status: int = _status,
    ) -> None:
        lines = [f"Origin: {OURS}", f"Access-Control-Request-Method: {method}"]
        if fields:
            lines.append(f"Access-Control-Request-Headers: {fields}")
        answer = trial.connect().ask(target, method="OPTIONS", headers=lines)
        equal(answer.status, status, "status")
        if status == 204:
            for name, value in (
                (b"access-control-allow-origin", OURS.encode()),
                (b"access-control-allow-methods", b"GET, POST"),
                (b"access-control-allow-headers", b"X-Token"),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-max-age", b"600"),
            ):
                equal(answer.all(name), [value], name.decode())
        else:
            check(answer.header(b"access-control-allow-headers") is None, "allows fields")


@SUITE.case("O05-options", MUST, "OPTIONS that is no preflight is the route's", on=CORS)
def no_preflight(trial: Trial) -> None:
    connection = trial.connect()
    for lines in ([], [f"Origin: {OURS}"], ["Access-Control-Request-Method: GET"]):
        answer = connection.ask("/text", method="OPTIONS", headers=lines)
        equal(answer.status, 204, "status")
        check(b"GET" in (answer.header(b"allow") or b""), "no allow")


@SUITE.case("O06", MUST, "two origins are none", on=CORS, hostile=True)
def two_origins(trial: Trial) -> None:
    for lines in (
        [f"Origin: {OURS}", f"Origin: {OURS}"],
        [f"Origin: {OURS}, {OURS}"],
        [f"Origin: {OURS}", "Origin: https://evil.example"],
    ):
        answer = trial.connect().ask("/text", headers=lines)
        check(not _allowances(answer.headers), f"{lines} are allowed")


@SUITE.case(
    "O07",
    MUST,
    "any origin may read without credentials, and none is named",
    on=profile("cors-any"),
)
def any_origin(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask("/text", headers=["Origin: https://anybody.example"])
    equal(answer.all(b"access-control-allow-origin"), [b"*"], "access-control-allow-origin")
    check(answer.header(b"access-control-allow-credentials") is None, "allows credentials")
    lines = [
        "Origin: https://anybody.example",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: x-anything",
    ]
    answer = connection.ask("/text", method="OPTIONS", headers=lines)
    equal(answer.status, 204, "status of the preflight")
    check(answer.header(b"access-control-allow-headers") != b"x-anything", "names are reflected")


@SUITE.case("O08", MUST, "a private network is not opened by default", on=CORS)
def private_network(trial: Trial) -> None:
    lines = [
        f"Origin: {OURS}",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Private-Network: true",
    ]
    answer = trial.connect().ask("/text", method="OPTIONS", headers=lines)
    check(answer.header(b"access-control-allow-private-network") is None, "it is")
