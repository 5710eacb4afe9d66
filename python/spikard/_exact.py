"""A quick test that a value is exactly of a type, nothing to convert and nothing to leave out.

Handlers mostly return instances of the very type they declare. For those, a generated
predicate over the fields is several times cheaper than a round trip through the decoder.
A predicate may say no to a value that fits; it never says yes to one that does not.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import inspect as mi

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exact_or"]

T = TypeVar("T")


def exact_or(
    node: mi.Type, exact: Callable[[Any], T], other: Callable[[Any], T]
) -> Callable[[Any], T] | None:
    """Return a function that calls `exact` for values exactly of a type and `other` for the rest.

    One function, because every call of a response's encoder is a part of a request. None when the
    type has no cheap predicate.
    """
    writer = _Writer()
    try:
        expression = writer.expression(node, "v")
    except _TooHard:
        return None
    choice = f"def choose(v):\n    return exact_value(v) if {expression} else other_value(v)\n"
    source = "".join(writer.functions) + choice
    writer.names.update(exact_value=exact, other_value=other)
    exec(compile(source, "<exact check>", "exec"), writer.names)  # noqa: S102 - our own source
    choose: Callable[[Any], T] = writer.names["choose"]
    return choose


class _TooHard(Exception):  # noqa: N818 - a decision, not an error
    """The type has no cheap predicate."""


class _Writer:
    def __init__(self) -> None:
        self.functions: list[str] = []
        self.names: dict[str, Any] = {}
        self._open: dict[type, str] = {}
        self._recursive: set[type] = set()

    def expression(self, node: mi.Type, value: str) -> str:
        while isinstance(node, mi.Metadata):
            node = node.type
        if isinstance(node, mi.NoneType):
            return f"{value} is None"
        simple = _SIMPLE.get(type(node))
        if simple is not None:
            return self._simple(node, simple, value)
        if isinstance(node, mi.EnumType):
            return f"type({value}) is {self._name(node.cls)}"
        if isinstance(node, mi.UnionType):
            return "(" + " or ".join(self.expression(each, value) for each in node.types) + ")"
        if isinstance(node, mi.AnyType):
            return "True"
        if isinstance(node, mi.ListType) and node.min_length is None and node.max_length is None:
            return self._all([f"type({value}) is list", self._loop(node.item_type, value, "")])
        if isinstance(node, mi.DictType) and node.min_length is None and node.max_length is None:
            keys = self._loop(node.key_type, value, "")
            values = self._loop(node.value_type, value, ".values()")
            return self._all([f"type({value}) is dict", keys, values])
        if isinstance(node, mi.StructType) and not node.array_like:
            return self._struct(node, value)
        raise _TooHard

    def _simple(self, node: Any, cls: type, value: str) -> str:
        constraints = [
            getattr(node, name, None)
            for name in (
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
        ]
        if any(each is not None for each in constraints):
            raise _TooHard
        if cls is float:
            # NaN and the infinities have no JSON form: `v - v` is zero for finite values only.
            return f"(type({value}) is float and {value} - {value} == 0.0)"
        return f"type({value}) is {self._name(cls)}"

    def _all(self, tests: list[str]) -> str:
        return "(" + " and ".join(test for test in tests if test != "True") + ")"

    def _loop(self, item: mi.Type, value: str, access: str) -> str:
        if isinstance(item, mi.AnyType):
            return "True"
        name = f"items{len(self.names)}"
        self.names[name] = None
        inner = self.expression(item, "i")
        self.functions.append(
            f"def {name}(v):\n    for i in v{access}:\n"
            f"        if not {inner}:\n            return False\n    return True\n"
        )
        return f"{name}({value})"

    def _struct(self, node: mi.StructType, value: str) -> str:
        """Return the test of a struct, in place unless its type contains itself."""
        known = self._open.get(node.cls)
        if known is not None:
            self._recursive.add(node.cls)
            return f"{known}({value})"
        name = f"struct{len(self.names)}"
        self.names[name] = None
        self._open[node.cls] = name
        body = self._fields(node, value)
        del self._open[node.cls]
        if node.cls not in self._recursive:
            return f"({body})"
        self._recursive.discard(node.cls)
        self._open[node.cls] = name
        self.functions.append(f"def {name}(v):\n    return {self._fields(node, 'v')}\n")
        del self._open[node.cls]
        return f"{name}({value})"

    def _fields(self, node: mi.StructType, value: str) -> str:
        tests = [f"type({value}) is {self._name(node.cls)}"]
        tests += [self.expression(field.type, f"{value}.{field.name}") for field in node.fields]
        return " and ".join(test for test in tests if test != "True")

    def _name(self, cls: type) -> str:
        if cls in (int, str, bool, float):
            return cls.__name__
        name = f"t{len(self.names)}"
        self.names[name] = cls
        return name


_SIMPLE: dict[type, type] = {
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
