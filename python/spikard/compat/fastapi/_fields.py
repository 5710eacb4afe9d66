"""One parameter as Pydantic sees it: the type, what its marker adds, and how it validates."""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import pydantic

from spikard._codecs import Codec, pydantic_annotation
from spikard._signature import MISSING, Parameter
from spikard.compat.fastapi.datastructures import UploadFile
from spikard.compat.fastapi.params import FieldMarker

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from spikard._violations import Error, Loc
    from spikard.params import Marker

__all__ = [
    "ABSENT",
    "Field",
    "FieldCodec",
    "adapter_of",
    "inner_types",
    "is_scalar",
    "is_sequence_type",
    "model_of",
]

ABSENT: Any = object()
"""Stands for the value of a request that brings none; None may be a value."""

_SCALAR_MODELS = (pydantic.BaseModel, Mapping, UploadFile)


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type alone, without metadata."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for each in get_args(annotation) for part in members(each))
    return (annotation,)


def bare(annotation: Any) -> Any:
    """Return a type without metadata and without the name of a ``type`` statement."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def is_scalar(annotation: Any) -> bool:
    """Return whether FastAPI takes a parameter of this type from the query by itself."""
    for member in members(annotation):
        cls: Any = get_origin(member) or member
        if not isinstance(cls, type):
            continue
        if "__dataclass_fields__" in vars(cls):
            return False
        if issubclass(cls, (*_SCALAR_MODELS, *_SEQUENCES)) and not issubclass(cls, str | bytes):
            return False
    return True


_SEQUENCES = (list, set, frozenset, tuple, Sequence)


def is_sequence_type(annotation: Any) -> bool:
    """Return whether a parameter of this type takes every value of a repeated key."""
    for member in members(annotation):
        cls = get_origin(member) or member
        if (
            isinstance(cls, type)
            and issubclass(cls, _SEQUENCES)
            and not issubclass(cls, str | bytes)
        ):
            return True
    return False


def inner_types(annotation: Any) -> list[Any]:
    """Return the members of a type and the items of its lists."""
    found: list[Any] = []
    for member in members(annotation):
        found.append(member)
        if is_sequence_type(member):
            found.extend(each for item in get_args(member) for each in members(item))
    return found


def model_of(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the model of an annotation ``Model`` or ``Model | None``."""
    found = [each for each in members(annotation) if each is not types.NoneType]
    if len(found) == 1 and isinstance(found[0], type) and issubclass(found[0], pydantic.BaseModel):
        return found[0]
    return None


def adapter_of(annotation: Any, field: FieldInfo | None = None) -> pydantic.TypeAdapter[Any]:
    """Return the validator of a type with the constraints of a field."""
    with warnings.catch_warnings():
        # Attributes that only mean something in a model are no mistake here.
        warnings.simplefilter("ignore")
        target: Any = annotation if field is None else Annotated[annotation, field]
        return pydantic.TypeAdapter(target)


@dataclass(eq=False)
class Field:
    """A parameter, or a field of a parameter model.

    Attributes:
        name: Of the function's parameter.
        alias: On the wire.
        annotation: The type, without marker.
        info: Pydantic's description: constraints, title, default.
        source: Where it is.
        marker: The parameter's, if it has one.
        required: Whether the request must bring it.
        said: What `info` was made of.
    """

    name: str
    alias: str
    annotation: Any
    info: FieldInfo
    source: str
    required: bool
    marker: Any = None
    said: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.adapter = adapter_of(self.annotation, self.info)

    @classmethod
    def of(cls, parameter: Parameter, source: str, alias: str) -> Field:
        """Return the field of a parameter.

        Raises:
            TypeError: Pydantic cannot validate the type.
        """
        marker = parameter.marker
        said = _said(marker)
        if source != "path":
            said.update(_default(parameter))
        info: FieldInfo = pydantic.Field(**said)
        annotation = pydantic_annotation(parameter.annotation)
        try:
            return cls(
                parameter.name,
                alias,
                annotation,
                info,
                source,
                parameter.required or source == "path",
                marker,
                said,
            )
        except pydantic.errors.PydanticUserError as exc:
            raise TypeError(str(exc).partition("\n")[0]) from exc

    @property
    def media_type(self) -> str:
        """What the documentation says of a body with this field."""
        given: str | None = getattr(self.marker, "media_type", None)
        if given is not None:
            return given
        is_form = self.source == "form"
        return "application/x-www-form-urlencoded" if is_form else "application/json"

    def default(self) -> Any:
        """Return the value of a request that brings none."""
        return copy.deepcopy(self.info.get_default(call_default_factory=True))

    def validate(self, value: Any, loc: Loc, found: list[Error]) -> Any:
        """Return the value, or note what is wrong with it."""
        try:
            return self.adapter.validate_python(value, from_attributes=True)
        except pydantic.ValidationError as exc:
            found.extend(
                {**error, "loc": (*loc, *error["loc"])} for error in exc.errors(include_url=False)
            )
            return None


def _said(marker: Marker | None) -> dict[str, Any]:
    """Return what a marker says to Pydantic: FastAPI's, or one of Spikard's own."""
    if marker is None:
        return {}
    if isinstance(marker, FieldMarker):
        return dict(marker.said)
    words = {name: getattr(marker, name) for name in ("title", "description", "examples")}
    return {**marker.constraints, **{name: word for name, word in words.items() if word}}


def _default(parameter: Parameter) -> dict[str, Any]:
    factory = parameter.default_factory
    if isinstance(factory, functools.partial) and factory.func is copy.deepcopy:
        # A mutable default, which the signature's reader wrapped.
        return {"default": factory.args[0]}
    if factory is not None:
        return {"default_factory": factory}
    return {} if parameter.default is MISSING else {"default": parameter.default}


def missing(loc: Loc, given: Any = None) -> Error:
    """Return the error of an absent value."""
    return {"type": "missing", "loc": loc, "msg": "Field required", "input": given}


class FieldCodec(Codec):
    """What the server's quick pass uses of a field; it raises, `Field.validate` explains."""

    __slots__ = ("field",)

    def __init__(self, field: Field) -> None:
        self.field = field
        self.type = field.annotation
        adapter = field.adapter

        def validate(value: Any) -> Any:
            return adapter.validate_python(value, from_attributes=True)

        def decode_json(data: Any) -> Any:
            return adapter.validate_json(bytes(data))

        self.decode_json = decode_json
        self.decode_msgpack = validate
        self.from_builtins = validate
        self.coerce = _identity
        self.from_text = validate


def _identity(raw: Any) -> Any:
    return raw
