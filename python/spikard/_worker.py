"""A worker process: `python -m spikard._worker FD` reads its orders from a pipe and runs them.

It reports over another pipe, the channel: `READY` when it serves, `BEAT` from time to time from its
event loop, or `FAILED` and a text when it could not start.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikard import _logging
from spikard._importer import LoadError
from spikard_asgi.lifespan import LifespanFailed

if TYPE_CHECKING:
    from spikard._importer import Source
    from spikard.config import ServerConfig

READY, BEAT, FAILED = b"R", b"B", b"F"

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the parent tells a worker, pickled.

    Attributes:
        source: Where the worker finds the application.
        sockets: Descriptors of its listening sockets, inherited under the same numbers.
        channel: Descriptor of the pipe that it reports over.
        parent: Process id of the parent, to notice that it is gone already.
        target: `module:function` that serves until it is told to stop.
        counts: Descriptor of the memory in which the workers count requests together, if any.
        sys_path: The parent's `sys.path`.
        argv: The parent's `sys.argv`.
    """

    source: Source
    config: ServerConfig
    sockets: tuple[int, ...]
    channel: int
    parent: int
    target: str
    counts: int | None
    sys_path: tuple[str, ...]
    argv: tuple[str, ...]

    @property
    def counted(self) -> tuple[int, ...]:
        """The descriptor of the counts, if there is one."""
        return () if self.counts is None else (self.counts,)


class Channel:
    """The worker's end of the pipe to its parent."""

    def __init__(self, descriptor: int, heartbeat_timeout: float | None) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        # Three beats may be lost or late before the parent takes the loop for stuck.
        self._interval = min(heartbeat_timeout / 4, 5.0) if heartbeat_timeout else None

    def ready(self) -> None:
        """Tell the parent that this worker serves; on the event loop, which beats from now on."""
        self._send(READY)
        os.set_blocking(self._descriptor, False)
        self._beat()

    def failed(self, text: str) -> None:
        """Tell the parent why this worker cannot start."""
        os.set_blocking(self._descriptor, True)
        self._send(FAILED + text.encode(errors="backslashreplace"))

    def _beat(self) -> None:
        if self._interval is not None:
            self._send(BEAT)
            # From the loop, not from a thread: a loop that is stuck must fall silent.
            asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _send(self, message: bytes) -> None:
        # A full pipe means a parent that does not read, a broken one that it has gone: PDEATHSIG
        # ends this process then.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, message)


def main(descriptor: int) -> int:
    """Run the orders that the descriptor delivers and return the exit code."""
    with os.fdopen(descriptor, "rb") as pipe:
        orders: Orders = pickle.load(pipe)  # noqa: S301 - written by our own parent
    end_with_parent(orders.parent)
    sys.path[:] = orders.sys_path
    sys.argv[:] = orders.argv
    _logging.configure(orders.config)
    channel = Channel(orders.channel, orders.config.worker_heartbeat_timeout)
    is_ready = False

    def on_ready() -> None:
        nonlocal is_ready
        is_ready = True
        channel.ready()

    try:
        application = orders.source.load()
        sockets = [_inherit(number) for number in orders.sockets]
        module, _, name = orders.target.partition(":")
        target: Any = getattr(import_module(module), name)
        given = {} if orders.counts is None else {"counts": orders.counts}
        for number in orders.counted:
            os.set_inheritable(number, False)  # not for what the application starts
        served = target(
            lambda: application.app, orders.config, sockets, on_ready, is_supervised=True, **given
        )
        return int(served)
    except LoadError as error:
        channel.failed(f"{error.details}{error}")
    except LifespanFailed as error:
        cause = traceback.format_exception(error.__cause__) if error.__cause__ else []
        channel.failed(f"{''.join(cause)}{error}")
    except Exception:
        if is_ready:
            _logging.log.critical("the worker failed", exc_info=True)
        else:
            channel.failed(traceback.format_exc().rstrip())
    return 1


def _inherit(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # not for what the application starts
    return socket.socket(fileno=descriptor)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; Linux only, no-op elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
