"""FastAPI's rules of where values come from, on Spikard's plan.

The planner differs in three places: what is guessed for a parameter without a marker, what
validates it (Pydantic), and that dependencies run one after the other, ``def`` ones in the
thread pool. The extractor is the slow pass: it answers in FastAPI's words.
"""

from __future__ import annotations

import dataclasses
import json
import types
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from spikard._codecs import Codec
from spikard._endpoint import close_generator, threaded
from spikard._extract import media_type
from spikard._plan import Binding, BodyPlan, Leaf, Planner
from spikard._signature import MISSING, Parameter, read_signature
from spikard.compat.fastapi._fields import (
    Field,
    FieldCodec,
    is_scalar,
    is_sequence_type,
    members,
    missing,
    model_of,
)
from spikard.compat.fastapi.datastructures import UploadFile
from spikard.compat.fastapi.exceptions import (
    RequestValidationError,
    WebSocketRequestValidationError,
)
from spikard.datastructures import FormData, UploadFile as SpooledFile
from spikard.di import Provide
from spikard.exceptions import DependencyError, HTTPException
from spikard.websockets import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard._plan import Plan, Source
    from spikard._violations import Error
    from spikard.datastructures import Request

__all__ = ["FastAPIExtractor", "FastAPIPlanner"]

_ABSENT: Any = object()


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
        if any(_is_upload(each) for each in _inner(annotation)):
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
                known.dependency = threaded(factory)
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
    return "file" if any(_is_upload(each) for each in _inner(parameter.annotation)) else "body"


def _alias_of(parameter: Parameter) -> str:
    marker = parameter.marker
    return (marker.alias if marker is not None else None) or parameter.name


def _inner(annotation: Any) -> list[Any]:
    """Return the members of a type and the items of its lists."""
    from typing import get_args

    found: list[Any] = []
    for member in members(annotation):
        found.append(member)
        if is_sequence_type(member):
            found.extend(each for item in get_args(member) for each in members(item))
    return found


def _is_upload(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, SpooledFile)


def _has_constraints(field: Field) -> bool:
    return bool(field.info.metadata) or field.info.discriminator is not None


def _is_embedded(group: list[Parameter], is_form: bool) -> bool:
    if len({each.name for each in group}) > 1:
        return True
    marker = group[0].marker
    if marker is not None and marker.embed:
        return True
    return is_form and model_of(group[0].annotation) is None


class ModelCodec(FieldCodec):
    """A model of a whole source: query, headers or cookies."""

    __slots__ = ()

    def read(self, request: Request) -> tuple[Any, list[Error]]:
        """Return the model of a request, and what is wrong with it."""
        field = self.field
        model = model_of(field.annotation)
        given = _source(field.source, request)
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


def _source(source: str, request: Request) -> Any:
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
            if body is None or body is _ABSENT:
                if field.required:
                    found.append(missing(("body",)))
                    return None
                return field.default()
            return field.validate(body, ("body",), found)
        values: list[Any] = []
        for field in self.fields:
            loc = ("body", field.alias)
            if body is None or body is _ABSENT:
                given: Any = _ABSENT
            elif isinstance(body, dict):
                given = cast("dict[str, Any]", body).get(field.alias, _ABSENT)
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
            _validated(field, given.get(field.alias, _ABSENT), ("body", field.alias), found)
            for field in self.fields
        ]
        return self.shape(*values_list)


def _validated(field: Field, given: Any, loc: tuple[str, ...], found: list[Error]) -> Any:
    if given is _ABSENT or (given is None and field.required and not _takes_none(field)):
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
    if source == "file" and any(each is bytes for each in _inner(annotation)):
        content = await file.aread()
        await file.aseek(0)
        return content
    return file


def _refuse(_: Any) -> Any:
    raise ValueError("only the slow pass reads this body")


class Refused:
    """Stands for the arguments of a request that does not fit, when dependencies come first."""

    __slots__ = ("error", "request", "values", "wrong")

    def __init__(
        self, error: RequestValidationError, values: list[Any], wrong: set[int], request: Request
    ) -> None:
        self.error = error
        self.values = values
        self.wrong = wrong
        self.request = request


class FastAPIExtractor:
    """Extracts the values of one plan, or says in FastAPI's words what is wrong."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def values(self, request: Request, body: bytes | None) -> list[Any]:
        """Return the values of the leaves and, last, of the body.

        Raises:
            RequestValidationError: Everything that does not fit.
        """
        values, found, wrong, given = self._read(request)
        plan = self.plan.body
        if plan is not None:
            given = _json_body(request, body)
            self._body_value(plan, given, values, found, wrong)
        return self._checked(request, values, found, wrong, given)

    async def from_request(self, request: Request) -> list[Any]:
        """Return the values, reading the body as the plan needs it.

        Raises:
            RequestValidationError: What does not fit, once the dependencies that still can have
                run: they may refuse the request first.
        """
        plan = self.plan.body
        try:
            if plan is None or not plan.codec.is_form:  # type: ignore[attr-defined] # our codec
                return self.values(request, None if plan is None else await request.body())
            values, found, wrong, _ = self._read(request)
            form = await _form_of(request)
            before = len(found)
            values.append(await plan.codec.form_value(form, found))  # type: ignore[attr-defined]
            if len(found) > before:
                wrong.add(len(values) - 1)
            shown = {name: _shown(value) for name, value in form.multi_items()}
            return self._checked(request, values, found, wrong, shown)
        except RefusedRequest as refusal:
            await self.guarded(refusal.refused)
            raise refusal.refused.error from None

    def _read(self, request: Request) -> tuple[list[Any], list[Error], set[int], Any]:
        values: list[Any] = []
        found: list[Error] = []
        wrong: set[int] = set()
        for index, leaf in enumerate(self.plan.leaves):
            before = len(found)
            values.append(_leaf_value(leaf, request, found))
            if len(found) > before:
                wrong.add(index)
        return values, found, wrong, None

    def _body_value(
        self, plan: BodyPlan, given: Any, values: list[Any], found: list[Error], wrong: set[int]
    ) -> None:
        before = len(found)
        values.append(plan.codec.value(given, found))  # type: ignore[attr-defined] # our codec
        if len(found) > before:
            wrong.add(len(values) - 1)

    def _checked(
        self, request: Request, values: list[Any], found: list[Error], wrong: set[int], given: Any
    ) -> list[Any]:
        if not found:
            return values
        kind = WebSocketRequestValidationError if isinstance(request, WebSocket) else None
        if kind is not None:
            raise kind(found)
        unique = {(item["type"], item["loc"], item["msg"]): item for item in found}
        body = None if given is _ABSENT else given
        error = RequestValidationError(list(unique.values()), body=body)
        raise RefusedRequest(Refused(error, values, wrong, request))

    async def guarded(self, refused: Refused) -> None:
        """Run the dependencies that do not need what is wrong; the first to raise wins."""
        made: dict[int, Any] = {}
        opened: list[Any] = []
        body_index = len(self.plan.leaves)
        failure: BaseException | None = refused.error
        try:
            for index, step in enumerate(self.plan.steps):
                args: list[tuple[Binding, Any]] = []
                for binding in step.bindings:
                    value = self._argument(binding, refused, made, body_index)
                    if value is _ABSENT:
                        break
                    args.append((binding, value))
                else:
                    made[index] = await _made(step.provider, args, opened)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            while opened:
                await close_generator(opened.pop(), failure)

    def _argument(
        self, binding: Binding, refused: Refused, made: dict[int, Any], body_index: int
    ) -> Any:
        """Return the argument of a dependency, the sentinel when it cannot be had."""
        from spikard.background import BackgroundTasks
        from spikard.responses import Response

        if binding.kind == "leaf":
            return _ABSENT if binding.index in refused.wrong else refused.values[binding.index]
        if binding.kind == "body":
            if body_index in refused.wrong:
                return _ABSENT
            body = refused.values[body_index]
            parts = self.plan.body.parts if self.plan.body is not None else ()
            return getattr(body, parts[binding.index][1]) if parts else body
        if binding.kind == "step":
            return made.get(binding.index, _ABSENT)
        if binding.kind == "constant":
            return binding.constant
        if binding.kind == "tasks":
            return BackgroundTasks()
        if binding.kind == "response":
            return Response()
        request = refused.request
        return request.headers if binding.kind == "headers" else request


class RefusedRequest(Exception):  # noqa: N818 - carries a refusal to who can answer it
    """A request that does not fit, before its dependencies have had their say."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(str(refused.error))


async def _made(provider: Provide, args: list[tuple[Binding, Any]], opened: list[Any]) -> Any:
    # Factories are called by name throughout: what they leave out has their own default.
    given = {binding.parameter.name: value for binding, value in args}
    result = provider.dependency(**given)
    if provider.kind == "coroutine":
        return await result
    if provider.kind == "generator":
        value = next(result)
        opened.append(result)
        return value
    if provider.kind == "async generator":
        value = await result.__anext__()
        opened.append(result)
        return value
    return result


def _leaf_value(leaf: Leaf, request: Request, found: list[Error]) -> Any:
    codec = leaf.codec
    if isinstance(codec, ModelCodec):
        value, errors = codec.read(request)
        found.extend(errors)
        return value
    assert isinstance(codec, FieldCodec)  # noqa: S101 - the planner makes no others
    field = codec.field
    loc = (field.source, field.alias)
    if leaf.source == "path":
        given: Any = request.path_params.get(leaf.name, _ABSENT)
    elif leaf.many:
        given = _source(leaf.source, request).getlist(leaf.name) or _ABSENT
    else:
        given = _source(leaf.source, request).get(leaf.name, _ABSENT)
    if given is _ABSENT:
        if field.required:
            found.append(missing(loc))
            return None
        return field.default()
    return field.validate(given, loc, found)


def _json_body(request: Request, body: bytes | None) -> Any:
    """Return the body as JSON when its type says so, as bytes otherwise."""
    if not body:
        return _ABSENT
    media, _ = media_type(request)
    kind, _, subtype = media.partition("/")
    if kind != "application" or not (subtype == "json" or subtype.endswith("+json")):
        return bytes(body)
    try:
        return json.loads(bytes(body))
    except json.JSONDecodeError as exc:
        error = {
            "type": "json_invalid",
            "loc": ("body", exc.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": exc.msg},
        }
        raise RequestValidationError([error], body=exc.doc) from exc
    except (ValueError, RecursionError) as exc:
        raise HTTPException(400, "There was an error parsing the body") from exc


async def _form_of(request: Request) -> FormData:
    media, _ = media_type(request)
    if media not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return FormData()
    return await request.form()


def _shown(value: Any) -> Any:
    return value if isinstance(value, str) else repr(value)
