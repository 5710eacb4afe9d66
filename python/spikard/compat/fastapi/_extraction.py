"""The slow pass in FastAPI's words: every value of a request, or everything that is wrong with it.

FastAPI lets dependencies refuse a request before it says that the request does not fit. So a
request that does not fit becomes `Refused`, and `FastAPIExtractor.guarded` runs the
dependencies that do not need what is wrong.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from spikard._endpoint import close_generator
from spikard._extract import media_type
from spikard.compat.fastapi._bodies import BodyCodec, ModelCodec, source_of
from spikard.compat.fastapi._fields import ABSENT, FieldCodec, missing
from spikard.compat.fastapi.exceptions import (
    RequestValidationError,
    WebSocketRequestValidationError,
)
from spikard.datastructures import FormData
from spikard.exceptions import HTTPException
from spikard.websockets import WebSocket

if TYPE_CHECKING:
    from spikard._plan import Binding, Leaf, Plan
    from spikard._violations import Error
    from spikard.datastructures import Request
    from spikard.di import Provide

__all__ = ["FastAPIExtractor", "Refused", "RefusedRequest"]


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
            RefusedRequest: The request does not fit.
            RequestValidationError: The body is no JSON though it says so.
        """
        reading = _Reading(self.plan, request)
        codec = self._body_codec()
        if codec is not None:
            given = _json_body(request, body)
            reading.add(codec.value(given, reading.found))
            reading.body = None if given is ABSENT else given
        return reading.checked()

    async def from_request(self, request: Request) -> list[Any]:
        """Return the values, reading the body as the plan needs it.

        Raises:
            RequestValidationError: What does not fit, once the dependencies that still can have
                run: they may refuse the request first.
        """
        codec = self._body_codec()
        try:
            if codec is None:
                return self.values(request, None)
            if not codec.is_form:
                return self.values(request, await request.body())
            reading = _Reading(self.plan, request)
            form = await _form_of(request)
            reading.add(await codec.form_value(form, reading.found))
            reading.body = {name: _shown(value) for name, value in form.multi_items()}
            return reading.checked()
        except RefusedRequest as refusal:
            await self.guarded(refusal.refused)
            raise refusal.refused.error from None

    def _body_codec(self) -> BodyCodec | None:
        codec = self.plan.body.codec if self.plan.body is not None else None
        return codec if isinstance(codec, BodyCodec) else None

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
                    if value is ABSENT:
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
            return ABSENT if binding.index in refused.wrong else refused.values[binding.index]
        if binding.kind == "body":
            if body_index in refused.wrong:
                return ABSENT
            body = refused.values[body_index]
            parts = self.plan.body.parts if self.plan.body is not None else ()
            return getattr(body, parts[binding.index][1]) if parts else body
        if binding.kind == "step":
            return made.get(binding.index, ABSENT)
        if binding.kind == "constant":
            return binding.constant
        if binding.kind == "tasks":
            return BackgroundTasks()
        if binding.kind == "response":
            return Response()
        request = refused.request
        return request.headers if binding.kind == "headers" else request


class _Reading:
    """The values of one request so far, and what is wrong."""

    def __init__(self, plan: Plan, request: Request) -> None:
        self.request = request
        self.values: list[Any] = []
        self.found: list[Error] = []
        self.wrong: set[int] = set()
        self.body: Any = None
        self._seen = 0
        for leaf in plan.leaves:
            self.add(_leaf_value(leaf, request, self.found))

    def add(self, value: Any) -> None:
        """Take the next value; what has been found since the last one is wrong with it."""
        if len(self.found) > self._seen:
            self.wrong.add(len(self.values))
            self._seen = len(self.found)
        self.values.append(value)

    def checked(self) -> list[Any]:
        """Return the values.

        Raises:
            RefusedRequest: Something is wrong with a request.
            WebSocketRequestValidationError: Something is wrong with a handshake.
        """
        if not self.found:
            return self.values
        if isinstance(self.request, WebSocket):
            raise WebSocketRequestValidationError(self.found)
        unique = {(each["type"], each["loc"], each["msg"]): each for each in self.found}
        error = RequestValidationError(list(unique.values()), body=self.body)
        raise RefusedRequest(Refused(error, self.values, self.wrong, self.request))


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
        given: Any = request.path_params.get(leaf.name, ABSENT)
    elif leaf.many:
        given = source_of(leaf.source, request).getlist(leaf.name) or ABSENT
    else:
        given = source_of(leaf.source, request).get(leaf.name, ABSENT)
    if given is ABSENT:
        if field.required:
            found.append(missing(loc))
            return None
        return field.default()
    return field.validate(given, loc, found)


def _json_body(request: Request, body: bytes | None) -> Any:
    """Return the body as JSON when its type says so, as bytes otherwise."""
    if not body:
        return ABSENT
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
