"""Routes described by raw JSON Schemas instead of types (`register_route`).

The validator is Rust's (``_spikard.Schema``); only `compiled` names it. Handlers receive
JSON's own types: a ``format: uuid`` stays a string unless the handler's annotation says more.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

from spikard import _spikard
from spikard._codecs import Codec, bool_text, float_text, int_text, register_codec
from spikard._files import file_rule
from spikard._out_of_range import OutOfRange
from spikard._signature import MISSING, Parameter, Signature
from spikard.datastructures import UploadFile
from spikard.exceptions import RegistrationError
from spikard.params import Body, Cookie, File, Header, Path, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spikard._violations import Error, Loc
    from spikard.routing import RouteOptions

__all__ = ["JsonSchema", "schema_signature"]


class Validator(Protocol):
    """``spikard._spikard.Schema``."""

    def check(self, data: bytes) -> list[dict[str, Any]]:
        """Return the contract's errors for a JSON document, with ``loc`` from its root."""
        ...


def compiled(schema: dict[str, Any]) -> Validator:
    """Return the validator of a schema.

    Raises:
        ValueError: The schema itself is wrong.
    """
    made: Validator = _spikard.Schema(msgspec.json.encode(schema))
    return made


class JsonSchema:
    """Metadata of an annotation: the value is described by a JSON Schema.

    Args:
        schema: The schema, without the members that only describe a parameter.
        separator: Splits one raw string into the items of an array.
    """

    __slots__ = ("schema", "separator")

    def __init__(self, schema: dict[str, Any], separator: str | None = None) -> None:
        self.schema = schema
        self.separator = separator


class SchemaCodec(Codec):
    """Decodes JSON and holds it against a schema."""

    __slots__ = ("_schema", "_then", "_validator")

    def __init__(self, target: Any, schema: JsonSchema, then: Codec | None) -> None:
        self.type = target
        self._schema = schema.schema
        self._validator = compiled(schema.schema)
        self._then = then
        coerce = schema_text(schema.schema)
        separator = schema.separator

        def split(raw: Any) -> Any:
            if separator is not None and isinstance(raw, list) and len(raw) == 1:
                raw = raw[0].split(separator)
            return coerce(raw)

        self.coerce = split
        self.from_text = self._coerced
        self.decode_json = self._decode_json
        self.decode_msgpack = self._decode_msgpack
        self.from_builtins = self._from_builtins

    @property
    def takes_list(self) -> bool:
        """Whether the schema is of an array."""
        kinds = self._schema.get("type")
        return kinds == "array" or (isinstance(kinds, list) and "array" in kinds)

    def _decode_json(self, data: Any) -> Any:
        return self._from_builtins(msgspec.json.decode(data))

    def _decode_msgpack(self, data: Any) -> Any:
        return self._from_builtins(msgspec.msgpack.decode(data))

    def _from_builtins(self, value: Any) -> Any:
        if self._errors(value):
            raise msgspec.ValidationError("the value does not fit its schema")
        return value if self._then is None else self._then.from_builtins(value)

    def _errors(self, value: Any) -> list[Error]:
        data = msgspec.json.encode(value, enc_hook=_placeholder)
        try:
            return self._validator.check(data)
        except ValueError as exc:
            # It has just been encoded, so it is JSON: nested deeper than the validator goes.
            raise RecursionError("the value is nested too deep for its schema") from exc

    def explain(
        self, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
    ) -> list[Error]:
        found = [_relocated(item, loc, value, shown) for item in self._errors(value)]
        if not found and self._then is not None:
            found = self._then.explain(value, loc, shown)
        return found


def _placeholder(value: Any) -> Any:
    """Stand for an uploaded file, a string of ``format: binary`` to the schema."""
    return value.text if isinstance(value, OutOfRange) else ""


def _relocated(item: Error, loc: Loc, value: Any, shown: Any) -> Error:
    """Return an error of the validator with our location and the raw strings as input."""
    steps = [str(step) for step in item["loc"]]
    if steps[:1] == ["body"]:
        steps = steps[1:]
    # The validator shows null in the place of a secret; its raw text would tell it all the same.
    if shown is not value and item["input"] is not None:
        raw = shown
        for step in steps:
            if isinstance(raw, list) and step.isdigit() and int(step) < len(raw):
                raw = raw[int(step)]
        item = {**item, "input": raw}
    return {**item, "loc": [*loc, *steps]}


def schema_text(schema: dict[str, Any]) -> Callable[[Any], Any]:
    """Return raw strings → JSON's types, as far as the schema wants others."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind, parse in (("integer", int_text), ("number", float_text), ("boolean", bool_text)):
        if kind in kinds:
            return parse
    if "array" in kinds:
        items = schema.get("items")
        item = schema_text(items) if isinstance(items, dict) else _same

        def array(raw: Any) -> Any:
            return [item(each) for each in (raw if isinstance(raw, list) else [raw])]

        return array
    properties = schema.get("properties")
    if isinstance(properties, dict):
        members = {
            name: schema_text(inner)
            for name, inner in properties.items()
            if isinstance(inner, dict)
        }

        def mapping(raw: Any) -> Any:
            if not isinstance(raw, dict):
                return raw
            return {key: members.get(key, _same)(value) for key, value in raw.items()}

        return mapping
    return _same


def _same(raw: Any) -> Any:
    return raw


def _codec(target: Any, inner: Any, extra: JsonSchema) -> Codec:
    from spikard._codecs import codec

    then = None if inner in (Any, dict, list, str, int, float, bool) else codec(inner)
    return SchemaCodec(target, extra, then)


register_codec(JsonSchema, _codec)


_SOURCES: dict[str, Callable[..., Any]] = {
    "path": Path,
    "query": Query,
    "headers": Header,
    "header": Header,
    "cookies": Cookie,
    "cookie": Cookie,
}
_DESCRIBING = ("optional", "required", "default", "separator", "annotation", "source")


def schema_signature(
    signature: Signature, options: RouteOptions, path_names: dict[str, str | None]
) -> Signature:
    """Return the signature with what the schemas declare.

    A declared parameter meets the handler's by name, dashes as underscores; one that the
    handler does not name goes into its ``**kwargs``, and without those is checked only.
    """
    declared = {
        _identifier(name): _declared(signature, source, name, dict(schema))
        for source, name, schema in _parameters(signature, options.get("parameter_schema") or {})
    }
    body = options.get("body_schema")
    if body is not None:
        marker: Any = Body()
        annotation: Any = Annotated[Any, JsonSchema(body)]
        declared["body"] = Parameter(
            signature.owner, "body", annotation, True, marker=marker, form=_is_object(body)
        )
    files = {
        **(options.get("parameter_schema") or {}).get("files", {}),
        **(options.get("file_params") or {}),
    }
    for name, given in files.items():
        declared[_identifier(name)] = _file(signature, name, given)
    taken: list[Parameter] = []
    rest = list(signature.parameters)
    for each in rest:
        known = declared.pop(_identifier(each.name), None)
        if known is None and body is not None and "body" in declared and _may_be_body(each):
            known = declared.pop("body")
        if known is None or each.marker is not None or each.depends is not None:
            taken.append(each)
            continue
        declared_as: Any = known.annotation
        if each.annotation is not Any and known.file_rule is None:
            declared_as = Annotated[(each.annotation, *declared_as.__metadata__)]
        default = each.default if known.default in (MISSING, None) else known.default
        taken.append(
            replace(
                each,
                annotation=declared_as,
                marker=known.marker,
                form=known.form,
                file_rule=known.file_rule,
                default=known.default if each.default is MISSING else default,
            )
        )
    for known in declared.values():
        known.passed = signature.takes_kwargs
        taken.append(known)
    return replace(signature, parameters=tuple(taken))


def _parameters(
    signature: Signature, schema: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict):
        # One flat object whose members name their source.
        required = schema.get("required", [])
        for name, inner in properties.items():
            yield inner.get("source", "query"), name, {**inner, "required": name in required}
        return
    for source, members in schema.items():
        if source not in _SOURCES:
            if source == "files":
                continue
            raise RegistrationError(f"{signature.owner}: parameter_schema: unknown {source!r}")
        for name, inner in members.items():
            yield source, name, inner


def _declared(signature: Signature, source: str, name: str, schema: dict[str, Any]) -> Parameter:
    default = schema.get("default", MISSING)
    if default is MISSING and (schema.get("optional") or schema.get("required") is False):
        default = None
    if source == "path":
        default = MISSING
    plain = {
        key: value
        for key, value in schema.items()
        if key not in _DESCRIBING or (key == "required" and isinstance(value, list))
    }
    marker: Any = _SOURCES[source](alias=name)
    annotation: Any = Annotated[Any, JsonSchema(plain, schema.get("separator"))]
    return Parameter(
        signature.owner, _identifier(name), annotation, True, marker=marker, default=default
    )


def _file(signature: Signature, name: str, given: dict[str, Any]) -> Parameter:
    required = given.get("required", not given.get("optional"))
    marker: Any = File(alias=name)
    return Parameter(
        signature.owner,
        _identifier(name),
        UploadFile if required else UploadFile | None,
        True,
        marker=marker,
        default=MISSING if required else None,
        file_rule=file_rule(signature.owner, name, given),
    )


def _is_object(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "object" or "properties" in schema


def _may_be_body(parameter: Parameter) -> bool:
    from spikard._codecs import is_structured

    return parameter.annotation is not Any and is_structured(parameter.annotation)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name).lower()
