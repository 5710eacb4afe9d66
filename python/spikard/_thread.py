"""A server on a thread of its own, and the bridge to an application on another thread's loop.

`spikard.testing.serve_in_thread` runs an application wholly on such a thread. `serve_beside` is for
loops that cannot host a reactor (uvloop): the server's thread calls a `Relay`, whose application
runs on the loop. Both directions go through a `Mailbox`, which wakes the other thread once for
everything that came together.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from spikard._loop import new_event_loop, reactor_on
from spikard._server import LAST_WAIT_SECONDS, Server, run_to_end, serve_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from spikard._spikard import Reactor
    from spikard.config import ServerConfig
    from spikard_asgi.application import Application, Receive, Scope, Send

ORPHAN_CHECK_SECONDS = 0.5
"""How often a server's thread looks whether the program has ended without stopping it."""


class ServerThread:
    """A server and its loop on a new thread, which ends with `stop`, or with the main thread.

    Args:
        application: See `spikard._server.Server`, as the other two.
        config: Limits, timers, root path.
        sockets: Listening sockets.

    Attributes:
        ready: Done when connections are accepted, or with what went wrong before.
        ended: Done when the thread has nothing more to do, or with what went wrong.
    """

    def __init__(
        self, application: Any, config: ServerConfig, sockets: Sequence[socket.socket]
    ) -> None:
        self.ready: Future[None] = Future()
        self.ended: Future[None] = Future()
        self._application = application
        self._config = config
        self._sockets = sockets
        self._loop = new_event_loop()
        self._stop = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        # Not a daemon: those are torn off in the middle of native code when the program ends.
        self._thread = threading.Thread(target=self._run, name="spikard server")

    def start(self) -> None:
        """Start the thread; see `ready`."""
        self._thread.start()

    def stop(self) -> None:
        """Begin the graceful stop, or end a start-up; the second call cuts the stop short.

        Returns at once; see `ended`. From any thread.
        """
        with contextlib.suppress(RuntimeError):  # the loop has been closed: it is over
            self._loop.call_soon_threadsafe(self._on_stop)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _on_stop(self) -> None:
        if self._main is not None and (self._stop.is_set() or not self.ready.done()):
            self._main.cancel()
        self._stop.set()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # the other thread is told
            # It must not be the one that drops the server, which the frames hold.
            chained: BaseException | None = error
            while chained is not None:
                traceback.clear_frames(chained.__traceback__)
                chained = chained.__cause__ or chained.__context__
            if not self.ready.done():
                self.ready.set_exception(error)
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _serve(self) -> None:
        try:
            with reactor_on(self._loop) as reactor:
                serving = self._serving(reactor)
                # Whoever keeps an exception of the application keeps this frame, and a reactor
                # must not be dropped on another thread.
                del reactor
                self._main = self._loop.create_task(serving, name="spikard server")
                del serving
                run_to_end(self._loop, self._main)
        finally:
            self._main = None
            self._loop.close()

    async def _serving(self, reactor: Reactor) -> None:
        server = Server(self._application, self._config, self._sockets, reactor)
        await serve_until(server, self._stopped, partial(self.ready.set_result, None))

    async def _stopped(self) -> None:
        waiting = asyncio.ensure_future(self._stop.wait())
        while threading.main_thread().is_alive():
            await asyncio.wait([waiting], timeout=ORPHAN_CHECK_SECONDS)
            if waiting.done():
                return
        waiting.cancel()


async def serve_beside(
    loop: asyncio.AbstractEventLoop,
    application: Application,
    config: ServerConfig,
    sockets: Sequence[socket.socket],
    stop: Callable[[], Awaitable[object]],
    on_ready: Callable[[], None],
) -> None:
    """Serve an application of the running loop from a thread until `stop` returns.

    Raises:
        LifespanFailed: The application refused to start, or failed to shut down.
    """
    relay = Relay(application, loop)
    thread = ServerThread(relay, config, sockets)
    thread.start()
    try:
        await asyncio.shield(asyncio.wrap_future(thread.ready))
        on_ready()
        await stop()
    finally:
        thread.stop()
        try:
            await asyncio.shield(asyncio.wrap_future(thread.ended))
        except asyncio.CancelledError:
            thread.stop()
            if not thread.ended.done():
                raise
        finally:
            await relay.close()


class Mailbox:
    """Calls for a loop of another thread: one wake for all that come before it looks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop call `call`, which must not raise; from any thread.

        A loop that has been closed calls nothing any more.
        """
        self._calls.append(call)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First: what is posted from now on wakes again, or is delivered already below.
        self._is_woken = False
        for _ in range(len(self._calls)):
            self._calls.popleft()()


class Relay:
    """An ASGI application for a server's thread whose coroutines run on another loop.

    Args:
        application: Called on `loop`.
        loop: The application's.
    """

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.application = application
        self.loop = loop
        self.to_application = Mailbox(loop)
        self.tasks: set[asyncio.Task[None]] = set()
        self._to_server: Mailbox | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; on the server's loop."""
        if self._to_server is None:
            self._to_server = Mailbox(asyncio.get_running_loop())
        call = _Call(self, self._to_server, scope, receive, send)
        self.to_application.post(call.begin)
        try:
            await call.ended
        except asyncio.CancelledError:
            self.to_application.post(call.cancel)
            raise

    async def close(self) -> None:
        """Cancel what still runs and wait for it; on the application's loop."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=LAST_WAIT_SECONDS)


class _Call:
    """One call of the application: made on the server's loop, run on the application's.

    Methods say in their first word whose loop they run on.
    """

    def __init__(
        self, relay: Relay, to_server: Mailbox, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._relay = relay
        self._to_server = to_server
        self._scope = scope
        self._server_receive = receive
        self._server_send = send
        self._server_tasks: set[asyncio.Task[Any]] = set()
        self._task: asyncio.Task[None] | None = None
        self._receiving = asyncio.Lock()
        self._event: asyncio.Future[Any] | None = None

    def begin(self) -> None:
        """Application: start its coroutine."""
        self._task = self._relay.loop.create_task(self._run())
        self._relay.tasks.add(self._task)
        self._task.add_done_callback(self._on_end)

    def cancel(self) -> None:
        """Application: the server does not want it any more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Application: the whole of it."""
        await self._relay.application(self._scope, self._receive, self._send)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Application: it has returned or raised."""
        self._relay.tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._to_server.post(partial(_settle, self.ended, None, error))

    async def _receive(self) -> Any:
        """Application: `receive`. Cancelling it loses no event: the next call gets it."""
        async with self._receiving:
            if self._event is None:
                self._event = self._asked(self._server_receive)
            event = await asyncio.shield(self._event)
            self._event = None
            return event

    async def _send(self, event: Any) -> None:
        """Application: `send`."""
        await self._asked(partial(self._server_send, event))

    def _asked(self, ask: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any]:
        """Application: have the server await something."""
        answer: asyncio.Future[Any] = self._relay.loop.create_future()
        self._to_server.post(partial(self._answer, ask, answer))
        return answer

    def _answer(self, ask: Callable[[], Awaitable[Any]], answer: asyncio.Future[Any]) -> None:
        """Server: await it and send back what comes."""
        task = asyncio.get_running_loop().create_task(_awaited(ask))
        self._server_tasks.add(task)
        task.add_done_callback(partial(self._on_answer, answer))

    def _on_answer(self, answer: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        """Server: it is there."""
        self._server_tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        value = None if error is not None else task.result()
        self._relay.to_application.post(partial(_settle, answer, value, error))


async def _awaited(ask: Callable[[], Awaitable[Any]]) -> Any:
    return await ask()


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, asyncio.CancelledError):
        future.cancel()
    elif isinstance(error, StopIteration):  # futures refuse it
        future.set_exception(RuntimeError("the application raised StopIteration"))
    else:
        future.set_exception(error)
