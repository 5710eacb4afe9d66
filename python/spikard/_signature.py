"""Reads a function's signature once: names, types, markers, defaults.

Everything that is wrong with a signature by itself is a `RegistrationError` that names the
handler and the parameter. Where a parameter comes from may depend on the whole application
(a dependency key, a router's prefix); `spikard._endpoint` decides that at freeze.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import types
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from spikard.di import Depends
from spikard.exceptions import RegistrationError
from spikard.params import Marker

if typing.TYPE_CHECKING:
    from collections.abc import Callable

    from spikard._files import FileRule

__all__ = ["MISSING", "Parameter", "Signature", "described", "read_signature"]

MISSING: Any = inspect.Parameter.empty

_NOTHING = (typing.NoReturn, getattr(typing, "Never", typing.NoReturn))


@dataclass
class Parameter:
    """One parameter of a handler, hook or factory.

    Attributes:
        owner: How messages call the function: see `described`.
        name: The parameter's name.
        annotation: The type with its constraints and without our markers; `Any` if none.
        keyword: Passed by keyword.
        position: Its place among all parameters.
        form: A body that may come as a multipart form too.
        file_rule: What an uploaded file must be.
        passed: Whether the function receives it; else it is only checked.
        marker: ``Query()`` and its like.
        depends: ``Depends()``.
        default: `MISSING` when there is none.
        default_factory: Called for the default instead.
        codec: The annotation it was made for, and the codec: kept from registration to freeze.
    """

    owner: str
    name: str
    annotation: Any
    keyword: bool = False
    position: int = 0
    passed: bool = True
    form: bool = False
    file_rule: FileRule | None = None
    marker: Marker | None = None
    depends: Depends | None = None
    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    codec: tuple[Any, Any] | None = None

    @property
    def required(self) -> bool:
        """Whether the request must bring a value."""
        return self.default is MISSING and self.default_factory is None

    def wrong(self, why: str) -> RegistrationError:
        """Return the error to raise about this parameter."""
        return RegistrationError(f"{self.owner}: parameter {self.name!r}: {why}")


@dataclass
class Signature:
    """What a function asks for and what it says it returns."""

    owner: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    returns: Any = MISSING
    takes_kwargs: bool = False
    doc: str | None = field(default=None)


def read_signature(function: Callable[..., Any], role: str = "handler") -> Signature:
    """Return the signature of a function, a class's constructor or a callable object.

    Raises:
        RegistrationError: The annotations cannot be resolved, or a parameter is of a kind
            that cannot be filled.
    """
    owner = described(function, role)
    try:
        plain = inspect.signature(function)
    except (TypeError, ValueError):
        # Some builtins and extension classes have no signature: nothing to inject.
        return Signature(owner, function, ())
    hints = _hints(function, owner, wants_return=role != "dependency")
    found: list[Parameter] = []
    takes_kwargs = False
    fixed = _fixed(function)
    for each in plain.parameters.values():
        if each.name in fixed:
            continue
        if each.kind is each.VAR_KEYWORD:
            takes_kwargs = True
        elif each.kind is each.VAR_POSITIONAL:
            raise RegistrationError(f"{owner}: parameter '*{each.name}': cannot be filled")
        else:
            if not found and _is_of_instance(function, each):
                raise RegistrationError(
                    f"{owner}: parameter {each.name!r}: a method needs its instance; "
                    "register that of an object, as in `app.get(path)(object.method)`"
                )
            parameter = _parameter(owner, each, hints.get(each.name, each.annotation))
            parameter.position = len(found)
            found.append(parameter)
    returns = hints.get("return", MISSING)
    if returns in _NOTHING:
        returns = MISSING
    doc = inspect.getdoc(function) if not inspect.isclass(function) else None
    return Signature(owner, function, tuple(found), returns, takes_kwargs, doc)


def described(function: Callable[..., Any], role: str = "handler") -> str:
    """Return how messages call a function: ``handler 'get_user' (app/users.py:12)``.

    The place is where its source begins, decorators included; a file below the working directory
    is named relative to it. What has no source in Python goes without a place.
    """
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    label = f"{role} {name.rpartition('<locals>.')[2]!r}"
    code = getattr(_function_of(function), "__code__", None)
    return label if code is None else f"{label} ({_shown(code.co_filename)}:{code.co_firstlineno})"


@functools.lru_cache(maxsize=256)
def _shown(filename: str) -> str:
    try:
        relative = os.path.relpath(filename)
    except (OSError, ValueError):  # no working directory any more, or another drive
        return filename
    return filename if relative.startswith(os.pardir) else relative


def _function_of(function: Callable[..., Any]) -> Any:
    """Return the function that runs when a class, an object, a partial or a wrapper is called."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = getattr(type(target), "__call__", target)  # noqa: B004 - the function itself
    return inspect.unwrap(target)


def _fixed(function: Callable[..., Any]) -> set[str]:
    """Return the names that a `functools.partial` has given by keyword: no request changes them."""
    names: set[str] = set()
    target: Any = function
    while isinstance(target, functools.partial):
        names |= set(target.keywords)
        target = target.func
    return names


def _is_of_instance(function: Callable[..., Any], first: inspect.Parameter) -> bool:
    """Return whether the first parameter is the object of a method that has none."""
    name: str = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return (
        inspect.isfunction(function)
        and "." in name
        and first.name in ("self", "cls")
        and first.annotation is first.empty
    )


def _parameter(owner: str, given: inspect.Parameter, annotation: Any) -> Parameter:
    keyword = given.kind is given.KEYWORD_ONLY
    default = MISSING if given.default is ... else given.default
    parameter = Parameter(owner, given.name, annotation, keyword, default=default)
    inner, marker, depends = _split(parameter, annotation)
    if isinstance(given.default, Marker):
        if marker is not None and marker.source != given.default.source:
            raise parameter.wrong(
                f"is marked as {marker.source} and as {given.default.source} at once"
            )
        if marker is not None:
            inner = constrain(inner, marker.constraints)
        marker, parameter.default = given.default, MISSING
    elif isinstance(given.default, Depends):
        depends, parameter.default = given.default, MISSING
    if marker is not None and depends is not None:
        raise parameter.wrong(f"is marked as {marker.source} and as a dependency at once")
    parameter.annotation = Any if inner is MISSING else inner
    parameter.marker = marker
    parameter.depends = depends
    if marker is not None:
        if parameter.default is MISSING and marker.default is not ...:
            parameter.default = marker.default
        parameter.default_factory = marker.default_factory
        if parameter.default_factory is not None:
            parameter.default = MISSING
        try:
            parameter.annotation = constrain(parameter.annotation, marker.constraints)
        except re.error as exc:
            raise parameter.wrong(f"pattern: {exc}") from exc
    if parameter.default_factory is None and isinstance(parameter.default, list | dict | set):
        # A handler that changes its list must not change the next request's default.
        import copy

        parameter.default_factory = functools.partial(copy.deepcopy, parameter.default)
        parameter.default = MISSING
    return parameter


def _split(parameter: Parameter, annotation: Any) -> tuple[Any, Marker | None, Depends | None]:
    """Take our markers out of an annotation, also out of ``Query[int] | None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *extras = get_args(annotation)
        inner, marker, depends = _split(parameter, base)
        kept = []
        for extra in extras:
            if isinstance(extra, type) and issubclass(extra, Marker):
                extra = extra()
            if isinstance(extra, Marker):
                if marker is not None:
                    raise parameter.wrong("has more than one marker")
                marker = extra
            elif isinstance(extra, Depends):
                depends = extra
            else:
                kept.append(extra)
        return (Annotated[(inner, *kept)] if kept else inner), marker, depends
    if origin is Union or origin is types.UnionType:
        marker = depends = None
        members = []
        for member in get_args(annotation):
            inner, its_marker, its_depends = _split(parameter, member)
            marker, depends = marker or its_marker, depends or its_depends
            members.append(inner)
        if marker is not None or depends is not None:
            return Union[tuple(members)], marker, depends  # noqa: UP007 - members from a list
    return annotation, None, None


def constrain(annotation: Any, constraints: dict[str, Any]) -> Any:
    """Return a type with constraints; of an optional type they hold for the value."""
    if not constraints or annotation is Any:
        if constraints and annotation is Any:
            numeric = any(name in constraints for name in ("ge", "gt", "le", "lt", "multiple_of"))
            return Annotated[float if numeric else str, msgspec.Meta(**constraints)]
        return annotation
    origin = get_origin(annotation)
    if origin is Union or origin is types.UnionType:
        members = [
            member if member is type(None) else constrain(member, constraints)
            for member in get_args(annotation)
        ]
        return Union[tuple(members)]  # noqa: UP007 - members from a list
    return Annotated[annotation, msgspec.Meta(**constraints)]


def _hints(
    function: Callable[..., Any], owner: str, *, wants_return: bool = True
) -> dict[str, Any]:
    target = _function_of(function)
    names = getattr(target, "__globals__", None)
    if not wants_return and names is not None and "return" in target.__annotations__:
        # What a factory says it returns is for type checkers, and may be imported for them alone.
        asked = {name: each for name, each in target.__annotations__.items() if name != "return"}
        target = types.SimpleNamespace(__annotations__=asked)
    try:
        return typing.get_type_hints(target, names, include_extras=True)
    except NameError as first:
        # `from __future__ import annotations` and types local to a function: look where
        # the handler was defined, which is where it is being registered.
        try:
            return typing.get_type_hints(target, names, _callers_names(), include_extras=True)
        except Exception:
            raise RegistrationError(f"{owner}: {first}") from first
    except AttributeError:
        return {}
    except Exception as exc:
        raise RegistrationError(f"{owner}: annotations cannot be resolved: {exc}") from exc


def _callers_names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith("spikard."):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names
