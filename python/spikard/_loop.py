"""Event loops whose selector is the server: asyncio on the reactor (`src/bridge/reactor.rs`)."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

from spikard._spikard import Reactor
from spikard._transport import ReactorEventLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Mapping


class ReactorSelector(selectors.BaseSelector):
    """A selector that serves requests while asyncio waits.

    asyncio's own descriptors stay with `inner`, any selector that has a descriptor itself.
    """

    def __init__(self, inner: selectors.BaseSelector | None = None) -> None:
        self.inner = inner or selectors.DefaultSelector()
        self.reactor: Reactor | None = None
        self.users = 0
        self.resources = contextlib.ExitStack()
        self._turn: Any = None

    def attach(self, reactor: Reactor) -> None:
        """Let `reactor` run inside `select` from now on."""
        reactor.watch_selector(self.inner.fileno())  # type: ignore[attr-defined]  # epoll and kqueue have it
        self.reactor = reactor
        self._turn = reactor.select
        _attached.add(self)

    def detach(self) -> None:
        """Be an ordinary selector again."""
        _attached.discard(self)
        self.reactor = self._turn = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve until one of asyncio's descriptors is ready, or the loop has something to run."""
        if self._turn is None:
            return self.inner.select(timeout)
        return self.inner.select(0) if self._turn(timeout) else []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.inner.get_map()

    def close(self) -> None:
        self.inner.close()


_attached: weakref.WeakSet[ReactorSelector] = weakref.WeakSet()


def is_any_reactor_running() -> bool:
    """Return whether a server runs in this process, which then cannot be forked."""
    return len(_attached) > 0


def can_host(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a reactor can run inside this loop's selector.

    A loop without one of its own (uvloop, Windows' proactor), or whose inside is not what asyncio's
    has been from 3.10 to 3.14, cannot.
    """
    selector = getattr(loop, "_selector", None)
    return (
        isinstance(selector, selectors.BaseSelector)
        and hasattr(getattr(selector, "inner", selector), "fileno")
        and hasattr(loop, "_ready")
        and isinstance(getattr(loop, "_scheduled", None), list)
    )


@contextlib.contextmanager
def reactor_on(loop: asyncio.AbstractEventLoop) -> Generator[Reactor, None, None]:
    """Run a reactor inside the selector of `loop` for as long as the context lasts.

    Call it on the loop's own thread, the loop running or not. Servers on one loop share its
    reactor, which ends with the last of them. Signals whose Python handlers were set with
    `signal.signal` (Ctrl-C among them) are seen while the reactor waits.

    Raises:
        RuntimeError: The loop cannot host a reactor (see `can_host`), or its thread has one
            already, for another loop.
    """
    if not can_host(loop):
        raise RuntimeError(f"expected an event loop with a selector, got {type(loop).__name__}")
    private: Any = loop
    current = private._selector  # noqa: SLF001  # there is no public way to change a selector
    selector = current if isinstance(current, ReactorSelector) else ReactorSelector(current)
    if selector.reactor is None:
        selector.resources = _host(loop, selector)
    selector.users += 1
    try:
        yield cast("Reactor", selector.reactor)
    finally:
        selector.users -= 1
        if not selector.users:
            selector.resources.close()


def _host(loop: asyncio.AbstractEventLoop, selector: ReactorSelector) -> contextlib.ExitStack:
    """Start a reactor in the selector of `loop`; closing the stack ends it."""
    private: Any = loop
    with contextlib.ExitStack() as stack:
        reactor = Reactor(loop)
        stack.callback(reactor.close)
        if isinstance(loop, ReactorEventLoop):
            stack.enter_context(loop.reading_through(reactor))
        selector.attach(reactor)
        stack.callback(selector.detach)
        stack.callback(setattr, private, "_selector", private._selector)  # noqa: SLF001
        private._selector = selector  # noqa: SLF001
        stack.enter_context(_signals_wake(loop))
        return stack.pop_all()


def is_shared(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether several contexts of `reactor_on` are open on this loop."""
    return getattr(getattr(loop, "_selector", None), "users", 0) > 1


def new_event_loop() -> asyncio.SelectorEventLoop:
    """Return an asyncio loop that can host a reactor."""
    return ReactorEventLoop(ReactorSelector())


@contextlib.contextmanager
def _signals_wake(loop: asyncio.AbstractEventLoop) -> Generator[None, None, None]:
    """Wake the loop when a signal comes: the runtime below swallows EINTR."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def drain() -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = reader.recv(4096)
            if previous >= 0:
                with contextlib.suppress(OSError):
                    os.write(previous, numbers)

    loop.add_reader(reader, drain)
    try:
        yield
    finally:
        current = signal.set_wakeup_fd(-1)
        # A handler that asyncio installed meanwhile has its own descriptor there.
        signal.set_wakeup_fd(previous if current == writer.fileno() else current)
        if not loop.is_closed():
            loop.remove_reader(reader)
        reader.close()
        writer.close()
