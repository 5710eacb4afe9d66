"""The `spikard` command: settings from three layers, and one line for each mistake."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import types

import pytest
from click.testing import CliRunner

from spikard import _settings, cli, config
from spikard.cli import command, read_env_file
from spikard.config import ServerConfig

ASGI = "async def app(scope, receive, send): pass\n"


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    """Undo what the command does to the loggers: their streams end with the test."""
    loggers = [logging.getLogger(f"spikard{name}") for name in ("", ".error", ".access")]
    yield
    for logger in loggers:
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)


@pytest.fixture
def served(monkeypatch):
    """Collect the configurations that the server is started with, instead of starting it."""
    made: list[ServerConfig] = []
    server = types.ModuleType("spikard._server")

    def run_worker(load, config, sockets, on_ready):
        load()
        assert sockets
        on_ready()
        made.append(config)

    server.run_worker = run_worker  # type: ignore[attr-defined] # a stand-in for the server
    server.warn_at_start = lambda application, config: None  # type: ignore[attr-defined] # as above
    monkeypatch.setitem(sys.modules, "spikard._server", server)
    return made


@pytest.fixture
def run(tmp_path, monkeypatch, served):
    """Return a function that runs the command for an ASGI application on a free port."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "cli_main.py").write_text(ASGI)

    def run(*arguments, app="cli_main:app"):
        given = [app, "--app-dir", str(tmp_path), *arguments]
        if "--port" not in arguments and "SPIKARD_PORT" not in os.environ:
            given += ["--port", "0"]
        return CliRunner().invoke(command(), given)

    yield run
    sys.modules.pop("cli_main", None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--root-path", "/api"], {"root_path": "/api"}),
        (["--no-access-log"], {"access_log": False}),
        (["--timeout-keep-alive", "5"], {"keep_alive_timeout": 5.0}),
        (["--timeout-graceful-shutdown", "1m"], {"shutdown_timeout": 60.0}),
        (["--header", "x-a: 1", "--header", "x-b: 2, 3"],
         {"headers": (("x-a", "1"), ("x-b", "2, 3"))}),
        (["--lifespan", "off"], {"lifespan": "off"}),
        (["--log-level", "error"], {"log_level": "error"}),
        (["--max-header-size", "64KiB"], {"max_header_size": 64 * 1024}),
    ],
)  # fmt: skip
def test_flag_reaches_the_server(run, served, arguments, expected):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert served == [ServerConfig(port=0).for_foreign_app().copy(**expected)]


def test_flag_wins_over_variable_and_variable_over_application(run, served, monkeypatch):
    monkeypatch.setenv("SPIKARD_BACKLOG", "16")
    monkeypatch.setenv("SPIKARD_LOG_LEVEL", "error")
    assert run("--backlog", "32").exit_code == 0
    assert (served[0].backlog, served[0].log_level) == (32, "error")


def test_foreign_application_gets_a_policy_only_when_asked(run, served, monkeypatch):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())
    assert run().exit_code == 0
    assert run("--max-body-size", "1MiB").exit_code == 0
    assert [made.compression for made in served] == [None, None]
    assert [made.max_body_size for made in served] == [None, 1 << 20]


def test_native_application_keeps_its_configuration(run, served, tmp_path):
    (tmp_path / "cli_main.py").write_text(
        "from spikard import ServerConfig, Spikard\n"
        "app = Spikard(ServerConfig(backlog=7, root_path='/a'))\n"
    )
    assert run("--root-path", "/b").exit_code == 0
    assert served == [ServerConfig(port=0, backlog=7, root_path="/b")]


def test_every_setting_has_its_flag_in_the_help():
    result = CliRunner().invoke(command(), ["--help"])
    assert result.exit_code == 0
    for row in (*_settings.PROGRAM_SETTINGS, *_settings.settings()):
        assert row.flag is None or re.search(rf"{row.flag}\b", result.output), row.flag
        assert f"{row.group}:\n" in result.output


def test_none_switches_off_what_the_help_says(run, served, tmp_path):
    (tmp_path / "cli_main.py").write_text("from spikard import Spikard\napp = Spikard()\n")
    assert run("--max-body-size", "none", "--request-timeout", "none").exit_code == 0
    assert (served[0].max_body_size, served[0].request_timeout) == (None, None)
    help_text = " ".join(CliRunner().invoke(command(), ["--help"]).output.split())
    assert "`none` switches off what may be off" in help_text


def test_help_lists_options_alone_below_its_headings():
    output = CliRunner().invoke(command(), ["--help"]).output
    assert output.count("MODULE:ATTRIBUTE") == 1  # in the line of the usage


def test_flag_of_another_server_says_what_to_do_instead(run):
    result = run("--reload")
    assert result.exit_code == 2
    assert "No such option '--reload': not built yet" in result.output
    assert "Did you mean" not in result.output


def test_hints_for_other_servers_flags_name_flags_that_exist():
    ours = {row.flag for row in (*_settings.PROGRAM_SETTINGS, *_settings.settings())}
    for flag, hint in cli._ELSEWHERE.items():
        assert flag not in ours
        assert set(re.findall(r"--[a-z][a-z0-9-]*", hint)) <= ours, flag


def test_flag_of_a_missing_feature_is_unknown(run, monkeypatch):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset({"ServerConfig.backlog"}))
    result = run("--backlog", "3")
    assert result.exit_code == 2
    assert "No such option" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "expected an integer from 0 to 65535, got 70000"),
        (["--port", "http"], "expected an integer from 0 to 65535, got 'http'"),
        (["--workers", "0"], "expected an integer from 1 to 1024, got 0"),
        (["--header", "nothing"], "x-name: value"),
        (["--log-level", "loud"], '"critical" or "error"'),
        (["--unknown"], "No such option"),
    ],
)
def test_wrong_flag_is_a_usage_error(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "app", "message"),
    [
        ([], "cli_none:app", 'no module "cli_none" in'),
        ([], "cli_main:ap", 'did you mean "app"?'),
        ([], "cli_main", 'such as "cli_main:app"'),
        (["--max-header-size", "1KiB"], "cli_main:app", "ServerConfig.max_header_field"),
        (["--env-file", "/no/such/file"], "cli_main:app", "cannot read /no/such/file"),
        (["--host", "host.invalid"], "cli_main:app", "cannot listen on host.invalid"),
        (["--uds", "/"], "cli_main:app", "is not a socket"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(run, arguments, app, message):
    result = run(*arguments, app=app)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.startswith("spikard: ")
    assert result.output.count("\n") == 1


def test_registrations_that_do_not_fit_together_are_one_line(run, tmp_path):
    program = """
from spikard import Spikard
def first(second): ...
def second(first): ...
app = Spikard().provide("first", first).provide("second", second)
"""
    (tmp_path / "cli_main.py").write_text(program)
    result = run()
    assert result.exit_code == 1
    assert result.output == "spikard: circular dependency: first → second → first\n"


def test_malformed_variable_is_named(run, monkeypatch):
    monkeypatch.setenv("SPIKARD_BACKLOG", "many")
    result = run()
    assert result.exit_code == 1
    assert result.output.startswith("spikard: SPIKARD_BACKLOG: expected an integer")


def test_import_error_shows_the_traceback_of_the_user(run, tmp_path):
    (tmp_path / "cli_main.py").write_text("import no_such_dependency\n")
    result = run()
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-1] == (
        'spikard: could not import "cli_main": '
        "ModuleNotFoundError: No module named 'no_such_dependency'"
    )
    assert "    import no_such_dependency" in lines
    assert "importlib" not in result.output


def test_env_file_gives_variables_that_are_not_set(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("# comment\n\nexport A_ONE=1\nA_TWO = 'two words'\nA_THREE=\"3=3\"\nA_SET=no\n")
    monkeypatch.setenv("A_SET", "yes")
    for name in ("A_ONE", "A_TWO", "A_THREE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    read_env_file(str(file))
    assert [os.environ[name] for name in ("A_ONE", "A_TWO", "A_THREE", "A_SET")] == [
        "1",
        "two words",
        "3=3",
        "yes",
    ]


def test_env_file_configures_the_server(run, served, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKARD_BACKLOG", "")
    monkeypatch.delenv("SPIKARD_BACKLOG")
    (tmp_path / ".env").write_text("SPIKARD_BACKLOG=99\n")
    assert run("--env-file", str(tmp_path / ".env")).exit_code == 0
    assert served[0].backlog == 99


def test_malformed_env_file_names_the_line(tmp_path):
    (tmp_path / ".env").write_text("A=1\nnonsense\n")
    with pytest.raises(ValueError, match=r"line 2: expected NAME=value"):
        read_env_file(str(tmp_path / ".env"))


def test_port_in_use_ends_the_program_with_one_line(tmp_path):
    (tmp_path / "cli_main.py").write_text(ASGI)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "spikard", "cli_main:app", "--port", str(port)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"spikard: cannot listen on 127.0.0.1 port {port}: it is in use; "
        "stop the other program, or choose another with --port\n"
    )


def test_version_is_shown():
    result = CliRunner().invoke(command(), ["--version"])
    assert re.fullmatch(r"spikard \d+\.\d+\.\d+ on cpython 3\.\d+\.\d+\n", result.output)
