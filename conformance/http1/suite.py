"""The suite object that the parts of `conformance.http1` fill, and how a table line becomes a case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.case import MUST, Case, Suite
from conformance.http1.judge import judge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.trial import Trial

SUITE = Suite("http1")

Line = tuple[str, bytes, str, str]  # id, bytes, expectation, title


def table(lines: Iterable[Line], *, hostile: bool = True) -> None:
    """Add a case for each line: the bytes are sent on a connection of their own and the outcome judged."""
    for id, data, expect, title in lines:

        def run(trial: Trial, data: bytes = data, expect: str = expect) -> None:
            judge(trial, data, expect)

        SUITE.add(Case(id=id, level=MUST, title=f"{title}: {expect}", run=run, hostile=hostile))
