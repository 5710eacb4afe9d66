"""Judges one raw HTTP/1 message: the answer's status, whether the connection ends, and that nothing after it is taken for a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.client import ClosedError
from conformance.verdict import BrokenError, broken, check

if TYPE_CHECKING:
    from conformance.client import Connection
    from conformance.trial import Trial

# Target of requests hidden inside bodies and framing tricks; whenever the application sees it the runner fails the case.
HIDDEN_MARKER = "/smug"


OPEN, CLOSED = "open", "closed"


def allowed(expect: str, status: int | None) -> set[str]:
    """Return what may become of the connection after `status`: `OPEN`, `CLOSED` or either.

    `expect` holds alternatives such as `400c 501c`: a status (`close`: no answer), followed by `c`
    if the connection has to end. Where it stays open, the request that follows has to be answered.

    Raises:
        BrokenError: the status is none of the alternatives.
    """
    answer = "close" if status is None else str(status)
    found = set()
    for word in expect.split():
        match = re.fullmatch(r"(close|\d{3})(c?)", word)
        if match is None:
            raise ValueError(f"not an expectation: {word!r}")
        if match[1] == answer:
            found.add(CLOSED if match[2] or status is None else OPEN)
    ending = "closed without an answer" if status is None else f"answered {status}"
    check(found, f"{ending}, expected {expect}")
    return found


def judge(trial: Trial, data: bytes, expect: str, id: str = "") -> None:
    """Send `data`, then a marker request, on a connection of its own, and hold the outcome against `expect`."""
    connection = trial.connect()
    connection.send(data)
    judge_sent(trial, connection, expect, id)


def judge_sent(trial: Trial, connection: Connection, expect: str, id: str = "") -> None:
    """Judge what has been sent on `connection` already."""
    prefix = f"{id}: " if id else ""
    tag = trial.new_tag()
    connection.send(f"GET {HIDDEN_MARKER}/{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    status = connection.outcome()
    try:
        ways = allowed(expect, status)
        follower = (
            connection.rest() if CLOSED in ways and OPEN not in ways else _follower(connection)
        )
    except BrokenError as error:
        broken(f"{prefix}{error}")
    check(not follower or OPEN in ways, f"{prefix}{follower[:60]!r} after the answer")
    check(follower or CLOSED in ways, f"{prefix}answered {status}, then closed; expected {expect}")
    if not follower:
        trial.server.ping()
        seen = trial.observer.all(tag, "smug")
        check(not seen, f"{prefix}a request after the refused message reached the application")
    else:
        check(follower == b"smuggled", f"{prefix}the next request is not answered properly")


def _follower(connection: Connection) -> bytes:
    """Return the body of the marker request's answer, nothing if the connection has ended."""
    try:
        return connection.response().body
    except ClosedError:
        return b""
