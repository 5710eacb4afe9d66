"""`FastAPI`: an application with FastAPI's meaning, frozen into the same routes as `Spikard`."""

# The decorators take FastAPI's keywords, not Spikard's: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from spikard._merge import merge_document
from spikard._middleware import Middleware
from spikard.app import Spikard
from spikard.compat.fastapi._extraction import FastAPIExtractor, Refused, RefusedRequest
from spikard.compat.fastapi._failures import (
    FastAPIFailures,
    detail_of,
    refusal_of,
    socket_failure,
)
from spikard.compat.fastapi._planning import FastAPIPlanner
from spikard.compat.fastapi.exceptions import RequestValidationError
from spikard.compat.fastapi.requests import Request
from spikard.compat.fastapi.routing import APIRoute, APIRouter, Decorators, result_of, route_of
from spikard.compat.fastapi.websockets import WebSocket
from spikard.config import OpenApiConfig, ServerConfig
from spikard.di import Overrides
from spikard.exceptions import HTTPException
from spikard.responses import RedirectResponse, Response
from spikard.routing import BoundRoute, shape_of
from spikard.websockets import WebSocket as PlainWebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spikard._endpoint import RouteSpec
    from spikard._plan import Plan
    from spikard._result import Result
    from spikard.routing import Protocol, Router

__all__ = ["FastAPI"]

F = TypeVar("F", bound="Callable[..., Any]")


class FastAPI(Decorators, Spikard):
    """An application.

    Args:
        debug: Show tracebacks to clients.
        routes: Not available; register with the decorators.
        title: For the documentation, as all that follows up to `servers`.
        summary: One line.
        description: Markdown.
        version: Of the API.
        terms_of_service: A URL.
        contact: ``{"name", "url", "email"}``.
        license_info: ``{"name", "identifier" or "url"}``.
        openapi_tags: ``[{"name", "description", "externalDocs"?}]``.
        openapi_external_docs: ``{"description", "url"}``.
        servers: ``[{"url", "description"?}]``.
        openapi_url: Path of the document; None: neither document nor pages.
        docs_url: Path of Swagger UI, None for none.
        redoc_url: Path of ReDoc, None for none.
        swagger_ui_oauth2_redirect_url: Accepted; the page uses none.
        swagger_ui_init_oauth: Accepted; the page uses none.
        swagger_ui_parameters: Accepted; the page keeps its settings.
        dependencies: Run before every route's own.
        default_response_class: Of routes that name none.
        redirect_slashes: Redirect to the path with or without a slash at its end.
        middleware: `Middleware` objects, outermost first.
        exception_handlers: Class or status → handler.
        on_startup: Functions to run at the start.
        on_shutdown: Functions to run at the end.
        lifespan: An async context manager function of the application.
        root_path: Prefix that a proxy strips.
        root_path_in_servers: Whether the document names it as a server.
        responses: Added to every route's documentation.
        callbacks: Added to every route's documentation.
        webhooks: A router whose routes the document lists as webhooks.
        deprecated: Marks every route so.
        include_in_schema: Whether the document shows the routes.
        generate_unique_id_function: Makes ``operationId`` of a route.
        separate_input_output_schemas: Whether models may have two schemas.
        strict_content_type: Accepted; a body without a content type counts as JSON.
        max_body_size: Bytes of a body; default 10 MiB.
        config: Of the server, Spikard's; over what the other arguments say.
    """

    bound_class = APIRoute

    def __init__(
        self,
        *,
        debug: bool = False,
        routes: Sequence[Any] | None = None,
        title: str = "FastAPI",
        summary: str | None = None,
        description: str = "",
        version: str = "0.1.0",
        openapi_url: str | None = "/openapi.json",
        openapi_tags: list[dict[str, Any]] | None = None,
        servers: list[dict[str, Any]] | None = None,
        dependencies: Sequence[Any] | None = None,
        default_response_class: type[Response] | None = None,
        redirect_slashes: bool = True,
        docs_url: str | None = "/docs",
        redoc_url: str | None = "/redoc",
        swagger_ui_oauth2_redirect_url: str | None = "/docs/oauth2-redirect",
        swagger_ui_init_oauth: dict[str, Any] | None = None,
        middleware: Sequence[Any] | None = None,
        exception_handlers: dict[Any, Callable[..., Any]] | None = None,
        on_startup: Sequence[Callable[..., Any]] | None = None,
        on_shutdown: Sequence[Callable[..., Any]] | None = None,
        lifespan: Callable[[Any], Any] | None = None,
        terms_of_service: str | None = None,
        contact: dict[str, Any] | None = None,
        license_info: dict[str, Any] | None = None,
        root_path: str = "",
        root_path_in_servers: bool = True,
        responses: dict[int | str, Any] | None = None,
        callbacks: Sequence[Any] | None = None,
        webhooks: APIRouter | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        swagger_ui_parameters: dict[str, Any] | None = None,
        generate_unique_id_function: Callable[[APIRoute], str] | None = None,
        separate_input_output_schemas: bool = True,
        openapi_external_docs: dict[str, Any] | None = None,
        strict_content_type: bool = True,
        max_body_size: int | None = None,
        config: ServerConfig | None = None,
    ) -> None:
        if routes:
            raise TypeError("FastAPI(routes=...) is not available: use the decorators")
        del strict_content_type, swagger_ui_oauth2_redirect_url
        del swagger_ui_init_oauth, swagger_ui_parameters
        if openapi_url is not None and not title:
            raise ValueError("FastAPI.title: expected a title for the document, got ''")
        openapi = None
        if openapi_url is not None:
            openapi = OpenApiConfig(
                enabled=True,
                public=True,
                swagger_ui_path=docs_url,
                redoc_path=redoc_url,
                openapi_json_path=openapi_url,
            )
        # Nothing that FastAPI's clients would not expect; the document's words are made here.
        made = ServerConfig(
            compression=None,
            enable_request_id=False,
            error_format="detail",
            openapi=openapi,
            request_timeout=None,
            root_path=root_path.rstrip("/"),
            ws_allowed_origins=("*",),
            max_body_size=ServerConfig().max_body_size if max_body_size is None else max_body_size,
        )
        super().__init__(
            config if config is not None else made,
            lifespan=lifespan,
            title=title,
            version=version,
            debug=debug,
        )
        self.middleware: _Chain = _Chain(self)
        self._mount_names: dict[str, str] = {}
        self.summary = summary
        self.description = description
        self.openapi_url = openapi_url
        self.openapi_tags = openapi_tags
        self.openapi_version = "3.1.0"
        self.openapi_schema: dict[str, Any] | None = None
        self.openapi_external_docs = openapi_external_docs
        self.servers = list(servers or ())
        self.docs_url = docs_url
        self.redoc_url = redoc_url
        self.terms_of_service = terms_of_service
        self.contact = contact
        self.license_info = license_info
        self.root_path = root_path
        self.root_path_in_servers = root_path_in_servers
        self.redirect_slashes = redirect_slashes
        self.separate_input_output_schemas = separate_input_output_schemas
        self.webhooks = webhooks if webhooks is not None else APIRouter()
        self.dependencies = tuple(dependencies or ())
        self.responses = cast("dict[int, Any]", dict(responses or {}))
        self.callbacks = list(callbacks or ())
        self.deprecated = deprecated
        self.include_in_schema = include_in_schema
        self.defaults = {
            "response_class": default_response_class,
            "generate_unique_id_function": generate_unique_id_function,
        }
        self.events = []
        for hook in on_startup or ():
            self.add_event_handler("startup", hook)
        for hook in on_shutdown or ():
            self.add_event_handler("shutdown", hook)
        for key, handler in (exception_handlers or {}).items():
            self.add_exception_handler(key, handler)
        for each in reversed(middleware or ()):
            self.add_middleware(each.cls, *each.args, **each.kwargs)

    @property
    def dependency_overrides(self) -> Overrides:
        """Factory → what is called in its place; assigning a dict replaces them all."""
        return self._overrides

    @dependency_overrides.setter
    def dependency_overrides(self, overrides: dict[Any, Any]) -> None:
        if isinstance(overrides, Overrides):
            self._overrides = overrides
        else:
            self._overrides.clear()
            self._overrides.update(overrides)

    def mount(self, path: str, app: Any, name: str | None = None, **options: Any) -> None:
        """Serve an application, or a directory (`StaticFiles`), below a path."""
        if name is not None:
            self._mount_names[name] = path.rstrip("/")
        super().mount(path, app, **options)

    def url_path_for(self, name: str, /, **params: Any) -> str:
        """Return the path of a named route, or below a named mount: ``path="/styles.css"``."""
        prefix = self._mount_names.get(name)
        if prefix is not None and set(params) == {"path"}:
            return f"{prefix}/{quote(str(params['path']).lstrip('/'))}"
        return super().url_path_for(name, **params)

    @property
    def router(self) -> FastAPI:
        """The application itself: it is the router."""
        return self

    # Registration

    def _add_route(
        self,
        methods: Iterable[str],
        path: str,
        handler: Callable[..., Any],
        options: Any,
        protocol: Protocol = "http",
    ) -> None:
        super()._add_route(methods, path, handler, options, protocol)
        self._thaw()

    def _claim(self, *_: Any, **__: Any) -> None:
        """Let routes repeat each other: the first one answers."""

    def add_event_handler(self, event: str, hook: Callable[..., Any]) -> None:
        """Register a function for ``startup`` or ``shutdown``."""
        if event == "startup":
            self._startup.append(hook)
        elif event == "shutdown":
            self._shutdown.append(hook)
        else:
            super().add_event_handler(event, hook)

    def _include(self, router: Router) -> None:
        super()._include(router)
        self._thaw()
        for each in router.descendants():
            for event, hook in getattr(each, "events", ()):
                self.add_event_handler(event, hook)

    def add_exception_handler(self, key: Any, handler: Callable[..., Any]) -> None:
        """Register a handler for an exception class or a status."""
        self.exception_handler(key)(handler)

    # The frozen form

    def freeze(self) -> list[RouteSpec]:
        """Compile every route; see `Spikard.freeze`."""
        if self._frozen is None or self._routes is None:
            self._routes = None
            taken: set[tuple[str, str]] = set()
            frozen: list[RouteSpec] = []
            for route in self.routes:
                spec = self._compiled(route)
                spec.methods = _free(taken, route)
                if spec.methods:
                    frozen.append(spec)
            if self.redirect_slashes:
                frozen += self._redirects(taken)
            self._frozen = frozen
        return self._frozen

    def _redirects(self, taken: set[tuple[str, str]]) -> Iterable[RouteSpec]:
        for route in list(self.routes):
            other = route.path[:-1] if route.path.endswith("/") else f"{route.path}/"
            if not other or route.path.endswith(":path}") or route.route.protocol != "http":
                continue
            twin = BoundRoute(
                route_of(route.methods, other, _redirect, {"response_model": None}, "http"),
                other,
                (self,),
                (),
                (),
                {},
                False,
                route.path_names,
            )
            methods = _free(taken, twin)
            if methods:
                spec = super()._compiled(twin)
                spec.methods = methods
                yield spec

    def planner(self, bound: BoundRoute) -> FastAPIPlanner:
        """Return the planner of a route."""
        return FastAPIPlanner(
            bound.route.signature,
            bound.path_names,
            providers=self._providers(),
            replace=self._replaced(),
            state=self.state,
            dependencies=bound.dependencies,
            protocol=bound.route.protocol,
        )

    def extractor(self, plan: Plan) -> Any:
        """Return the slow pass of a plan."""
        return FastAPIExtractor(plan)

    def failures(self, chain: Sequence[Router] = (), result: Result | None = None) -> Any:
        """Return what makes responses of exceptions below these routers."""
        del chain  # FastAPI's routers have no handlers of their own
        return FastAPIFailures(
            [self.exception_handlers],
            self.hooks["on_error"],
            debug=self.debug,
            result=result,
            adopt=self._adopt,
        )

    _socket_failure = staticmethod(socket_failure)

    def _adopt(self, request: Any) -> Any:
        request = super()._adopt(request)
        kind: Any = request.__class__
        if kind is not Request and kind is not WebSocket:
            # The same object with FastAPI's attributes: what hooks changed stays.
            wanted: Any = WebSocket if isinstance(request, PlainWebSocket) else Request
            request.__class__ = wanted
        return request

    def _compiled(self, bound: BoundRoute) -> RouteSpec:
        if not isinstance(bound, APIRoute):
            return super()._compiled(bound)  # a page of the documentation
        result = bound.route.result = result_of(bound)
        spec = super()._compiled(bound)
        if result.is_whole and bound.route.protocol == "http":
            _respond_whole(spec, result.respond)
        plan = bound.plan
        if plan is not None and plan.steps and spec.args and bound.route.protocol == "http":
            self._guard(spec, self.extractor(plan))
        return spec

    def _guard(self, spec: RouteSpec, extractor: FastAPIExtractor) -> None:
        """Let dependencies refuse a request that does not fit before it is called unfit."""
        inner, awaits = spec.call, spec.is_async

        async def guarded(*args: Any) -> Any:
            if args and type(args[0]) is Refused:
                await extractor.guarded(args[0])
                raise args[0].error
            outcome = inner(*args)
            return await outcome if awaits else outcome

        spec.call, spec.is_async = guarded, True

    def _explain(self, plan: Plan, order: tuple[int | None, ...]) -> Any:
        extractor = self.extractor(plan)
        adopt = self._adopt

        def explain(request: Any, body: bytes | None, _refused: bool) -> Response | tuple[Any, ...]:
            request = adopt(request)
            try:
                values = extractor.values(request, body)
            except RefusedRequest as exc:
                if plan.steps:
                    return (exc.refused, *(None for _ in order[1:]))
                return refusal_of(exc.refused.error)
            except RequestValidationError as exc:
                return refusal_of(exc)
            except HTTPException as exc:
                return detail_of(exc)
            return tuple(request if index is None else values[index] for index in order)

        return explain

    # The document

    def document(self, config: ServerConfig) -> dict[str, Any]:
        """Return the document that a server shows; `openapi` may have been replaced."""
        del config
        return self.openapi()

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            from spikard.compat.fastapi.openapi.utils import get_openapi

            self.freeze()
            self.openapi_schema = get_openapi(
                title=self.title or "",
                version=self.version or "",
                openapi_version=self.openapi_version,
                summary=self.summary,
                description=self.description,
                terms_of_service=self.terms_of_service,
                contact=self.contact,
                license_info=self.license_info,
                routes=self.routes,
                webhooks=self.webhooks.routes,
                tags=self.openapi_tags,
                servers=self.servers,
                separate_input_output_schemas=self.separate_input_output_schemas,
                external_docs=self.openapi_external_docs,
            )
            for other in self.merged_documents:
                merge_document(self.openapi_schema, other)
        return self.openapi_schema

    def _thaw(self) -> None:
        super()._thaw()
        self.openapi_schema = None


class _Chain(list[Middleware]):
    """The middleware classes of an application; called, the decorator of a function around it."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self._app = app

    def __call__(self, kind: str) -> Callable[[F], F]:
        """Register a function ``(request, call_next)`` around every request."""
        from spikard.compat.fastapi.middleware.base import BaseHTTPMiddleware

        if kind != "http":
            raise ValueError(f"middleware: expected 'http', got {kind!r}")

        def register(function: F) -> F:
            self._app.add_middleware(BaseHTTPMiddleware, dispatch=function)
            return function

        return register


def _free(taken: set[tuple[str, str]], route: BoundRoute) -> tuple[str, ...]:
    """Return the methods that no earlier route answers at this path, and take them."""
    kind = "WEBSOCKET" if route.route.protocol == "websocket" else ""
    shape = shape_of(route.path)
    free = tuple(each for each in route.methods if (kind or each, shape) not in taken)
    taken.update((kind or each, shape) for each in free)
    return free


async def _redirect(request: Request) -> Response:
    url: Any = request.url
    path = url.path[:-1] if url.path.endswith("/") else f"{url.path}/"
    return RedirectResponse(url.replace(path=path))


def _respond_whole(spec: RouteSpec, respond: Callable[[Any], Response]) -> None:
    inner, awaits = spec.call, spec.is_async

    async def responding(*args: Any) -> Response:
        outcome = inner(*args)
        return respond(await outcome if awaits else outcome)

    def responding_inline(*args: Any) -> Response:
        return respond(inner(*args))

    spec.call = responding if awaits else responding_inline
