"""The plan of a route: where every value of its handler comes from.

`Planner` walks the handler's signature and those of all its dependencies at freeze and gives
every parameter a `Binding`: a *leaf* (a value of the request), a part of the body, a *step*
(a dependency's value), or an object of the framework. `spikard._endpoint` compiles the plan.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from spikard._codecs import Codec, codec, is_class, is_structured, surface
from spikard._signature import MISSING, Parameter, Signature, described, read_signature
from spikard.background import BackgroundTasks
from spikard.datastructures import Headers, Request, State, UploadFile
from spikard.di import Depends, Provide, name_of
from spikard.exceptions import DependencyError, RegistrationError
from spikard.responses import Response
from spikard.security import SecurityScheme, SecurityScopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Binding",
    "BodyPlan",
    "Leaf",
    "Plan",
    "Planner",
    "Step",
    "provider_of",
    "refuse_cycles",
]

Source = Literal["path", "query", "header", "cookie", "body", "request"]


@dataclass(slots=True)
class Leaf:
    """A value of the request.

    Attributes:
        parameter: Who asked first.
        source: Where it is.
        name: Its name on the wire.
        codec: Converts it; None passes the raw string.
        many: Every value of the key, as a list.
        model: The whole source, or a nested part of it, as one object.
        converter: The path template's own converter, when it says more than the type.
    """

    parameter: Parameter
    source: Source
    name: str
    codec: Codec | None = None
    many: bool = False
    model: bool = False
    converter: Codec | None = None

    @property
    def loc(self) -> tuple[str, ...]:
        """Where errors are reported."""
        head = _LOCATIONS[self.source]
        return (head,) if self.model and self.source != "body" else (head, self.name)


_LOCATIONS = {
    "path": "path",
    "query": "query",
    "header": "headers",
    "cookie": "cookie",
    "body": "body",
    "request": "request",
}


@dataclass(slots=True)
class BodyPlan:
    """The body of a route.

    Attributes:
        media: ``json`` (and what is equal to it: urlencoded, MessagePack), ``form``
            (urlencoded or multipart), ``raw`` bytes or ``text``.
        codec: Of the whole body.
        parts: With several body parameters: the attribute of each in the codec's type.
        media_type: The one content type to accept, or None.
        multipart: Whether it has files, which no other form can carry.
        octets: Names of the files that the handler wants as `bytes`.
    """

    media: Literal["json", "form", "raw", "text"]
    codec: Codec
    required: bool
    default: Any = None
    default_factory: Callable[[], Any] | None = None
    parts: tuple[tuple[Parameter, str], ...] = ()
    media_type: str | None = None
    multipart: bool = False
    octets: frozenset[str] = frozenset()

    def absent(self) -> Any:
        """Return the value when there is no body."""
        return self.default if self.default_factory is None else self.default_factory()


@dataclass(slots=True)
class Step:
    """One dependency to make during a request.

    A generator that `ends_early` runs to its end before the response is sent, not after.
    """

    provider: Provide
    bindings: list[Binding]
    key: str
    level: int = 0
    after: list[int] = field(default_factory=list)
    ends_early: bool = False


@dataclass(slots=True)
class Binding:
    """How one parameter gets its value."""

    parameter: Parameter
    kind: Literal[
        "leaf",
        "body",
        "step",
        "constant",
        "request",
        "tasks",
        "response",
        "headers",
        "message",
        "websocket",
    ]
    index: int = 0
    constant: Any = None


@dataclass
class Plan:
    """Everything known about a route before any request.

    `security` holds the schemes among the dependencies by name, with the scopes they are for.
    """

    signature: Signature
    leaves: list[Leaf]
    body: BodyPlan | None
    steps: list[Step]
    bindings: list[Binding]
    extra_steps: list[int]
    security: dict[str, tuple[SecurityScheme, list[str]]] = field(default_factory=dict)


class Planner:
    """Resolves one handler against what the application provides.

    Args:
        signature: The handler's.
        path_names: Path parameter → converter name (None when the template has none).
        providers: Key → provider, overrides already applied.
        replace: Factory → provider, for overrides of a factory itself.
        state: The application's state.
        singleton: Returns the holder of a singleton's value.
        dependencies: Run for their effect (``dependencies=`` of routes and routers).
        protocol: Which names of the framework's own are known.
        early: At registration: what may turn out to be a dependency is left alone.
    """

    def __init__(
        self,
        signature: Signature,
        path_names: Mapping[str, str | None],
        *,
        providers: Mapping[Any, Provide],
        replace: Mapping[Any, Provide] | None = None,
        state: State | None = None,
        dependencies: Iterable[Any] = (),
        protocol: str = "http",
        early: bool = False,
    ) -> None:
        self._signature = signature
        self._path_names = dict(path_names)
        self._providers = providers
        self._replace = replace or {}
        self._state = state if state is not None else State()
        self._protocol = protocol
        self._leaves: list[Leaf] = []
        self._body: list[Parameter] = []
        self._form: list[Parameter] = []
        self._steps: list[Step] = []
        self._made: dict[tuple[int, tuple[str, ...]], int] = {}
        self._security: dict[str, tuple[SecurityScheme, list[str]]] = {}
        self._scopes: tuple[str, ...] = ()
        self._scoped: set[int] = set()
        self._uses_scopes = False
        self._stack: list[tuple[int, str]] = []
        self._extra = list(dependencies)
        self._early = early
        self._floor = 0

    def plan(self) -> Plan:
        """Return the plan.

        Raises:
            RegistrationError: A parameter can come from nowhere.
            DependencyError: A cycle, or a dependency that nobody provides.
        """
        extra = []
        for each in self._extra:
            # Guards: each waits for the one before it, and everything else waits for them.
            self._floor = max((step.level for step in self._steps), default=0)
            extra.append(self._depend(self._owned(each), each))
        self._floor = max((step.level for step in self._steps), default=0)
        bindings = [self._bind(parameter) for parameter in self._signature.parameters]
        bindings += [self._bind(parameter) for parameter in self._checked_only()]
        if self._early:
            for parameter in (*self._body, *self._form):
                if parameter.marker is not None:
                    self._codec(parameter, parameter.annotation)
            return Plan(self._signature, self._leaves, None, [], bindings, extra)
        body = self._body_plan()
        return Plan(
            self._signature, self._leaves, body, self._steps, bindings, extra, self._security
        )

    def _checked_only(self) -> list[Parameter]:
        """Return the path's parameters with a converter that nobody takes: still 422 if bad."""
        taken = {leaf.name for leaf in self._leaves if leaf.source == "path"}
        signature = self._signature
        return [
            Parameter(signature.owner, name, Any, True, passed=signature.takes_kwargs)
            for name, converter in self._path_names.items()
            if converter not in (None, "str", "path") and name not in taken
        ]

    def _owned(self, depends: Any) -> Parameter:
        return Parameter(self._signature.owner, "dependencies", Any, depends=depends)

    def _bind(self, parameter: Parameter) -> Binding:
        if parameter.name in self._path_names and (
            parameter.marker is None or parameter.marker.source == "path"
        ):
            return self._leaf(parameter, "path")
        marker = parameter.marker
        if marker is not None:
            return self._marked(parameter, marker.source)
        if self._early and (parameter.depends is not None or self._may_be_dependency(parameter)):
            return Binding(parameter, "constant")
        if parameter.depends is not None:
            return Binding(parameter, "step", self._depend(parameter, parameter.depends))
        provider = self._provider(parameter)
        if provider is not None:
            return self._provided(parameter, provider)
        framework = self._framework(parameter)
        if framework is not None:
            return framework
        return self._guessed(parameter)

    def _may_be_dependency(self, parameter: Parameter) -> bool:
        """Whether a later ``provide`` could be meant: a class that is no plain value's."""
        classes = [part for part in surface(parameter.annotation) if is_class(part)]
        return self._framework(parameter) is None and any(
            part.__module__ not in _VALUE_MODULES and not is_structured(part) for part in classes
        )

    def _marked(self, parameter: Parameter, source: str) -> Binding:
        if source == "path":
            name = parameter.marker.alias if parameter.marker else None
            if (name or parameter.name) not in self._path_names:
                if self._early:
                    # A router's prefix, known at freeze, may name it.
                    return Binding(parameter, "constant")
                raise parameter.wrong("is marked as Path but the path template does not name it")
            return self._leaf(parameter, "path")
        if source == "body":
            return self._body_part(parameter, self._body)
        if source in ("form", "file"):
            return self._body_part(parameter, self._form)
        return self._leaf(parameter, source)  # type: ignore[arg-type] # the three that are left

    def _guessed(self, parameter: Parameter) -> Binding:
        annotation = parameter.annotation
        if self._protocol == "websocket" and parameter.name == "message":
            return Binding(parameter, "message")
        if is_upload(annotation):
            return self._body_part(parameter, self._form)
        if parameter.name == "body" or is_structured(annotation):
            if has_upload_field(annotation):
                return self._body_part(parameter, self._form)
            return self._body_part(parameter, self._body)
        return self._leaf(parameter, "query")

    def _framework(self, parameter: Parameter) -> Binding | None:
        classes = [part for part in surface(parameter.annotation) if is_class(part)]
        for cls in classes:
            if cls.__name__ == "WebSocket" and cls.__module__ == "spikard.websockets":
                if self._protocol != "websocket":
                    raise parameter.wrong("a WebSocket is given to websocket handlers only")
                return Binding(parameter, "websocket")
            if issubclass(cls, Request):
                return Binding(parameter, "request")
            if issubclass(cls, State):
                return Binding(parameter, "constant", constant=self._state)
            if issubclass(cls, BackgroundTasks):
                return Binding(parameter, "tasks")
            if issubclass(cls, Headers):
                return Binding(parameter, "headers")
            if issubclass(cls, Response):
                return Binding(parameter, "response")
            if issubclass(cls, SecurityScopes):
                self._uses_scopes = True
                scopes = SecurityScopes(list(dict.fromkeys(self._scopes)))
                return Binding(parameter, "constant", constant=scopes)
        return None

    def _provider(self, parameter: Parameter) -> Provide | None:
        return provider_of(parameter, self._providers)

    def _provided(self, parameter: Parameter, provider: Provide) -> Binding:
        if provider.kind == "value":
            return Binding(parameter, "constant", constant=provider.dependency())
        return Binding(parameter, "step", self._step(parameter, provider, provider.use_cache))

    def _depend(self, parameter: Parameter, depends: Any) -> int:
        if isinstance(depends, Provide):
            return self._step(parameter, depends, depends.use_cache)
        if not isinstance(depends, Depends):
            depends = Depends(depends)
        above = self._scopes
        self._scopes = (*above, *getattr(depends, "scopes", ()))
        try:
            return self._depended(parameter, depends)
        finally:
            self._scopes = above

    def _depended(self, parameter: Parameter, depends: Depends) -> int:
        factory: Any = depends.dependency
        if factory is None:
            factory = next(iter(surface(parameter.annotation)), None)
            known = self._provider(parameter)
            if known is not None:
                return self._step(parameter, known, known.use_cache)
        if not callable(factory):
            known = self._providers.get(factory)
            if known is None:
                raise parameter.wrong(f"nothing provides {name_of(factory)}")
            return self._step(parameter, known, known.use_cache)
        provider = self._replace.get(factory) or self._providers.get(factory)
        if provider is None:
            provider = self._shared(factory)
        return self._step(parameter, provider, depends.use_cache)

    def _shared(self, factory: Callable[..., Any]) -> Provide:
        # One provider per factory and route, so that `Depends(f)` twice is made once.
        for step in self._steps:
            if step.provider.dependency is factory:
                return step.provider
        return Provide(factory)

    def _step(self, parameter: Parameter, provider: Provide, cached: bool) -> int:
        identity = id(provider.dependency)
        key = name_of(provider.dependency)
        if any(seen == identity for seen, _ in self._stack):
            start = next(i for i, (seen, _) in enumerate(self._stack) if seen == identity)
            cycle = " → ".join([*(name for _, name in self._stack[start:]), key])
            raise DependencyError(f"{self._signature.owner}: circular dependency: {cycle}")
        if isinstance(provider.dependency, SecurityScheme):
            self._note_scheme(provider.dependency)
        if cached or provider.singleton:
            # What asks for scopes is made once for each list of them.
            for scopes in ((), self._scopes):
                made = self._made.get((identity, scopes))
                if made is not None:
                    self._uses_scopes = self._uses_scopes or made in self._scoped
                    return made
        outer, self._uses_scopes = self._uses_scopes, False
        self._stack.append((identity, key))
        before = len(self._leaves), len(self._body), len(self._form)
        if provider.signature is None:
            provider.signature = read_signature(provider.dependency, "dependency")
        signature: Signature = provider.signature
        bindings = [
            self._bind(each)
            for each in signature.parameters
            if not (provider.kind == "value" or self._is_plain_default(each))
        ]
        after = [self._named(parameter, name) for name in provider.depends_on]
        self._stack.pop()
        if provider.singleton:
            self._refuse_request_scope(provider, bindings, before)
        level = 1 + max(
            [self._steps[each.index].level for each in bindings if each.kind == "step"]
            + [self._steps[index].level for index in after],
            default=0,
        )
        level = max(level, 1 + self._floor)
        self._steps.append(Step(provider, bindings, key, level, after))
        index = len(self._steps) - 1
        if self._uses_scopes:
            self._scoped.add(index)
        if cached or provider.singleton:
            self._made[identity, self._scopes if self._uses_scopes else ()] = index
        self._uses_scopes = self._uses_scopes or outer
        return index

    def _note_scheme(self, scheme: SecurityScheme) -> None:
        _, scopes = self._security.setdefault(scheme.scheme_name, (scheme, []))
        scopes.extend(each for each in dict.fromkeys(self._scopes) if each not in scopes)

    def _named(self, parameter: Parameter, name: str) -> int:
        provider = self._providers.get(name)
        if provider is None:
            raise DependencyError(f"{parameter.owner}: nothing provides {name!r}")
        return self._step(parameter, provider, cached=True)

    def _is_plain_default(self, parameter: Parameter) -> bool:
        """Whether a factory's own default applies: a default and nothing that provides it."""
        if parameter.default is MISSING or parameter.marker or parameter.depends:
            return False
        if parameter.name in self._path_names or self._provider(parameter) is not None:
            return False
        try:
            return self._framework(parameter) is None and not _is_query_type(parameter.annotation)
        except RegistrationError:
            return True

    def _refuse_request_scope(
        self, provider: Provide, bindings: list[Binding], before: tuple[int, int, int]
    ) -> None:
        grown = (len(self._leaves), len(self._body), len(self._form)) != before
        asks = any(each.kind in ("request", "tasks", "response", "headers") for each in bindings)
        if grown or asks:
            raise DependencyError(
                f"{described(provider.dependency, 'dependency')}: a singleton cannot depend on "
                "a request's values"
            )

    def _leaf(self, parameter: Parameter, source: Source) -> Binding:
        leaf = Leaf(parameter, source, self._wire_name(parameter, source))
        annotation = parameter.annotation
        if is_upload(annotation):
            raise parameter.wrong(f"a file cannot come from the {source}")
        leaf.model = source != "path" and is_structured(annotation)
        leaf.many = not leaf.model and source in ("query", "header") and is_sequence(annotation)
        if source == "path":
            if not parameter.required:
                parameter.default, parameter.default_factory = MISSING, None
            converter = self._path_names.get(leaf.name)
            if annotation is Any and converter is not None:
                annotation = parameter.annotation = converter_type(converter)
            elif converter not in (None, "str", "path"):
                wanted = converter_type(converter)
                if _bare(annotation) is not wanted:
                    leaf.converter = self._codec(parameter, wanted)
        if (annotation is not Any and _bare(annotation) is not str) or _has_extras(annotation):
            leaf.codec = self._codec(parameter, annotation)
            leaf.many = leaf.many or (leaf.codec.takes_list and source in ("query", "header"))
        self._leaves.append(leaf)
        return Binding(parameter, "leaf", len(self._leaves) - 1)

    def _wire_name(self, parameter: Parameter, source: Source) -> str:
        alias = parameter.marker.alias if parameter.marker is not None else None
        if source == "header":
            return (alias or parameter.name.replace("_", "-")).lower()
        return alias or parameter.name

    def _codec(self, parameter: Parameter, annotation: Any) -> Codec:
        known = parameter.codec
        if known is not None and known[0] is annotation:
            kept: Codec = known[1]
            return kept
        try:
            made = codec(annotation)
        except ValueError as exc:  # a JSON Schema that is none
            raise parameter.wrong(str(exc)) from exc
        except TypeError as exc:
            reason = str(exc)
            for part in surface(annotation):
                if is_class(part) and not is_structured(part):
                    hint = f"; if it is a dependency, app.provide({part.__name__}, ...)"
                    if "not a type that can be decoded" in reason:
                        reason += hint
                        break
            raise parameter.wrong(reason) from exc
        parameter.codec = annotation, made
        return made

    def _body_part(self, parameter: Parameter, group: list[Parameter]) -> Binding:
        for index, other in enumerate(group):
            if other.name == parameter.name and other.annotation == parameter.annotation:
                return Binding(parameter, "body", index)
        group.append(parameter)
        return Binding(parameter, "body", len(group) - 1)

    def _body_plan(self) -> BodyPlan | None:
        if self._body and self._form:
            raise self._form[0].wrong(
                f"a form field, while parameter {self._body[0].name!r} is a body of its own"
            )
        if self._form:
            return self._form_plan(self._form)
        if not self._body:
            return None
        first = self._body[0]
        if len(self._body) > 1 or (first.marker is not None and first.marker.embed):
            return self._composite("json", self._body)
        annotation = first.annotation
        media: Literal["json", "raw", "text", "form"] = "json"
        bare = _bare(annotation)
        if bare is bytes:
            media = "raw"
        elif bare is str:
            media = "text"
        elif first.form:
            media = "form"
        return BodyPlan(
            media,
            self._codec(first, annotation),
            first.required,
            None if first.default is MISSING else first.default,
            first.default_factory,
            media_type=first.marker.media_type if first.marker is not None else None,
        )

    def _form_plan(self, group: list[Parameter]) -> BodyPlan:
        first = group[0]
        octets = [each for each in group if wants_octets(each)]
        multipart = bool(octets) or any(has_upload(each.annotation) for each in group)
        if len(group) == 1 and is_structured(first.annotation):
            plan = BodyPlan(
                "form",
                self._codec(first, first.annotation),
                first.required,
                None if first.default is MISSING else first.default,
                first.default_factory,
            )
        else:
            plan = self._composite("form", group)
        plan.multipart = multipart
        plan.octets = frozenset(wire_name(each) for each in octets)
        return plan

    def _composite(self, media: Literal["json", "form"], group: list[Parameter]) -> BodyPlan:
        fields = []
        parts = []
        for index, parameter in enumerate(group):
            wire = parameter.marker.alias if parameter.marker is not None else None
            options: dict[str, Any] = {"name": wire or parameter.name}
            if parameter.default_factory is not None:
                options["default_factory"] = parameter.default_factory
            elif parameter.default is not MISSING:
                options["default"] = parameter.default
            attribute = f"p{index}"
            self._codec(parameter, parameter.annotation)
            fields.append((attribute, parameter.annotation, msgspec.field(**options)))
            parts.append((parameter, attribute))
        shape = msgspec.defstruct("Body", fields, kw_only=True)
        required = any(parameter.required for parameter in group)
        return BodyPlan(
            media,
            codec(shape),
            required,
            default_factory=None if required else shape,
            parts=tuple(parts),
        )


def provider_of(parameter: Parameter, providers: Mapping[Any, Provide]) -> Provide | None:
    """Return what provides a parameter by its type or, second, by its name."""
    for part in surface(parameter.annotation):
        if is_class(part) and part in providers:
            return providers[part]
    return providers.get(parameter.name)


def refuse_cycles(providers: Mapping[Any, Provide]) -> None:
    """Raise for providers that need each other, whether or not a handler asks for them.

    Raises:
        DependencyError: Prints the cycle.
        RegistrationError: The signature of a factory cannot be read.
    """
    free: set[int] = set()
    path: dict[int, str] = {}

    def visit(provider: Provide) -> None:
        identity = id(provider.dependency)
        name = name_of(provider.dependency)
        if identity in path:
            names = list(path.values())[list(path).index(identity) :]
            raise DependencyError(f"circular dependency: {' → '.join([*names, name])}")
        if identity in free or provider.kind == "value":
            return
        path[identity] = name
        if provider.signature is None:
            provider.signature = read_signature(provider.dependency, "dependency")
        signature: Signature = provider.signature
        needed = [_needed(parameter, providers) for parameter in signature.parameters]
        for each in (*needed, *map(providers.get, provider.depends_on)):
            if each is not None:
                visit(each)
        del path[identity]
        free.add(identity)

    for provider in providers.values():
        visit(provider)


def _needed(parameter: Parameter, providers: Mapping[Any, Provide]) -> Provide | None:
    if parameter.marker is not None:
        return None
    depends = parameter.depends
    if depends is not None and depends.dependency is not None:
        known = providers.get(depends.dependency)
        if known is None and callable(depends.dependency):
            return Provide(depends.dependency)
        return known
    return provider_of(parameter, providers)


def _union_members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return get_args(annotation)
    return (annotation,)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _has_extras(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated


def _is_query_type(annotation: Any) -> bool:
    import uuid

    return all(
        part in (str, int, float, bool, list, uuid.UUID, type(None))
        for part in surface(annotation)
        if is_class(part)
    )


_VALUE_MODULES = ("builtins", "datetime", "decimal", "uuid", "enum", "collections", "ipaddress")


def is_sequence(annotation: Any) -> bool:
    """Return whether a parameter of this type takes every value of a repeated key."""
    members = [_bare(each) for each in _union_members(_bare(annotation))]
    return any((get_origin(each) or each) in (list, set, frozenset, tuple) for each in members)


def is_upload(annotation: Any) -> bool:
    """Return whether a type is `UploadFile`, or a list or union of it."""
    return any(part is UploadFile for part in surface(annotation))


def wants_octets(parameter: Parameter) -> bool:
    """Return whether a parameter marked as a file takes its content instead of the file."""
    marked = parameter.marker is not None and parameter.marker.source == "file"
    return marked and any(part is bytes for part in surface(parameter.annotation))


def wire_name(parameter: Parameter) -> str:
    """Return a form field's name."""
    alias = parameter.marker.alias if parameter.marker is not None else None
    return alias or parameter.name


def has_upload(annotation: Any) -> bool:
    """Return whether a file is part of the type, on its surface or in a field."""
    return is_upload(annotation) or has_upload_field(annotation)


def has_upload_field(annotation: Any) -> bool:
    """Return whether a structured type has a field that is a file."""
    import typing

    for part in surface(annotation):
        if is_class(part) and is_structured(part) and part is not dict:
            try:
                hints = typing.get_type_hints(part)
            except Exception:
                hints = {}
            if any(is_upload(each) for each in hints.values()):
                return True
    return False


def converter_type(name: str | None) -> Any:
    """Return the type that a path converter yields."""
    import datetime as dt
    import uuid

    kinds: dict[str | None, Any] = {
        "int": int,
        "float": float,
        "bool": bool,
        "uuid": uuid.UUID,
        "date": dt.date,
        "datetime": dt.datetime,
    }
    return kinds.get(name, str)
