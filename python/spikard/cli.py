"""The `spikard` command: serves MODULE:ATTRIBUTE.

Its options are the rows of the table of settings; flags go over `SPIKARD_…` variables, those over
the application's own configuration.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from spikard import _run, _settings
from spikard._importer import Kind, LoadError, Source
from spikard._rules import Choice, FilePath, Integer, Number, Seconds, Size
from spikard.config import ServerConfig
from spikard.exceptions import SpikardError

if TYPE_CHECKING:
    from spikard._settings import Given, Setting

    TextType = click.ParamType[Any]
else:
    TextType = click.ParamType  # generic since click 8.5, and there only for checkers

_METAVARS = {
    FilePath: "PATH",
    Size: "BYTES",
    Seconds: "SECONDS",
    Integer: "INTEGER",
    Number: "NUMBER",
}


_ELSEWHERE = {
    "--reload": 'not built yet; `watchfiles "spikard main:app"` (pip install watchfiles) does it',
    "--bind": "give --host and --port, --uds or --fd",
    "--interface": "ASGI and Spikard applications are told apart; for WSGI there is spikard.wsgi",
    "--loop": "the server is the selector of asyncio's own loop; app.serve() runs in any other",
    "--proxy-headers": "they count from the proxies that --forwarded-allow-ips names",
    "--ws": "WebSockets are built in",
    "--log-config": "configure the loggers spikard.error and spikard.access in the application",
    "--limit-max-requests": "not built yet: no worker is replaced for what it has served",
    "--ssl-version": "give --ssl-min-version",
    "--ssl-ciphers": "there are only the safe ones; --ssl-min-version 1.3 narrows them",
}
"""Flags of other servers that we do not have, with what to do instead."""

_OFF: Any = object()
"""What a flag's `none` becomes: click takes None for a flag that was not given."""


class SettingType(TextType):
    """The value of a setting, checked by its rule."""

    name = "setting"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that the text stands for."""
        if not isinstance(value, str):
            return value
        try:
            parsed = self._setting.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return _OFF if parsed is None else parsed


class SettingOption(click.Option):
    """The flag of a setting."""

    def __init__(self, setting: Setting) -> None:
        flag = setting.flag or ""
        self.setting = setting
        declaration = f"{flag}/--no-{flag[2:]}" if setting.is_switch else flag
        super().__init__(
            [declaration, "_".join(setting.path)],
            type=None if setting.is_switch else SettingType(setting),
            metavar=None if setting.is_switch else _metavar(setting),
            multiple=setting.is_many and not setting.is_switch,
            default=None,
            help=_help(setting),
        )

    def given(self, value: Any) -> Given:
        """Return the setting's value under its path; nothing if the flag was not used."""
        if value is None or value == ():
            return {}
        if value is _OFF or (self.multiple and _OFF in value):
            return {self.setting.path: None}
        if self.multiple:
            value = tuple(item for items in value for item in items)
        return {self.setting.path: value}


class GroupedCommand(click.Command):
    """A command whose help has a heading for each group of settings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; a flag of another server is refused with what to do instead."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = _ELSEWHERE.get(error.option_name)
            if hint is None:
                raise
            raise click.UsageError(f"No such option '{error.option_name}': {hint}", ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in the order of the table."""
        options = [option for option in self.params if isinstance(option, SettingOption)]
        for group, members in groupby(options, key=lambda option: option.setting.group):
            records = [option.get_help_record(ctx) for option in members]
            with formatter.section(group):
                formatter.write_dl([record for record in records if record])
        others = [
            param
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and not isinstance(param, SettingOption)
        ]
        records = [option.get_help_record(ctx) for option in others]
        with formatter.section("Other"):
            formatter.write_dl([record for record in records if record])


def command() -> click.Command:
    """Return the `spikard` command."""
    rows = [*_settings.PROGRAM_SETTINGS, *_settings.settings()]
    return GroupedCommand(
        "spikard",
        callback=_serve,
        params=[
            click.Argument(["application"], metavar="MODULE:ATTRIBUTE"),
            *(SettingOption(row) for row in rows if row.flag),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_version,
                help="Show the version.",
            ),
        ],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        help="Serve a Spikard or ASGI application, such as main:app for `app` in main.py.\n\n"
        "Each setting is also a SPIKARD_… variable, named like its flag: SPIKARD_PORT for --port. "
        "Sizes take KiB, MiB and GiB, times ms, s, m and h; `none` switches off what may be off. "
        "A flag whose setting is a list is repeated.",
        epilog="Example: spikard main:app --port 9000 --workers 4",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 after a stop, 1 where it could not start, 2 for a wrong flag."""
    sys.exit(command().main(arguments, prog_name="spikard", standalone_mode=True))


@click.pass_context
def _serve(context: click.Context, /, application: str, **values: Any) -> None:
    given: Given = {}
    for option in context.command.params:
        if isinstance(option, SettingOption):
            given |= option.given(values[option.name or ""])
    try:
        code = serve(application, given)
    except LoadError as error:
        click.echo(f"{error.details}spikard: {error}", err=True)
        context.exit(1)
    except (_run.StartError, SpikardError, ValueError) as error:
        click.echo(f"spikard: {error}", err=True)
        context.exit(1)
    context.exit(code)


def serve(application: str, given: Given) -> int:
    """Load the application and serve it until a signal; return the exit code.

    Raises:
        LoadError: The application cannot be loaded.
        StartError: The server cannot start.
        SpikardError: What the application has registered does not fit together.
        ValueError: A variable is malformed, or settings contradict each other.
    """
    env_file = given.get(("env_file",)) or os.environ.get("SPIKARD_ENV_FILE")
    if env_file:
        read_env_file(env_file)
    merged = _settings.merge(_settings.read_variables(os.environ), given)
    source = Source.parse(
        application,
        app_dir=os.path.abspath(merged.get(("app_dir",), ".")),
        factory=merged.get(("factory",), False),
    )
    loaded = source.load()
    if loaded.kind is Kind.SPIKARD:
        loaded.app.freeze()  # here, so that a mistake is one line instead of a traceback
        base: ServerConfig = loaded.app.config or ServerConfig()
    else:
        base = ServerConfig().for_foreign_app()
    return _run.run(loaded, _settings.apply(base, merged), source)


def read_env_file(path: str) -> None:
    """Set the variables of a file, except those that are set already.

    A line is `NAME=value`, perhaps after `export`, the value perhaps in quotes; `#` begins a
    comment line.

    Raises:
        ValueError: The file cannot be read, or a line has another form; names it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--env-file: cannot read {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.isidentifier():
            raise ValueError(f"--env-file: {path}, line {number}: expected NAME=value")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        os.environ.setdefault(name, value)


def _help(setting: Setting) -> str:
    about = setting.rule.about if isinstance(setting.rule, Choice) else setting.shown_help()
    default = setting.shown_default()
    return f"{about}  [{default}]" if default else about


def _metavar(setting: Setting) -> str:
    if isinstance(setting.rule, Choice):
        return "|".join(setting.rule.choices)
    return next(
        (word for kind, word in _METAVARS.items() if isinstance(setting.rule, kind)), "TEXT"
    )


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        python = ".".join(map(str, sys.version_info[:3]))
        click.echo(f"spikard {version('spikard')} on {sys.implementation.name} {python}")
        context.exit()
