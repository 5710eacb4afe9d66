"""How a trial ends other than well, and the checks that end it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class BrokenError(Exception):
    """The server does not keep the claim; the message is the one-line reason."""


class NotApplicableError(Exception):
    """The claim cannot be shown on this server; the message says why."""


def broken(reason: str) -> NoReturn:
    """Fail the running case."""
    raise BrokenError(reason)


def check(claim: object, reason: str) -> None:
    """Fail the running case with `reason` unless `claim` is true."""
    if not claim:
        raise BrokenError(reason)


def equal(actual: Any, expected: Any, what: str) -> None:
    """Fail unless both value and type agree, so that `True` is not 1 and a tuple is not a list."""
    if type(actual) is not type(expected) or actual != expected:
        raise BrokenError(f"{what} is {_short(actual)}, not {_short(expected)}")


def eventually(claim: Callable[[], bool], reason: str, *, within: float = 3.0) -> None:
    """Ask until `claim` holds, for what cannot be awaited, such as the state of other processes.

    Raises:
        BrokenError: it never did; begins with `reason`.
    """
    end = time.monotonic() + within
    pause = threading.Event()
    while not claim():
        check(time.monotonic() < end, f"{reason} within {within:g} s")
        pause.wait(0.02)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
