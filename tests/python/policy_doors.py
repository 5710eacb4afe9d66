"""The doors of test_policies.py that are programs of their own, all forked from this one.

`python policy_doors.py` reads a job per line, `[door, configuration, log]`: forks, gives the child
`log` as its stderr, and prints the child's id. The configuration is pickled, in base64. As a module
it has the application that the command line and its workers import.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from policy_app import application  # type: ignore[import-not-found]  # a script's own folder

from spikard import _settings, cli
from spikard._rules import Part, Parts
from spikard.config import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "POLICY_DOORS_CONFIG"

given = os.environ.get(VARIABLE)
served = application(pickle.loads(base64.b64decode(given))) if given else None


def run(config: ServerConfig) -> None:
    application(config).run()


def serve(config: ServerConfig) -> None:
    logging.basicConfig(level="INFO")  # the program's own business there
    asyncio.run(application(None).serve(config=config))


def command(config: ServerConfig) -> None:
    """Say everything in flags and variables that can be said there."""
    unsaid, arguments, variables = said(config)
    os.environ[VARIABLE] = base64.b64encode(pickle.dumps(unsaid)).decode()
    os.environ.update(variables)
    app_dir = str(Path(__file__).parent)
    cli.main(["policy_doors:served", "--app-dir", app_dir, *arguments])


def workers(config: ServerConfig) -> None:
    command(config.copy(workers=2))


def said(config: ServerConfig) -> tuple[ServerConfig, list[str], dict[str, str]]:
    """Return what text cannot say of a configuration, flags, and variables for the secrets."""
    unsaid: dict[str, Any] = {}
    arguments: list[str] = []
    variables: dict[str, str] = {}
    for setting in _settings.settings():
        owner: Any = config
        for name in setting.path[:-1]:
            owner = getattr(owner, name)
        if owner is None:
            continue
        value = getattr(owner, setting.path[-1])
        if value == setting.default:
            continue
        if isinstance(setting.rule, Parts):
            unsaid[setting.path[0]] = value
        elif isinstance(setting.rule, Part):
            assert setting.flag is not None
            arguments.append(f"--no-{setting.flag[2:]}" if value is None else setting.flag)
        elif setting.flag is None:
            variables[setting.variable] = ",".join(texts(value))
        elif isinstance(value, bool):
            arguments.append(setting.flag if value else f"--no-{setting.flag[2:]}")
        elif value == ():
            variables[setting.variable] = ","
        else:
            arguments += [word for text in texts(value) for word in (setting.flag, text)]
    return ServerConfig(**unsaid), arguments, variables


def texts(value: Any) -> Iterator[str]:
    """Yield the text of a value, or of each of several."""
    if value is None:
        yield "none"
    elif isinstance(value, dict):
        yield json.dumps(value)
    elif isinstance(value, tuple):
        for item in value:
            yield ": ".join(item) if isinstance(item, tuple) else str(item)
    else:
        yield str(value)


def main() -> None:
    # Nobody waits for the children; they themselves wait for their workers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        door, pickled, log = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(log, os.O_WRONLY), 2)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(0, 1)
            config = pickle.loads(base64.b64decode(pickled))
            try:
                {"run": run, "serve": serve, "command": command, "workers": workers}[door](config)
            except SystemExit as stop:
                os._exit(stop.code if isinstance(stop.code, int) else 1)
            os._exit(0)
        print(child, flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
