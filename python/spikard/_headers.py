"""Header fields: by name whatever the case, several values to a name, in wire form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar, cast, overload

T = TypeVar("T")


class Headers(MutableMapping[str, str]):
    """Header fields: case-insensitive names, repeated fields kept in order.

    The wire form ``[(b"name", b"value"), ...]`` with lower-case names is the storage, so a
    view over a response's ``raw_headers`` changes the response.
    """

    __slots__ = ("raw",)

    def __init__(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        *,
        raw: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.raw: list[tuple[bytes, bytes]] = [] if raw is None else raw
        if headers is not None:
            self.raw.extend(encode_header(name, value) for name, value in field_pairs(headers))

    def __getitem__(self, name: str) -> str:
        key = name.lower().encode("latin-1", "replace")
        for field, value in self.raw:
            if field == key:
                return value.decode("latin-1")
        raise KeyError(name)

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def get(self, name: str, default: Any = None) -> Any:  # the base's goes through an exception
        """Return the first field of that name, or the default."""
        key = name.lower().encode("latin-1", "replace")
        for field, value in self.raw:
            if field == key:
                return value.decode("latin-1")
        return default

    def __setitem__(self, name: str, value: str) -> None:
        """Replace every field of that name by one."""
        pair = encode_header(name, value)
        for index, (field, _) in enumerate(self.raw):
            if field == pair[0]:
                tail = [item for item in self.raw[index + 1 :] if item[0] != pair[0]]
                self.raw[index:] = [pair, *tail]
                return
        self.raw.append(pair)

    def __delitem__(self, name: str) -> None:
        key = name.lower().encode("latin-1", "replace")
        kept = [item for item in self.raw if item[0] != key]
        if len(kept) == len(self.raw):
            raise KeyError(name)
        self.raw[:] = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(field.decode("latin-1") for field, _ in self.raw))

    def __len__(self) -> int:
        return len({field for field, _ in self.raw})

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.lower().encode("latin-1", "replace")
        return any(field == key for field, _ in self.raw)

    def __repr__(self) -> str:
        return f"Headers({self.multi_items()!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field, keeping others of that name."""
        self.raw.append(encode_header(name, value))

    append = add

    def getlist(self, name: str) -> list[str]:
        """Return the values of every field of that name, in order."""
        key = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for field, value in self.raw if field == key]

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every field as ``(name, value)``, repeated names included."""
        return [(field.decode("latin-1"), value.decode("latin-1")) for field, value in self.raw]


_FIELD_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def field_pairs(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
) -> Iterable[tuple[str, str]]:
    """Return the pairs of headers given in either form."""
    if isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a field in wire form.

    Raises:
        ValueError: The name is no token, or the value holds CR, LF or NUL (RFC 9110 §5.5):
            sending it would split the response.
    """
    field = name.lower().encode("latin-1")
    if not field or not _FIELD_NAME.issuperset(field):
        raise ValueError(f"invalid header name {name!r}")
    content = value.encode("latin-1")
    if b"\n" in content or b"\r" in content or b"\0" in content:
        raise ValueError(f"header {name!r}: value must not contain CR, LF or NUL")
    return field, content
