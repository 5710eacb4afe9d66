"""Judges one raw HTTP/1 message: the answer's status, whether the connection ends, and that nothing after it is taken for a request."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from conformance.verdict import broken, check

if TYPE_CHECKING:
    from conformance.client import Connection
    from conformance.trial import Trial

# Target of requests hidden inside bodies and framing tricks; whenever the application sees it the runner fails the case.
HIDDEN_MARKER = "/smug"


@dataclasses.dataclass(frozen=True)
class Expectation:
    """Alternatives such as `400c 501c`: a status (`close`: none), followed by `c` if the connection has to end.

    Where the connection stays open, the request that follows has to be answered.
    """

    text: str

    def closes(self, status: int | None) -> bool:
        """Tell whether the connection has to end after `status`.

        Raises:
            BrokenError: the status is none of the alternatives.
        """
        for word in self.text.split():
            match = re.fullmatch(r"(close|\d{3})(c?)", word)
            if match is None:
                raise ValueError(f"not an expectation: {word!r}")
            if match[1] == ("close" if status is None else str(status)):
                return bool(match[2]) or status is None
        broken(
            f"{'closed without an answer' if status is None else f'answered {status}'}, expected {self.text}"
        )
        return None


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
        closes = Expectation(expect).closes(status)
        if closes:
            connection.closed()
        else:
            check(
                connection.response().body == b"smuggled",
                "the next request is not answered properly",
            )
    except Exception as error:
        broken(f"{prefix}{error}")
    if closes:
        trial.server.ping()
        check(
            not trial.observer.all(tag, "smug"),
            f"{prefix}a request after the refused message reached the application",
        )
