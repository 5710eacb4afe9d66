"""The server process of `LiveTestClient`: `python -m spikard.testing.live_server`."""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import sys
from typing import TYPE_CHECKING, Any

from spikard import _logging
from spikard._logging import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard.config import ServerConfig


def serve(
    load: Callable[[], Any], config: ServerConfig, listener: socket.socket, announce: int
) -> int:
    """Serve until SIGTERM and return the exit code.

    Args:
        load: Returns the application.
        config: Of the server.
        listener: A listening socket.
        announce: A pipe that gets a byte when requests are taken, and is closed either way.
    """
    from spikard._server import run_worker
    from spikard_asgi.lifespan import LifespanFailed

    _logging.configure(config)
    try:
        return run_worker(load, config, [listener], lambda: _tell(announce))
    except LifespanFailed as error:
        log.critical("%s", error, exc_info=error.__cause__)
        return 1


def _tell(announce: int) -> None:
    os.write(announce, b"r")
    os.close(announce)


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _load(name: str, file: str) -> None:
    """Load a module that the parent had by a name that no import finds: pytest makes such names."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main() -> int:
    """Serve what the parent wrote to stdin."""
    from spikard._importer import LoadError

    task: Any = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent
    path, source, file, config, listener, announce = task
    sys.path[:] = path
    try:
        if source.main is None and file is not None and not _is_importable(source.module):
            _load(source.module, file)
        app = source.load().app
    except LoadError as error:
        log.critical("%s\n%s", error, error.details)
        return 1
    return serve(lambda: app, config, socket.socket(fileno=listener), announce)


if __name__ == "__main__":
    sys.exit(main())
