"""The parent of several workers: starts them, replaces those that die, stops them all.

How it works. One thread waits on the workers' channels and on a pipe that signals write to; every
decision is taken between two waits, so there is nothing to lock. A worker is Starting until its
channel says READY, then Serving; when it ends, its slot is Vacant until the time of its
replacement, which inherits the same sockets. Workers are started by a new interpreter from this
(the main) thread, because PDEATHSIG follows the thread that started them, and in a session of
their own, so that Ctrl-C reaches them only through us and once.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, cast

from spikard._logging import log
from spikard._worker import BEAT, FAILED, READY, Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from spikard._importer import Source
    from spikard.config import ServerConfig

FIRST_DELAY = 0.1
"""Seconds until a worker is replaced; doubled for each replacement in a row that cannot start."""

LONGEST_DELAY = 30.0
"""Seconds above which that delay does not grow."""

CANCEL_GRACE = 5.0
"""Seconds after the shutdown timeout in which a worker may cancel what still runs."""

DEFAULT_TARGET = "spikard._server:run_worker"


class State(Enum):
    """What the process of a slot does."""

    STARTING = "starting"
    SERVING = "serving"
    VACANT = "vacant"


@dataclass(kw_only=True)
class Slot:
    """A place for one worker: its sockets stay, its processes come and go."""

    number: int
    sockets: Sequence[socket.socket]
    state: State = State.VACANT
    process: subprocess.Popen[bytes] | None = None
    channel: int | None = None
    failure: bytearray = field(default_factory=bytearray)
    failed_starts: int = 0
    start_at: float = 0.0
    heard_at: float = 0.0
    has_served: bool = False

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.process.pid if self.process else None})"


class Supervisor:
    """Runs the workers until a signal stops them.

    Args:
        source: Where each worker finds the application.
        config: Its `workers`, `shutdown_timeout` and `worker_heartbeat_timeout` count here.
        sockets: The listening sockets of each worker.
        on_ready: Called once, when all workers of the first generation serve.
        target: What a worker runs, as `module:function`.
        counts: Descriptor of the memory in which the workers count requests together.
    """

    def __init__(
        self,
        source: Source,
        config: ServerConfig,
        sockets: Sequence[Sequence[socket.socket]],
        on_ready: Callable[[], None],
        *,
        target: str = DEFAULT_TARGET,
        counts: int | None = None,
    ) -> None:
        self._source = source
        self._config = config
        self._target = target
        self._counts = counts
        self._on_ready = on_ready
        self._slots = [Slot(number=n, sockets=owned) for n, owned in enumerate(sockets, 1)]
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._is_announced = False
        self._exit_code: int | None = None
        self._kill_at = float("inf")

    def run(self) -> int:
        """Serve until a signal, and return the exit code: 0, or 1 after a second one.

        Also 1 if a worker of the first generation cannot start. Must run on the main thread.
        """
        with ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._kill)
            stack.enter_context(_signals(self._selector, self._signals.append))
            for slot in self._slots:
                if self._exit_code is None:
                    self._start(slot)
            while self._exit_code is None or any(slot.process for slot in self._slots):
                self._wait()
                self._reap()
                self._obey_signals()
                self._watch(time.monotonic())
            return self._exit_code

    def _start(self, slot: Slot) -> None:
        slot.failure.clear()
        try:
            reader, writer = os.pipe()
        except OSError as error:
            self._replace(slot, f"has no pipe: {error}")
            return
        orders = Orders(
            source=self._source,
            config=self._config,
            sockets=tuple(item.fileno() for item in slot.sockets),
            channel=writer,
            parent=os.getpid(),
            target=self._target,
            counts=self._counts,
            sys_path=tuple(sys.path),
            argv=tuple(sys.argv),
        )
        try:
            slot.process = _spawn(orders)
        except OSError as error:  # out of processes, descriptors or memory
            os.close(reader)
            self._replace(slot, f"was not created: {error}")
            return
        finally:
            os.close(writer)
        os.set_blocking(reader, False)
        self._selector.register(reader, selectors.EVENT_READ, slot)
        slot.channel = reader
        slot.state = State.STARTING

    def _wait(self) -> None:
        now = time.monotonic()
        deadlines = [self._kill_at, *(self._deadline(slot) for slot in self._slots)]
        timeout = min(deadlines) - now
        ready = self._selector.select(None if timeout == float("inf") else max(timeout, 0))
        for key, _ in ready:
            if isinstance(key.data, Slot):
                self._hear(key.data)
            else:
                key.data.recv(4096)

    def _deadline(self, slot: Slot) -> float:
        if slot.state is State.VACANT and self._exit_code is None:
            return slot.start_at
        timeout = self._config.worker_heartbeat_timeout
        if slot.state is State.SERVING and timeout is not None:
            return slot.heard_at + timeout
        return float("inf")

    def _hear(self, slot: Slot) -> None:
        """Read what a worker reports; the end of its channel is the business of `_reap`."""
        if slot.channel is None:
            return
        try:
            data = os.read(slot.channel, 65_536)
        except BlockingIOError:
            return
        if not data:
            self._hang_up(slot)
            return
        slot.heard_at = time.monotonic()
        if slot.failure or data.startswith(FAILED):
            slot.failure += data
        elif READY in data and slot.state is State.STARTING:
            slot.state = State.SERVING
            slot.has_served = True
            slot.failed_starts = 0
            if not self._is_announced and all(one.has_served for one in self._slots):
                self._is_announced = True
                self._on_ready()
        else:
            assert not data.strip(BEAT + READY), data  # noqa: S101 - the protocol's only words

    def _hang_up(self, slot: Slot) -> None:
        if slot.channel is not None:
            self._selector.unregister(slot.channel)
            os.close(slot.channel)
            slot.channel = None

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.process is None or slot.process.poll() is None:
                continue
            self._hear(slot)  # the reason may have come after the last wait
            self._hang_up(slot)
            if self._exit_code is None:
                self._replace(slot, how_it_ended(slot.process.returncode))
            slot.process = None
            slot.state = State.VACANT

    def _replace(self, slot: Slot, how: str) -> None:
        reason = slot.failure[1:].decode(errors="replace")
        reason = f"\n{reason}" if reason else ""
        if slot.state is State.SERVING:
            delay = FIRST_DELAY
            log.error("%s %s, replacing it", slot, how)
        elif not slot.has_served:
            log.critical("%s could not start: it %s%s", slot, how, reason)
            self._stop(1)
            return
        else:
            delay = min(FIRST_DELAY * 2**slot.failed_starts, LONGEST_DELAY)
            slot.failed_starts = min(slot.failed_starts + 1, 20)
            log.error("%s could not start: it %s, trying again in %g s%s", slot, how, delay, reason)
        slot.start_at = time.monotonic() + delay

    def _obey_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGHUP:
                for slot in self._slots:
                    if slot.process is not None:
                        slot.process.send_signal(number)
                continue
            if number == signal.SIGCHLD:
                continue
            if self._exit_code is None and number != signal.SIGQUIT:
                log.info("stopping the workers")
                self._stop(0)
            else:
                self._exit_code = 1
                self._kill()

    def _stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        patience = self._config.shutdown_timeout if self._config.graceful_shutdown else 0.0
        self._kill_at = time.monotonic() + patience + CANCEL_GRACE
        for slot in self._slots:
            if slot.process is not None:
                slot.process.terminate()

    def _kill(self) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.kill()

    def _watch(self, now: float) -> None:
        """Do what is due: replacements, workers that fell silent, the end of a stop's patience."""
        if self._exit_code is not None:
            if now >= self._kill_at:
                log.error("some workers did not stop in time and are killed")
                self._kill_at = float("inf")
                self._kill()
            return
        for slot in self._slots:
            if now < self._deadline(slot):
                continue
            if slot.state is State.VACANT:
                self._start(slot)
            elif slot.process is not None:
                log.error("%s: its event loop is stuck, killing it", slot)
                slot.heard_at = now  # it may take a moment to die
                slot.process.kill()


def how_it_ended(returncode: int) -> str:
    """Return the words for a process's end; no exit code is special."""
    if returncode < 0:
        try:
            return f"was ended by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"was ended by signal {-returncode}"
    return f"exited with code {returncode}"


def _spawn(orders: Orders) -> subprocess.Popen[bytes]:
    """Start a worker and hand it its orders."""
    reader, writer = os.pipe()
    with ExitStack() as stack:
        sending = stack.enter_context(os.fdopen(writer, "wb"))
        stack.callback(os.close, reader)
        command = [sys.executable, *_interpreter_flags(), "-m", "spikard._worker", str(reader)]
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(reader, orders.channel, *orders.sockets, *orders.counted),
            start_new_session=True,
        )
        # It fits the pipe's buffer and we hold the other end too: this neither blocks nor breaks.
        sending.write(pickle.dumps(orders))
        sending.flush()
    return process


def _interpreter_flags() -> list[str]:
    """Return the flags of this interpreter, such as `-W error`, which hold for workers too."""
    from multiprocessing import util

    return cast("list[str]", getattr(util, "_args_from_interpreter_flags")())  # noqa: B009 - what multiprocessing itself uses; the type stubs leave it out


def _signals(selector: selectors.BaseSelector, heard: Callable[[int], None]) -> ExitStack:
    """Return a context in which signals wake the selector and are reported to `heard`."""
    stack = ExitStack()

    def handle(number: int, _: FrameType | None) -> None:
        heard(number)

    receiving, sending = socket.socketpair()
    for end in (receiving, sending):
        stack.enter_context(end)
        end.setblocking(False)
    selector.register(receiving, selectors.EVENT_READ, receiving)
    stack.callback(selector.unregister, receiving)
    stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(sending.fileno()))
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGCHLD,
    ):
        stack.callback(signal.signal, number, signal.signal(number, handle))
    return stack
