"""asyncio's loop and socket transport, whose reads and small writes are the reactor's.

What a handler awaits, a database or another server, mostly talks through one of these. The Rust
half is `src/bridge/transport.rs`; whatever is not the plain case there is asyncio's own code here,
which the classes inherit.
"""

# The base class is private, so nobody knows the types of what is inherited.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from asyncio import selector_events
from typing import TYPE_CHECKING, Any

from spikard._spikard import SocketIo

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from spikard._spikard import Reactor

_AsyncioTransport: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]  # noqa: SLF001  # its name from 3.4 to 3.14


class SocketTransport(_AsyncioTransport):  # type: ignore[misc]  # see above
    """asyncio's transport of a connected socket.

    `write` and `writelines` are those of its `SocketIo` until the connection is lost. It keeps
    small writes until the end of the turn; whatever has to come behind them flushes first.
    """

    io: SocketIo | None = None

    def __init__(
        self,
        loop: ReactorEventLoop,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> None:
        self.io = SocketIo(
            self, loop, sock.fileno(), _AsyncioTransport.write, _AsyncioTransport.writelines
        )
        super().__init__(loop, sock, protocol, waiter, extra, server)
        self.write = self.io.write
        self.writelines = self.io.writelines

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        super().set_protocol(protocol)
        if self._loop is not None:  # the connection is not lost yet
            self._loop.protocol_changed(self._sock_fd)

    def flush(self) -> None:
        """Write what is kept, as far as the socket takes it."""
        if self.io is not None:
            self.io.flush()

    def close(self) -> None:
        self.flush()
        super().close()

    def abort(self) -> None:
        self.flush()
        super().abort()

    def write_eof(self) -> None:
        self.flush()
        super().write_eof()

    def get_write_buffer_size(self) -> int:
        self.flush()
        size: int = super().get_write_buffer_size()
        return size

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        self.flush()
        waiter: asyncio.Future[None] = super()._make_empty_waiter()
        return waiter

    def _force_close(self, exc: BaseException | None) -> None:
        if self.io is not None:
            self.io.forget()
        super()._force_close(exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        # They refer to the transport, which would wait for the garbage collector.
        self.__dict__.pop("write", None)
        self.__dict__.pop("writelines", None)
        self.__dict__.pop("io", None)
        super()._call_connection_lost(exc)


class ReactorEventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose socket transports read through the reactor while there is one."""

    def __init__(self, selector: Any) -> None:
        self._reactor: Reactor | None = None
        self._reading: dict[int, tuple[SocketTransport, Callable[..., None]]] = {}
        super().__init__(selector)  # it adds a reader

    @contextlib.contextmanager
    def reading_through(self, reactor: Reactor) -> Generator[None, None, None]:
        """Let transports read through `reactor` for as long as the context lasts."""
        self._reactor = reactor
        try:
            yield
        finally:
            reactor.flush()
            self._reactor = None
            for descriptor in list(self._reading):
                self.protocol_changed(descriptor)

    def run_forever(self) -> None:
        """Run until `stop`, and write what transports keep."""
        try:
            super().run_forever()
        finally:
            if self._reactor is not None:
                self._reactor.flush()

    def protocol_changed(self, descriptor: int) -> None:
        """Read anew, if this descriptor is read: by other means, or for another protocol."""
        if descriptor in self._reading:
            _, callback = self._reading[descriptor]
            self._add_reader(descriptor, callback)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> SocketTransport:
        return SocketTransport(self, sock, protocol, waiter, extra, server)

    def _add_reader(self, fd: int, callback: Callable[..., None], *args: Any) -> Any:
        self._stop_reading(fd)
        transport = getattr(callback, "__self__", None)
        # asyncio's debug mode measures callbacks; a BufferedProtocol brings its own memory.
        if (
            self._reactor is not None
            and type(transport) is SocketTransport
            and transport.io is not None
            and isinstance(protocol := transport.get_protocol(), asyncio.Protocol)
            and not self.get_debug()
        ):
            context = contextvars.copy_context()
            with contextlib.suppress(OSError):  # a kind of descriptor that only asyncio can watch
                transport.io.start(self._reactor, context, protocol.data_received)
                super()._remove_reader(fd)  # type: ignore[misc]  # asyncio's own
                self._reading[fd] = (transport, callback)
                return None
        return super()._add_reader(fd, callback, *args)  # type: ignore[misc]  # asyncio's own

    def _remove_reader(self, fd: int) -> bool:
        return self._stop_reading(fd) or bool(super()._remove_reader(fd))  # type: ignore[misc]

    def _stop_reading(self, descriptor: int) -> bool:
        reading = self._reading.pop(descriptor, None)
        if reading is not None and (io := reading[0].io) is not None:
            io.stop()
        return reading is not None
