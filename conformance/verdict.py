"""How a trial ends other than well, and the checks that end it."""

from __future__ import annotations

from typing import Any, NoReturn


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
