"""What the server reads of a route, and the endpoint compiled from its plan.

When the handler takes nothing but leaves in order, the endpoint is the handler itself;
otherwise one function is generated as source, so that a request runs straight-line code
and looks nothing up.

A *slow pass* (`spikard._extract`) stands behind `RouteSpec.explain`: the server calls it
when its own quick extraction did not fit, with the request, the body, and whether it was the
body, JSON by its media type, that the decoder refused. The answer is the error response, or the
tuple of all argument values when the request is fine after all (an urlencoded or MessagePack
body, ``ids[]=1``).
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from spikard._extract import model_value
from spikard._pool import call_in_thread
from spikard._signature import MISSING
from spikard.background import BackgroundTasks
from spikard.datastructures import Request
from spikard.exceptions import DependencyError
from spikard.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from spikard._plan import Binding, Leaf, Plan, Source

__all__ = ["ArgSpec", "BodySpec", "Compiled", "RouteSpec", "compile_endpoint"]


@dataclass(slots=True)
class ArgSpec:
    """One positional argument of `RouteSpec.call`, filled by the server.

    ``source="request"`` with a ``convert`` passes ``convert(request)``. A ``query`` argument
    that is not ``many`` takes the last value of a repeated key, a ``header`` the first.
    """

    source: Source
    name: str
    kind: Literal["str", "int", "float", "bool", "uuid", "convert"] = "str"
    convert: Callable[[Any], Any] | None = None
    required: bool = True
    default: Any = None
    default_factory: Callable[[], Any] | None = None
    many: bool = False


@dataclass(slots=True)
class BodySpec:
    """How the body is read before the call."""

    media: Literal["json", "form", "multipart", "raw", "any"] = "json"
    required: bool = True


@dataclass(slots=True)
class RouteSpec:
    """One route as the server reads it (see the module's docstring)."""

    methods: tuple[str, ...]
    path: str
    name: str
    call: Callable[..., Any]
    is_async: bool
    args: tuple[ArgSpec, ...]
    body: BodySpec | None
    encode: Callable[[Any], bytes]
    status_code: int
    media_type: bytes
    explain: Callable[[Request, bytes | None, bool], Response | tuple[Any, ...]]
    fail: Callable[[Request, BaseException], Response | Awaitable[Response]]
    options: dict[str, Any] = field(default_factory=dict)
    simple: bool = True
    protocol: Literal["http", "sse", "websocket"] = "http"
    route: Any = None


_log = logging.getLogger("spikard.error")

Fail = Callable[[Request, BaseException], "Response | Awaitable[Response]"]


@dataclass(slots=True)
class Compiled:
    """The callable of a route and the arguments it wants.

    Attributes:
        call: Takes the values of ``args`` and, when the route has a body, of the body, in
            the order of ``args``.
        order: For each argument the index of its value among those of `Extractor`, None for
            the request itself.
        simple: Nothing but the handler: no dependency, hook or object of the framework.
    """

    call: Callable[..., Any]
    is_async: bool
    args: tuple[ArgSpec, ...]
    order: tuple[int | None, ...]
    simple: bool


def compile_endpoint(
    plan: Plan,
    *,
    in_thread: bool,
    respond: Callable[[Any], Response],
    fail: Fail,
    singleton: Callable[[Any], Any],
    pre_handler: Callable[[Request], Awaitable[Response | None]] | None = None,
    stream: Callable[..., Response] = StreamingResponse,
    stream_takes_request: bool = False,
    handler: Callable[..., Any] | None = None,
) -> Compiled:
    """Return the endpoint of a plan.

    Args:
        plan: The resolved plan.
        in_thread: A ``def`` handler runs in the thread pool.
        respond: Makes a `Response` of a plain result.
        fail: Makes a response of an exception.
        singleton: Returns the holder of a singleton provider's value (``ready``, ``value``,
            ``await make()``).
        pre_handler: Runs the hooks of that name.
        stream: Makes a response of what a generator handler yields.
        stream_takes_request: It takes the request besides.
        handler: Called in the place of the plan's own function.
    """
    writer = _Writer(plan, in_thread, respond, fail, singleton, pre_handler, stream, handler)
    if stream_takes_request:
        writer.give_request_to_stream()
    return writer.compiled()


class _Writer:
    """Writes the source of one endpoint."""

    def __init__(
        self,
        plan: Plan,
        in_thread: bool,
        respond: Callable[[Any], Response],
        fail: Fail,
        singleton: Callable[[Any], Any],
        pre_handler: Callable[[Request], Awaitable[Response | None]] | None,
        stream: Callable[..., Response],
        handler: Callable[..., Any] | None,
    ) -> None:
        self._plan = plan
        self._handler: Callable[..., Any] = handler or plan.signature.function
        self._streams = _is_generator(self._handler)
        self._awaits = is_async_callable(self._handler)
        if in_thread and not self._awaits and not self._streams:
            self._handler, self._awaits = threaded(self._handler), True
        self._pre_handler = pre_handler
        self._respond = respond
        self._singleton = singleton
        self._names: dict[str, Any] = {
            "handler": self._handler,
            "respond": respond,
            "fail": fail,
            "BackgroundTasks": BackgroundTasks,
            "Response": Response,
            "stream": stream,
            "pre_handler": pre_handler,
            "finish": _finish,
            "failed": _failed,
            "end": _end,
            "Teardown": _Teardown,
            "gather": _gather,
        }
        self._wants: set[str] = set()
        self._async = self._awaits
        self._args = [arg_spec(leaf) for leaf in plan.leaves]
        if plan.body is not None:
            self._args.append(_body_arg(plan))
        self._order: list[int | None] = list(range(len(self._args)))
        self._stream_request = ""

    def give_request_to_stream(self) -> None:
        """Pass the request to what makes a response of a generator."""
        self._stream_request = ", request"
        self._wants.add("request")

    def compiled(self) -> Compiled:
        """Return the handler itself when it takes exactly the leaves in order, else a function."""
        if self._is_plain():
            return Compiled(
                self._handler, self._awaits, tuple(self._args), tuple(self._order), simple=True
            )
        call = self._generate()
        args = list(self._args)
        if "request" in self._wants:
            args.append(ArgSpec("request", "request"))
            self._order.append(None)
        return Compiled(call, self._async, tuple(args), tuple(self._order), simple=False)

    def _is_plain(self) -> bool:
        plan = self._plan
        if plan.steps or plan.extra_steps or self._pre_handler is not None or self._streams:
            return False
        if plan.body is not None and plan.body.parts:
            return False
        order = []
        for binding in plan.bindings:
            parameter = binding.parameter
            if parameter.keyword or not parameter.passed or binding.kind not in ("leaf", "body"):
                return False
            order.append(len(plan.leaves) if binding.kind == "body" else binding.index)
        if order == list(range(len(order))) and len(order) == len(self._args):
            return True
        # Any order will do as long as each argument is passed once: reorder what the
        # server fills instead of adding a call.
        if sorted(order) == list(range(len(self._args))):
            self._args = [self._args[index] for index in order]
            self._order = list(order)
            return True
        return False

    def _generate(self) -> Callable[..., Any]:
        lines = self._steps_lines()
        steps = self._plan.steps
        generators = any("generator" in step.provider.kind for step in steps)
        early = any(step.ends_early for step in steps)
        call = f"handler({self._passed(self._plan.bindings)})"
        if self._streams:
            call = f"stream({call}{self._stream_request})"
        elif self._awaits:
            call = f"await {call}"
        if self._pre_handler is not None:
            self._wants.add("request")
            self._async = True
            lines.append("early = await pre_handler(request)")
            lines.append(f"result = early if early is not None else {call}")
        else:
            lines.append(f"result = {call}")
        if "response" in self._wants or "tasks" in self._wants:
            injected = "injected" if "response" in self._wants else "None"
            tasks = "tasks" if "tasks" in self._wants else "None"
            lines.append(f"result = finish(result, {injected}, {tasks}, respond)")
        prologue = []
        if "tasks" in self._wants:
            prologue.append("tasks = BackgroundTasks()")
        if "response" in self._wants:
            prologue.append("injected = Response()")
        if generators:
            self._async = True
            self._wants.add("request")
            lines.append("result = respond(result)")
            if early:
                prologue.append("early = []")
                lines.append("await end(early, opened)")
            lines = [
                "opened = []",
                "try:",
                *("    " + line for line in lines),
                "except BaseException as exc:",
                "    return await failed(request, exc, opened, fail)",
                "result.background = Teardown(opened, None, result.background)",
            ]
        names = [f"a{index}" for index in range(len(self._args))]
        if "request" in self._wants:
            names.append("request")
        define = "async def" if self._async else "def"
        body = "\n    ".join([*prologue, *lines, "return result"])
        source = f"{define} endpoint({', '.join(names)}):\n    {body}\n"
        filename = f"<endpoint of {self._plan.signature.owner}>"
        exec(compile(source, filename, "exec"), self._names)  # noqa: S102 - our own source
        endpoint: Callable[..., Any] = self._names["endpoint"]
        functools.update_wrapper(endpoint, self._plan.signature.function)
        return endpoint

    def _steps_lines(self) -> list[str]:
        """Return the lines that make the dependencies, independent coroutines at once."""
        steps = self._plan.steps
        lines: list[str] = []
        for level in sorted({step.level for step in steps}):
            batch = [index for index, step in enumerate(steps) if step.level == level]
            together = [
                index
                for index in batch
                if steps[index].provider.kind == "coroutine" and not steps[index].provider.singleton
            ]
            if len(together) > 1:
                self._async = True
                targets = ", ".join(f"d{index}" for index in together)
                calls = ", ".join(self._made(index) for index in together)
                lines.append(f"{targets} = await gather({calls})")
                batch = [index for index in batch if index not in together]
            for index in batch:
                lines.extend(self._step_lines(index))
        return lines

    def _made(self, index: int) -> str:
        step = self._plan.steps[index]
        self._names[f"p{index}"] = step.provider.factory
        return f"p{index}({self._passed(step.bindings)})"

    def _step_lines(self, index: int) -> list[str]:
        step = self._plan.steps[index]
        if step.provider.singleton:
            self._async = True
            self._names[f"s{index}"] = self._singleton(step.provider)
            return [f"d{index} = s{index}.value if s{index}.ready else await s{index}.make()"]
        made = self._made(index)
        kind = step.provider.kind
        if kind == "coroutine":
            self._async = True
            return [f"d{index} = await {made}"]
        if "generator" in kind:
            is_async = kind == "async generator"
            first = f"await g{index}.__anext__()" if is_async else f"next(g{index})"
            lines = [f"g{index} = {made}", f"d{index} = {first}", f"opened.append(g{index})"]
            if step.ends_early:
                lines.append(f"early.append(g{index})")
            return lines
        return [f"d{index} = {made}"]

    def _passed(self, bindings: list[Binding]) -> str:
        """Return the source of the arguments of one call."""
        parts = []
        for position, binding in enumerate(bindings):
            if not binding.parameter.passed:
                continue
            value = self._value(binding)
            # A factory's parameter with a default of its own may have been left out before it.
            name = binding.parameter.name
            named = binding.parameter.keyword or position != binding.parameter.position
            parts.append(f"{name}={value}" if named else value)
        return ", ".join(parts)

    def _value(self, binding: Binding) -> str:
        kind = binding.kind
        if kind == "leaf":
            return f"a{binding.index}"
        if kind == "body":
            body = f"a{len(self._plan.leaves)}"
            parts = self._plan.body.parts if self._plan.body is not None else ()
            return f"{body}.{parts[binding.index][1]}" if parts else body
        if kind == "step":
            return f"d{binding.index}"
        if kind == "constant":
            name = f"c{len(self._names)}"
            self._names[name] = binding.constant
            return name
        if kind == "tasks":
            self._wants.add("tasks")
            return "tasks"
        if kind == "response":
            self._wants.add("response")
            return "injected"
        # A message's place holds the connection too: `conversation` puts the messages there.
        self._wants.add("request")
        return "request.headers" if kind == "headers" else "request"


def _body_arg(plan: Plan) -> ArgSpec:
    body = plan.body
    if body is None:
        raise ValueError("the route has no body")
    return ArgSpec(
        "body",
        "body",
        "convert",
        bytes if body.media == "raw" else body.codec.decode_json,
        required=body.required,
        default=body.default,
        default_factory=body.default_factory,
    )


def _is_generator(handler: Callable[..., Any]) -> bool:
    from spikard.di import kind_of

    return "generator" in kind_of(handler)


def threaded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function that runs a handler in the loop's thread pool."""

    async def in_thread(*args: Any, **kwargs: Any) -> Any:
        result = await call_in_thread(handler, *args, **kwargs)
        if inspect.isawaitable(result):
            # A callable that only turns out to be async, such as a decorated one.
            result = await result
        return result

    return functools.update_wrapper(in_thread, handler)


def _finish(
    result: Any,
    injected: Response | None,
    tasks: BackgroundTasks | None,
    respond: Callable[[Any], Response],
) -> Any:
    """Return the result with what the handler did to the objects it was given."""
    changed = injected is not None and (injected.raw_headers or injected.status_code != 200)
    if not changed and not tasks:
        return result
    plain = not isinstance(result, Response)
    response = respond(result)
    if changed and injected is not None:
        if plain and injected.status_code != 200:
            response.status_code = injected.status_code
        if plain:
            replaced = {name for name, _ in injected.raw_headers if name != b"set-cookie"}
            kept = [item for item in response.raw_headers if item[0] not in replaced]
            response.raw_headers = [*kept, *injected.raw_headers]
        else:
            response.raw_headers = [*response.raw_headers, *injected.raw_headers]
    return after_response(response, tasks) if tasks else response


def after_response(response: Response, work: Callable[[], Awaitable[None]]) -> Response:
    """Return the response with further work to do once it has been sent."""
    earlier = response.background
    response.background = work if earlier is None else _Chain(earlier, work)
    return response


class _Chain:
    """Two background callables, one after the other."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Any, second: Any) -> None:
        self._first = first
        self._second = second

    async def __call__(self) -> None:
        try:
            await self._first()
        finally:
            await self._second()


async def _gather(*coroutines: Any) -> list[Any]:
    import asyncio

    tasks = [asyncio.ensure_future(_held(each)) for each in coroutines]
    try:
        values = await asyncio.gather(*tasks)
    except BaseException:
        # gather leaves the others running; a request's tasks must not outlive it.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    for value in values:
        if type(value) is _Exit:
            raise value.reason
    return values


class _Exit:
    """What a task must not raise: the event loop would take it for its own end."""

    __slots__ = ("reason",)

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


async def _held(coroutine: Any) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as exc:
        return _Exit(exc)


async def _end(early: list[Any], opened: list[Any]) -> None:
    """Run generators to their end, the last first; what they raise is the handler's failure."""
    while early:
        generator = early.pop()
        opened.remove(generator)
        try:
            if hasattr(generator, "__anext__"):
                await generator.__anext__()
            else:
                next(generator)
        except (StopIteration, StopAsyncIteration):
            continue
        raise DependencyError(f"dependency {generator.__qualname__} yields more than once")


async def _failed(request: Request, exc: BaseException, opened: list[Any], fail: Fail) -> Response:
    """Answer an exception; the generators see it after the answer has been sent."""
    if isinstance(exc, StopIteration | StopAsyncIteration):
        exc = DependencyError("a dependency's generator did not yield")
    teardown = _Teardown(opened, exc, None)
    if not isinstance(exc, Exception):
        # Cancelled: nobody will send anything, so there is no later.
        await teardown()
        raise exc
    answer = fail(request, exc)
    response = await answer if inspect.isawaitable(answer) else answer
    teardown.earlier = response.background
    response.background = teardown
    return response


class _Teardown:
    """Runs what follows the ``yield`` of dependencies, in reverse order.

    Background tasks run first: they may still use what the dependencies made.
    """

    __slots__ = ("_exception", "_opened", "earlier")

    def __init__(self, opened: list[Any], exception: BaseException | None, earlier: Any) -> None:
        self._opened = opened
        self._exception = exception
        self.earlier = earlier

    async def __call__(self) -> None:
        failure: BaseException | None = None
        if self.earlier is not None:
            try:
                await self.earlier()
            except Exception:
                _log.exception("background work raised")
            except BaseException as exc:  # what was opened is closed all the same
                failure = exc
        while self._opened:
            try:
                await close_generator(self._opened.pop(), self._exception)
            except BaseException as exc:  # noqa: PERF203  # the others are closed all the same
                failure = failure or exc
        if failure is not None:
            raise failure


async def close_generator(generator: Any, exc: BaseException | None) -> None:
    """Finish a dependency's generator; what it raises of its own is logged, not swallowed."""
    is_async = hasattr(generator, "__anext__")
    try:
        if exc is None:
            await generator.__anext__() if is_async else next(generator)
        elif is_async:
            await generator.athrow(exc)
        else:
            generator.throw(exc)
    except (StopIteration, StopAsyncIteration):
        return
    except Exception as raised:
        if raised is not exc:
            _log.exception("dependency %s raised in its teardown", generator.__qualname__)
        return
    except BaseException as raised:
        if raised is not exc:
            raise
        return
    _log.error("dependency %s yields more than once", generator.__qualname__)
    if is_async:
        await generator.aclose()
    else:
        generator.close()


def arg_spec(leaf: Leaf) -> ArgSpec:
    """Return how the server fills a leaf; the common kinds need no Python at all."""
    parameter = leaf.parameter
    spec = ArgSpec(
        leaf.source,
        leaf.name,
        required=parameter.required,
        default=None if parameter.default is MISSING else parameter.default,
        default_factory=parameter.default_factory,
        many=leaf.many,
    )
    if leaf.model:

        def model(request: Request) -> Any:
            return model_value(leaf, request)

        spec.source, spec.kind, spec.convert = "request", "convert", model
        spec.required, spec.default, spec.default_factory = True, None, None
        return spec
    if leaf.codec is None and leaf.converter is None:
        return spec
    kind = None if leaf.many or leaf.converter is not None else _fast_kind(parameter.annotation)
    if kind is not None:
        spec.kind = kind
        return spec
    spec.kind = "convert"
    spec.convert = text_converter(leaf)
    return spec


def text_converter(leaf: Leaf) -> Callable[[Any], Any]:
    """Return raw text → value, raising when it does not fit."""
    found, check = leaf.codec, leaf.converter
    convert: Callable[[Any], Any] = found.from_text if found is not None else str
    if check is None:
        return convert
    probe = check.from_text

    def checked(raw: Any) -> Any:
        probe(raw)
        return convert(raw)

    return checked


_FAST_KINDS: dict[Any, Literal["str", "int", "float", "bool", "uuid"]] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
}


def _fast_kind(annotation: Any) -> Literal["str", "int", "float", "bool", "uuid"] | None:
    import uuid

    members = [each for each in _union_members(annotation) if each is not type(None)]
    if len(members) != 1:
        return None
    if members[0] is uuid.UUID:
        return "uuid"
    try:
        return _FAST_KINDS.get(members[0])
    except TypeError:
        return None


def _union_members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return get_args(annotation)
    return (annotation,)


def is_async_callable(function: Any) -> bool:
    """Return whether calling it gives a coroutine."""
    import functools

    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function)
        and not inspect.isclass(function)
        and inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004
    )
