"""The application: what was registered, and the frozen form that servers use.

Registration checks each declaration by itself. `Spikard.freeze`, at start-up or first use,
resolves what needs the whole (routers, dependencies, overrides) and compiles every route
into a `RouteSpec`; a later registration or override thaws it again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from spikard._codecs import Codec, codec, encode_json
from spikard._container import Container, Singletons
from spikard._detached import Detached
from spikard._endpoint import ArgSpec, BodySpec, RouteSpec, after_response, compile_endpoint
from spikard._extract import Extractor
from spikard._failures import Failures
from spikard._hooks import run_on_request, run_on_response, run_pre_handler, run_pre_validation
from spikard._life import Life
from spikard._merge import OtherDocument, other_document
from spikard._middleware import Middleware, make_middleware
from spikard._mounts import Mount, MountOptions, make_mount, mount_prefix, mounted_lifespans
from spikard._plan import Planner, refuse_cycles
from spikard._problems import problem_of
from spikard._result import encoder, event_type
from spikard._signature import MISSING
from spikard._socket_endpoint import conversation, socket_endpoint, socket_failure
from spikard.datastructures import Request, State
from spikard.di import Overrides, Provide
from spikard.events import EventStream, Replay
from spikard.exceptions import HTTPException, NotAvailableError, RegistrationError, RouteError
from spikard.middleware import is_policy
from spikard.responses import Response
from spikard.routing import (
    POLICY_OPTIONS,
    BoundRoute,
    Protocol,
    RouteOptions,
    Router,
    fill_template,
    make_route,
    shape_of,
)
from spikard.staticfiles import StaticFiles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import Unpack

    from spikard._door import Running
    from spikard._endpoint import Compiled
    from spikard._plan import Plan
    from spikard._result import Result
    from spikard._signature import Parameter
    from spikard.config import ServerConfig
    from spikard.middleware import PolicyMiddleware
    from spikard.routing import Route
    from spikard_asgi.application import Application

__all__ = ["Spikard"]

F = TypeVar("F", bound="Callable[..., Any]")


class Spikard(Router):
    """An application.

    Args:
        config: Of the server; `run` and `serve` may replace it.
        lifespan: An async context manager function ``lifespan(app)`` around the server's
            life; a mapping that it yields becomes part of `state`.
        title: For the documentation, as `version`.
        middleware: ASGI middleware classes, outermost first.
        debug: Show tracebacks to clients.
        handlers: Functions or modules with marks of the top-level decorators.

    Example:
        ```python
        app = Spikard()


        @app.get("/users/{id:int}")
        async def get_user(id: int) -> User: ...


        app.run()
        ```
    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        lifespan: Callable[[Spikard], Any] | None = None,
        title: str | None = None,
        version: str | None = None,
        middleware: Sequence[Any] = (),
        debug: bool = False,
        handlers: Iterable[Any] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.title = title
        self.version = version
        self.debug = debug
        self.state = State()
        self.dependency_overrides = Overrides(self._thaw)
        self.singletons = Singletons(self._providers)
        self.detached = Detached()
        self.mounts: list[Mount] = []
        self.directories: list[tuple[str, StaticFiles]] = []
        self.middleware: list[Middleware] = []
        self.policies: list[PolicyMiddleware] = []
        self.merged_documents: list[OtherDocument] = []
        self.lifespan_state: dict[str, Any] = {}
        self.grpc_services: dict[str, tuple[Any, dict[str, str]]] = {}
        self._lifespan_of_user = lifespan
        self._startup: list[Callable[..., Any]] = []
        self._shutdown: list[Callable[..., Any]] = []
        self._provided: dict[Any, Provide] = {}
        self._shapes: dict[tuple[str, str], tuple[str, str]] = {}
        self._routes: list[BoundRoute] | None = None
        self._frozen: list[RouteSpec] | None = None
        self._made: Running | None = None
        self._made_asgi: Application | None = None
        self._needs_lifespan: bool | None = None
        self._life = Life(self._lifespan)
        self._made_openapi: tuple[Any, dict[str, Any]] | None = None
        for each in reversed(middleware):
            self.add_middleware(each)
        self.register(*handlers)

    # Registration

    def _add_route(
        self,
        methods: Iterable[str],
        path: str,
        handler: Callable[..., Any],
        options: RouteOptions,
        protocol: Protocol = "http",
    ) -> None:
        route = make_route(methods, path, handler, options, protocol)
        self._claim(self._shapes, route, route.methods, path or "/")
        self._entries.append(route)
        self._thaw()

    def include_router(
        self,
        router: Router,
        *,
        prefix: str = "",
        tags: Sequence[str] = (),
        dependencies: Sequence[Any] = (),
    ) -> None:
        """Add a router's routes.

        Raises:
            RouteError: One of them is there already.
        """
        super().include_router(router, prefix=prefix, tags=tags, dependencies=dependencies)
        shapes: dict[tuple[str, str], tuple[str, str]] = {}
        try:
            for route in self.bound_routes():
                self._claim(shapes, route.route, route.methods, route.path)
        except RouteError:
            self._entries.pop()
            raise
        self._shapes = shapes
        self._thaw()

    def _claim(
        self,
        shapes: dict[tuple[str, str], tuple[str, str]],
        route: Route,
        methods: tuple[str, ...],
        path: str,
    ) -> None:
        """Note whose a path is; `shapes` maps a method and the path's shape to path and handler."""
        owner = route.signature.owner
        # A WebSocket and a GET may share a path: the handshake tells them apart.
        kind = "WEBSOCKET" if route.protocol == "websocket" else ""
        for method in methods:
            key = (kind or method, shape_of(path))
            taken = shapes.get(key)
            if taken is not None:
                other, its_owner = taken
                raise RouteError(
                    f"{owner}: route {key[0]} {path!r} conflicts with {other!r} of {its_owner}"
                )
            shapes[key] = path, owner

    def mount(self, path: str, app: Any, **options: Unpack[MountOptions]) -> None:
        """Serve an ASGI application below a path, for what no route takes there.

        It gets the whole `path` and a `root_path` that ends with the mount's; its lifespan runs
        inside this application's, and policies and hooks of this application stand around it.

        Args:
            path: A prefix, matched at whole segments.
            app: Any ASGI application, another `Spikard` too; a WSGI application in
                `spikard.wsgi(...)`.
            options: Policies, as of a route: see `MountOptions`.

        Raises:
            RouteError: The path has a mount already, or does not start with ``/``.
            RegistrationError: It is no ASGI application.
            RuntimeError: The application is running.

        Example:
            ```python
            app.mount("/old", fastapi_app)
            app.mount("/legacy", spikard.wsgi(flask_app))
            ```
        """
        self._require_not_running("mount")
        if not path:
            raise RouteError("mount '': must start with '/'; see app.fallback(...) for all paths")
        if isinstance(app, StaticFiles):
            self.directories.append((mount_prefix(path), app))
            self._thaw()
            return
        self.mounts.append(make_mount(path, app, options, self.mounts))
        self._thaw()

    def fallback(self, app: Any, **options: Unpack[MountOptions]) -> None:
        """Serve an ASGI application for every path that no route or mount takes.

        Where a route has the path but not the method, the answer stays 405.

        Args:
            app: See `mount`.
            options: See `mount`.

        Raises:
            RouteError: There is one already.
            RegistrationError: It is no ASGI application.
            RuntimeError: The application is running.
        """
        self._require_not_running("fallback")
        self.mounts.append(make_mount("/", app, options, self.mounts))
        self._thaw()

    def add_middleware(self, middleware: Any, *args: Any, **kwargs: Any) -> None:
        """Wrap the application in an ASGI middleware class; the last added is outermost.

        Any class of ``middleware(app, *args, **kwargs)`` will do, Starlette's and others' as they
        are. It stands around everything, policies and mounts too, and sees HTTP, WebSocket and
        lifespan. All requests then take one ASGI call instead of the native path. The classes of
        `spikard.middleware` become policies of the server instead, at no such cost.

        Args:
            middleware: The class.
            args: For the class, after the application.
            kwargs: For the class.

        Raises:
            RegistrationError: It cannot be called.
            RuntimeError: The application is running.

        Example:
            ```python
            app.add_middleware(SessionMiddleware, secret_key=key)
            ```
        """
        self._require_not_running("add_middleware")
        made = make_middleware(middleware, *args, **kwargs)
        if is_policy(made.factory):
            self.policies.append(made.factory(*made.args, **made.kwargs))
        else:
            self.middleware.insert(0, made)
        self._thaw()

    def _require_not_running(self, what: str) -> None:
        if self._life.is_running:
            raise RuntimeError(f"{what}: the application is running; call it before the start")

    def provide(self, key: type | str, dependency: Any) -> Spikard:
        """Register what parameters of a type, or of a name, receive.

        Args:
            key: The type or name.
            dependency: A `Provide`, a factory, or a ready value.
        """
        given: Any = key
        if not isinstance(given, type | str):
            raise TypeError(f"provide takes a type or a name as key, got {key!r}")
        self._provided[key] = Provide.of(dependency)
        self._thaw()
        return self

    def container(self) -> Container:
        """Return the dependencies for use outside requests: ``async with app.container()``."""
        return Container(self, self._providers)

    def on_startup(self, hook: F) -> F:
        """Register a function to run before the first request; it may take the app."""
        self._startup.append(hook)
        self._needs_lifespan = None
        return hook

    def on_shutdown(self, hook: F) -> F:
        """Register a function to run after the last request; it may take the app."""
        self._shutdown.append(hook)
        self._needs_lifespan = None
        return hook

    def add_grpc_service(
        self, service_name: str, handler: Any, *, methods: Mapping[str, str] | None = None
    ) -> Spikard:
        """Register a gRPC handler for a fully qualified service name.

        Args:
            service_name: ``package.Service``.
            handler: A ``GrpcHandler``.
            methods: Method → ``unary``, ``server_stream``, ``client_stream``, ``bidi_stream``;
                default: from the protobuf descriptors or the handler's overrides.
        """
        if service_name in self.grpc_services:
            raise RouteError(f"gRPC service {service_name!r} is registered already")
        self.grpc_services[service_name] = (handler, dict(methods or {}))
        self._thaw()
        return self

    def use_grpc(self, service: Any) -> Spikard:
        """Register every handler of a ``GrpcService``."""
        for name, (handler, methods) in service.services.items():
            self.add_grpc_service(name, handler, methods=methods)
        return self

    # The frozen form

    @property
    def routes(self) -> list[BoundRoute]:
        """Every route with its full path, in order of registration."""
        if self._routes is None:
            self._routes = list(self.bound_routes())
        return self._routes

    def url_path_for(self, name: str, /, **params: Any) -> str:
        """Return the path of a named route.

        Raises:
            RouteError: No route of that name takes exactly these parameters.
        """
        failure = RouteError(f"no route is named {name!r}")
        for route in self.routes:
            if route.name == name:
                try:
                    return fill_template(route.path, params)
                except RouteError as exc:
                    failure = exc
        raise failure

    def freeze(self) -> list[RouteSpec]:
        """Compile every route; the result is kept until something is registered.

        Raises:
            RegistrationError: A parameter can come from nowhere.
            DependencyError: A dependency is missing, circular (used or not) or of the wrong scope.
            RouteError: Two routes conflict.
        """
        # Routers may have grown after they were included: flatten anew.
        if self._frozen is None or self._routes is None:
            self._routes = None
            shapes: dict[tuple[str, str], tuple[str, str]] = {}
            for route in self.routes:
                self._claim(shapes, route.route, route.methods, route.path)
            refuse_cycles(self._providers())
            self._frozen = [self._compiled(route) for route in self.routes]
        return self._frozen

    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return a server's configuration with the policies that the application brings."""
        files = tuple(directory.config(prefix) for prefix, directory in self.directories)
        if files:
            config = config.copy(static_files=(*config.static_files, *files))
        for policy in self.policies:
            config = policy.configured(config)
        return config

    def documentation(self, config: ServerConfig) -> list[RouteSpec]:
        """Compile the routes of the OpenAPI document and its pages, if a server offers them."""
        if config.openapi is None or not config.openapi.enabled:
            return []
        from spikard._documentation import documentation_routes

        if self.merged_documents:
            self.document(config)  # a clash is an error now, and not when somebody looks
        return [self._compiled(route) for route in documentation_routes(self, config)]

    def _changed(self) -> None:
        self._thaw()

    def _thaw(self) -> None:
        self._frozen = None
        self._routes = None
        self._made = None
        self._made_asgi = None
        self._needs_lifespan = None
        self._made_openapi = None

    def _running(self) -> Running:
        """Return the application under its own configuration; made once per frozen state."""
        if self._frozen is None or self._made is None:
            from spikard._door import compiled
            from spikard.config import ServerConfig

            self._made = compiled(self, self.config or ServerConfig())
        return self._made

    def _asgi(self) -> Application:
        """Return the application as ASGI, middleware included; made once per frozen state."""
        if self._frozen is None or self._made_asgi is None:
            from spikard._door import asgi_application

            self._made_asgi = asgi_application(self._running())
        return self._made_asgi

    def _providers(self) -> dict[Any, Provide]:
        table = dict(self._provided)
        for key, value in self.dependency_overrides.items():
            table[key] = Provide.of(value)
        return table

    def _replaced(self) -> dict[Any, Provide]:
        return {
            key: Provide.of(value)
            for key, value in self.dependency_overrides.items()
            if callable(key)
        }

    def _adopt(self, request: Request) -> Request:
        return request.belonging_to(self)

    def failures(self, chain: Sequence[Router] = (), result: Result | None = None) -> Failures:
        """Return what makes responses of exceptions below these routers."""
        routers = [self, *(each for each in chain if each is not self)]
        return Failures(
            [each.exception_handlers for each in reversed(routers)],
            [hook for each in reversed(routers) for hook in each.hooks["on_error"]],
            debug=self.debug,
            result=result,
            adopt=self._adopt,
        )

    def planner(self, bound: BoundRoute) -> Planner:
        """Return the planner of a route."""
        return Planner(
            bound.route.signature,
            bound.path_names,
            providers=self._providers(),
            replace=self._replaced(),
            state=self.state,
            dependencies=bound.dependencies,
            protocol=bound.route.protocol,
        )

    def extractor(self, plan: Plan) -> Extractor:
        """Return the slow pass of a plan."""
        return Extractor(plan)

    _socket_failure = staticmethod(socket_failure)

    def _compiled(self, bound: BoundRoute) -> RouteSpec:
        route = bound.route
        plan = bound.plan = self.planner(bound).plan()
        result = route.result
        fail = self.failures(bound.chain, result)
        pre_handler = self._hooks(bound, "pre_handler")
        compiled = compile_endpoint(
            plan,
            in_thread=bound.options.get("sync_to_thread", True),
            respond=result.respond,
            fail=fail,
            singleton=self.singletons.cell,
            pre_handler=functools.partial(run_pre_handler, pre_handler) if pre_handler else None,
            stream=result.stream if route.protocol == "http" else _event_stream(bound),
            stream_takes_request=bound.options.get("replay") is not None,
        )
        if route.protocol == "websocket":
            return self._socket(bound, plan)
        spec = RouteSpec(
            methods=bound.methods,
            path=bound.path,
            name=bound.name,
            call=compiled.call,
            is_async=compiled.is_async,
            args=tuple(self._adopting(arg) for arg in compiled.args),
            body=_body_spec(plan),
            encode=result.encode,
            status_code=result.status_code,
            media_type=result.media_type,
            explain=self._explain(plan, compiled.order),
            fail=fail,
            options=_policy(bound),
            simple=compiled.simple,
            protocol=route.protocol,
            route=bound,
        )
        if self._needs_request(bound, plan, fail):
            self._through_request(spec, bound, plan, compiled.order)
        if spec.is_async and not bound.options.get("cancel_on_disconnect", True):
            spec.call = self.detached.running_on(spec.call)
        return spec

    def _socket(self, bound: BoundRoute, plan: Plan) -> RouteSpec:
        """Return the spec of a WebSocket route: its call takes the `WebSocket` alone."""
        route = bound.route
        if plan.body is not None:
            raise RegistrationError(f"{route.signature.owner}: a WebSocket route has no body")
        handler = route.handler
        message = next((each for each in plan.bindings if each.kind == "message"), None)
        if message is not None:
            parameter = message.parameter
            place = parameter.name if parameter.keyword else parameter.position
            decoder = _message_codec(bound, parameter)
            in_thread = bound.options.get("sync_to_thread", True)
            handler = conversation(handler, place, decoder, in_thread=in_thread)
        compiled = compile_endpoint(
            plan,
            in_thread=False,
            respond=_vessel,
            fail=self._socket_failure,
            singleton=self.singletons.cell,
            handler=handler,
        )
        fail = self.failures(bound.chain)
        return RouteSpec(
            methods=bound.methods,
            path=bound.path,
            name=bound.name,
            call=self._socket_call(bound, compiled, plan),
            is_async=True,
            args=(self._adopting(ArgSpec("request", "request")),),
            body=None,
            encode=route.result.encode,
            status_code=101,
            media_type=b"",
            explain=self._explain(plan, compiled.order),
            fail=fail,
            options=_policy(bound),
            simple=False,
            protocol="websocket",
            route=bound,
        )

    def _socket_call(self, bound: BoundRoute, compiled: Compiled, plan: Plan) -> Callable[..., Any]:
        call = socket_endpoint(
            compiled.call, self.extractor(plan), compiled.order, self._socket_failure
        )
        runs_on = not bound.options.get("cancel_on_disconnect", True)
        return self.detached.running_on(call) if runs_on else call

    def _hooks(self, bound: BoundRoute, name: str) -> list[Any]:
        return [hook for router in bound.chain for hook in router.hooks[name]]

    def _adopting(self, arg: ArgSpec) -> ArgSpec:
        if arg.source == "request" and arg.convert is None:
            arg.kind, arg.convert = "convert", self._adopt
        return arg

    def _explain(
        self, plan: Plan, order: tuple[int | None, ...]
    ) -> Callable[[Request, bytes | None, bool], Response | tuple[Any, ...]]:
        extractor = self.extractor(plan)
        adopt = self._adopt

        def explain(
            request: Request, body: bytes | None, refused: bool
        ) -> Response | tuple[Any, ...]:
            request = adopt(request)
            try:
                values = extractor.values(request, body, refused=refused)
            except HTTPException as exc:
                return problem_of(exc)
            return tuple(request if index is None else values[index] for index in order)

        return explain

    def _needs_request(self, bound: BoundRoute, plan: Plan, fail: Failures) -> bool:
        """Whether the endpoint must see the request before its values are extracted."""
        if _is_form(plan) or (plan.body is not None and plan.body.media_type is not None):
            return True
        if (plan.leaves or plan.body is not None) and fail.handles_refusals():
            return True
        if self._hooks(bound, "pre_validation"):
            return True
        own = bound.chain[1:]  # the application's hooks run around the endpoint
        return any(router.hooks["on_request"] or router.hooks["on_response"] for router in own)

    def _through_request(
        self, spec: RouteSpec, bound: BoundRoute, plan: Plan, order: tuple[int | None, ...]
    ) -> None:
        """Make the endpoint take the request alone and do everything else itself."""
        extractor = self.extractor(plan)
        inner, awaits = spec.call, spec.is_async
        own = bound.chain[1:]
        first = [hook for router in own for hook in router.hooks["on_request"]]
        validation = self._hooks(bound, "pre_validation")
        last = [hook for router in reversed(own) for hook in router.hooks["on_response"]]
        fail, respond = spec.fail, bound.route.result.respond

        async def endpoint(request: Request) -> Any:
            early = await run_on_request(first, request) if first else None
            if early is None and validation:
                early = await run_pre_validation(validation, request)
            if early is not None:
                return early
            values = await extractor.from_request(request)
            outcome = inner(*(request if index is None else values[index] for index in order))
            return await outcome if awaits else outcome

        async def with_form(request: Request) -> Any:
            try:
                response = respond(await endpoint(request))
            except BaseException:
                await request.close_form()
                raise
            return after_response(response, request.close_form)

        called = with_form if _is_form(plan) else endpoint

        async def with_responses(request: Request) -> Any:
            try:
                response = respond(await called(request))
            except Exception as exc:
                answer = fail(request, exc)
                response = await answer if inspect.isawaitable(answer) else answer
            return await run_on_response(last, request, response)

        spec.call = with_responses if last else called
        spec.is_async = True
        spec.args = (self._adopting(ArgSpec("request", "request")),)
        spec.body = None
        spec.simple = False

    # Life

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None, None]:
        """Run start-up, then shutdown; every door enters it once around its requests."""
        self.freeze()
        async with AsyncExitStack() as stack:
            if self._lifespan_of_user is not None:
                manager = _as_context_manager(self._lifespan_of_user)(self)
                values = await stack.enter_async_context(manager)
                if isinstance(values, Mapping):
                    self.lifespan_state = dict(cast("Mapping[str, Any]", values))
                    self.state.update(self.lifespan_state)
            await stack.enter_async_context(self.singletons.held())
            stack.push_async_callback(self.detached.finish)
            for hook in self._startup:
                await self._run_hook(hook)
            for hook in self._shutdown:
                stack.push_async_callback(self._run_hook, hook)
            await stack.enter_async_context(mounted_lifespans(self.mounts))
            yield

    def lifespan_context(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that runs start-up, then shutdown: for a host to enter.

        A parent that mounts this application does not pass its lifespan on; without this, start-up
        runs before the first request.

        Example:
            ```python
            @asynccontextmanager
            async def lifespan(parent: FastAPI):
                async with app.lifespan_context():
                    yield


            parent = FastAPI(lifespan=lifespan)
            parent.mount("/api", app)
            ```
        """
        return self._life.context()

    def _has_lifespan(self) -> bool:
        """Return whether start-up or shutdown have anything to do."""
        return bool(
            self._lifespan_of_user
            or self._startup
            or self._shutdown
            or self.mounts
            or any(provider.singleton for provider in self._providers().values())
        )

    async def _run_hook(self, hook: Callable[..., Any]) -> None:
        takes_app = len(inspect.signature(hook).parameters) > 0
        answer = hook(self) if takes_app else hook()
        if inspect.isawaitable(answer):
            await answer

    def run(self, *, config: ServerConfig | None = None, reload: bool = False) -> None:
        """Serve until a signal; blocks.

        Args:
            config: Replaces the application's as a whole.
            reload: Restart when source files change.
        """
        from spikard._run import run_app
        from spikard.config import ServerConfig

        if reload:
            raise NotAvailableError("reload is not available yet")
        run_app(self, config or self.config or ServerConfig())

    async def serve(self, *, config: ServerConfig | None = None) -> None:
        """Serve in the running event loop until cancelled or a signal.

        Args:
            config: Replaces the application's as a whole; one worker.
        """
        from spikard import _server

        await _server.serve(self, config if config is not None else self.config)

    def merge_openapi(self, document: Mapping[str, Any], prefix: str = "") -> None:
        """Make another OpenAPI document part of this application's: that of a mount.

        Its paths get the prefix; components and operation ids whose names are taken get new ones.

        Args:
            document: Of OpenAPI 3; it is copied.
            prefix: Where its application is mounted.

        Raises:
            ValueError: It is no document of OpenAPI 3, or the prefix no path. That both describe
                one method of one path is a `RouteError` of `openapi` and of the start.

        Example:
            ```python
            app.mount("/old", fastapi_app)
            app.merge_openapi(fastapi_app.openapi(), prefix="/old")
            ```
        """
        self.merged_documents.append(other_document(document, prefix))
        self._thaw()

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document, made once until something is registered."""
        from spikard import openapi

        self.freeze()
        if self._made_openapi is None or self._made_openapi[0] is not self.config:
            self._made_openapi = self.config, openapi.document(self)
        return self._made_openapi[1]

    def document(self, config: ServerConfig) -> dict[str, Any]:
        """Return the OpenAPI document that a server of this configuration shows."""
        from spikard import openapi

        return openapi.document(self, config)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection, under any ASGI server."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        if not self._life.is_running:
            if self._needs_lifespan is None:
                self._needs_lifespan = self._has_lifespan()
            if self._needs_lifespan:
                await self._life.begin()
        await self._asgi()(scope, receive, send)

    async def _run_lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            application = self._asgi()
        except Exception as error:
            # Raising alone would mean "no lifespan": the host would serve what cannot answer.
            from spikard._door import refuse_start

            await receive()
            await refuse_start(error, send)
            raise
        await application(scope, receive, send)


def _event_stream(bound: BoundRoute) -> EventStream:
    declared = event_type(bound.route.signature.returns)
    encode = encode_json if declared is MISSING else encoder(declared)
    size = bound.options.get("replay")
    replay = None if size is None else Replay(size)
    return EventStream(encode, replay, bound.options.get("status_code", 200))


def _is_form(plan: Plan) -> bool:
    return plan.body is not None and plan.body.media == "form"


def _policy(bound: BoundRoute) -> dict[str, Any]:
    given: dict[str, Any] = {**bound.options}
    return {name: given[name] for name in POLICY_OPTIONS if name in given}


def _message_codec(bound: BoundRoute, parameter: Parameter) -> Codec | None:
    annotation = parameter.annotation
    schema = bound.options.get("message_schema")
    if schema is not None:
        from spikard._schemas import JsonSchema

        annotation = Annotated[annotation, JsonSchema(schema)]
    elif annotation is Any:
        return None
    try:
        return codec(annotation)
    except TypeError as exc:
        raise parameter.wrong(str(exc)) from exc


def _vessel(_: Any) -> Response:
    return Response()


def _body_spec(plan: Plan) -> BodySpec | None:
    body = plan.body
    if body is None:
        return None
    if body.media == "raw":
        return BodySpec("raw", body.required)
    return BodySpec("json", body.required)


def _as_context_manager(lifespan: Callable[..., Any]) -> Callable[..., Any]:
    return asynccontextmanager(lifespan) if inspect.isasyncgenfunction(lifespan) else lifespan
