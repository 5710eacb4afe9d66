"""What a case is: a claim with an id, its level, what the server must offer for it, and how it is tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from conformance.server import DEFAULT, Options
from conformance.verdict import NotApplicableError

if TYPE_CHECKING:
    from conformance.trial import Trial

Run = Callable[["Trial"], None]
_R = TypeVar("_R", bound=Run)

MUST = "M"  # the specification's text says so
SHOULD = "S"
USED = "X"  # not in the text, but frameworks rely on it
LEFT_OUT = "-"  # listed so that nobody looks for it; never tried


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One claim about a server.

    Attributes:
        id: row of the checklist or catalogue, with a suffix where a row has several cases (`A04-plus`).
        needs: capabilities (`conformance.server.CAPABILITIES`) without which the case does not apply.
        on: how the server under test is started; cases with equal options share one process.
        hostile: the case sends hostile bytes: at most one log line a connection, no leak into answers.
    """

    id: str
    level: str
    title: str
    run: Run
    needs: frozenset[str] = frozenset()
    on: Options = DEFAULT
    hostile: bool = False


class Suite:
    """An ordered set of cases with one name, filled by the decorator `case` or by `add` from a table."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: list[Case] = []

    def case(
        self,
        id: str,
        level: str,
        title: str,
        *,
        needs: Collection[str] = (),
        on: Options = DEFAULT,
        hostile: bool = False,
    ) -> Callable[[_R], _R]:
        """Register the decorated function as a case."""

        def register(run: _R) -> _R:
            self.add(
                Case(
                    id=id,
                    level=level,
                    title=title,
                    run=run,
                    needs=frozenset(needs),
                    on=on,
                    hostile=hostile,
                )
            )
            return run

        return register

    def add(self, case: Case) -> None:
        """Add `case`.

        Raises:
            ValueError: the id is taken.
        """
        if any(known.id == case.id for known in self.cases):
            raise ValueError(f"{self.name} has two cases {case.id}")
        self.cases.append(case)

    def left_out(self, id: str, title: str, reason: str) -> None:
        """List a row that is not tried, on purpose."""

        def skip(_: Trial) -> None:
            raise NotApplicableError(reason)

        self.add(Case(id=id, level=LEFT_OUT, title=title, run=skip))
