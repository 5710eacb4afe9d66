"""FastAPI's rules of where values come from, on Spikard's plan.

The planner differs in three places: what is guessed for a parameter without a marker, what
validates it (Pydantic), and that dependencies run one after the other, ``def`` ones in the
thread pool.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from spikard._endpoint import threaded
from spikard._plan import Binding, BodyPlan, Leaf, Planner
from spikard._signature import MISSING, Parameter, read_signature
from spikard.compat.fastapi._bodies import BodyCodec, ModelCodec
from spikard.compat.fastapi._fields import (
    Field,
    FieldCodec,
    inner_types,
    is_scalar,
    is_sequence_type,
    model_of,
)
from spikard.datastructures import UploadFile
from spikard.di import Provide
from spikard.exceptions import DependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard._codecs import Codec
    from spikard._plan import Plan, Source

__all__ = ["FastAPIPlanner"]


class FastAPIPlanner(Planner):
    """Plans a handler by FastAPI's rules."""

    _shares: dict[int, Provide]

    def plan(self) -> Plan:
        """Return the plan; see `Planner.plan`."""
        self._shares = {}
        plan = super().plan()
        # Dependencies may rely on the order in which they are declared.
        for level, step in enumerate(plan.steps):
            step.level = level
        return plan

    def _guessed(self, parameter: Parameter) -> Binding:
        annotation = parameter.annotation
        if _has_upload(annotation):
            return self._body_part(parameter, self._form)
        if not is_scalar(annotation):
            return self._body_part(parameter, self._body)
        return self._leaf(parameter, "query")

    def _body_part(self, parameter: Parameter, group: list[Parameter]) -> Binding:
        # Fields of a form and bodies are one group: with a form in it all of it is a form.
        del group
        return super()._body_part(parameter, self._body)

    def _leaf(self, parameter: Parameter, source: Source) -> Binding:
        alias = self._wire_name(parameter, source)
        if source == "path":
            parameter.default, parameter.default_factory = MISSING, None
        field = self._field(parameter, source, alias)
        name = alias.lower() if source == "header" else alias
        # What the server converts by itself, by the type alone: nothing with constraints.
        quick = field.adapter if _has_constraints(field) else field.annotation
        seen = dataclasses.replace(parameter, annotation=str if quick is Any else quick)
        leaf = Leaf(seen, source, name, FieldCodec(field))
        leaf.model = source != "path" and model_of(field.annotation) is not None
        if leaf.model:
            leaf.codec = ModelCodec(field)
        leaf.many = (
            not leaf.model and source in ("query", "header") and is_sequence_type(field.annotation)
        )
        self._leaves.append(leaf)
        return Binding(parameter, "leaf", len(self._leaves) - 1)

    def _wire_name(self, parameter: Parameter, source: Source) -> str:
        marker = parameter.marker
        alias = marker.alias if marker is not None else None
        if alias is None and source == "header" and getattr(marker, "convert_underscores", True):
            return parameter.name.replace("_", "-")
        return alias or parameter.name

    def _field(self, parameter: Parameter, source: str, alias: str) -> Field:
        known = parameter.codec
        if known is not None and known[0] == (source, alias):
            kept: Field = known[1]
            return kept
        try:
            made = Field.of(parameter, source, alias)
        except TypeError as exc:
            raise parameter.wrong(str(exc)) from exc
        parameter.codec = (source, alias), made
        return made

    def _codec(self, parameter: Parameter, annotation: Any) -> Codec:
        del annotation
        return FieldCodec(self._field(parameter, "body", parameter.name))

    def _depended(self, parameter: Parameter, depends: Any) -> int:
        index = super()._depended(parameter, depends)
        step = self._steps[index]
        if "generator" not in step.provider.kind:
            return index
        step.ends_early = getattr(depends, "scope", None) == "function"
        below = [self._steps[each.index] for each in step.bindings if each.kind == "step"]
        for inner in below:
            if inner.ends_early and not step.ends_early:
                raise DependencyError(
                    f"dependency {step.key!r} of scope 'request' cannot depend on {inner.key!r} of "
                    "scope 'function', which ends before it"
                )
        return index

    def _is_plain_default(self, parameter: Parameter) -> bool:
        # A dependency's parameters are the request's, with or without a default.
        del parameter
        return False

    def _shared(self, factory: Callable[..., Any]) -> Provide:
        known = self._shares.get(id(factory))
        if known is None:
            known = self._shares[id(factory)] = Provide(factory)
            known.signature = read_signature(factory, "dependency")
            if known.kind == "function" and not isinstance(factory, type):
                # FastAPI keeps the event loop free of what may block.
                known.kind = "coroutine"
                known.dependency = known.factory = threaded(factory)
        return known

    def _body_plan(self) -> BodyPlan | None:
        group = self._body
        if not group:
            return None
        is_form = any(_source_of(each) in ("form", "file") for each in group)
        fields = [self._field(each, _source_of(each), _alias_of(each)) for each in group]
        embed = _is_embedded(group, is_form)
        media: Literal["form", "json"] = "form" if is_form else "json"
        codec = BodyCodec(fields, embed=embed, is_form=is_form)
        required = any(each.required for each in group)
        parts = tuple((each, f"p{index}") for index, each in enumerate(group)) if embed else ()
        return BodyPlan(
            media,
            codec,
            required,
            default_factory=None if required else codec.absent,
            parts=parts,
            multipart=any(each.source == "file" for each in fields),
        )


def _source_of(parameter: Parameter) -> str:
    marker = parameter.marker
    if marker is not None and marker.source:
        return marker.source
    return "file" if _has_upload(parameter.annotation) else "body"


def _alias_of(parameter: Parameter) -> str:
    marker = parameter.marker
    return (marker.alias if marker is not None else None) or parameter.name


def _has_upload(annotation: Any) -> bool:
    types = (each for each in inner_types(annotation) if isinstance(each, type))
    return any(issubclass(each, UploadFile) for each in types)


def _has_constraints(field: Field) -> bool:
    return bool(field.info.metadata) or field.info.discriminator is not None


def _is_embedded(group: list[Parameter], is_form: bool) -> bool:
    if len({each.name for each in group}) > 1:
        return True
    marker = group[0].marker
    if marker is not None and marker.embed:
        return True
    return is_form and model_of(group[0].annotation) is None
