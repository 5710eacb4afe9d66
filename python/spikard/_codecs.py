"""How a value of a type is decoded, converted from text, and explained when it does not fit.

A `Codec` is built once per parameter or body at registration. msgspec does the work; types
that belong to Pydantic go to Pydantic, which is imported only if the user's types come
from it.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

import msgspec
from msgspec import inspect as mi

from spikard._violations import (
    VIOLATIONS_LIMIT,
    Error,
    Loc,
    error,
    violations,
    without_secrets,
)

__all__ = ["BareStream", "Codec", "codec", "encode_json"]

MALFORMED = (RecursionError, UnicodeDecodeError)
"""What msgspec raises besides `DecodeError` for hostile JSON: deep nesting, broken UTF-8."""


class Codec:
    """A type with its prebuilt decoders.

    Attributes:
        type: The type, constraints included.
        decode_json: JSON bytes → value.
        decode_msgpack: MessagePack bytes → value.
        from_builtins: A value made of JSON's types (and `UploadFile`) → value.
        coerce: Raw strings → JSON's types, as far as they fit the type; never raises.
        from_text: A raw string, a list of them, or a dict of either → value.
        from_request: Reads a parameter model by itself, in place of `from_builtins`.
    """

    __slots__ = ("coerce", "decode_json", "decode_msgpack", "from_builtins", "from_text", "type")

    type: Any
    decode_json: Callable[[Any], Any]
    decode_msgpack: Callable[[Any], Any]
    from_builtins: Callable[[Any], Any]
    coerce: Callable[[Any], Any]
    from_text: Callable[[Any], Any]
    from_request: Any = None

    def _coerced(self, raw: Any) -> Any:
        return self.from_builtins(self.coerce(raw))

    @property
    def takes_list(self) -> bool:
        """Whether the codec itself, not the annotation, wants every value of a repeated key."""
        return False

    def explain(
        self, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
    ) -> list[Error]:
        """Return everything that is wrong with a value of JSON's types; empty when it fits.

        `failure` is what `from_builtins` raised for this value, where that is known. Codecs whose
        extractor explains by itself (`spikard.compat`) have none.
        """
        raise NotImplementedError

    def violations(self, value: Any, loc: Loc, shown: Any) -> list[Error]:
        """Return what is surely wrong with a value that the decoder has refused; maybe nothing.

        Unlike `explain` it decodes nothing.
        """
        return []

    def is_secret(self) -> bool:
        """Return whether the whole value is marked as secret."""
        return False


class MsgspecCodec(Codec):
    """A type that msgspec knows; classes of others inside it go through the decoding hook."""

    __slots__ = ("_disordered", "node")

    def __init__(self, target: Any) -> None:
        self.type = target
        self.node = mi.type_info(target)
        nodes = list(_nodes(self.node, {}))
        _refuse_unknown(nodes)
        self._disordered = [each for each in nodes if isinstance(each, mi.LiteralType)]
        self.decode_json = msgspec.json.Decoder(target, dec_hook=decode_hook).decode
        self.coerce = coercer(self.node)
        self.from_text = text_reader(self.node) or self._coerced

        def decode_msgpack(data: Any) -> Any:
            return msgspec.msgpack.decode(data, type=target, dec_hook=decode_hook)

        self.decode_msgpack = decode_msgpack

        def from_builtins(value: Any) -> Any:
            return msgspec.convert(value, target, dec_hook=decode_hook)

        self.from_builtins = from_builtins
        fill = filler(nodes)
        if fill is not None:
            self.decode_json = _then(self.decode_json, fill)
            self.decode_msgpack = _then(decode_msgpack, fill)
            self.from_builtins = _then(from_builtins, fill)

    def explain(
        self, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
    ) -> list[Error]:
        if failure is None:
            try:
                self.from_builtins(value)
            except (msgspec.ValidationError, ValueError, TypeError, ArithmeticError) as exc:
                failure = exc
            else:
                return []
        return self.violations(value, loc, shown) or [self._generic(failure, loc, shown)]

    def violations(self, value: Any, loc: Loc, shown: Any) -> list[Error]:
        if self._disordered:
            _put_in_order(self._disordered, self.type)
            self._disordered = []
        return violations(self.node, value, loc, shown, _custom)[:VIOLATIONS_LIMIT]

    def _generic(self, exc: Exception, loc: Loc, shown: Any) -> Error:
        text, _, path = str(exc).partition(" - at `")
        steps = re.findall(r"\.([^.\[`]+)|\[(\d+)\]", path.removeprefix("$"))
        where = (*loc, *(name or index for name, index in steps))
        if steps:
            shown = _at(shown, where[len(loc) :])
        return error("validation_error", where, text, without_secrets(self.node, shown))

    def is_secret(self) -> bool:
        from spikard._violations import is_secret

        return is_secret(self.node)


def _put_in_order(nodes: list[mi.LiteralType], target: Any) -> None:
    """Give literals the order in which they are written: msgspec sorts them, messages do not."""
    written: dict[frozenset[Any], tuple[Any, ...]] = {}
    seen: set[Any] = set()

    def walk(annotation: Any) -> None:
        if get_origin(annotation) is typing.Literal:
            choices = get_args(annotation)
            written.setdefault(frozenset(choices), choices)
        elif _is_structure(annotation) and annotation not in seen:
            seen.add(annotation)
            for hint in typing.get_type_hints(annotation, include_extras=True).values():
                walk(hint)
        else:
            for inner in get_args(annotation):
                walk(inner)

    # A hint that names what exists for type checkers only: msgspec has its own way to the types.
    with contextlib.suppress(NameError, TypeError):
        walk(target)
    for node in nodes:
        node.values = written.get(frozenset(node.values), node.values)


class PydanticCodec(Codec):
    """A type that Pydantic validates as a whole."""

    __slots__ = ("_adapter", "_secrets")

    def __init__(self, target: Any) -> None:
        from pydantic import TypeAdapter

        self.type = target
        adapter: Any = TypeAdapter(pydantic_annotation(target))
        self._adapter = adapter

        def decode_json(data: Any) -> Any:
            return adapter.validate_json(bytes(data))

        def decode_msgpack(data: Any) -> Any:
            return adapter.validate_python(msgspec.msgpack.decode(data))

        self.decode_json = decode_json
        self.decode_msgpack = decode_msgpack
        self.from_builtins = adapter.validate_python
        self.coerce = _identity if not _is_collection(target) else _as_list
        self.from_text = self._coerced
        self._secrets = _secret_names(target)

    def explain(
        self, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
    ) -> list[Error]:
        from pydantic import ValidationError

        if not isinstance(failure, ValidationError):
            try:
                self.from_builtins(value)
            except ValidationError as exc:
                failure = exc
            else:
                return []
        found = failure.errors(include_url=False)[:VIOLATIONS_LIMIT]
        return [_from_pydantic(item, loc, self._secrets) for item in found]


class UnionCodec(Codec):
    """A union that msgspec cannot tell apart: the first member that takes the value wins."""

    __slots__ = ("members",)

    def __init__(self, target: Any, members: list[Codec]) -> None:
        self.type = target
        self.members = members

        def first(operation: str) -> Callable[[Any], Any]:
            def attempt(value: Any) -> Any:
                failure: Exception | None = None
                for member in members:
                    try:
                        return getattr(member, operation)(value)
                    except (ValueError, TypeError) as exc:  # noqa: PERF203 - few members
                        failure = exc
                raise msgspec.ValidationError("no member of the union fits") from failure

            return attempt

        self.decode_json = first("decode_json")
        self.decode_msgpack = first("decode_msgpack")
        self.from_builtins = first("from_text")
        self.coerce = _identity
        self.from_text = self._coerced

    def explain(
        self, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
    ) -> list[Error]:
        best: list[Error] = []
        for member in self.members:
            found = member.explain(member.coerce(value), loc, shown)
            if not found:
                return []
            if not best or len(found) < len(best):
                best = found
        return best


def codec(target: Any) -> Codec:
    """Return the codec of a type, the same for every place that spells it alike.

    Raises:
        TypeError: Neither msgspec nor Pydantic can decode it.
    """
    try:
        return _codec(target, spelling(target))
    except TypeError:
        # It cannot be hashed, or it cannot be decoded: the second try says which.
        return _made(target)


CODECS_LIMIT = 1024
"""Codecs kept for types that come again; an application has some hundred."""


@functools.lru_cache(maxsize=CODECS_LIMIT)
def _codec(target: Any, _: str) -> Codec:
    return _made(target)


def spelling(target: Any) -> str:
    """Return what tells ``int | str`` from ``str | int``, which are equal and mean two things."""
    return "" if isinstance(target, type) and not get_args(target) else repr(target)


def _made(target: Any) -> Codec:
    if get_origin(target) is Annotated:
        inner, *extras = get_args(target)
        for extra in extras:
            make = _registered.get(type(extra))
            if make is not None:
                return make(target, inner, extra)
    if is_pydantic(target):
        return PydanticCodec(target)
    try:
        return MsgspecCodec(target)
    except TypeError:
        members = _members(target)
        if len(members) < 2:
            raise
        return UnionCodec(target, [codec(member) for member in members])


_registered: dict[type, Callable[[Any, Any, Any], Codec]] = {}


def register_codec(metadata: type, make: Callable[[Any, Any, Any], Codec]) -> None:
    """Let ``Annotated[T, m]``, ``m`` of a class, have the codec ``make(annotation, T, m)``."""
    _registered[metadata] = make


def has_own_codec(target: Any) -> bool:
    """Return whether an annotation carries metadata of `register_codec`."""
    return any(type(extra) in _registered for extra in getattr(target, "__metadata__", ()))


def _members(target: Any) -> list[Any]:
    origin = get_origin(target)
    if origin is Annotated:
        return _members(get_args(target)[0])
    if origin is Union or origin is types.UnionType:
        return list(get_args(target))
    return []


def _refuse_unknown(nodes: Iterable[mi.Type]) -> None:
    """Raise TypeError for a class that no hook can build: it fails at registration instead."""
    for node in nodes:
        if isinstance(node, mi.CustomType) and not _decodable(node.cls):
            raise TypeError(f"{node.cls.__qualname__} is not a type that can be decoded")


def _decodable(cls: type) -> bool:
    return (
        cls.__module__ in _TEXT_MODULES
        or cls.__name__ == "UploadFile"
        or hasattr(cls, "__get_pydantic_core_schema__")
    )


_TEXT_MODULES = ("ipaddress", "pathlib", "pathlib._local")


def decode_hook(target: type, value: Any) -> Any:
    """Build a value of a class that msgspec does not know (see ``dec_hook`` there)."""
    if isinstance(value, target):
        return value
    if hasattr(target, "__get_pydantic_core_schema__"):
        validate = getattr(target, "model_validate", None)
        if validate is not None:
            return validate(value)
        from pydantic import TypeAdapter

        return TypeAdapter(target).validate_python(value)
    if target.__module__ in _TEXT_MODULES and isinstance(value, str):
        return target(value)
    raise ValueError(f"Expected `{target.__name__}`, got `{type(value).__name__}`")


class BareStream(Exception):  # noqa: N818 - no error: how an encoder reports a generator
    """A handler returned a generator: it is to be streamed, not encoded."""

    def __init__(self, source: Any) -> None:
        self.source = source


_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__pos__),
    (float, float.__pos__),
    (bytes, lambda value: bytes(memoryview(value))),
)
"""Whose subclasses are encoded as what they are: msgspec looks at the exact type alone."""


def encode_hook(value: Any) -> Any:
    """Return a value that msgspec can encode (see ``enc_hook`` there)."""
    dump = getattr(value, "model_dump", None)
    if dump is not None and hasattr(type(value), "__pydantic_serializer__"):
        return dump(mode="json", by_alias=True)
    if isinstance(value, types.GeneratorType | types.AsyncGeneratorType):
        raise BareStream(value)
    for plain, as_plain in _PLAIN:
        if isinstance(value, plain):
            return as_plain(value)
    module = type(value).__module__
    if module in _TEXT_MODULES or hasattr(value, "__fspath__"):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(type(value), "__get_pydantic_core_schema__"):
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be encoded as JSON")


encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=encode_hook).encode


# --- text to JSON's types -------------------------------------------------------------------

_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BOOLS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def int_text(raw: Any) -> Any:
    """Return the integer that a string spells in ASCII digits, or the string itself."""
    if isinstance(raw, str) and _INT.fullmatch(raw):
        try:
            return int(raw)
        except ValueError:  # more digits than sys.get_int_max_str_digits(): CVE-2020-10735
            return raw
    return raw


def float_text(raw: Any) -> Any:
    """Return the finite number that a string spells, or the string itself."""
    if isinstance(raw, str) and _FLOAT.fullmatch(raw):
        number = float(raw)
        if number - number == 0.0:  # not infinite
            return number
    return raw


def bool_text(raw: Any) -> Any:
    """Return the boolean that a string names, in any case, or the string itself."""
    return _BOOLS.get(raw.lower(), raw) if isinstance(raw, str) else raw


def seconds_text(raw: Any) -> Any:
    """Return the span of time that a number of seconds spells, or the string itself (ISO 8601)."""
    number = float_text(raw)
    if not isinstance(number, float):
        return raw
    import datetime as dt

    try:
        return dt.timedelta(seconds=number)
    except OverflowError:
        return raw


def _identity(raw: Any) -> Any:
    return raw


def _as_list(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


def coercer(node: mi.Type, known: dict[int, Any] | None = None) -> Callable[[Any], Any]:
    """Return a function that turns raw strings into JSON's types where the node wants others."""
    known = {} if known is None else known
    while isinstance(node, mi.Metadata):
        node = node.type
    if isinstance(node, mi.IntType):
        return int_text
    if isinstance(node, mi.FloatType):
        return float_text
    if isinstance(node, mi.BoolType):
        return bool_text
    if isinstance(node, mi.TimeDeltaType):
        return seconds_text
    if isinstance(node, mi.LiteralType | mi.EnumType):
        return _choice_text(node)
    if isinstance(node, mi.UnionType):
        return _union_text(node, known)
    if isinstance(node, mi.ListType | mi.SetType | mi.FrozenSetType | mi.VarTupleType):
        item = coercer(node.item_type, known)

        def items(raw: Any) -> Any:
            if isinstance(raw, list):
                return [item(element) for element in raw]
            return raw if isinstance(raw, dict) else [item(raw)]

        return items
    if isinstance(node, mi.TupleType):
        parts = [coercer(inner, known) for inner in node.item_types]

        def members(raw: Any) -> Any:
            if not isinstance(raw, list):
                return raw
            rest = raw[len(parts) :]
            return [part(element) for part, element in zip(parts, raw, strict=False)] + rest

        return members
    if isinstance(node, mi.DictType):
        value = coercer(node.value_type, known)

        def mapping(raw: Any) -> Any:
            if isinstance(raw, dict):
                return {key: value(element) for key, element in raw.items()}
            return raw

        return mapping
    if isinstance(node, mi.StructType | mi.DataclassType | mi.TypedDictType):
        return _object_text(node, known)
    return _identity


def text_reader(node: mi.Type) -> Callable[[Any], Any] | None:
    """Return raw text → value for the common scalars, or None.

    `msgspec.convert` looks its type up on every call; for one number that look-up is most
    of the work. Raises ValueError for what does not fit, as the slow pass will explain.
    """
    while isinstance(node, mi.Metadata):
        node = node.type
    if isinstance(node, mi.UnionType):
        members = [each for each in node.types if not isinstance(each, mi.NoneType)]
        return text_reader(members[0]) if len(members) == 1 else None
    if isinstance(node, mi.ListType) and node.min_length is None and node.max_length is None:
        item = text_reader(node.item_type)
        if item is None:
            return None
        return lambda raws: [item(raw) for raw in raws]
    if isinstance(node, mi.IntType | mi.FloatType):
        return _number_reader(node)
    if isinstance(node, mi.StrType):
        return _string_reader(node)
    if isinstance(node, mi.BoolType):
        return lambda raw: _BOOLS[raw.lower()]
    if isinstance(node, mi.EnumType):
        members_by_text = {str(member.value): member for member in node.cls}
        return members_by_text.__getitem__
    return None


def _number_reader(node: mi.IntType | mi.FloatType) -> Callable[[str], Any]:
    cls, parse = (int, int_text) if isinstance(node, mi.IntType) else (float, float_text)
    ge, gt, le, lt, multiple = node.ge, node.gt, node.le, node.lt, node.multiple_of

    def read(raw: str) -> Any:
        value = parse(raw)
        if (
            type(value) is not cls
            or (ge is not None and value < ge)
            or (gt is not None and value <= gt)
            or (le is not None and value > le)
            or (lt is not None and value >= lt)
            or (multiple is not None and value % multiple)
        ):
            raise ValueError(raw)
        return value

    return read


def _string_reader(node: mi.StrType) -> Callable[[str], str]:
    shortest = node.min_length or 0
    longest = node.max_length
    search = re.compile(node.pattern).search if node.pattern is not None else None

    def read(raw: str) -> str:
        if (
            len(raw) < shortest
            or (longest is not None and len(raw) > longest)
            or (search is not None and search(raw) is None)
        ):
            raise ValueError(raw)
        return raw

    return read


def _object_text(
    node: mi.StructType | mi.DataclassType | mi.TypedDictType, known: dict[int, Any]
) -> Callable[[Any], Any]:
    # A recursive type meets itself here: the table of its fields is filled after it is known.
    if id(node) in known:
        return typing.cast("Callable[[Any], Any]", known[id(node)])
    fields: dict[str, Callable[[Any], Any]] = {}

    def members(raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {
            key: fields[key](element) if key in fields else element for key, element in raw.items()
        }

    known[id(node)] = members
    for field in node.fields:
        fields[field.encode_name] = coercer(field.type, known)
    return members


def _choice_text(node: mi.LiteralType | mi.EnumType) -> Callable[[Any], Any]:
    values: Iterable[Any] = (
        node.values if isinstance(node, mi.LiteralType) else [member.value for member in node.cls]
    )
    named: dict[str, Any] = {str(value): value for value in values if not isinstance(value, str)}

    def choice(raw: Any) -> Any:
        return named.get(raw, raw) if isinstance(raw, str) else raw

    return choice


def _union_text(node: mi.UnionType, known: dict[int, Any]) -> Callable[[Any], Any]:
    attempts = [coercer(inner, known) for inner in node.types if not isinstance(inner, mi.NoneType)]

    def union(raw: Any) -> Any:
        for attempt in attempts:
            value = attempt(raw)
            # Identity, not equality: an attempt that does not fit hands its argument back.
            if value is not raw:
                return value
        return raw

    return union


# --- defaults of dataclasses ----------------------------------------------------------------


def filler(nodes: Iterable[mi.Type]) -> Callable[[Any], Any] | None:
    """Return what gives decoded dataclasses the defaults that msgspec leaves to their class.

    msgspec does not store a default that is also an attribute of the class, and encodes what
    an instance stores: a value read from a request would lose these fields in the answer.
    None for types in which that cannot happen.
    """
    known = {
        inner.cls: (_class_defaults(inner.cls), [field.name for field in inner.fields])
        for inner in nodes
        if isinstance(inner, mi.DataclassType)
    }
    if not any(defaults for defaults, _ in known.values()):
        return None

    def fill(value: Any) -> Any:
        cls = type(value)
        if cls is dict:
            for each in value.values():
                fill(each)
        elif cls in _ITEMS:
            for each in value:
                fill(each)
        elif cls in known:
            defaults, names = known[cls]
            for name, default in defaults.items():
                value.__dict__.setdefault(name, default)
            for name in names:
                fill(getattr(value, name))
        elif isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                fill(getattr(value, name))
        return value

    return fill


_ITEMS = (list, tuple, set, frozenset)


def _class_defaults(cls: type) -> dict[str, Any]:
    if not hasattr(cls, "__dataclass_fields__") or not getattr(cls, "__dictoffset__", 0):
        return {}
    return {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }


def _nodes(node: mi.Type, seen: dict[int, mi.Type]) -> Iterator[mi.Type]:
    """Yield every node of a type once; it may contain itself."""
    if id(node) in seen:
        return
    seen[id(node)] = node
    yield node
    if isinstance(node, mi.StructType | mi.DataclassType | mi.TypedDictType | mi.NamedTupleType):
        for field in node.fields:
            yield from _nodes(field.type, seen)
    elif isinstance(node, mi.UnionType):
        for member in node.types:
            yield from _nodes(member, seen)
    elif isinstance(node, mi.TupleType):
        for item in node.item_types:
            yield from _nodes(item, seen)
    else:
        for name in _INNER:
            inner = getattr(node, name, None)
            if inner is not None:
                yield from _nodes(inner, seen)


_INNER = ("item_type", "key_type", "value_type", "type")
"""Where collections and `Metadata` have the types inside them."""


def _then(decode: Callable[[Any], Any], finish: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda data: finish(decode(data))


# --- which library a type belongs to --------------------------------------------------------


def is_class(part: Any) -> TypeGuard[type]:
    """Return whether this is a class; to Python 3.10 a `dict[str, int]` is one too."""
    return isinstance(part, type) and get_origin(part) is None


def is_pydantic(target: Any) -> bool:
    """Return whether the surface of a type (through unions, lists, dicts) is Pydantic's."""
    if "pydantic" not in sys.modules:
        return False
    return any(_is_pydantic_part(part) for part in surface(target)) and not any(
        is_class(part) and issubclass(part, msgspec.Struct) for part in surface(target)
    )


def _is_pydantic_part(part: Any) -> bool:
    if is_class(part):
        return hasattr(part, "__pydantic_core_schema__") or part.__module__.split(".")[0] in (
            "pydantic",
            "pydantic_core",
            "pydantic_extra_types",
        )
    return type(part).__module__.split(".")[0] in ("pydantic", "annotated_types")


def surface(target: Any) -> Iterator[Any]:
    """Yield the classes and annotations a type is spelled with, not those of its fields."""
    if get_origin(target) is None:
        yield target
    elif get_origin(target) is Annotated:
        inner, *extras = get_args(target)
        yield from surface(inner)
        yield from extras
    else:
        yield get_origin(target)
        for inner in get_args(target):
            yield from surface(inner)


def is_structured(target: Any) -> bool:
    """Return whether a bare parameter of this type is the body: an object, or a list of them."""
    return any(_is_structure(part) for part in surface(target))


def _is_structure(part: Any) -> bool:
    return is_class(part) and (
        issubclass(part, msgspec.Struct | dict)
        or dataclasses.is_dataclass(part)
        or typing.is_typeddict(part)
        or (issubclass(part, tuple) and hasattr(part, "_fields"))
        or hasattr(part, "__attrs_attrs__")
        or _is_model(part)
    )


def _is_model(part: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(part, pydantic.BaseModel)


def _is_collection(target: Any) -> bool:
    return any(part in (list, set, frozenset, tuple) for part in surface(target))


def pydantic_annotation(target: Any) -> Any:
    """Return the type with msgspec's constraints said in Pydantic's words."""
    if get_origin(target) is not Annotated:
        return target
    from pydantic import Field

    inner, *extras = get_args(target)
    said = []
    for extra in extras:
        if isinstance(extra, msgspec.Meta):
            names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
            pairs = {name: getattr(extra, name) for name in names}
            said.append(Field(**{k: v for k, v in pairs.items() if v is not None}))
        else:
            said.append(extra)
    return Annotated[(inner, *said)]


_PYDANTIC_TYPES = {
    "int_type": "int_parsing",
    "int_from_float": "int_parsing",
    "int_parsing_size": "int_parsing",
    "float_type": "float_parsing",
    "finite_number": "float_parsing",
    "bool_type": "bool_parsing",
    "uuid_type": "uuid_parsing",
    "uuid_version": "uuid_parsing",
    "date_type": "date_parsing",
    "date_from_datetime_parsing": "date_parsing",
    "date_from_datetime_inexact": "date_parsing",
    "datetime_type": "datetime_parsing",
    "datetime_from_date_parsing": "datetime_parsing",
    "datetime_object_invalid": "datetime_parsing",
    "time_type": "time_parsing",
    "time_delta_type": "time_delta_parsing",
    "decimal_type": "decimal_parsing",
    "url_type": "url_parsing",
    "url_scheme": "url_parsing",
    "url_syntax_violation": "url_parsing",
    "url_too_long": "url_parsing",
    "ip_any_address": "ip_parsing",
    "ip_v4_address": "ip_parsing",
    "ip_v6_address": "ip_parsing",
    "model_type": "dict_type",
    "model_attributes_type": "dict_type",
    "dataclass_type": "dict_type",
    "literal_error": "enum",
    "extra_forbidden": "validation_error",
}

_MESSAGES = {
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "float_parsing": "Input should be a valid number, unable to parse string as a number",
    "bool_parsing": "Input should be a valid boolean, unable to interpret input",
    "uuid_parsing": "Input should be a valid UUID",
    "date_parsing": "Input should be a valid date",
    "datetime_parsing": "Input should be a valid datetime",
    "time_parsing": "Input should be a valid time",
    "time_delta_parsing": "Input should be a valid duration",
    "decimal_parsing": "Input should be a valid decimal",
    "url_parsing": "Input should be a valid URL",
    "ip_parsing": "Input should be a valid IP address",
    "dict_type": "Input should be a valid dictionary",
}


def _from_pydantic(item: Any, loc: Loc, secrets: frozenset[str]) -> Error:
    steps = tuple(str(step) for step in item["loc"])
    given: str = item["type"]
    kind = _PYDANTIC_TYPES.get(given) or given
    ctx = item.get("ctx")
    message = _MESSAGES.get(kind) or str(item["msg"])
    value = item.get("input")
    if given == "extra_forbidden":
        message = "Additional properties are not allowed"
        ctx = {"additional_properties": False, "unexpected_field": steps[-1] if steps else ""}
    elif kind not in _MESSAGES and ctx is not None:
        ctx = {key: each if _is_plain(each) else str(each) for key, each in ctx.items()}
    elif kind in _MESSAGES:
        ctx = None
    found = error(kind, (*loc, *steps), message, value, ctx)
    if secrets:
        if secrets.intersection(steps):
            del found["input"]
        elif isinstance(value, dict):
            found["input"] = {k: v for k, v in value.items() if k not in secrets}
        elif isinstance(value, list):
            del found["input"]
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)


def _secret_names(target: Any) -> frozenset[str]:
    """Return the wire names of secret fields of all models under a type."""
    names: set[str] = set()
    seen: set[Any] = set()

    def walk(annotation: Any) -> None:
        for part in surface(annotation):
            fields = getattr(part, "model_fields", None)
            if not isinstance(fields, dict) or part in seen:
                continue
            seen.add(part)
            for name, field in fields.items():
                kinds = {getattr(each, "__name__", "") for each in surface(field.annotation)}
                extra = field.json_schema_extra
                marked = isinstance(extra, dict) and extra.get("secret")
                if marked or kinds & {"SecretStr", "SecretBytes"}:
                    names.update(each for each in (name, field.alias) if isinstance(each, str))
                walk(field.annotation)

    walk(target)
    return frozenset(names)


def _custom(cls: type, value: Any, loc: Loc) -> Iterator[Error]:
    """Explain a value of a class inside a msgspec type that msgspec does not know."""
    if cls.__name__ == "UploadFile":
        if not isinstance(value, cls):
            yield error("file_type", loc, "Input should be a file", value)
    elif hasattr(cls, "__get_pydantic_core_schema__"):
        yield from PydanticCodec(cls).explain(value, loc, value)
    else:
        try:
            decode_hook(cls, value)
        except (ValueError, TypeError):
            if cls.__module__ == "ipaddress":
                yield error("ip_parsing", loc, "Input should be a valid IP address", value)
            else:
                yield error("validation_error", loc, f"Input should be a {cls.__name__}", value)


def _at(value: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
