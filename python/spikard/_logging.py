"""The server's log: `spikard.error` for what happens, `spikard.access` for requests.

A program that configures logging itself keeps what it configured.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from spikard.config import ServerConfig

log = logging.getLogger("spikard.error")

_COLOURS = {
    logging.DEBUG: "\033[36m",
    logging.INFO: "\033[32m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[1;31m",
}


class Formatter(logging.Formatter):
    """`LEVEL  message`, with the level coloured for a terminal."""

    def __init__(self, *, coloured: bool, timed: bool) -> None:
        super().__init__("%(asctime)s %(level)s %(message)s" if timed else "%(level)s %(message)s")
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, with its traceback whole."""
        level = f"{record.levelname.lower():<8}"
        if self._coloured:
            level = f"{_COLOURS.get(record.levelno, '')}{level}\033[0m"
        record.level = level
        return super().format(record)


def configure(config: ServerConfig) -> None:
    """Set the levels, and send the log to stderr and the access log to stdout.

    Loggers that have handlers, or whose records the root logger handles, keep them.
    """
    level = logging.getLevelNamesMapping() if sys.version_info >= (3, 11) else None
    number = (
        level[config.log_level.upper()] if level else getattr(logging, config.log_level.upper())
    )
    logging.getLogger("spikard").setLevel(number)
    logging.getLogger("spikard.access").disabled = not config.access_log
    if logging.getLogger("spikard").hasHandlers():
        return
    for name, stream in (("spikard.error", sys.stderr), ("spikard.access", sys.stdout)):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler(stream)
            handler.setFormatter(Formatter(coloured=is_coloured(stream), timed=True))
            logger.addHandler(handler)
            logger.propagate = False


def access_sink(config: ServerConfig) -> int | Callable[[str], None] | None:
    """Return where the lines of the access log go, None when nobody wants them.

    A descriptor when they go to the stream that `configure` set up: Rust writes them itself. Else
    a function that gives them to the logger, whose handlers are the program's.
    """
    logger = logging.getLogger("spikard.access")
    if not config.access_log or not logger.isEnabledFor(logging.INFO) or not logger.hasHandlers():
        return None
    if not logger.propagate and len(logger.handlers) == 1:
        handler = logger.handlers[0]
        stream: Any = getattr(handler, "stream", None)
        if stream is not None and isinstance(handler.formatter, Formatter):
            try:
                return int(stream.fileno())
            except (AttributeError, OSError, ValueError):
                return None  # closed, or never there
    return _log_lines


def _log_lines(lines: str) -> None:
    logger = logging.getLogger("spikard.access")
    for line in lines.splitlines():
        logger.info("%s", line)


def is_coloured(stream: TextIO) -> bool:
    """Return whether a person looks at the stream and wants colours (https://no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
