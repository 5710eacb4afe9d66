"""The codecs of what is more than one value: models of a whole source, and bodies."""

from __future__ import annotations

import json
import types
from typing import TYPE_CHECKING, Any, cast

import msgspec

from spikard._codecs import Codec
from spikard.compat.fastapi._fields import (
    ABSENT,
    Field,
    FieldCodec,
    inner_types,
    is_sequence_type,
    members,
    missing,
    model_of,
)
from spikard.compat.fastapi.datastructures import UploadFile
from spikard.datastructures import UploadFile as SpooledFile

if TYPE_CHECKING:
    from spikard._violations import Error
    from spikard.datastructures import FormData, Request

__all__ = ["BodyCodec", "ModelCodec", "source_of"]


class ModelCodec(FieldCodec):
    """A model of a whole source: query, headers or cookies."""

    __slots__ = ()

    def read(self, request: Request) -> tuple[Any, list[Error]]:
        """Return the model of a request, and what is wrong with it."""
        field = self.field
        model = model_of(field.annotation)
        given = source_of(field.source, request)
        values: dict[str, Any] = {}
        taken: set[str] = set()
        shown: dict[str, str] = {}
        for name, info in (model.model_fields if model is not None else {}).items():
            alias = _alias_in_model(name, info)
            wire = alias
            if field.source == "header" and alias == name and _converts(field.marker):
                wire = name.replace("_", "-")
                taken.add(name.lower())
            taken.add(wire.lower() if field.source == "header" else wire)
            shown[alias] = wire
            if is_sequence_type(info.annotation) and field.source != "cookie":
                many = given.getlist(wire)
                if many:
                    values[alias] = many
            elif wire in given:
                values[alias] = given.get(wire)
        for name in dict.fromkeys(given):
            key = name.lower() if field.source == "header" else name
            if key not in taken:
                many = given.getlist(name) if field.source != "cookie" else [given[name]]
                values[name] = many[0] if len(many) == 1 else many
        found: list[Error] = []
        where = (field.source,)
        if not field.required and not set(values) & set(shown):
            return field.default(), found
        value = field.validate(values, where, found)
        for error in found:
            loc = error["loc"]
            if len(loc) > 1 and loc[1] in shown:
                error["loc"] = (loc[0], shown[loc[1]], *loc[2:])
        return value, found

    def from_request(self, request: Request) -> Any:
        """Return the model for the quick pass.

        Raises:
            ValueError: It does not fit.
        """
        value, found = self.read(request)
        if found:
            raise ValueError("the model does not fit")
        return value


def _alias_in_model(name: str, info: Any) -> str:
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name


def _converts(marker: Any) -> bool:
    return bool(getattr(marker, "convert_underscores", True))


def source_of(source: str, request: Request) -> Any:
    if source == "query":
        return request.query_params
    return request.headers if source == "header" else request.cookies


class BodyCodec(Codec):
    """The body of a route: one value, or with several parameters an object of them.

    Attributes:
        fields: One for each body parameter.
        embed: Each is a member of an object.
    """

    __slots__ = ("_one", "embed", "fields", "is_form", "shape")

    def __init__(self, fields: list[Field], *, embed: bool, is_form: bool) -> None:
        self.fields = fields
        self.embed = embed
        self.is_form = is_form
        self.type = Any
        names = [f"p{index}" for index in range(len(fields))]
        self.shape: Any = msgspec.defstruct("Body", names) if embed else None
        if not embed:
            adapter = fields[0].adapter

            def decode_json(data: Any) -> Any:
                return adapter.validate_json(bytes(data))

            self.decode_json = decode_json
        else:
            self.decode_json = self._decoded
        self.decode_msgpack = self.decode_json
        self.from_builtins = self.coerce = self.from_text = _refuse

    def _decoded(self, data: Any) -> Any:
        found: list[Error] = []
        value = self.value(json.loads(bytes(data)), found)
        if found:
            raise ValueError("the body does not fit")
        return value

    def absent(self) -> Any:
        """Return the value of an absent body that nothing requires."""
        values = [field.default() for field in self.fields]
        return self.shape(*values) if self.embed else values[0]

    def value(self, body: Any, found: list[Error]) -> Any:
        """Return the value of a decoded body, None for an absent one, noting what is wrong."""
        if not self.embed:
            field = self.fields[0]
            if body is None or body is ABSENT:
                if field.required:
                    found.append(missing(("body",)))
                    return None
                return field.default()
            return field.validate(body, ("body",), found)
        values: list[Any] = []
        for field in self.fields:
            loc = ("body", field.alias)
            if body is None or body is ABSENT:
                given: Any = ABSENT
            elif isinstance(body, dict):
                given = cast("dict[str, Any]", body).get(field.alias, ABSENT)
            else:
                found.append(missing(loc))
                values.append(None)
                continue
            values.append(_validated(field, given, loc, found))
        return self.shape(*values)

    async def form_value(self, form: FormData, found: list[Error]) -> Any:
        """Return the value of a form, noting what is wrong."""
        if not self.embed:
            field = self.fields[0]
            model = model_of(field.annotation)
            values = await _form_values(
                [
                    (_alias_in_model(name, info), info.annotation, "form")
                    for name, info in (model.model_fields if model is not None else {}).items()
                ],
                form,
                extras=True,
            )
            if not values and not field.required:
                return field.default()
            return field.validate(values, ("body",), found)
        given = await _form_values(
            [(field.alias, field.annotation, field.source) for field in self.fields], form
        )
        values_list = [
            _validated(field, given.get(field.alias, ABSENT), ("body", field.alias), found)
            for field in self.fields
        ]
        return self.shape(*values_list)


def _validated(field: Field, given: Any, loc: tuple[str, ...], found: list[Error]) -> Any:
    if given is ABSENT or (given is None and field.required and not _takes_none(field)):
        if field.required:
            found.append(missing(loc))
            return None
        return field.default()
    return field.validate(given, loc, found)


def _takes_none(field: Field) -> bool:
    return field.annotation is Any or types.NoneType in members(field.annotation)


async def _form_values(
    wanted: list[tuple[str, Any, str]], form: FormData, *, extras: bool = False
) -> dict[str, Any]:
    """Return the values of form fields; empty ones count as absent."""
    values: dict[str, Any] = {}
    for alias, annotation, source in wanted:
        given = [each for each in form.getlist(alias) if not _is_empty_file(each)]
        if is_sequence_type(annotation):
            if given:
                values[alias] = [await _content(each, annotation, source) for each in given]
        elif given and given[-1] != "":
            values[alias] = await _content(given[-1], annotation, source)
    if extras:
        known = {alias for alias, _, _ in wanted}
        for name in dict.fromkeys(name for name, _ in form.multi_items()):
            if name not in known:
                many = form.getlist(name)
                values[name] = many[0] if len(many) == 1 else many
    return values


def _is_empty_file(value: Any) -> bool:
    return isinstance(value, SpooledFile) and not value.filename and value.size == 0


async def _content(value: Any, annotation: Any, source: str) -> Any:
    if not isinstance(value, SpooledFile):
        return value
    file = UploadFile.of(value)
    if source == "file" and any(each is bytes for each in inner_types(annotation)):
        content = await file.aread()
        await file.aseek(0)
        return content
    return file


def _refuse(_: Any) -> Any:
    raise ValueError("only the slow pass reads this body")
