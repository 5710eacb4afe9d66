"""JSON texts with numbers that no value can hold: ``1e400``, 5,000 digits.

msgspec refuses such a text as a whole. To say which field is wrong, and what else is, it is read
once more with an `OutOfRange` in each such place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MESSAGE", "SEARCHED_BYTES", "OutOfRange", "holds_out_of_range", "read_out_of_range"]

MESSAGE = "Number out of range"

SEARCHED_BYTES = 256 * 1024
"""Bytes of a text up to which the numbers are looked for: Python code runs for each one in it."""


class OutOfRange(float):
    """Stands for such a number: an infinity with the number's text."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Return the infinity of the number's sign."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def read_out_of_range(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8, an `OutOfRange` for what no value can hold.

    Raises:
        ValueError: It is no JSON text.
        RecursionError: It is nested too deep.
    """
    import json

    value = json.loads(
        bytes(data).decode(), parse_float=_float, parse_int=_int, parse_constant=_constant
    )
    # Half a surrogate pair is no text (RFC 8259 §8.2); this decoder lets it pass.
    json.dumps(value, ensure_ascii=False).encode()
    return value


class _FoundError(Exception):
    """There is one."""


def _found(value: Any) -> None:
    if isinstance(value, OutOfRange):
        raise _FoundError


_encode = msgspec.json.Encoder(enc_hook=_found).encode


def holds_out_of_range(value: Any) -> bool:
    """Return whether a list or dict of JSON's types holds an `OutOfRange`, at C's speed."""
    try:
        _encode(value)  # which knows floats and asks about instances of classes below
    except _FoundError:
        return True
    return False


def _float(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else OutOfRange(text)


def _int(text: str) -> float:
    try:
        return int(text)
    except ValueError:  # more digits than Python reads (CVE-2020-10735)
        return OutOfRange(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
