"""Checks that a result already is what its type promises, without decoding it again.

A `msgspec.Struct` does not validate what it is constructed with, so a returned instance has to be
checked. Handlers mostly return instances of the very type they declare. For those, looking at the
types of all fields (``_spikard.Exact``) is several times cheaper than a round trip through the
decoder. The check may say no to a value that fits; it never says yes to one that does not.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from msgspec import inspect as mi

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exact_or"]

T = TypeVar("T")


def exact_or(
    node: mi.Type, exact: Callable[[Any], T], other: Callable[[Any], T]
) -> Callable[[Any], T] | None:
    """Return a function that calls `exact` for values exactly of a type and `other` for the rest.

    One function without a frame of Python's: every call of a response's encoder is a part of a
    request. None when the type has no cheap check.
    """
    reader = _Reader()
    try:
        root = reader.node(node)
    except _TooHard:
        return None
    from spikard import _spikard  # here, so that the import of the package does not load it

    return _spikard.Exact(root, reader.structs, exact, other)


class _TooHard(Exception):  # noqa: N818 - a decision, not an error
    """The type has no cheap check."""


class _Reader:
    """Turns msgspec's description of a type into that of `_spikard.Exact`."""

    def __init__(self) -> None:
        self.structs: list[Any] = []
        self._known: dict[int, int] = {}

    def node(self, node: mi.Type) -> tuple[Any, ...]:
        while isinstance(node, mi.Metadata):
            node = node.type
        if isinstance(node, mi.AnyType):
            return ("any",)
        if any(getattr(node, name, None) is not None for name in _CONSTRAINTS):
            raise _TooHard
        simple = _SIMPLE.get(type(node))
        if simple is not None:
            return ("float",) if simple is float else ("type", simple)
        if isinstance(node, mi.EnumType):
            return ("type", node.cls)
        if isinstance(node, mi.UnionType):
            return ("union", [self.node(each) for each in node.types])
        if isinstance(node, mi.ListType):
            return ("list", self.node(node.item_type))
        if isinstance(node, mi.DictType):
            return ("dict", self.node(node.key_type), self.node(node.value_type))
        if isinstance(node, mi.StructType) and not node.array_like:
            return ("struct", self._struct(node))
        raise _TooHard

    def _struct(self, node: mi.StructType) -> int:
        # By identity: one generic class makes several types, and each is one node.
        known = self._known.get(id(node))
        if known is not None:
            return known
        index = self._known[id(node)] = len(self.structs)
        self.structs.append(None)  # its place, for a type that contains itself
        fields = [(field.name, self.node(field.type)) for field in node.fields]
        cls = get_origin(node.cls) or node.cls  # of a generic's type
        if cls.__getattribute__ is not object.__getattribute__ or hasattr(cls, "__getattr__"):
            raise _TooHard  # looking at a field would run code, which may change what is looked at
        self.structs[index] = (cls, [each for each in fields if each[1] != ("any",)])
        return index


_CONSTRAINTS = (
    "ge",
    "gt",
    "le",
    "lt",
    "multiple_of",
    "min_length",
    "max_length",
    "pattern",
    "tz",
)

_SIMPLE: dict[type, type] = {
    mi.NoneType: type(None),
    mi.IntType: int,
    mi.StrType: str,
    mi.BoolType: bool,
    mi.FloatType: float,
    mi.UUIDType: uuid.UUID,
    mi.DateTimeType: dt.datetime,
    mi.DateType: dt.date,
    mi.TimeType: dt.time,
    mi.TimeDeltaType: dt.timedelta,
    mi.DecimalType: decimal.Decimal,
}
