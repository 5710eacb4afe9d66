"""Routes, routers and path templates.

Templates: ``/users/{id}``, ``/users/{id:int}`` (int, float, bool, uuid, date, datetime, str,
path). The server matches them; here they are checked, so that mistakes surface where the
route is written.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

from spikard._hooks import HookTable
from spikard._plan import Planner
from spikard._projection import projected
from spikard._result import Result
from spikard._signature import MISSING, Signature, read_signature
from spikard.exceptions import RegistrationError, RouteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Unpack

    from spikard._plan import Plan
    from spikard.config import RateLimitConfig
    from spikard.responses import Response

__all__ = ["APIRouter", "BoundRoute", "Mark", "Route", "RouteOptions", "Router", "parse_template"]

F = TypeVar("F", bound="Callable[..., Any]")
Protocol = Literal["http", "sse", "websocket"]

CONVERTERS = ("int", "float", "bool", "uuid", "date", "datetime", "str", "path")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "QUERY")

_PARAMETER = re.compile(r"\{([^{}]*)\}")


class RouteOptions(TypedDict, total=False):
    """Keywords of the route decorators.

    Attributes:
        status_code: Of a plain result; default 200.
        name: For ``url_path_for``; default the handler's name.
        tags: Groups in the documentation.
        summary: One line for the documentation; default the docstring's first, or the name.
        description: Default the rest of the docstring, up to its sections.
        deprecated: Marked so in the documentation.
        responses: Status → ``{"description", "model"}`` (or the model) of further answers.
        response_model: The type of plain results, over the return annotation; None: no type.
        response_model_include: Names of the only members to send; of each item of a list.
        response_model_exclude: Names of members not to send.
        response_model_exclude_none: Leave out what is None.
        response_model_exclude_unset: Leave out what was not set; Pydantic models only.
        response_model_exclude_defaults: Leave out defaults; Pydantic models only.
        response_model_by_alias: ``False`` sends the names of fields; Pydantic models only.
        response_class: Its media type is that of plain results.
        response_description: Of plain results, in the documentation.
        openapi_extra: Merged into the operation of the documentation.
        include_in_schema: Whether the documentation shows the route.
        dependencies: Factories (``Depends(f)``) that run for their effect.
        operation_id: OpenAPI's; default made of name, path and method.
        sync_to_thread: ``False`` runs a ``def`` handler on the event loop.
        media_type: Of a plain result; default ``application/json``.
        body_schema: JSON Schema of the body, as ``response_schema``, ``parameter_schema``.
        file_params: What multipart files must be: ``{name: {"required", "content_type"}}``.
        message_schema: JSON Schema of WebSocket messages.
        event_schema: JSON Schema of the data of Server-Sent Events.
        replay: Server-Sent Events with an id to remember, for clients that come back with a
            ``Last-Event-ID``; see `spikard.events.Replay`.
        cancel_on_disconnect: ``False`` lets the handler run on when its client goes.
        require_auth: ``False`` opens the route where the server authenticates.
        scopes: A JWT must carry all of these.
        roles: A JWT must carry one of these.
        rate_limit: A `RateLimitConfig` of the route's own, instead of the server's.
        max_body_size: Bytes, over the server's limit.
        request_timeout: Seconds, over the server's limit.
        compress: ``False`` never compresses the response.
    """

    status_code: int
    name: str
    tags: Sequence[str]
    summary: str
    description: str
    deprecated: bool
    responses: dict[int, Any]
    response_model: Any
    response_model_include: Any
    response_model_exclude: Any
    response_model_exclude_none: bool
    response_model_exclude_unset: bool
    response_model_exclude_defaults: bool
    response_model_by_alias: bool
    response_class: type[Response]
    response_description: str
    openapi_extra: dict[str, Any]
    include_in_schema: bool
    dependencies: Sequence[Any]
    operation_id: str
    sync_to_thread: bool
    media_type: str
    body_schema: dict[str, Any] | None
    response_schema: dict[str, Any] | None
    parameter_schema: dict[str, Any] | None
    file_params: dict[str, Any] | None
    message_schema: dict[str, Any] | None
    event_schema: dict[str, Any] | None
    replay: int
    cancel_on_disconnect: bool
    require_auth: bool
    scopes: Sequence[str]
    roles: Sequence[str]
    rate_limit: RateLimitConfig
    max_body_size: int | None
    request_timeout: float | None
    compress: bool


_OPTION_NAMES = frozenset(RouteOptions.__annotations__)

POLICY_OPTIONS = (
    "require_auth",
    "scopes",
    "roles",
    "rate_limit",
    "max_body_size",
    "request_timeout",
    "compress",
)


@dataclass(frozen=True)
class Mark:
    """What a top-level decorator noted on a function, for `register` to find."""

    methods: tuple[str, ...]
    path: str
    options: RouteOptions
    protocol: Protocol = "http"


@dataclass
class Route:
    """A handler at a path, as declared.

    Attributes:
        methods: Upper case.
        path: The template, without the prefixes of routers.
        handler: The function.
        signature: Read at registration.
        options: As given.
        path_names: Parameter → converter.
        result: What becomes of plain results.
    """

    methods: tuple[str, ...]
    path: str
    handler: Callable[..., Any]
    signature: Signature
    options: RouteOptions
    path_names: dict[str, str | None]
    result: Result
    protocol: Protocol = "http"

    @property
    def name(self) -> str:
        """The name for ``url_path_for``."""
        return self.options.get("name") or str(
            getattr(self.handler, "__name__", type(self.handler).__name__)
        )


@dataclass
class BoundRoute:
    """A route with everything that its routers add; what ``app.routes`` lists.

    Attributes:
        route: The declaration.
        path: The full template.
        chain: The routers from the application down to the route's own.
        tags: Of routers and route.
        dependencies: Of routers and route, outermost first.
        responses: Of routers and route.
        include_in_schema: Whether all of them say so.
        plan: Where every value comes from; set when the application freezes.
    """

    route: Route
    path: str
    chain: tuple[Router, ...]
    tags: tuple[str, ...]
    dependencies: tuple[Any, ...]
    responses: dict[int, Any]
    include_in_schema: bool
    path_names: dict[str, str | None]
    plan: Plan | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The route's methods."""
        return self.route.methods

    @property
    def name(self) -> str:
        """The route's name."""
        return self.route.name

    @property
    def handler(self) -> Callable[..., Any]:
        """The route's handler."""
        return self.route.handler

    @property
    def options(self) -> RouteOptions:
        """The route's options."""
        return self.route.options

    @property
    def path_format(self) -> str:
        """The template without converters, as middleware names routes by it."""
        return _PARAMETER.sub(lambda match: "{" + match[1].partition(":")[0] + "}", self.path)

    @property
    def endpoint(self) -> Callable[..., Any]:
        """The handler, by the name that ASGI middleware knows."""
        return self.route.handler


def parse_template(path: str) -> dict[str, str | None]:
    """Return the parameters of a path template with their converters.

    Raises:
        RouteError: The path does not start with ``/``, or a parameter is malformed,
            repeated, or of an unknown converter.
    """
    given: Any = path
    if not isinstance(given, str):
        raise RouteError(f"a path is a string, got {path!r}")
    if path and not path.startswith("/"):
        raise RouteError(f"path {path!r}: must start with '/'")
    names: dict[str, str | None] = {}
    for inner in _PARAMETER.findall(path):
        name, colon, converter = inner.partition(":")
        if not name.isidentifier():
            raise RouteError(f"path {path!r}: {inner!r} is not a parameter name")
        if name in names:
            raise RouteError(f"path {path!r}: parameter {name!r} appears twice")
        if colon and converter not in CONVERTERS:
            known = ", ".join(CONVERTERS)
            raise RouteError(f"path {path!r}: unknown converter {converter!r}; known are {known}")
        names[name] = converter or None
    rest = _PARAMETER.sub("", path)
    if "{" in rest or "}" in rest:
        raise RouteError(f"path {path!r}: unbalanced braces")
    if "?" in rest or "#" in rest:
        raise RouteError(f"path {path!r}: must not contain a query or fragment")
    return names


def shape_of(path: str) -> str:
    """Return a template with its parameters' names gone: equal shapes match the same paths."""
    return _PARAMETER.sub(lambda m: "{*}" if m[1].endswith(":path") else "{}", path)


def fill_template(path: str, params: dict[str, Any]) -> str:
    """Return the path with its parameters' values, percent-encoded.

    Raises:
        RouteError: A parameter is missing or unknown.
    """
    names = parse_template(path)
    if set(names) != set(params):
        raise RouteError(f"path {path!r} takes {sorted(names)}, got {sorted(params)}")

    def value(match: re.Match[str]) -> str:
        name, _, converter = match[1].partition(":")
        return quote(str(params[name]), safe="/" if converter == "path" else "")

    return _PARAMETER.sub(value, path)


class RouteDecorators(ABC):
    """The verbs; `Spikard` and `Router` share them."""

    @abstractmethod
    def _add_route(
        self,
        methods: Iterable[str],
        path: str,
        handler: Callable[..., Any],
        options: RouteOptions,
        protocol: Protocol = "http",
    ) -> None: ...

    def route(
        self, path: str, methods: Iterable[str] = ("GET",), **options: Unpack[RouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for several methods of a path; see `RouteOptions`."""

        def register(handler: F) -> F:
            self._add_route(methods, path, handler, options)
            return handler

        return register

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for GET (and HEAD); see `RouteOptions`."""
        return self.route(path, ("GET",), **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for POST; see `RouteOptions`."""
        return self.route(path, ("POST",), **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for PUT; see `RouteOptions`."""
        return self.route(path, ("PUT",), **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for PATCH; see `RouteOptions`."""
        return self.route(path, ("PATCH",), **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for DELETE; see `RouteOptions`."""
        return self.route(path, ("DELETE",), **options)

    def head(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for HEAD alone; see `RouteOptions`."""
        return self.route(path, ("HEAD",), **options)

    def options(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for OPTIONS; see `RouteOptions`."""
        return self.route(path, ("OPTIONS",), **options)

    def trace(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register a handler for TRACE; see `RouteOptions`."""
        return self.route(path, ("TRACE",), **options)

    def websocket(
        self,
        path: str,
        **options: Unpack[RouteOptions],
    ) -> Callable[[F], F]:
        """Register a WebSocket handler.

        Args:
            path: The template.
            options: See `RouteOptions`; ``message_schema`` is of what comes in,
                ``response_schema`` of what the handler sends.
        """

        def register(handler: F) -> F:
            self._add_route(("GET",), path, handler, options, "websocket")
            return handler

        return register

    def sse(
        self,
        path: str,
        **options: Unpack[RouteOptions],
    ) -> Callable[[F], F]:
        """Register an async generator whose items are Server-Sent Events.

        Args:
            path: The template.
            options: See `RouteOptions`; ``event_schema`` is of an event's data.
        """

        def register(handler: F) -> F:
            self._add_route(("GET",), path, handler, options, "sse")
            return handler

        return register

    def register_route(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any] | None = None,
        **options: Unpack[RouteOptions],
    ) -> Callable[..., Any]:
        """Register a handler whose parameters are described by JSON Schemas.

        Args:
            method: One method, in any case.
            path: The template.
            handler: The function; without one a decorator is returned.
            options: See `RouteOptions`: ``body_schema`` and ``response_schema`` are JSON
                Schemas, ``parameter_schema`` is
                ``{"path"|"query"|"headers"|"cookies": {name: schema}}``.
        """

        def register(handler: F) -> F:
            self._add_route((method,), path, handler, options)
            return handler

        return register if handler is None else register(handler)

    def register(self, *sources: Any) -> None:
        """Add functions marked by the top-level decorators, or all such functions of modules.

        Raises:
            RegistrationError: A source has no mark.
        """
        for source in sources:
            found = list(_marked(source))
            if not found:
                label = getattr(source, "__qualname__", None) or getattr(source, "__name__", source)
                raise RegistrationError(f"{label!r} has no route: mark it with spikard.get(...)")
            for handler, mark in found:
                self._add_route(mark.methods, mark.path, handler, mark.options, mark.protocol)


MARKS = "__spikard_routes__"


def _marked(source: Any) -> Iterator[tuple[Callable[..., Any], Mark]]:
    import types

    members = vars(source).values() if isinstance(source, types.ModuleType) else (source,)
    seen: set[int] = set()
    for member in members:
        marks = getattr(member, "__dict__", {}).get(MARKS)
        if marks and id(member) not in seen:
            seen.add(id(member))
            for mark in marks:
                yield member, mark


class Router(RouteDecorators):
    """A group of routes under one prefix.

    Args:
        prefix: Put before every path; starts with ``/`` and does not end with it.
        tags: Added to every route's.
        dependencies: Run before every route's own.
        responses: Added to every route's documentation.
        include_in_schema: Whether the documentation shows the routes.

    Example:
        ```python
        users = Router(prefix="/users")


        @users.get("/{user_id}")
        async def get_user(user_id: int) -> dict:
            return {"id": user_id}


        app.include_router(users)
        ```
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        tags: Sequence[str] = (),
        dependencies: Sequence[Any] = (),
        responses: dict[int, Any] | None = None,
        include_in_schema: bool = True,
    ) -> None:
        self.prefix = _checked_prefix(prefix)
        self.tags = tuple(tags)
        self.dependencies = tuple(dependencies)
        self.responses = dict(responses or {})
        self.include_in_schema = include_in_schema
        self.hooks = HookTable()
        self.exception_handlers: dict[Any, Callable[..., Any]] = {}
        self._entries: list[Route | _Included] = []

    def _add_route(
        self,
        methods: Iterable[str],
        path: str,
        handler: Callable[..., Any],
        options: RouteOptions,
        protocol: Protocol = "http",
    ) -> None:
        self._entries.append(make_route(methods, path, handler, options, protocol, self.prefix))

    def include_router(
        self,
        router: Router,
        *,
        prefix: str = "",
        tags: Sequence[str] = (),
        dependencies: Sequence[Any] = (),
    ) -> None:
        """Add another router's routes below this one.

        Raises:
            RouteError: The router would include itself.
        """
        if router is self or self in router.descendants():
            raise RouteError("a router cannot include itself")
        self._entries.append(
            _Included(router, _checked_prefix(prefix), tuple(tags), tuple(dependencies))
        )

    def descendants(self) -> Iterator[Router]:
        """Yield every router below this one."""
        for entry in self._entries:
            if isinstance(entry, _Included):
                yield entry.router
                yield from entry.router.descendants()

    bound_class: type[BoundRoute] = BoundRoute
    """What `bound_routes` makes."""

    def bound_routes(
        self,
        chain: tuple[Router, ...] = (),
        prefix: str = "",
        tags: tuple[str, ...] = (),
        dependencies: tuple[Any, ...] = (),
        responses: dict[int, Any] | None = None,
        shown: bool = True,
        parse: Callable[[str], dict[str, str | None]] = parse_template,
        bound_class: type[BoundRoute] | None = None,
    ) -> Iterator[BoundRoute]:
        """Yield every route with what the routers above add, in order of registration."""
        bound_class = bound_class or self.bound_class
        chain = (*chain, self)
        prefix += self.prefix
        tags = (*tags, *self.tags)
        dependencies = (*dependencies, *self.dependencies)
        responses = {**(responses or {}), **self.responses}
        shown = shown and self.include_in_schema
        for entry in self._entries:
            if isinstance(entry, _Included):
                yield from entry.router.bound_routes(
                    chain,
                    prefix + entry.prefix,
                    (*tags, *entry.tags),
                    (*dependencies, *entry.dependencies),
                    responses,
                    shown,
                    parse,
                    bound_class,
                )
                continue
            options = entry.options
            path = prefix + entry.path or "/"
            yield bound_class(
                entry,
                path,
                chain,
                tuple(dict.fromkeys((*tags, *options.get("tags", ())))),
                (*dependencies, *options.get("dependencies", ())),
                {**responses, **(options.get("responses") or {})},
                shown and options.get("include_in_schema", True),
                parse(path),
            )

    def exception_handler(self, key: type[BaseException] | int) -> Callable[[F], F]:
        """Register ``handler(request, exc)`` for an exception class or a status.

        It returns a `Response`, or a plain value that is encoded with the status.
        """
        given: Any = key
        if not isinstance(given, int) and not (
            isinstance(given, type) and issubclass(given, BaseException)
        ):
            raise RegistrationError(f"exception_handler takes a class or a status, got {key!r}")

        def register(handler: F) -> F:
            self.exception_handlers[key] = handler
            self._changed()
            return handler

        return register

    def _hook(self, name: str, hook: F) -> F:
        self.hooks.add(name, hook)
        self._changed()
        return hook

    def _changed(self) -> None:
        """Take note of a registration: what was compiled before does not have it."""

    def on_request(self, hook: F) -> F:
        """Register a hook that sees the request first."""
        return self._hook("on_request", hook)

    def pre_validation(self, hook: F) -> F:
        """Register a hook that runs once the route is known, before its values are checked."""
        return self._hook("pre_validation", hook)

    def pre_handler(self, hook: F) -> F:
        """Register a hook that runs right before the handler."""
        return self._hook("pre_handler", hook)

    def on_response(self, hook: F) -> F:
        """Register a hook that sees every response."""
        return self._hook("on_response", hook)

    def on_error(self, hook: F) -> F:
        """Register a hook that sees every exception a handler raised, once it is answered."""
        return self._hook("on_error", hook)


APIRouter = Router
"""The name that FastAPI's users know."""


@dataclass(frozen=True)
class _Included:
    router: Router
    prefix: str
    tags: tuple[str, ...]
    dependencies: tuple[Any, ...]


def make_route(
    methods: Iterable[str],
    path: str,
    handler: Callable[..., Any],
    options: RouteOptions,
    protocol: Protocol,
    prefix: str = "",
) -> Route:
    """Return a checked route.

    Raises:
        RouteError: The template or a method is wrong.
        RegistrationError: An option is unknown, or the signature cannot be served.
    """
    if not callable(handler):
        raise RegistrationError(f"path {path!r}: handler {handler!r} is not callable")
    signature = read_signature(handler)
    try:
        return _checked_route(methods, path, signature, options, protocol, prefix)
    except (RouteError, RegistrationError) as exc:
        # What is wrong with the path or an option: whose, and where that is.
        owner = signature.owner
        if str(exc).startswith(owner):
            raise
        raise type(exc)(f"{owner}: {exc}") from exc.__cause__


def _checked_route(
    methods: Iterable[str],
    path: str,
    signature: Signature,
    options: RouteOptions,
    protocol: Protocol,
    prefix: str,
) -> Route:
    handler = signature.function
    given: Any = path
    names = parse_template(prefix + path if isinstance(given, str) else given)
    verbs = tuple(dict.fromkeys(method.upper() for method in methods))
    if not verbs:
        raise RouteError(f"path {path!r}: no methods")
    for verb in verbs:
        if not re.fullmatch(r"[A-Z][A-Z-]{0,31}", verb):
            raise RouteError(f"path {path!r}: invalid method {verb!r}")
    unknown = set(options) - _OPTION_NAMES
    if unknown:
        raise RegistrationError(f"path {path!r}: unknown option {min(unknown)!r}")
    status: Any = options.get("status_code", 200)
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise RegistrationError(f"path {path!r}: status_code must be 100 to 599, got {status!r}")
    replay = options.get("replay")
    if replay is not None and protocol != "sse":
        raise RegistrationError(f"path {path!r}: replay is for server-sent events")
    if replay is not None and replay < 1:
        raise RegistrationError(f"path {path!r}: replay must be at least 1, got {replay}")
    described = ("body_schema", "parameter_schema", "file_params")
    if any(options.get(name) is not None for name in described):
        from spikard._schemas import schema_signature

        signature = schema_signature(signature, options, names)
    Planner(signature, names, providers={}, protocol=protocol, early=True).plan()
    declared = MISSING if protocol != "http" else signature.returns
    response_schema = options.get("response_schema")
    if response_schema is not None and protocol == "http":
        from spikard._schemas import JsonSchema

        declared = Annotated[Any, JsonSchema(response_schema)]
    model = options.get("response_model", declared)
    if model is None and "response_model" in options:
        # None is how users of FastAPI say that the annotation is not for the results.
        model = MISSING
    result = Result(
        model, owner=signature.owner, status_code=status, media_type=media_type_of(options)
    )
    result.encode = projected(result.encode, model, {**options}, signature.owner)
    return Route(verbs, path, handler, signature, options, names, result, protocol)


def media_type_of(options: RouteOptions) -> str | None:
    """Return the media type that the options give plain results, None for the default.

    Raises:
        RegistrationError: A response class that is more than a media type.
    """
    cls = options.get("response_class")
    if cls is not None and cls.media_type is None:
        raise RegistrationError(
            f"response_class {cls.__name__}: has no media type; return a {cls.__name__} instead"
        )
    return options.get("media_type") or (cls.media_type if cls is not None else None)


def _checked_prefix(prefix: str) -> str:
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise RouteError(f"prefix {prefix!r}: must start with '/' and not end with it")
    parse_template(prefix)
    return prefix
