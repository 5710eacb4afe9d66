"""Runs the five hooks.

A hook may be sync (it runs on the event loop: keep it short) or async. It returns the
request or response it was given, ``None`` to go on, or a `Response` to answer at once.

========================  =====================================  ==========================
hook                      called with                            when
========================  =====================================  ==========================
on_request                ``request``                            first of all
pre_validation            ``request``                            the route is known
pre_handler               ``request``                            values and dependencies are
on_response               ``response`` or ``request, response``  for every response
on_error                  ``error``, ``response`` or             an exception was answered
                          ``request, error[, response]``
========================  =====================================  ==========================
"""

from __future__ import annotations

import inspect
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from spikard._signature import described
from spikard.exceptions import RegistrationError
from spikard.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spikard.datastructures import Request

__all__ = [
    "HookTable",
    "run_on_error",
    "run_on_request",
    "run_on_response",
    "run_pre_handler",
    "run_pre_validation",
]

Hook = Any
F = TypeVar("F", bound="Callable[..., Any]")

NAMES = ("on_request", "pre_validation", "pre_handler", "on_response", "on_error")


class HookTable:
    """The hooks of an application or a router, each name a decorator."""

    def __init__(self) -> None:
        self.table: dict[str, list[Hook]] = {name: [] for name in NAMES}

    def add(self, name: str, hook: F) -> F:
        """Register a hook and return it; wrong signatures fail here."""
        if not callable(hook):
            raise RegistrationError(f"{name} hook must be callable, got {type(hook).__name__}")
        if name in ("on_response", "on_error"):
            self.table[name].append(_ordered(name, hook))
        else:
            self.table[name].append(hook)
        return hook

    def __getitem__(self, name: str) -> list[Hook]:
        return self.table[name]


def _ordered(name: str, hook: Callable[..., Any]) -> Callable[[Request, Any, Response], Any]:
    """Return the hook as ``hook(request, error, response)``."""
    picks = _picks(name, hook)
    if picks == ["response"]:
        return lambda _request, _error, response: hook(response)
    if picks == ["request", "response"]:
        return lambda request, _error, response: hook(request, response)

    def call(request: Request, error: Any, response: Response) -> Any:
        given = {"request": request, "error": error, "response": response}
        return hook(*(given[pick] for pick in picks))

    return call


_ERROR_NAMES = ("error", "exc", "exception", "err", "e")


def _picks(name: str, hook: Callable[..., Any]) -> list[str]:
    try:
        parameters = [
            each
            for each in inspect.signature(hook).parameters.values()
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return ["response"]
    if name == "on_response":
        orders = {1: ["response"], 2: ["request", "response"]}
    else:
        single = ["error"] if parameters and _is_error(parameters[0]) else ["response"]
        orders = {1: single, 2: ["request", "error"], 3: ["request", "error", "response"]}
        if len(parameters) == 2 and parameters[1].name in ("response", "resp"):
            orders[2] = ["request", "response"]
    required = [each for each in parameters if each.default is each.empty]
    picks = orders.get(len(required))
    if picks is None:
        counts = " or ".join(str(count) for count in orders)
        owner = described(hook, f"{name} hook")
        raise RegistrationError(f"{owner}: must take {counts} parameters")
    return picks


def _is_error(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation.endswith(("Exception", "Error")) or parameter.name in _ERROR_NAMES
    if isinstance(annotation, type) and issubclass(annotation, BaseException):
        return True
    return parameter.name in _ERROR_NAMES


_COROUTINE: Any = CoroutineType  # as `Any`: comparing with it says nothing about what it yields


async def run_on_request(hooks: Iterable[Hook], request: Request) -> Response | None:
    """Run hooks that take the request; return the first response, None to go on.

    Raises:
        TypeError: A hook returned something that is neither.
    """
    for hook in hooks:
        answer = hook(request)
        if type(answer) is _COROUTINE or inspect.isawaitable(answer):
            answer = await answer
        if answer is None or answer is request:
            continue
        if isinstance(answer, Response):
            return answer
        label = getattr(hook, "__qualname__", repr(hook))
        raise TypeError(
            f"hook {label!r} must return the request, a Response or None, "
            f"got {type(answer).__name__}"
        )
    return None


run_pre_validation = run_on_request
run_pre_handler = run_on_request


async def run_on_response(hooks: Iterable[Hook], request: Request, response: Response) -> Response:
    """Run hooks that see the response; each may return another one."""
    return await _on_answer(hooks, request, None, response)


async def run_on_error(
    hooks: Iterable[Hook], request: Request, error: BaseException, response: Response
) -> Response:
    """Run hooks that see an exception and the response made of it."""
    return await _on_answer(hooks, request, error, response)


async def _on_answer(
    hooks: Iterable[Hook], request: Request, error: BaseException | None, response: Response
) -> Response:
    for hook in hooks:
        answer = hook(request, error, response)
        if type(answer) is _COROUTINE or inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Response):
            response = answer
        elif answer is not None and answer is not request and answer is not error:
            raise TypeError(
                f"a response hook must return a Response or None, got {type(answer).__name__}"
            )
    return response
