"""From an application and its configuration to a running server: where `run()` and the CLI meet."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from spikard import _listen, _logging
from spikard._importer import LoadError, Source, classify
from spikard._logging import log
from spikard.config import ServerConfig
from spikard_asgi.lifespan import LifespanFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard._importer import Application


class StartError(Exception):
    """The server cannot start; the message says in one line what to do."""


def run_app(app: Any, config: ServerConfig) -> None:
    """Serve an application object of this process until a signal stops it.

    `SPIKARD_…` variables go over the configuration. With several workers, each one imports the
    module again that has the object.

    Raises:
        SystemExit: The server could not start, which one line on stderr explains, or was stopped
            by a second signal.
    """
    try:
        made = ServerConfig.from_env(base=config)
        source = Source.of(app) if made.workers > 1 else None
        code = run(classify(app, "the application"), made, source)
    except (StartError, LoadError, ValueError) as error:
        print(f"spikard: {error}", file=sys.stderr)  # noqa: T201 - the program's own last word
        raise SystemExit(1) from None
    if code:
        raise SystemExit(code)


def run(application: Application, config: ServerConfig, source: Source | None) -> int:
    """Listen, serve until a signal, and return the exit code.

    `source` says where workers find the application; it is needed for more than one.

    Raises:
        StartError: The server cannot listen, or a file of the configuration is missing.
    """
    from spikard._server import run_worker, warn_at_start

    _refuse_in_worker()
    _logging.configure(config)
    try:
        warn_at_start(application.app, config)
        listeners = _listen.bind(config)
    except (_listen.ListenError, ValueError) as error:
        raise StartError(str(error)) from None
    announce = _announcement(listeners.url, config.workers)
    try:
        if config.workers == 1 or source is None:
            return run_worker(lambda: application.app, config, listeners.per_worker[0], announce)
        from spikard._workers import Supervisor

        with contextlib.ExitStack() as stack:
            counts = _counts()
            if counts is not None:
                stack.callback(os.close, counts)
            supervisor = Supervisor(source, config, listeners.per_worker, announce, counts=counts)
            return supervisor.run()
    except LifespanFailed as error:
        log.critical("%s", error, exc_info=error.__cause__)
        return 1
    finally:
        listeners.close()


def _counts() -> int | None:
    """Return memory in which workers count requests together, where the system offers it.

    Elsewhere each worker has a rate limit of its own.
    """
    if not hasattr(os, "memfd_create"):
        return None
    from spikard._spikard import COUNTS_BYTES

    descriptor = os.memfd_create("spikard-counts")
    os.ftruncate(descriptor, COUNTS_BYTES)
    return descriptor


def _announcement(url: str, workers: int) -> Callable[[], None]:
    several = f" with {workers} workers" if workers > 1 else ""

    def announce() -> None:
        log.info("serving on %s%s (Ctrl-C to stop)", url, several)

    return announce


def _refuse_in_worker() -> None:
    """A worker imports the user's module: a server started there would start servers forever."""
    main = sys.modules["__main__"]
    if getattr(getattr(main, "__spec__", None), "name", None) == "spikard._worker":
        raise StartError('call run() under: if __name__ == "__main__"')
