"""Mappings with repeated keys: queries, forms, and the urlencoded text that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from spikard.exceptions import HTTPException

FORM_PAIRS_LIMIT = 1000
"""Pairs in one query string or urlencoded body: parsing more costs CPU for nobody's use."""

FORM_VALUE_LIMIT = 1 << 20
"""Bytes of one name or value."""


class MultiDict(Mapping[str, Any]):
    """An immutable mapping whose keys may have several values; ``d[key]`` is the last."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._pairs = list(pairs)

    def __getitem__(self, key: str) -> Any:
        for name, value in reversed(self._pairs):
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"

    def getlist(self, key: str) -> list[Any]:
        """Return every value of the key, in order."""
        return [value for name, value in self._pairs if name == key]

    def multi_items(self) -> list[tuple[str, Any]]:
        """Return every pair, repeated keys included."""
        return list(self._pairs)


class QueryParams(MultiDict):
    """The decoded query string."""

    __slots__ = ()


class FormData(MultiDict):
    """The fields of a form: strings, and `UploadFile` for files."""

    __slots__ = ()


def form_pairs(
    data: bytes, max_pairs: int = FORM_PAIRS_LIMIT, max_value_bytes: int = FORM_VALUE_LIMIT
) -> list[tuple[str, str]]:
    """Return the pairs of ``application/x-www-form-urlencoded`` data.

    Raises:
        HTTPException: 400, not UTF-8 after decoding; 413, too many pairs, or one is too long.
    """
    if data.count(b"&") > max_pairs:
        # Empty pairs count too: nobody sends them, and skipping many takes time.
        raise HTTPException(413, f"more than {max_pairs} form fields")
    try:
        pairs = parse_qsl(
            data.decode("utf-8"), keep_blank_values=True, errors="strict", encoding="utf-8"
        )
    except UnicodeDecodeError as exc:
        raise HTTPException(400, "form data is not UTF-8") from exc
    if len(pairs) > max_pairs:
        raise HTTPException(413, f"more than {max_pairs} form fields")
    if len(data) > max_value_bytes:
        for name, value in pairs:
            if len(name.encode()) > max_value_bytes or len(value.encode()) > max_value_bytes:
                raise HTTPException(413, f"a form field is longer than {max_value_bytes} bytes")
    return pairs
