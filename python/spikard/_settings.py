"""The table of settings: one row per configuration field that text can give.

A row knows its flag, its `SPIKARD_…` variable, its default and its unit. The command line, the
variables and docs/configuration.md (`python -m spikard._settings FILE` writes it) all come from it.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, Any

from spikard import config
from spikard._rules import Choice, FilePath, Part, Parts, Rule, Size, Switch, Texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spikard.config import ServerConfig

    Given = dict[tuple[str, ...], Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of the configuration, reachable from text.

    Attributes:
        path: `("port",)`, or `("compression", "quality")` for a field of a part.
        rule: What values it takes.
        default: The value where nothing is given; None also for what a part requires.
        flag: `--port`; None where the value is secret, as other users see the command line.
        variable: `SPIKARD_PORT`.
        group: Its heading in `--help` and in the documentation.
    """

    path: tuple[str, ...]
    rule: Rule
    default: Any
    flag: str | None
    variable: str
    group: str

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value and has a `--no-` twin."""
        return isinstance(self.rule, (Switch, Part))

    @property
    def is_many(self) -> bool:
        """Whether the flag may be given several times."""
        return isinstance(self.rule, (Texts, Parts))

    def parse(self, text: str) -> Any:
        """Return the value that the text stands for, or raise ValueError."""
        if isinstance(self.rule, Part):
            return Switch().parse(text)
        if isinstance(self.rule, Parts):
            return tuple(_static_files(item) for item in text.split(",") if item.strip())
        return self.rule.parse(text)

    def shown_default(self) -> str:
        """Return the default as the text that would give it."""
        value = self.default
        if isinstance(self.rule, Part):
            return "off" if value is None else "on"
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, tuple):
            return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - Any
        if isinstance(self.rule, Size) and value is not None:
            return _shown_size(value)
        if isinstance(value, float):
            return f"{value:g}"
        return "" if value is None else str(value)

    def shown_help(self) -> str:
        """Return the help with the words or the unit that the value takes."""
        if isinstance(self.rule, Choice):
            return f"{self.rule.about} ({', '.join(self.rule.choices)})"
        if isinstance(self.rule, Parts):
            return f"{self.rule.about}, as /prefix=directory"
        return self.rule.about


PROGRAM_SETTINGS = tuple(
    Setting(
        path=(name,),
        rule=rule,
        default=default,
        flag=f"--{name.replace('_', '-')}",
        variable=f"SPIKARD_{name.upper()}",
        group="Application",
    )
    for name, default, rule in (
        ("app_dir", ".", FilePath("Directory to import the application from")),
        ("factory", False, Switch("The attribute is a function that returns the application")),
        ("env_file", None, FilePath("File with variables, NAME=value per line", optional=True)),
    )
)
"""Settings of the `spikard` program itself, which no configuration object holds."""


def settings() -> list[Setting]:
    """Return the settings of what is built, in the order of the configuration's fields."""
    return list(_settings_of(config.ServerConfig, config.ServerConfig(), (), "", ""))


def _settings_of(
    owner: type[config.Config], value: Any, path: tuple[str, ...], prefix: str, group: str
) -> Iterator[Setting]:
    for item in fields(owner):
        rule: Rule = item.metadata["rule"]
        if not rule.text or f"{owner.__name__}.{item.name}" in config.NOT_BUILT:
            continue
        default = getattr(value, item.name, None if item.default is MISSING else item.default)
        flag = rule.flag or f"--{prefix}{item.name.replace('_', '-')}"
        setting = Setting(
            path=(*path, item.name),
            rule=rule,
            default=default,
            flag=None if rule.secret and rule.flag is None else flag,
            variable=f"SPIKARD_{flag[2:].upper().replace('-', '_')}",
            group=item.metadata.get("group") or group,
        )
        if not isinstance(rule, Part):
            yield setting
            continue
        if not _required(rule.of):
            yield setting
        yield from _settings_of(rule.of, default, setting.path, f"{flag[2:]}-", setting.group)


def read_variables(environ: Mapping[str, str]) -> Given:
    """Return the values that `SPIKARD_…` variables give, by the path of their setting.

    An empty variable counts as absent. Variables that resemble none of ours are left alone: other
    programs share the prefix.

    Raises:
        ValueError: A variable is malformed or misspelt; names it.
    """
    given: Given = {}
    known = (*PROGRAM_SETTINGS, *settings())
    for setting in known:
        text = environ.get(setting.variable, "")
        if text:
            try:
                given[setting.path] = setting.parse(text)
            except ValueError as error:
                hint = ""
                if text.startswith("tcp://"):
                    hint = " (Kubernetes sets it for a service named spikard: enableServiceLinks)"
                raise ValueError(f"{setting.variable}: {error}{hint}") from None
    names = [setting.variable for setting in known]
    for name in environ:
        if name.startswith("SPIKARD_") and name not in names:
            import difflib  # a worker that starts well needs none

            close = difflib.get_close_matches(name, names, n=1, cutoff=0.9)
            if close:
                raise ValueError(f"{name}: no such variable, did you mean {close[0]}?")
    return given


def merge(lower: Given, upper: Given) -> Given:
    """Return both, where `upper` wins; its field of a part outdoes that part's `off` in `lower`."""
    parts = {path[:1] for path in upper if len(path) > 1}
    return {path: value for path, value in lower.items() if path not in parts} | upper


def apply(base: ServerConfig, given: Given) -> ServerConfig:
    """Return the configuration with the given values in it.

    Raises:
        ValueError: The values contradict each other or the configuration.
    """
    changes: dict[str, Any] = {}
    for item in fields(config.ServerConfig):
        rule: Rule = item.metadata["rule"]
        path = (item.name,)
        inner = {key[1]: value for key, value in given.items() if key[:1] == path and key[1:]}
        if not isinstance(rule, Part):
            if path in given:
                changes[item.name] = given[path]
        elif given.get(path) is False:
            changes[item.name] = None
        elif inner or path in given:
            changes[item.name] = _applied_part(rule, item.name, getattr(base, item.name), inner)
    return base.copy(**changes)


def _applied_part(rule: Part, name: str, part: config.Config | None, inner: dict[str, Any]) -> Any:
    if any(item.name == "enabled" for item in fields(rule.of)):
        inner = {**inner, "enabled": True}
    if part is not None:
        return part.copy(**inner)
    missing = [needed for needed in _required(rule.of) if needed not in inner]
    if missing:
        variables = {setting.path: setting for setting in settings()}
        rows = [variables[name, needed] for needed in missing]
        wanted = " and ".join(row.flag or row.variable for row in rows)
        raise ValueError(f"ServerConfig.{name}: {wanted} must be given too")
    return rule.of(**inner)


def from_env(environ: Mapping[str, str], base: ServerConfig) -> ServerConfig:
    """Return `base` with the fields that `SPIKARD_…` variables give; see `read_variables`."""
    return apply(base, read_variables(environ))


_INTRODUCTION = """
# Configuration

<!-- Written by `make docs` from the fields in python/spikard/config.py. -->

Every setting is a field of `ServerConfig`, a flag of `spikard` and an environment variable.
`run(config=…)` or `serve(config=…)` replaces the configuration that the application was made with;
over it go the variables, over those the command line, field by field.

Sizes take `KiB`, `MiB` and `GiB`, times `ms`, `s`, `m` and `h`; `none` switches off what may be
off. Lists are separated by commas in a variable (headers by line breaks); a flag is repeated
instead. `--no-…` turns a switch off. A malformed or misspelt variable is an error. Secrets have a
variable but no flag, because other users of a machine can see its command lines.

For an ASGI application that is not Spikard's own, `compression`, `enable_request_id`,
`max_body_size` and `request_timeout` are off unless a flag or a variable asks for them.
"""


def documentation() -> str:
    """Return docs/configuration.md."""
    lines = [_INTRODUCTION.strip()]
    rows = [*PROGRAM_SETTINGS, *settings()]
    for group, members in groupby(rows, key=lambda setting: setting.group):
        lines += ["", f"## {group}", ""]
        lines.append("| field | flag | variable | default | unit | |")
        lines.append("|---|---|---|---|---|---|")
        for row in members:
            cells = (
                "" if row in PROGRAM_SETTINGS else f"`{'.'.join(row.path)}`",
                f"`{row.flag}`" if row.flag else "",
                f"`{row.variable}`",
                f"`{row.shown_default()}`" if row.shown_default() else "",
                row.rule.unit,
                row.shown_help(),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _required(part: type[config.Config]) -> list[str]:
    """Return the fields without which the part cannot be made."""
    return [
        item.name
        for item in fields(part)
        if item.default is MISSING and item.default_factory is MISSING
    ]


def _static_files(text: str) -> config.StaticFilesConfig:
    prefix, equals, directory = text.strip().partition("=")
    if not equals:
        raise ValueError(f'expected "/prefix=directory", got {text!r}')
    return config.StaticFilesConfig(route_prefix=prefix, directory=directory)


def _shown_size(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(documentation())
