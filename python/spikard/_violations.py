"""Every way in which a value misses its type, in the error contract's words.

msgspec stops at the first error. When its decoder has refused a value, this module walks
the type (`msgspec.inspect` nodes) beside the value and lists all that is wrong: dicts of
``type``, ``loc``, ``msg``, ``input`` and ``ctx``. It never decides whether a value is
valid; the decoder does.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard

import msgspec
from msgspec import inspect as mi

from spikard._out_of_range import MESSAGE, OutOfRange, holds_out_of_range

__all__ = ["VIOLATIONS_LIMIT", "error", "violations"]

VIOLATIONS_LIMIT = 1000
"""Errors listed in one answer: a large array of wrong items must not multiply its own size."""

Error = dict[str, Any]
Loc = tuple[str, ...]
Custom = Callable[[type, Any, Loc], Iterator[Error]]


def error(kind: str, loc: Loc, msg: str, value: Any, ctx: dict[str, Any] | None = None) -> Error:
    """Return one error of the contract."""
    found: Error = {"type": kind, "loc": list(loc), "msg": msg, "input": value}
    if ctx is not None:
        found["ctx"] = ctx
    return found


def violations(node: mi.Type, value: Any, loc: Loc, shown: Any, custom: Custom) -> list[Error]:
    """Return what is wrong with ``value``, made of JSON's types.

    Where more than `VIOLATIONS_LIMIT` errors could be told, some from there on are left out.

    Args:
        node: The type.
        value: The value as the decoder would get it.
        loc: Where it is, ``("body", "items", "0")``.
        shown: The value to show as ``input``: the raw strings of a parameter, else ``value``.
        custom: Explains a value of a type that msgspec does not know; the same in every call.
    """
    known = _walks.get(id(node))
    if known is None:
        from spikard._spikard import Misfits

        # The node too: its id is its own while it lives.
        known = _walks[id(node)] = node, Misfits(_shape(node, custom, ()))
    return known[1](value, loc, shown, VIOLATIONS_LIMIT)


# One entry for each type that something has missed, which are as many as routes declare.
_walks: dict[int, tuple[mi.Type, Callable[[Any, Loc, Any, int], list[Error]]]] = {}


def _shape(node: mi.Type, custom: Custom, within: tuple[mi.Type, ...]) -> tuple[Any, ...]:
    """Return what `Misfits` takes for a type.

    It walks lists and objects whose only conditions are the types of what they hold. All else is
    a leaf, whose check walks what is inside it by itself.
    """
    secret, holds_secrets = is_secret(node), _holds_secrets(node, [])
    while isinstance(node, mi.Metadata):
        node = node.type

    def check(value: Any, loc: Loc, shown: Any) -> Iterable[Error]:
        if secret:
            return map(_hidden, _checked(node, value, loc, None, custom))
        seen = without_secrets(node, shown) if holds_secrets else shown
        return _checked(node, value, loc, seen, custom)

    contains_itself = any(node is outer for outer in within)
    if not contains_itself and not _constrained(node):
        within = (*within, node)
        if isinstance(node, mi.ListType):
            return ("list", _shape(node.item_type, custom, within), check)
        if _is_plain_object(node):
            members = [
                (each.encode_name, each.required, _shape(each.type, custom, within))
                for each in node.fields
            ]

            def missing(loc: Loc, shown: Any) -> Error:
                return error("missing", loc, "Field required", without_secrets(node, shown))

            return ("object", members, check, missing)
    return ("leaf", list(_fitting(node)), check)


def _is_plain_object(
    node: mi.Type,
) -> TypeGuard[mi.StructType | mi.DataclassType | mi.TypedDictType]:
    if isinstance(node, mi.StructType):
        if node.array_like or node.forbid_unknown_fields or node.tag_field:
            return False
    elif not isinstance(node, mi.DataclassType | mi.TypedDictType):
        return False
    return not any(is_secret(each.type) for each in node.fields)


def _constrained(node: mi.Type) -> bool:
    return any(getattr(node, name, None) is not None for name in _CONSTRAINTS)


def _fitting(node: mi.Type) -> frozenset[type]:
    """Return the types of which every value fits."""
    while isinstance(node, mi.Metadata):
        node = node.type
    if isinstance(node, mi.UnionType):
        return frozenset().union(*map(_fitting, node.types))
    fitting = _WHOLE.get(type(node))
    return frozenset() if fitting is None or _constrained(node) else fitting


_WHOLE: dict[type, frozenset[type]] = {
    mi.NoneType: frozenset({type(None)}),
    mi.BoolType: frozenset({bool}),
    mi.IntType: frozenset({int}),
    mi.FloatType: frozenset({int, float}),
    mi.StrType: frozenset({str}),
}
_CONSTRAINTS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")


def _checked(node: mi.Type, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterable[Error]:
    if isinstance(node, mi.CustomType):
        return custom(node.cls, value, loc)
    check = _CHECKS.get(type(node))
    return () if check is None else check(node, value, loc, shown, custom)


def _out_of_range(value: OutOfRange, loc: Loc) -> Error:
    return error("validation_error", loc, MESSAGE, value.text)


def _int(node: mi.IntType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, OutOfRange):
        yield _out_of_range(value, loc)
    elif isinstance(value, bool) or not isinstance(value, int):
        msg = "Input should be a valid integer, unable to parse string as an integer"
        yield error("int_parsing", loc, msg, shown)
    else:
        yield from _bounds(node, value, loc, shown)


def _float(node: mi.FloatType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if isinstance(value, OutOfRange):
        yield _out_of_range(value, loc)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        msg = "Input should be a valid number, unable to parse string as a number"
        yield error("float_parsing", loc, msg, shown)
    else:
        yield from _bounds(node, value, loc, shown)


def _bounds(node: mi.IntType | mi.FloatType, value: float, loc: Loc, shown: Any) -> Iterator[Error]:
    if node.ge is not None and not value >= node.ge:
        msg = f"Input should be greater than or equal to {_number(node.ge)}"
        yield error("greater_than_equal", loc, msg, shown, {"ge": node.ge})
    if node.gt is not None and not value > node.gt:
        msg = f"Input should be greater than {_number(node.gt)}"
        yield error("greater_than", loc, msg, shown, {"gt": node.gt})
    if node.le is not None and not value <= node.le:
        msg = f"Input should be less than or equal to {_number(node.le)}"
        yield error("less_than_equal", loc, msg, shown, {"le": node.le})
    if node.lt is not None and not value < node.lt:
        msg = f"Input should be less than {_number(node.lt)}"
        yield error("less_than", loc, msg, shown, {"lt": node.lt})
    multiple = node.multiple_of
    if multiple is not None and not _is_multiple(value, multiple):
        msg = f"Input should be a multiple of {_number(multiple)}"
        yield error("multiple_of", loc, msg, shown, {"multiple_of": multiple})


def _is_multiple(value: float, multiple: float) -> bool:
    try:
        return value % multiple == 0
    except OverflowError:
        return False


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _bool(_n: mi.BoolType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if not isinstance(value, bool):
        msg = "Input should be a valid boolean, unable to interpret input"
        yield error("bool_parsing", loc, msg, shown)


def _any(_n: mi.AnyType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if isinstance(value, OutOfRange) or (
        isinstance(value, list | dict) and holds_out_of_range(value)
    ):
        yield from _all_out_of_range(value, loc)


def _all_out_of_range(value: Any, loc: Loc) -> Iterator[Error]:
    if isinstance(value, OutOfRange):
        yield _out_of_range(value, loc)
    elif isinstance(value, list | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in items:
            yield from _all_out_of_range(item, (*loc, str(step)))


def _none(_n: mi.NoneType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if value is not None:
        yield error("none_required", loc, "Input should be null", shown)


def _str(node: mi.StrType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    if not isinstance(value, str):
        yield error("string_type", loc, "Input should be a valid string", shown)
        return
    if node.min_length is not None and len(value) < node.min_length:
        msg = f"String should have at least {_count(node.min_length, 'character')}"
        yield error("string_too_short", loc, msg, shown, {"min_length": node.min_length})
    if node.max_length is not None and len(value) > node.max_length:
        msg = f"String should have at most {_count(node.max_length, 'character')}"
        yield error("string_too_long", loc, msg, shown, {"max_length": node.max_length})
    if node.pattern is not None and re.search(node.pattern, value) is None:
        msg = f"String should match pattern '{node.pattern}'"
        yield error("string_pattern_mismatch", loc, msg, shown, {"pattern": node.pattern})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _parsed(target: Any, kind: str, noun: str) -> Callable[..., Iterator[Error]]:
    def check(_n: mi.Type, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
        try:
            msgspec.convert(value, target)
        except (msgspec.ValidationError, ValueError, ArithmeticError):
            yield error(kind, loc, f"Input should be a valid {noun}", shown)

    return check


def _datetime(
    node: mi.DateTimeType | mi.TimeType, value: Any, loc: Loc, shown: Any, _: Custom
) -> Iterator[Error]:
    import datetime as dt

    moment = isinstance(node, mi.DateTimeType)
    kind, noun = ("datetime_parsing", "datetime") if moment else ("time_parsing", "time")
    try:
        parsed: Any = msgspec.convert(value, dt.datetime if moment else dt.time)
    except (msgspec.ValidationError, ValueError):
        yield error(kind, loc, f"Input should be a valid {noun}", shown)
        return
    if node.tz is True and parsed.tzinfo is None:
        yield error("timezone_aware", loc, "Input should have timezone info", shown)
    elif node.tz is False and parsed.tzinfo is not None:
        yield error("timezone_naive", loc, "Input should not have timezone info", shown)


def _literal(node: mi.LiteralType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    yield from _choice(node.values, value, loc, shown, const=len(node.values) == 1)


def _enum(node: mi.EnumType, value: Any, loc: Loc, shown: Any, _: Custom) -> Iterator[Error]:
    values = tuple(member.value for member in node.cls)
    yield from _choice(values, value, loc, shown, const=False)


def _choice(
    values: tuple[Any, ...], value: Any, loc: Loc, shown: Any, *, const: bool
) -> Iterator[Error]:
    if any(type(value) is type(allowed) and value == allowed for allowed in values):
        return
    listed = [repr(allowed) for allowed in values]
    expected = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
    kind = "const" if const else "enum"
    yield error(kind, loc, f"Input should be {expected}", shown, {"expected": expected})


def _collection(node: Any, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    if not isinstance(value, list | tuple):
        yield error("list_type", loc, "Input should be a valid list", shown)
        return
    yield from _items(node, value, loc, shown)
    raw = shown if isinstance(shown, list) and len(shown) == len(value) else value
    for index, item in enumerate(value):
        yield from violations(node.item_type, item, (*loc, str(index)), raw[index], custom)


def _items(node: Any, value: Any, loc: Loc, shown: Any) -> Iterator[Error]:
    if node.min_length is not None and len(value) < node.min_length:
        msg = f"List should have at least {_count(node.min_length, 'item')} after validation"
        yield error("too_short", loc, msg, shown, {"min_length": node.min_length})
    if node.max_length is not None and len(value) > node.max_length:
        msg = f"List should have at most {_count(node.max_length, 'item')} after validation"
        yield error("too_long", loc, msg, shown, {"max_length": node.max_length})


def _tuple(node: mi.TupleType, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    if not isinstance(value, list | tuple):
        yield error("list_type", loc, "Input should be a valid list", shown)
        return
    size = len(node.item_types)
    if len(value) < size:
        msg = f"List should have at least {_count(size, 'item')} after validation"
        yield error("too_short", loc, msg, shown, {"min_length": size})
    elif len(value) > size:
        msg = f"List should have at most {_count(size, 'item')} after validation"
        yield error("too_long", loc, msg, shown, {"max_length": size})
    raw = shown if isinstance(shown, list) and len(shown) == len(value) else value
    for index, (inner, item) in enumerate(zip(node.item_types, value, strict=False)):
        yield from violations(inner, item, (*loc, str(index)), raw[index], custom)


def _dict(node: mi.DictType, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    if not isinstance(value, dict):
        yield error("dict_type", loc, "Input should be a valid dictionary", shown)
        return
    if node.min_length is not None and len(value) < node.min_length:
        msg = f"Dictionary should have at least {_count(node.min_length, 'item')}"
        yield error("validation_error", loc, msg, shown)
    if node.max_length is not None and len(value) > node.max_length:
        msg = f"Dictionary should have at most {_count(node.max_length, 'item')}"
        yield error("validation_error", loc, msg, shown)
    for key, item in value.items():
        inner = (*loc, str(key))
        if isinstance(node.key_type, mi.StrType):
            yield from _str(node.key_type, key, inner, key, custom)
        else:
            try:
                msgspec.convert(key, _KEY_TYPES.get(type(node.key_type), Any), strict=False)
            except msgspec.ValidationError:
                yield error("validation_error", inner, "Invalid key", key)
        yield from violations(node.value_type, item, inner, _member(shown, key, item), custom)


_KEY_TYPES: dict[type, Any] = {mi.IntType: int, mi.FloatType: float}


def _object(node: Any, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    if isinstance(node, mi.StructType) and node.array_like:
        yield from _array_like(node, value, loc, shown, custom)
        return
    if not isinstance(value, dict):
        yield error("dict_type", loc, "Input should be a valid dictionary", shown)
        return
    for field in node.fields:
        name = field.encode_name
        if name in value:
            item = value[name]
            secret = is_secret(field.type)
            raw = None if secret else _member(shown, name, item)
            found = violations(field.type, item, (*loc, name), raw, custom)
            yield from map(_hidden, found) if secret else found
        elif field.required:
            yield error("missing", (*loc, name), "Field required", without_secrets(node, shown))
    if isinstance(node, mi.StructType):
        yield from _tag(node, value, loc)
        if node.forbid_unknown_fields:
            yield from _unknown(node, value, loc, shown)


def _hidden(found: Error) -> Error:
    found.pop("input", None)
    return found


def _tag(node: mi.StructType, value: dict[str, Any], loc: Loc) -> Iterator[Error]:
    if node.tag_field is None or node.tag is None or node.tag_field not in value:
        return
    given = value[node.tag_field]
    if given != node.tag:
        yield from _choice((node.tag,), given, (*loc, node.tag_field), given, const=True)


def _unknown(node: mi.StructType, value: dict[str, Any], loc: Loc, shown: Any) -> Iterator[Error]:
    known = {field.encode_name for field in node.fields} | {node.tag_field}
    for name in value:
        if name not in known:
            ctx = {"additional_properties": False, "unexpected_field": name}
            msg = "Additional properties are not allowed"
            seen = without_secrets(node, shown)
            yield error("validation_error", (*loc, name), msg, seen, ctx)


def _array_like(node: Any, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    if not isinstance(value, list | tuple):
        yield error("list_type", loc, "Input should be a valid list", shown)
        return
    fields = list(node.fields)
    offset = 1 if getattr(node, "tag", None) is not None else 0
    for index, field in enumerate(fields, offset):
        if index < len(value):
            inner = (*loc, str(index))
            yield from violations(field.type, value[index], inner, value[index], custom)
        elif field.required:
            yield error("missing", (*loc, str(index)), "Field required", shown)


def _union(node: mi.UnionType, value: Any, loc: Loc, shown: Any, custom: Custom) -> Iterator[Error]:
    members = [inner for inner in node.types if not isinstance(inner, mi.NoneType)]
    if value is None and len(members) < len(node.types):
        return
    if len(members) == 1:
        yield from violations(members[0], value, loc, shown, custom)
        return
    if isinstance(value, OutOfRange) and any(_same_shape(inner, value) for inner in members):
        yield _out_of_range(value, loc)
        return
    tagged = [inner for inner in members if isinstance(inner, mi.StructType) and inner.tag_field]
    if isinstance(value, dict) and tagged:
        yield from _tagged(tagged, value, loc, shown, custom)
        return
    fitting = [inner for inner in members if _same_shape(inner, value)]
    candidates = [violations(inner, value, loc, shown, custom) for inner in fitting]
    if any(not found for found in candidates):
        return
    if len(candidates) == 1:
        yield from candidates[0]
    else:
        nouns = list(dict.fromkeys(_noun(inner) for inner in members))
        listed = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} or {nouns[-1]}"
        yield error("validation_error", loc, f"Input should be a valid {listed}", shown)


def _tagged(
    members: list[mi.StructType], value: dict[str, Any], loc: Loc, shown: Any, custom: Custom
) -> Iterator[Error]:
    tag_field = members[0].tag_field or "type"
    if tag_field not in value:
        yield error("missing", (*loc, tag_field), "Field required", shown)
        return
    given = value[tag_field]
    for member in members:
        if member.tag == given:
            yield from violations(member, value, loc, shown, custom)
            return
    tags = tuple(member.tag for member in members)
    yield from _choice(tags, given, (*loc, tag_field), given, const=False)


def _same_shape(node: mi.Type, value: Any) -> bool:
    while isinstance(node, mi.Metadata):
        node = node.type
    shapes = _SHAPES.get(type(node), (object,))
    if isinstance(value, bool) and bool not in shapes and object not in shapes:
        return False
    if isinstance(node, mi.LiteralType):
        return any(type(value) is type(allowed) for allowed in node.values)
    if isinstance(node, mi.EnumType):
        return any(type(value) is type(member.value) for member in node.cls)
    return isinstance(value, shapes)


def _noun(node: mi.Type) -> str:
    while isinstance(node, mi.Metadata):
        node = node.type
    return _NOUNS.get(type(node), "value")


def _member(shown: Any, key: Any, value: Any) -> Any:
    return shown.get(key, value) if isinstance(shown, dict) else value


def is_secret(node: mi.Type) -> bool:
    """Return whether a type is marked ``Meta(extra={"secret": True})``, anywhere on its surface."""
    if isinstance(node, mi.UnionType):
        return any(is_secret(inner) for inner in node.types)
    while isinstance(node, mi.Metadata):
        if node.extra and node.extra.get("secret"):
            return True
        node = node.type
    return isinstance(node, mi.CustomType) and node.cls.__name__ in ("SecretStr", "SecretBytes")


def _holds_secrets(node: mi.Type, passed: list[mi.Type]) -> bool:
    """Return whether anything within a type, beside those that were passed, is secret."""
    if any(node is other for other in passed):
        return False
    passed.append(node)
    inner: list[mi.Type] = [
        *getattr(node, "types", ()),
        *getattr(node, "item_types", ()),
        *(each.type for each in getattr(node, "fields", ())),
    ]
    names = ("type", "item_type", "key_type", "value_type")
    inner += [each for name in names if isinstance(each := getattr(node, name, None), mi.Type)]
    return any(is_secret(each) or _holds_secrets(each, passed) for each in inner)


def without_secrets(node: mi.Type, value: Any) -> Any:
    """Return a value for display, without what its type marks as secret."""
    while isinstance(node, mi.Metadata):
        node = node.type
    if isinstance(node, mi.UnionType):
        for inner in node.types:
            value = without_secrets(inner, value)
        return value
    if isinstance(value, list) and isinstance(node, _COLLECTIONS):
        if is_secret(node.item_type):
            return []
        return [without_secrets(node.item_type, item) for item in value]
    if isinstance(value, list) and isinstance(node, mi.TupleType):
        each = zip(node.item_types, value, strict=False)
        return [without_secrets(inner, item) for inner, item in each if not is_secret(inner)]
    if not isinstance(value, dict):
        return value
    if isinstance(node, mi.DictType):
        if is_secret(node.value_type):
            return {}
        return {key: without_secrets(node.value_type, item) for key, item in value.items()}
    if not isinstance(node, mi.StructType | mi.DataclassType | mi.TypedDictType):
        return value
    kept = dict(value)
    for field in node.fields:
        name = field.encode_name
        if name in kept:
            if is_secret(field.type):
                del kept[name]
            else:
                kept[name] = without_secrets(field.type, kept[name])
    return kept


_COLLECTIONS = (mi.ListType, mi.SetType, mi.FrozenSetType, mi.VarTupleType)


def _checks() -> dict[type, Callable[..., Iterator[Error]]]:
    import datetime as dt
    import decimal
    import uuid

    return {
        mi.AnyType: _any,
        mi.IntType: _int,
        mi.FloatType: _float,
        mi.BoolType: _bool,
        mi.NoneType: _none,
        mi.StrType: _str,
        mi.BytesType: _parsed(bytes, "format_error", "byte"),
        mi.ByteArrayType: _parsed(bytearray, "format_error", "byte"),
        mi.MemoryViewType: _parsed(memoryview, "format_error", "byte"),
        mi.UUIDType: _parsed(uuid.UUID, "uuid_parsing", "UUID"),
        mi.DecimalType: _parsed(decimal.Decimal, "decimal_parsing", "decimal"),
        mi.DateType: _parsed(dt.date, "date_parsing", "date"),
        mi.TimeDeltaType: _parsed(dt.timedelta, "time_delta_parsing", "duration"),
        mi.DateTimeType: _datetime,
        mi.TimeType: _datetime,
        mi.LiteralType: _literal,
        mi.EnumType: _enum,
        mi.ListType: _collection,
        mi.SetType: _collection,
        mi.FrozenSetType: _collection,
        mi.VarTupleType: _collection,
        mi.TupleType: _tuple,
        mi.DictType: _dict,
        mi.TypedDictType: _object,
        mi.DataclassType: _object,
        mi.StructType: _object,
        mi.NamedTupleType: _array_like,
        mi.UnionType: _union,
    }


_CHECKS = _checks()

_SHAPES: dict[type, tuple[type, ...]] = {
    mi.IntType: (int, OutOfRange),
    mi.FloatType: (int, float),
    mi.BoolType: (bool,),
    mi.StrType: (str,),
    mi.BytesType: (str,),
    mi.UUIDType: (str,),
    mi.DecimalType: (str, int, float),
    mi.DateType: (str,),
    mi.DateTimeType: (str,),
    mi.TimeType: (str,),
    mi.TimeDeltaType: (str,),
    mi.ListType: (list,),
    mi.SetType: (list,),
    mi.FrozenSetType: (list,),
    mi.VarTupleType: (list,),
    mi.TupleType: (list,),
    mi.NamedTupleType: (list,),
    mi.DictType: (dict,),
    mi.TypedDictType: (dict,),
    mi.DataclassType: (dict,),
    mi.StructType: (dict,),
}

_NOUNS: dict[type, str] = {
    mi.IntType: "integer",
    mi.FloatType: "number",
    mi.BoolType: "boolean",
    mi.StrType: "string",
    mi.UUIDType: "UUID",
    mi.DecimalType: "decimal",
    mi.DateType: "date",
    mi.DateTimeType: "datetime",
    mi.TimeType: "time",
    mi.TimeDeltaType: "duration",
    mi.ListType: "list",
    mi.SetType: "list",
    mi.FrozenSetType: "list",
    mi.TupleType: "list",
    mi.VarTupleType: "list",
    mi.DictType: "dictionary",
    mi.StructType: "object",
    mi.DataclassType: "object",
    mi.TypedDictType: "object",
}
