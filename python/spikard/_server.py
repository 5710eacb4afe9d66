"""One worker's server: an application, its lifespan, its sockets, on one event loop.

The doors into it: `run_worker` owns the thread and its loop (the command line, `app.run()`, every
worker process), `serve` runs inside somebody else's loop (`await app.serve()`), and
`spikard.testing.serve_in_thread` runs it in a thread of the calling process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from spikard import _spikard
from spikard._listen import bind
from spikard._logging import access_sink
from spikard._loop import can_host, is_shared, new_event_loop, reactor_on
from spikard._spikard import AsgiServer, NativeServer
from spikard.config import ServerConfig
from spikard_asgi.application import as_coroutine, log_failure, single_callable
from spikard_asgi.lifespan import Lifespan

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from spikard._spikard import Core, Reactor
    from spikard_asgi.application import Application

logger = logging.getLogger("spikard.error")

LAST_WAIT_SECONDS = 5
"""How long tasks that were cancelled at the end may take for it."""

Result = TypeVar("Result")


class Server:
    """An application behind listening sockets, in the loop that `reactor` runs in.

    Args:
        application: A `Spikard` object or any ASGI application.
        config: Limits, timers, root path.
        sockets: Listening sockets; the caller keeps and closes them.
        reactor: The reactor of the running loop.
        counts: Descriptor of the memory in which workers count requests together.
    """

    def __init__(
        self,
        application: Any,
        config: ServerConfig,
        sockets: Sequence[socket.socket],
        reactor: Reactor,
        counts: int | None = None,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._reactor = reactor
        self._native: Core | None
        if is_spikard(application):
            from spikard._door import asgi_application, compiled

            running = compiled(application, config, counts)
            # For the lifespan; with middleware, which stands around everything, for all.
            self._application = asgi_application(running)
            self._native = None if application.middleware else running.core
        else:
            self._application = single_callable(application)
            self._native = _policies_around(self._application, config, counts)
        self._lifespan = Lifespan(self._application, mode=config.lifespan)
        self._server: AsgiServer | NativeServer | None = None

    async def start(self) -> None:
        """Run the application's start-up, then accept connections.

        Raises:
            LifespanFailed: The application refused to start.
        """
        await self._lifespan.startup()
        self._server = self._made()
        for listener in self._sockets:
            self._server.listen(self._reactor, listener.fileno())

    def _made(self) -> AsgiServer | NativeServer:
        config = self._config.to_json()
        state = self._lifespan.state
        access = access_sink(self._config)
        if self._native is not None:
            return NativeServer(self._native, config=config, state=state, access_log=access)
        return AsgiServer(
            self._application,
            as_coroutine=as_coroutine,
            log=log_failure,
            config=config,
            state=state,
            access_log=access,
        )

    async def stop(self) -> None:
        """Stop accepting, let requests in flight finish, then run the application's shutdown.

        Raises:
            LifespanFailed: The application's shutdown failed.
        """
        if self._server is not None:
            grace = self._config.shutdown_timeout if self._config.graceful_shutdown else 0.0
            cut = await self._server.stop(self._reactor, grace)
            if cut:
                logger.warning("cut %d connections that were still at work", cut)
            self._server = None
        try:
            await asyncio.wait_for(self._lifespan.shutdown(), self._config.shutdown_timeout or None)
        except asyncio.TimeoutError:
            logger.error(  # noqa: TRY400  # the traceback would be ours
                "the application's shutdown took longer than %g seconds",
                self._config.shutdown_timeout,
            )
            await self._lifespan.abandon()

    def reload_tls(self) -> None:
        """Take certificates anew for new connections; a broken one leaves the old in use."""
        try:
            if self._server is not None:
                self._server.reload_tls()
        except (OSError, ValueError) as error:
            logger.error("certificates not reloaded: %s", error)  # noqa: TRY400
        else:
            logger.info("certificates reloaded")

    def stop_now(self) -> None:
        """Cut all connections."""
        if self._server is not None:
            self._server.stop_now(self._reactor)

    async def abandon(self) -> None:
        """End a start-up that was cut short: nobody is left who could shut down."""
        await self._lifespan.abandon()


def _callable_for(application: Any, config: ServerConfig) -> Application:
    """Return the ASGI callable of an application, a `Spikard` one under this configuration."""
    if not is_spikard(application):
        return single_callable(application)
    from spikard._door import asgi_application, compiled

    return asgi_application(compiled(application, config))


def is_spikard(application: Any) -> bool:
    """Return whether it is a `Spikard` object; the framework is not imported to find out."""
    module = sys.modules.get("spikard.app")
    return module is not None and isinstance(application, module.Spikard)


def _policies_around(
    application: Application, config: ServerConfig, counts: int | None
) -> Core | None:
    """Compile the policies around an application of others, if the configuration has any."""
    if not config.has_policies():
        return None
    core = _spikard.Core(config.to_json(), counts=counts)
    core.add_mount("", application, foreign=True)
    return core


def warn_at_start(application: Any, config: ServerConfig) -> None:
    """Check the files that the configuration names, and log what is dangerous about the start.

    Raises:
        ValueError: A file or directory is missing; names field and path.
    """
    for warning in [*config.check_files(), *risks(application, config)]:
        logger.warning("%s", warning)


def risks(application: Any, config: ServerConfig) -> list[str]:
    """Return what other machines could see that only its developer should, a sentence each."""
    if config.uds is not None or config.host in ("127.0.0.1", "::1", "localhost"):
        return []
    found: list[str] = []
    if getattr(application, "debug", False) is True:
        found.append(f"debug is on and {config.host} is not loopback: errors show source code")
    openapi = config.openapi
    if openapi is not None and openapi.enabled and not (config.jwt_auth or config.api_key_auth):
        found.append(f"the API's documentation is open to everyone who reaches {config.host}")
    return found


async def serve(
    application: Any,
    config: ServerConfig | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve inside the running loop until cancelled, SIGTERM or Ctrl-C; then stop gracefully.

    A loop without a selector of its own (uvloop) gets its server in a thread; the application's
    coroutines run on the loop all the same.

    Signals are looked at on the main thread only, and where the program has no handler of its own:
    SIGTERM ends the server, Ctrl-C interrupts the program after the graceful stop. The handler that
    `asyncio.run` has for Ctrl-C (3.11 and later) cancels the main task, which comes to the same.

    Args:
        application: A `Spikard` object or any ASGI application.
        config: Of the server; `SPIKARD_…` variables go over it. See also
            `ServerConfig.for_foreign_app`.
        on_ready: Called with the URL when connections are accepted.

    Raises:
        ValueError: The configuration asks for several workers, which are processes, or names a
            file that is not there.
        ListenError: It cannot listen where it should.
        LifespanFailed: The application refused to start, or failed to shut down.
        KeyboardInterrupt: After the graceful stop that Ctrl-C began.
    """
    base = config or ServerConfig()
    if not is_spikard(application):
        base = base.for_foreign_app()
    config = ServerConfig.from_env(base=base)
    if config.workers != 1:
        raise ValueError(
            f"workers: expected 1 inside a running loop, got {config.workers}; "
            "use app.run() or the spikard command for more"
        )
    warn_at_start(application, config)
    loop = asyncio.get_running_loop()
    listeners = bind(config)
    sockets = listeners.per_worker[0]

    def announce() -> None:
        logger.info("serving on %s", listeners.url)
        if on_ready is not None:
            on_ready(listeners.url)

    try:
        with contextlib.closing(StopSignals(loop)) as stop:
            if can_host(loop):
                with reactor_on(loop) as reactor:
                    server = Server(application, config, sockets, reactor)
                    try:
                        await serve_until(server, stop.wait, announce)
                    finally:
                        if not is_shared(loop):
                            await _end_handlers(reactor)
            else:
                from spikard._thread import serve_beside

                called = _callable_for(application, config)
                if is_spikard(application):  # its policies stand where it runs, on this loop
                    config = config.without_policies()
                await serve_beside(loop, called, config, sockets, stop.wait, announce)
        if stop.is_interrupted:
            raise KeyboardInterrupt
    finally:
        listeners.close()


async def serve_until(
    server: Server, stop: Callable[[], Awaitable[object]], on_ready: Callable[[], None]
) -> None:
    """Start, serve until `stop` returns or this is cancelled, and stop.

    Raises:
        LifespanFailed: The application refused to start, or failed to shut down.
    """
    try:
        await server.start()
    except asyncio.CancelledError:
        await server.abandon()
        raise
    try:
        on_ready()
        await stop()
    finally:
        await server.stop()


async def _end_handlers(reactor: Reactor) -> None:
    """Cancel handlers that outlived their connections, and wait for them."""
    tasks = reactor.tasks()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WAIT_SECONDS)


class StopSignals:
    """SIGTERM and Ctrl-C for a server inside a program that does not handle them itself.

    From when it is made until `close`; the second signal cancels the task that made it.

    Attributes:
        is_interrupted: Whether Ctrl-C came.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_interrupted = False
        self._loop = loop
        self._task = asyncio.current_task()
        self._stop = asyncio.Event()
        self._taken: list[signal.Signals] = []
        if threading.current_thread() is threading.main_thread():
            self._take()

    async def wait(self) -> None:
        """Wait for the first signal."""
        await self._stop.wait()

    def close(self) -> None:
        """Give the signals back."""
        for number in self._taken:
            self._loop.remove_signal_handler(number)

    def _take(self) -> None:
        for number, default in (
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            if signal.getsignal(number) is default:
                with contextlib.suppress(NotImplementedError):  # Windows
                    self._loop.add_signal_handler(number, self._on_signal, number)
                    self._taken.append(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGINT:
            self.is_interrupted = True
        if self._stop.is_set() and self._task is not None:
            self._task.cancel()
        self._stop.set()


def run_worker(
    load: Callable[[], Any],
    config: ServerConfig,
    sockets: Sequence[socket.socket],
    on_ready: Callable[[], None] | None = None,
    *,
    is_supervised: bool = False,
    counts: int | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, on this thread, which must be the main one.

    SIGQUIT stops at once, as a second signal does.

    Args:
        load: Returns the application; called once the loop exists.
        config: See `Server`.
        sockets: See `Server`.
        on_ready: Called when connections are accepted.
        is_supervised: Whether a parent decides when the grace is over. A service manager signals
            parent and workers alike, so a worker gets two signals for one stop.
        counts: See `Server`.

    Returns:
        The exit code: 0 after a graceful stop, 1 when a second signal cut it short.

    Raises:
        LifespanFailed: The application refused to start, or failed to shut down.
    """
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with reactor_on(loop) as reactor:
            main = loop.create_task(
                _serve_until_signal(
                    lambda: Server(load(), config, sockets, reactor, counts),
                    on_ready,
                    is_supervised=is_supervised,
                ),
                name="spikard server",
            )
            return run_to_end(loop, main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def run_to_end(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Result]) -> Result:
    """Run the loop until `main` has ended, end what else runs on it, and return its result.

    asyncio lets SystemExit and KeyboardInterrupt out of any task. Raised by a handler they end its
    request, not the server; the task that they came from has been told already.
    """
    try:
        while True:
            try:
                return loop.run_until_complete(main)
            except (KeyboardInterrupt, SystemExit) as error:  # noqa: PERF203  # it seldom loops
                if main.done():
                    raise
                logger.error("a task raised %s; serving on", type(error).__name__)  # noqa: TRY400
    finally:
        if main.done():
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())


async def _serve_until_signal(
    make: Callable[[], Server],
    on_ready: Callable[[], None] | None,
    *,
    is_supervised: bool,
) -> int:
    loop = asyncio.get_running_loop()
    server = make()
    starting = loop.create_task(server.start(), name="spikard start-up")
    stop = asyncio.Event()
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            stop.set()
            if not is_supervised:
                logger.info("stopping")
        elif not is_supervised:
            server.stop_now()
            starting.cancel()

    def on_quit() -> None:
        on_signal()
        on_signal()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if not is_supervised:  # from a terminal it reaches the workers too
        loop.add_signal_handler(signal.SIGQUIT, on_quit)
    loop.add_signal_handler(signal.SIGHUP, server.reload_tls)
    try:
        await starting
        if on_ready is not None:
            on_ready()
        await stop.wait()
    except asyncio.CancelledError:
        if not starting.cancelled():
            raise
    finally:
        # A start-up that a second signal cut short has nobody left who could shut down.
        if not starting.cancelled():
            await server.stop()
    return 0 if signals < 2 or is_supervised else 1


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_WAIT_SECONDS))
