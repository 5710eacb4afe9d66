"""Runs suites against servers, judges every case by the invariants too, and prints the result."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.http1.judge import HIDDEN_MARKER
from conformance.observer import Observer
from conformance.server import DEFAULT, Command, Options, Server
from conformance.trial import Trial
from conformance.verdict import BrokenError, NotApplicableError, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from conformance.case import Case, Suite

OK, BROKEN, SKIPPED = "ok", "BROKEN", "-"
_LISTED = 3  # cases with one reason that are still listed one by one
_EXPECTED = Path(__file__).parent / "expected"


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of one case on one server; `reason` is empty when it is ok."""

    outcome: str
    reason: str = ""
    seconds: float = 0.0


def main(suites: Sequence[Suite], arguments: Sequence[str] | None = None) -> int:
    """Run `suites` as the command line says and return the exit code."""
    options = _parser(suites).parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # servers inherit it
    commands = [Command(text) for text in options.server or ["spikard"]]
    only = set(filter(None, options.only.split(",")))
    columns: list[dict[str, Result]] = []
    for command in commands:
        column: dict[str, Result] = {}
        for suite in suites:
            cases = [
                case
                for case in suite.cases
                if not only or case.id in only or case.id.split("-")[0] in only
            ]
            column |= _run(suite, cases, command, options.require)
        columns.append(column)
    failed = _expect(columns[0], commands[0].name, complete=not only)
    _print_table(suites, commands, columns, whole=len(suites) == 1 or bool(options.table))
    if options.json:
        _write_json(Path(options.json), commands, columns)
    return _close(columns[0], failed)


def _parser(suites: Sequence[Suite]) -> argparse.ArgumentParser:
    names = ", ".join(suite.name for suite in suites)
    parser = argparse.ArgumentParser(description=f"Conformance suites: {names}.")
    parser.add_argument(
        "--server",
        action="append",
        metavar="COMMAND",
        help="a known server's name or a command line with {app} and {port}; repeat it to compare; the first one decides the exit code (default: spikard)",
    )
    parser.add_argument(
        "--only", default="", metavar="IDS", help="comma-separated rows, such as H22,W15"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument(
        "--table", action="store_true", help="list every case, not only those that are not ok"
    )
    parser.add_argument(
        "--require",
        default="",
        metavar="NAMES",
        help="comma-separated capabilities; their absence is a failure rather than a skip",
    )
    return parser


def _run(suite: Suite, cases: Sequence[Case], command: Command, require: str) -> dict[str, Result]:
    results: dict[str, Result] = {}
    if not cases:
        return results
    with Observer() as observer, _Pool(command, observer) as pool:
        required = frozenset(filter(None, require.split(",")))
        for number, case in enumerate(cases, 1):
            _progress(f"{command.name} {suite.name} {number}/{len(cases)} {case.id}")
            start = time.monotonic()
            outcome, reason = _try(case, pool, required)
            results[f"{suite.name}/{case.id}"] = Result(
                outcome, reason, round(time.monotonic() - start, 3)
            )
    _progress("")
    return results


def _try(case: Case, pool: _Pool, required: frozenset[str]) -> tuple[str, str]:
    try:
        _check_needs(case.needs - pool.capabilities, required)
        server = pool.server(case.on)
        server.mark_log()
        with Trial(pool.command, server, pool.observer, pool.capabilities) as trial:
            case.run(trial)
        if case.hostile:
            _check_quiet(server, trial)
        pool.check_health(case.on)
    except NotApplicableError as skip:
        return SKIPPED, str(skip)
    except BrokenError as error:
        pool.discard_sick(case.on)
        return BROKEN, str(error)
    except Exception as error:
        pool.discard_sick(case.on)
        return BROKEN, f"{type(error).__name__}: {error}"
    return OK, ""


def _check_needs(missing: frozenset[str], required: frozenset[str]) -> None:
    names = ", ".join(sorted(missing))
    check(not missing & required, f"required, but there is no {names}")
    if missing:
        raise NotApplicableError(f"no {names}")


def _check_quiet(server: Server, trial: Trial) -> None:
    """I9: at most one log line a connection."""
    lines = [line for line in server.log_since_mark().splitlines() if line.strip()]
    check(
        len(lines) <= trial.connections,
        f"{len(lines)} log lines for {trial.connections} connections: {lines[-1] if lines else ''}",
    )


class _Pool:
    """The servers of one suite, one for each set of options, started when first needed."""

    def __init__(self, command: Command, observer: Observer) -> None:
        self.command = command
        self.observer = observer
        self._servers: dict[Options, tuple[Server, str]] = {}
        self._capabilities: frozenset[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server, _pid in self._servers.values():
            server.stop()

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server can do, with what only a connection can tell."""
        if self._capabilities is None:
            server = self.server(DEFAULT)
            self._capabilities = self.command.capabilities | _probe(server)
        return self._capabilities

    def server(self, options: Options) -> Server:
        """Return the server for `options`, starting it if need be."""
        if options not in self._servers:
            server = Server(self.command, options, self.observer.path)
            try:
                server.wait_ready()
                self._servers[options] = server, server.ping(within=5.0)
            except BaseException:
                server.stop()
                raise
        return self._servers[options][0]

    def check_health(self, options: Options) -> None:
        """I1, I2, I4: the same worker answers, nothing panicked, no marker request reached the application."""
        server, pid = self._servers[options]
        now = server.ping()
        check(options.workers > 1 or now == pid, f"worker {pid} was replaced by {now}")
        check("panicked at" not in server.log_since_mark(), "a panic is in the log")
        self.observer.never(HIDDEN_MARKER, "smug", window=0)

    def discard_sick(self, options: Options) -> None:
        """End a server that no longer answers, so that the next case gets a fresh one."""
        if options not in self._servers:
            return
        server, pid = self._servers[options]
        try:
            if server.ping() == pid:
                return
        except BrokenError:
            pass
        del self._servers[options]
        server.stop()


def _probe(server: Server) -> frozenset[str]:
    found = set()
    settings_frame = 4
    with server.connect() as connection:
        connection.send(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, settings_frame, 0, 0, 0, 0, 0])
        )
        with contextlib.suppress(BrokenError):
            found |= {"http2"} if connection.exactly(9)[3] == settings_frame else set()
    with server.connect() as connection:
        upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        with contextlib.suppress(BrokenError):
            found |= (
                {"websocket"}
                if connection.ask("/ws-accept/probe", headers=upgrade).status == 101
                else set()
            )
    return frozenset(found)


def _expect(column: dict[str, Result], server: str, *, complete: bool) -> int:
    """Turn expected failures into skips and stale entries into failures; return the number of failures."""
    file = _EXPECTED / f"{server}.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        id, colon, reason = (part.strip() for part in line.partition(":"))
        if not (colon and reason):
            raise SystemExit(f"{file}: {line!r} gives no reason")
        result = column.get(id)
        if result is None:
            if complete and id.split("/")[0] in {known.split("/")[0] for known in column}:
                column[id] = Result(
                    BROKEN, f"expected to fail ({reason}), but there is no such case"
                )
        elif result.outcome == BROKEN:
            column[id] = dataclasses.replace(
                result, outcome=SKIPPED, reason=f"expected failure: {reason}"
            )
        elif result.outcome == OK:
            column[id] = dataclasses.replace(
                result,
                outcome=BROKEN,
                reason=f"expected to fail ({reason}), but is ok: remove the entry",
            )
    return sum(result.outcome == BROKEN for result in column.values())


def _print_table(
    suites: Sequence[Suite],
    commands: Sequence[Command],
    columns: Sequence[dict[str, Result]],
    *,
    whole: bool,
) -> None:
    width = max(len(command.name) for command in commands)
    for suite in suites:
        cases = [case for case in suite.cases if f"{suite.name}/{case.id}" in columns[0]]
        counts = _counts(
            [column[f"{suite.name}/{case.id}"] for case in cases for column in columns[:1]]
        )
        if not cases:
            continue
        print(
            f"\n{suite.name}: {counts[OK]} ok, {counts[BROKEN]} broken, {counts[SKIPPED]} not applicable"
        )
        if whole:
            print(
                f"  {'':14} " + " ".join(f"{command.name:{max(width, 6)}}" for command in commands)
            )
            for case in cases:
                marks = (column[f"{suite.name}/{case.id}"].outcome for column in columns)
                print(
                    f"  {case.id:12} {case.level} "
                    + " ".join(_paint(f"{mark:{max(width, 6)}}") for mark in marks)
                    + f" {case.title}"
                )
    for command, column in zip(commands, columns, strict=True):
        _print_reasons(f"{command.name}, broken", column, BROKEN)
        _print_reasons(f"{command.name}, not applicable", column, SKIPPED)


def _print_reasons(title: str, column: dict[str, Result], wanted: str) -> None:
    """List the results of one outcome; skips that share a reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for id, result in column.items():
        if result.outcome == wanted:
            by_reason.setdefault(result.reason, []).append(id)
    if by_reason:
        print(f"\n{title}:")
    for reason, ids in by_reason.items():
        if wanted == SKIPPED and len(ids) > _LISTED:
            print(f"  {f'{len(ids)} cases':24} {reason}: {ids[0]} to {ids[-1]}")
        else:
            for id in ids:
                print(f"  {id:24} {reason}")


def _write_json(
    path: Path, commands: Sequence[Command], columns: Sequence[dict[str, Result]]
) -> None:
    results = {
        command.name: {id: dataclasses.asdict(result) for id, result in column.items()}
        for command, column in zip(commands, columns, strict=False)
    }
    path.write_text(json.dumps(results, indent=1) + "\n")


def _close(column: dict[str, Result], failed: int) -> int:
    counts = _counts(list(column.values()))
    print(f"\n{counts[OK]} passed, {failed} failed, {counts[SKIPPED]} skipped")
    return 1 if failed or not counts[OK] else 0


def _counts(results: Sequence[Result]) -> dict[str, int]:
    return {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in (OK, BROKEN, SKIPPED)
    }


def _paint(mark: str) -> str:
    colour = {OK: "32", BROKEN: "31;1"}.get(mark.strip())
    return f"\x1b[{colour}m{mark}\x1b[0m" if colour and sys.stdout.isatty() else mark


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
