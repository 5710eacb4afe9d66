"""The JSON Schemas of an application's types, as ``components.schemas`` of an OpenAPI document.

All types are asked for first and described together, so that two types of one name get names of
their own. msgspec describes what msgspec decodes, Pydantic what belongs to it.
"""

# Schemas are JSON of any shape: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from spikard._codecs import PydanticCodec, UnionCodec, codec, encode_hook
from spikard._schemas import JsonSchema
from spikard._signature import MISSING
from spikard.datastructures import UploadFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard._signature import Parameter

__all__ = ["Components"]

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]

PREFIX = "#/components/schemas/"

_PENDING = "x-spikard-pending"


class Components:
    """Collects types, then names and describes them.

    `schema` returns a dict that stays empty until `resolve` fills it.
    """

    def __init__(self) -> None:
        self._native: list[tuple[Any, Schema]] = []
        self._models: list[tuple[Any, Mode, Schema]] = []
        self._raw: list[tuple[str, Schema, Schema]] = []
        self._pending: list[Schema] = []

    def schema(self, annotation: Any, owner: str, mode: Mode = "validation") -> Schema:
        """Return the place of a type's schema.

        Args:
            annotation: A type that `codec` takes.
            owner: Names a raw schema that refers to parts of itself.
            mode: Whether values come in or go out: Pydantic's models may differ.
        """
        place: Schema = {}
        for extra in getattr(annotation, "__metadata__", ()):
            if isinstance(extra, JsonSchema):
                self._raw.append((owner, extra.schema, place))
                return place
        if annotation is Any:
            return place
        found = codec(annotation)
        if isinstance(found, PydanticCodec):
            self._models.append((annotation, mode, place))
        elif isinstance(found, UnionCodec):
            members = [self.schema(each.type, owner, mode) for each in found.members]
            place["anyOf"] = members
        else:
            self._native.append((annotation, place))
        return place

    def resolve(self) -> dict[str, Schema]:
        """Fill every schema; return the components that they refer to, by name."""
        types = [annotation for annotation, _ in self._native]
        schemas, components = msgspec.json.schema_components(
            types, schema_hook=self._hook, ref_template=PREFIX + "{name}"
        )
        for (_, place), schema in zip(self._native, schemas, strict=True):
            place.update(schema)
        components = dict(components)
        if self._models:
            components.update(self._modelled(components))
        for owner, schema, place in self._raw:
            place.update(_contained(owner, schema, components))
        filled = [place for _, place in self._native]
        self._settle([components, *filled])
        return components

    def _hook(self, cls: type) -> Schema:
        """Describe a class that msgspec does not know (see ``schema_hook`` there)."""
        if issubclass(cls, UploadFile):
            return {"type": "string", "format": "binary"}
        if hasattr(cls, "__get_pydantic_core_schema__"):
            place: Schema = {}
            self._models.append((cls, "validation", place))
            self._pending.append(place)
            return {_PENDING: len(self._pending) - 1}
        return {"type": "string", **_FORMATS.get(cls.__name__, {})}

    def _modelled(self, taken: dict[str, Schema]) -> dict[str, Schema]:
        """Fill the schemas of Pydantic's types; return their components."""
        from pydantic import TypeAdapter

        from spikard._codecs import pydantic_annotation

        inputs: list[tuple[int, Mode, Any]] = [
            (index, mode, TypeAdapter(pydantic_annotation(annotation)))
            for index, (annotation, mode, _) in enumerate(self._models)
        ]
        schemas, rest = TypeAdapter.json_schemas(inputs, ref_template=PREFIX + "{model}")
        components: dict[str, Schema] = rest.get("$defs", {})
        renamed = _alike(components)
        merged = {renamed.get(name, name) for name in components}
        for name in sorted(merged & taken.keys()):
            free = _free(name, {**taken, **dict.fromkeys(merged, taken[name])})
            renamed.update({each: free for each in components if renamed.get(each, each) == name})

        def moved(reference: str) -> str:
            name = reference.removeprefix(PREFIX)
            return PREFIX + renamed.get(name, name)

        for index, (_, mode, place) in enumerate(self._models):
            place.update(_rereferred(schemas[(index, mode)], moved))
        return {
            renamed.get(name, name): _rereferred(schema, moved)
            for name, schema in components.items()
        }

    def _settle(self, value: Any) -> None:
        """Put the schemas of Pydantic's classes where msgspec left their place open."""
        if isinstance(value, list):
            for each in value:
                self._settle(each)
        elif isinstance(value, dict):
            pending = value.pop(_PENDING, None)
            for each in value.values():
                self._settle(each)
            if pending is not None:
                value.update(self._pending[pending])
            choices = value.get("enum")
            if isinstance(choices, list) and "type" not in value:
                # msgspec leaves it out; viewers show it, and generators of clients want it.
                kinds = {type(each) for each in choices}
                if len(kinds) == 1 and kinds <= _TYPES.keys():
                    value["type"] = _TYPES[kinds.pop()]


_TYPES: dict[type, str] = {str: "string", int: "integer"}

_FORMATS: dict[str, Schema] = {
    "IPv4Address": {"format": "ipv4"},
    "IPv6Address": {"format": "ipv6"},
}


def default_of(parameter: Parameter) -> Any:
    """Return a default as JSON's types, `msgspec.UNSET` when it has none or says nothing."""
    value, factory = parameter.default, parameter.default_factory
    if isinstance(factory, functools.partial) and factory.func is copy.deepcopy:
        # A mutable default, which the signature's reader wraps so that each request has its own.
        value = factory.args[0]
    if value is None or value is MISSING:
        return msgspec.UNSET
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=encode_hook))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return msgspec.UNSET


def _free(name: str, taken: dict[str, Schema]) -> str:
    number = 2
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


def _alike(components: dict[str, Schema]) -> dict[str, str]:
    """Return common names of Pydantic's pairs ``X-Input``, ``X-Output`` that say the same."""
    pairs = {
        f"{stem}{end}": stem
        for stem in {name.removesuffix("-Input") for name in components if name.endswith("-Input")}
        if stem not in components and f"{stem}-Output" in components
        for end in ("-Input", "-Output")
    }

    def moved(reference: str) -> str:
        name = reference.removeprefix(PREFIX)
        return PREFIX + pairs.get(name, name)

    while True:
        different = [
            stem
            for stem in set(pairs.values())
            if _rereferred(components[f"{stem}-Input"], moved)
            != _rereferred(components[f"{stem}-Output"], moved)
        ]
        if not different:
            return pairs
        # What refers to one of these differs too: look again.
        for stem in different:
            del pairs[f"{stem}-Input"], pairs[f"{stem}-Output"]


def _contained(owner: str, schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return a raw schema; one that refers to its own parts becomes a component."""
    found = False
    name = owner if owner not in components else _free(owner, components)

    def moved(reference: str) -> str:
        nonlocal found
        if not reference.startswith("#"):
            return reference
        found = True
        return PREFIX + name + reference[1:]

    schema = _rereferred(schema, moved)
    if not found:
        return schema
    components[name] = schema
    return {"$ref": PREFIX + name}


def _rereferred(schema: Any, moved: Callable[[str], str]) -> Any:
    """Return a copy whose references have passed through a function."""
    if isinstance(schema, list):
        return [_rereferred(each, moved) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str):
            made[key] = moved(value)
        elif key == "mapping" and isinstance(value, dict) and "propertyName" in schema:
            made[key] = {tag: moved(each) for tag, each in value.items()}
        else:
            made[key] = _rereferred(value, moved)
    return made
