"""FastAPI's `APIRouter` and `APIRoute`, registered as Spikard's routes."""

# FastAPI's meaning differs from Spikard's in what these methods return: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from spikard._projection import PROJECTIONS
from spikard._signature import MISSING, read_signature
from spikard.compat.fastapi._planning import FastAPIPlanner
from spikard.compat.fastapi._results import FastAPIResult
from spikard.compat.fastapi._streams import is_generator, item_type, streamed_as
from spikard.compat.fastapi.requests import Request  # noqa: TC001 - signatures are read
from spikard.compat.fastapi.websockets import WebSocket  # noqa: TC001 - signatures are read
from spikard.exceptions import RegistrationError, RouteError
from spikard.responses import JSONResponse, Response
from spikard.routing import BoundRoute, Route, Router, fill_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Unpack

    from spikard.routing import Protocol

__all__ = ["APIRoute", "APIRouter"]

F = TypeVar("F", bound="Callable[..., Any]")

_PARAMETER = re.compile(r"\{([^{}:]*)(?::[^{}]*)?\}")


def default_unique_id(route: APIRoute) -> str:
    """Return the ``operationId`` of a route: name, path and method."""
    made = re.sub(r"\W", "_", f"{route.name}{route.path_format}")
    return f"{made}_{route.methods[0].lower()}"


@dataclass
class APIRoute(BoundRoute):
    """A route as ``app.routes`` lists it and ``generate_unique_id_function`` receives it."""

    @property
    def endpoint(self) -> Callable[..., Any]:
        """The handler."""
        return self.route.handler

    @property
    def path_format(self) -> str:
        """The path without converters."""
        return _PARAMETER.sub(r"{\1}", self.path)

    @property
    def operation_id(self) -> str | None:
        """The ``operationId`` that was given."""
        return self.options.get("operation_id")

    @operation_id.setter
    def operation_id(self, value: str | None) -> None:
        # On the declaration: bound routes are made anew when something is registered.
        self.route.options["operation_id"] = value or ""

    @property
    def unique_id(self) -> str:
        """The ``operationId``, given or made."""
        make = self.inherited("generate_unique_id_function", None) or default_unique_id
        return self.operation_id or make(self)

    @property
    def summary(self) -> str | None:
        """The summary that was given."""
        return self.options.get("summary")

    @property
    def status_code(self) -> int | None:
        """The status that was given."""
        return self.options.get("status_code")

    @property
    def response_class(self) -> type[Response]:
        """The class of the responses to plain results."""
        found: type[Response] = self.inherited("response_class", JSONResponse)
        return found

    @property
    def response_model(self) -> Any:
        """The type of plain results, None for anything."""
        return response_model(self)

    @property
    def deprecated(self) -> bool | None:
        """Whether the route or a router above is deprecated."""
        given = self.options.get("deprecated")
        if given:
            return True
        return True if any(getattr(each, "deprecated", None) for each in self.chain) else given

    def inherited(self, name: str, default: Any) -> Any:
        """Return an option of the route, else of the innermost router that has it."""
        options: dict[str, Any] = {**self.options}
        found = options.get(name)
        for router in reversed(self.chain):
            if found is not None:
                break
            found = getattr(router, "defaults", {}).get(name)
        return default if found is None else found


def response_model(route: APIRoute) -> Any:
    """Return what plain results must be: ``response_model``, else the return annotation."""
    options: dict[str, Any] = {**route.options}
    if "response_model" in options:
        return options["response_model"]
    returns = route.route.signature.returns
    if returns in (MISSING, None, type(None)) or is_generator(route):
        return None
    from spikard.compat.fastapi._fields import members

    if any(isinstance(each, type) and issubclass(each, Response) for each in members(returns)):
        return None
    if route.response_class is not JSONResponse and not issubclass(
        route.response_class, JSONResponse
    ):
        return None
    return returns


def result_of(route: APIRoute) -> FastAPIResult:
    """Return what becomes of the plain results of a route."""
    options: dict[str, Any] = {**route.options}
    dump = {
        name: options[f"response_model_{name}"]
        for name in PROJECTIONS
        if f"response_model_{name}" in options
    }
    dump.setdefault("by_alias", True)
    return FastAPIResult(
        response_model(route),
        status_code=route.status_code,
        response_class=route.response_class,
        dump=dump,
        streamed=streamed_as(route),
        item=item_type(route) if is_generator(route) else None,
    )


def route_of(
    methods: Iterable[str],
    path: str,
    handler: Callable[..., Any],
    options: dict[str, Any],
    protocol: Protocol,
) -> Route:
    """Return a route whose signature has been read by FastAPI's rules.

    Raises:
        RegistrationError: The signature cannot be served.
    """
    if not callable(handler):
        raise RegistrationError(f"path {path!r}: handler {handler!r} is not callable")
    signature = read_signature(handler)
    status = options.get("status_code")
    if status is not None:
        options["status_code"] = status = int(status)
        if not 100 <= status <= 599:
            raise RegistrationError(
                f"{signature.owner}: path {path!r}: status_code must be 100 to 599, got {status}"
            )
    names = path_names(path)
    FastAPIPlanner(signature, names, providers={}, protocol=protocol, early=True).plan()
    verbs = tuple(sorted({method.upper() for method in methods}))
    result = FastAPIResult(None, status_code=status, response_class=JSONResponse, dump={})
    return Route(verbs, path, handler, signature, options, names, result, protocol)  # type: ignore[arg-type]


def path_names(path: str) -> dict[str, str | None]:
    """Return the parameters of a template with their converters, whatever else is in it."""
    found: dict[str, str | None] = {}
    for inner in re.findall(r"\{([^{}]*)\}", path):
        name, _, converter = inner.partition(":")
        if name.isidentifier():
            found[name] = converter or None
    return found


class APIRouteOptions(TypedDict, total=False):
    """Keywords of the route decorators, FastAPI's.

    Attributes:
        response_model: The type of plain results, over the return annotation; None for any.
        status_code: Of a plain result.
        tags: Groups in the documentation; strings or members of an `Enum`.
        dependencies: ``Depends(f)`` each, run for their effect.
        summary: Default the handler's name.
        description: Default the docstring.
        response_description: Of the answer to a plain result.
        responses: Status or range → OpenAPI's object, with a ``model``.
        deprecated: Marked so.
        operation_id: Default made by `generate_unique_id_function`.
        response_model_include: Only these fields.
        response_model_exclude: All but these.
        response_model_by_alias: Fields are called by their aliases.
        response_model_exclude_unset: Without what was not set.
        response_model_exclude_defaults: Without what has its default.
        response_model_exclude_none: Without what is None.
        include_in_schema: Whether the documentation shows it.
        response_class: Makes the response of a plain result.
        name: For ``url_path_for``.
        callbacks: Routes that the API calls elsewhere.
        openapi_extra: Merged into the operation.
        generate_unique_id_function: Makes the ``operationId``.
        max_body_size: Bytes, over the application's limit.
    """

    response_model: Any
    status_code: int | None
    tags: Sequence[Any] | None
    dependencies: Sequence[Any] | None
    summary: str | None
    description: str | None
    response_description: str
    responses: dict[int | str, Any] | None
    deprecated: bool | None
    operation_id: str | None
    response_model_include: Any
    response_model_exclude: Any
    response_model_by_alias: bool
    response_model_exclude_unset: bool
    response_model_exclude_defaults: bool
    response_model_exclude_none: bool
    include_in_schema: bool
    response_class: type[Response] | None
    name: str | None
    callbacks: Sequence[Any] | None
    openapi_extra: dict[str, Any] | None
    generate_unique_id_function: Callable[[APIRoute], str] | None
    max_body_size: int | None


class Decorators(Router):
    """The verbs with FastAPI's keywords; an unknown one is a TypeError that names it."""

    defaults: dict[str, Any]

    def api_route(
        self,
        path: str,
        *,
        methods: Iterable[str] | None = None,
        **options: Unpack[APIRouteOptions],
    ) -> Callable[[F], F]:
        """Register a handler for several methods; see `APIRouteOptions`."""

        def register(handler: F) -> F:
            self.add_api_route(path, handler, methods=methods, **options)
            return handler

        _check_options(options)
        return register

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Iterable[str] | None = None,
        **options: Unpack[APIRouteOptions],
    ) -> None:
        """Register a handler.

        Args:
            path: The template.
            endpoint: The handler.
            methods: Default GET.
            options: See `APIRouteOptions`.

        Raises:
            TypeError: An option is unknown.
        """
        _check_options(options)
        self._add_route(methods or ("GET",), path, endpoint, options)

    def _add_route(
        self,
        methods: Iterable[str],
        path: str,
        handler: Callable[..., Any],
        options: Any,
        protocol: Protocol = "http",
    ) -> None:
        given = {name: value for name, value in options.items() if _is_given(name, value)}
        route = route_of(methods, self.prefix + path, handler, given, protocol)
        route.path = path
        self._entries.append(route)

    def get(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for GET."""
        return self.api_route(path, methods=("GET",), **options)

    def post(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for POST."""
        return self.api_route(path, methods=("POST",), **options)

    def put(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for PUT."""
        return self.api_route(path, methods=("PUT",), **options)

    def patch(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for PATCH."""
        return self.api_route(path, methods=("PATCH",), **options)

    def delete(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for DELETE."""
        return self.api_route(path, methods=("DELETE",), **options)

    def head(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for HEAD."""
        return self.api_route(path, methods=("HEAD",), **options)

    def options(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for OPTIONS."""
        return self.api_route(path, methods=("OPTIONS",), **options)

    def trace(  # type: ignore[override]
        self, path: str, **options: Unpack[APIRouteOptions]
    ) -> Callable[[F], F]:
        """Register a handler for TRACE."""
        return self.api_route(path, methods=("TRACE",), **options)

    def route(  # type: ignore[override]
        self,
        path: str,
        methods: Iterable[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = False,
    ) -> Callable[[F], F]:
        """Register a handler of a bare request, as Starlette's ``route``."""

        def register(handler: F) -> F:
            self.add_route(path, handler, methods, name, include_in_schema)
            return handler

        return register

    def websocket(  # type: ignore[override]
        self,
        path: str,
        name: str | None = None,
        *,
        dependencies: Sequence[Any] | None = None,
    ) -> Callable[[F], F]:
        """Register a WebSocket handler."""

        def register(handler: F) -> F:
            self.add_api_websocket_route(path, handler, name, dependencies=dependencies)
            return handler

        return register

    def add_route(
        self,
        path: str,
        route: Callable[..., Any],
        methods: Iterable[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = False,
    ) -> None:
        """Register a handler of a bare request."""

        async def bare(request: Request) -> Any:
            answer = route(request)
            return await answer if inspect.isawaitable(answer) else answer

        bare.__name__ = getattr(route, "__name__", "bare")
        options: dict[str, Any] = {"name": name, "include_in_schema": include_in_schema}
        options["response_model"] = None
        self._add_route(methods or ("GET",), path, bare, options)

    def add_websocket_route(
        self, path: str, route: Callable[..., Any], name: str | None = None
    ) -> None:
        """Register a handler of a bare WebSocket."""
        self.add_api_websocket_route(path, _bare_socket(route), name)

    def websocket_route(self, path: str, name: str | None = None) -> Callable[[F], F]:
        """Register a handler of a bare WebSocket, as Starlette's decorator."""

        def register(handler: F) -> F:
            self.add_websocket_route(path, handler, name)
            return handler

        return register

    def add_api_websocket_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        name: str | None = None,
        *,
        dependencies: Sequence[Any] | None = None,
    ) -> None:
        """Register a WebSocket handler."""
        options: dict[str, Any] = {"name": name, "dependencies": dependencies}
        self._add_route(("GET",), path, endpoint, options, "websocket")

    def include_router(
        self,
        router: Router,
        *,
        prefix: str = "",
        tags: Sequence[Any] | None = None,
        dependencies: Sequence[Any] | None = None,
        responses: dict[int | str, Any] | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        default_response_class: type[Response] | None = None,
        callbacks: Sequence[Any] | None = None,
        generate_unique_id_function: Callable[[APIRoute], str] | None = None,
    ) -> None:
        """Add another router's routes below this one, with what these keywords add to them."""
        between = APIRouter(
            prefix=prefix,
            tags=tags,
            dependencies=dependencies,
            responses=responses,
            deprecated=deprecated,
            include_in_schema=include_in_schema,
            default_response_class=default_response_class,
            callbacks=callbacks,
            generate_unique_id_function=generate_unique_id_function,
        )
        between._include(router)  # noqa: SLF001 - of this class
        self._include(between)

    def _include(self, router: Router) -> None:
        Router.include_router(self, router)

    def on_event(self, event: str) -> Callable[[F], F]:
        """Register a function for ``startup`` or ``shutdown``."""

        def register(hook: F) -> F:
            self.add_event_handler(event, hook)
            return hook

        return register

    def add_event_handler(self, event: str, hook: Callable[..., Any]) -> None:
        """Register a function for ``startup`` or ``shutdown``.

        Raises:
            ValueError: The event is neither.
        """
        if event not in ("startup", "shutdown"):
            raise ValueError(f"on_event: expected 'startup' or 'shutdown', got {event!r}")
        self.events.append((event, hook))

    events: list[tuple[str, Callable[..., Any]]]


OPTIONS = frozenset(APIRouteOptions.__annotations__)
"""Keywords of the decorators."""


def _check_options(options: Any) -> None:
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise TypeError(f"a route got an unexpected keyword argument {unknown[0]!r}")


def _is_given(name: str, value: Any) -> bool:
    # `response_model=None` says something; other keywords are often passed on as None.
    return value is not None or name == "response_model"


def _bare_socket(route: Callable[..., Any]) -> Callable[..., Any]:
    async def bare(websocket: WebSocket) -> None:
        await route(websocket)

    bare.__name__ = getattr(route, "__name__", "bare")
    return bare


class APIRouter(Decorators):
    """A group of routes.

    Args:
        prefix: Put before every path.
        tags: Added to every route's.
        dependencies: Run before every route's own.
        default_response_class: Of routes that name none.
        responses: Added to every route's documentation.
        callbacks: Added to every route's documentation.
        on_startup: Functions to run when the application that includes it starts.
        on_shutdown: The same at its end.
        deprecated: Marks every route so.
        include_in_schema: Whether the documentation shows the routes.
        generate_unique_id_function: Makes ``operationId`` of a route.
        redirect_slashes: Accepted; the application decides.
    """

    bound_class = APIRoute

    def __init__(
        self,
        *,
        prefix: str = "",
        tags: Sequence[Any] | None = None,
        dependencies: Sequence[Any] | None = None,
        default_response_class: type[Response] | None = None,
        responses: dict[int | str, Any] | None = None,
        callbacks: Sequence[Any] | None = None,
        on_startup: Sequence[Callable[..., Any]] | None = None,
        on_shutdown: Sequence[Callable[..., Any]] | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        generate_unique_id_function: Callable[[APIRoute], str] | None = None,
        redirect_slashes: bool = True,
    ) -> None:
        super().__init__(
            prefix,
            tags=tuple(tags or ()),
            dependencies=tuple(dependencies or ()),
            responses=responses,  # type: ignore[arg-type] # ranges such as "4XX" too
            include_in_schema=include_in_schema,
        )
        self.deprecated = deprecated
        self.redirect_slashes = redirect_slashes
        self.callbacks = list(callbacks or ())
        self.defaults = {
            "response_class": default_response_class,
            "generate_unique_id_function": generate_unique_id_function,
        }
        self.events = [("startup", each) for each in on_startup or ()]
        self.events += [("shutdown", each) for each in on_shutdown or ()]

    @property
    def routes(self) -> list[APIRoute]:
        """The routes, for ``callbacks=`` and the like; paths may be expressions of OpenAPI."""
        return list(self._listed())

    def url_path_for(self, name: str, /, **params: Any) -> str:
        """Return the path of a named route of this router.

        Raises:
            RouteError: No route of that name takes exactly these parameters.
        """
        for route in self._listed():
            if route.name == name and set(route.path_names) == set(params):
                return fill_template(route.path, params)
        raise RouteError(f"no route is named {name!r} and takes {sorted(params)}")

    def _listed(self) -> Iterator[APIRoute]:
        for bound in self.bound_routes(parse=path_names):
            if isinstance(bound, APIRoute):
                yield bound
