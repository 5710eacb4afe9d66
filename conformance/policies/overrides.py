"""V07: what a route says for itself goes over what the server says, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.suite import SUITE, problem, profile
from conformance.verdict import equal

if TYPE_CHECKING:
    from conformance.trial import Trial

MATRIX = profile("plain")
JSON = ["Content-Type: application/json"]


def body(size: int) -> bytes:
    """Return a JSON object of that many bytes."""
    return b'{"a": "' + b"x" * (size - 9) + b'"}'


@SUITE.case("V07-body", MUST, "a route's own body limit, lower, higher and none", on=MATRIX)
def body_limits(trial: Trial) -> None:
    connection = trial.connect()
    for target, size, status in (
        ("/text", 9_000, 200),
        ("/limits/low", 10, 200),
        ("/limits/low", 11, 413),
        ("/limits/high", 15_000, 200),
        ("/limits/high", 20_001, 413),
        ("/limits/none", 100_000, 200),
    ):
        for chunked in (False, True):
            connection = trial.connect()
            data = body(size)
            if chunked:
                head = f"POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{JSON[0]}\r\n\r\n"
                connection.send(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (size, data))
                answer = connection.response()
            else:
                answer = connection.ask(target, method="POST", headers=JSON, body=data)
            equal(answer.status, status, f"status of {size} bytes to {target}")
            if status == 413:
                problem(answer, 413)


@SUITE.case("V07-timeout", MUST, "a route's own time limit", on=MATRIX)
def time_limit(trial: Trial) -> None:
    answer = trial.connect().ask("/limits/quick")
    problem(answer, 408)
    equal(answer.header(b"connection"), b"close", "connection")
