"""`spikard._logging`: where the log goes, and what it leaves alone."""

from __future__ import annotations

import io
import logging

import pytest

from spikard import _logging
from spikard.config import ServerConfig


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loggers():
    """Return the loggers, and leave them as they were."""
    names = ("spikard", "spikard.error", "spikard.access")
    found = {name: logging.getLogger(name) for name in names}
    yield found
    for logger in found.values():
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)


def configure(**fields) -> None:
    """Configure the loggers as in a program, without the handlers that pytest gives them."""
    logger = logging.getLogger("spikard")
    logger.propagate = False
    logger.handlers = [item for item in logger.handlers if type(item) is logging.StreamHandler]
    _logging.configure(ServerConfig(**fields))


def test_log_goes_to_stderr_and_access_log_to_stdout(loggers, capsys):
    configure()
    loggers["spikard.error"].info("up")
    loggers["spikard.access"].info("GET /")
    out, err = capsys.readouterr()
    assert err.endswith("info     up\n")
    assert out.endswith("info     GET /\n")


def test_log_level_and_access_log_follow_the_configuration(loggers, capsys):
    configure(log_level="error", access_log=False)
    loggers["spikard.error"].warning("unseen")
    loggers["spikard.access"].error("unseen")
    loggers["spikard.error"].error("seen")
    out, err = capsys.readouterr()
    assert "unseen" not in out + err
    assert "seen" in err


def test_traceback_is_logged_whole(loggers, capsys):
    configure()
    error = RuntimeError("broken")
    loggers["spikard.error"].error("failed", exc_info=error)
    assert capsys.readouterr().err.endswith("failed\nRuntimeError: broken\n")


def test_handlers_of_the_program_are_kept(loggers, capsys):
    mine = io.StringIO()
    loggers["spikard"].addHandler(logging.StreamHandler(mine))
    configure()
    loggers["spikard.error"].info("up")
    assert mine.getvalue() == "up\n"
    assert capsys.readouterr().err == ""


def test_configuring_twice_logs_once(loggers, capsys):
    configure()
    configure()
    loggers["spikard.error"].info("up")
    assert capsys.readouterr().err.count("up") == 1


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert _logging.is_coloured(Terminal())
    assert not _logging.is_coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not _logging.is_coloured(Terminal())
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "text", (), None)
    assert "\033[31m" in _logging.Formatter(coloured=True, timed=False).format(record)
    assert _logging.Formatter(coloured=False, timed=False).format(record) == "error    text"
