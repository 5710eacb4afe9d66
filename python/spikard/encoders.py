"""`jsonable_encoder`: any value as JSON's types, for programs that want to look at it first.

Responses do not need it: they encode Structs, dataclasses and Pydantic models themselves.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jsonable_encoder"]

Names = Any  # a set of names, or a mapping from names to what holds inside them


def jsonable_encoder(
    obj: Any,
    include: Names | None = None,
    exclude: Names | None = None,
    by_alias: bool = True,
    exclude_unset: bool = False,
    exclude_defaults: bool = False,
    exclude_none: bool = False,
    custom_encoder: Mapping[type, Callable[[Any], Any]] | None = None,
    sqlalchemy_safe: bool = True,
) -> Any:
    """Return a value made of ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool``, ``None``.

    Args:
        obj: Struct, Pydantic model, dataclass, mapping, iterable or scalar.
        include: Only these fields of a model, or keys of a mapping.
        exclude: All but these.
        by_alias: Call fields as they are called on the wire.
        exclude_unset: Leave out what was not given to a Pydantic model.
        exclude_defaults: Leave out what has its default.
        exclude_none: Leave out what is None.
        custom_encoder: Class → function that encodes its values.
        sqlalchemy_safe: Leave out keys that begin with ``_sa``.

    Raises:
        ValueError: A value has no JSON form.
    """
    own = custom_encoder or {}

    def inner(value: Any) -> Any:
        return jsonable_encoder(
            value,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_defaults=exclude_defaults,
            exclude_none=exclude_none,
            custom_encoder=own,
            sqlalchemy_safe=sqlalchemy_safe,
        )

    for cls in type(obj).__mro__:
        if cls in own:
            return own[cls](obj)
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj.value if isinstance(obj, enum.Enum) else obj
    if hasattr(obj, "model_dump") and hasattr(type(obj), "__pydantic_serializer__"):
        dumped = obj.model_dump(
            mode="json",
            include=include,
            exclude=exclude,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_none=exclude_none,
            exclude_defaults=exclude_defaults,
        )
        return inner(dumped)
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        fields = {each.name: getattr(obj, each.name) for each in dataclasses.fields(obj)}
        return jsonable_encoder(
            fields,
            include=include,
            exclude=exclude,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_none=exclude_none,
            custom_encoder=own,
            sqlalchemy_safe=sqlalchemy_safe,
        )
    if isinstance(obj, enum.Enum):
        return obj.value
    scalar = _scalar(obj)
    if scalar is not _NONE:
        return scalar
    if isinstance(obj, Mapping):
        return {
            inner(key): inner(value)
            for key, value in obj.items()
            if _kept(key, include, exclude)
            and not (sqlalchemy_safe and isinstance(key, str) and key.startswith("_sa"))
            and not (exclude_none and value is None)
        }
    if hasattr(obj, "__struct_fields__"):
        import msgspec

        return inner(msgspec.to_builtins(obj, enc_hook=_hook))
    if isinstance(obj, Iterable):
        return [inner(each) for each in obj]
    try:
        return inner(vars(obj))
    except TypeError:
        raise ValueError(f"a value of type {type(obj).__qualname__} has no JSON form") from None


def _kept(key: Any, include: Names | None, exclude: Names | None) -> bool:
    return (include is None or key in include) and (exclude is None or key not in exclude)


_NONE = object()


def _scalar(obj: Any) -> Any:
    """Return the JSON form of the standard library's value types, or the sentinel."""
    if isinstance(obj, dt.datetime | dt.date | dt.time):
        return obj.isoformat()
    if isinstance(obj, dt.timedelta):
        return obj.total_seconds()
    if isinstance(obj, Decimal):
        exponent = obj.as_tuple().exponent
        return int(obj) if isinstance(exponent, int) and exponent >= 0 else float(obj)
    if isinstance(obj, bytes):
        return obj.decode()
    if type(obj).__module__.partition(".")[0] in ("uuid", "ipaddress", "pathlib", "pydantic"):
        # UUIDs, addresses, paths, and Pydantic's URLs and secrets.
        return str(obj)
    if type(obj).__module__ == "re":
        return obj.pattern
    return _NONE


def _hook(value: Any) -> Any:
    return jsonable_encoder(value)
