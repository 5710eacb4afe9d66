"""One run inside the virtual environment: measured, shown as it goes, reported at the end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import environment, plot, report
from benchmarks.arms import ARMS, LIMIT
from benchmarks.fanout import FAN_OUT_ARMS, FanOut, measure_fan_out
from benchmarks.measure import Result, Row, Setting, measure_once
from benchmarks.memory import IDLE_KINDS, Idle, Memory, measure_memory
from benchmarks.redis_server import running_redis
from benchmarks.server import ServerError
from benchmarks.static import write_files
from benchmarks.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

LOG_FILE_COLUMNS = 100
BUSY_SECONDS = 1  # how long the machine is watched before the run
BUSY_PERCENT = 10  # of all cores, used by others; above it the run says so


class Session:
    """The run that the command line asks for."""

    def __init__(self, args: argparse.Namespace, results_folder: Path) -> None:
        self._args = args
        self._folder = results_folder
        self._console = Console()
        if not self._console.is_terminal:
            self._console = Console(width=LOG_FILE_COLUMNS)
        names = args.workload or [*(w.name for w in WORKLOADS), "memory", "fan-out"]
        needs_limit = any(LIMIT in w.arms for w in WORKLOADS if w.name in names)
        self._limit = environment.build_limit(self._say) if needs_limit else None
        self._results = [self._rows(w) for w in WORKLOADS if w.name in names]
        self._memory_plan = [
            (kind, arm)
            for kind in (IDLE_KINDS if "memory" in names else ())
            for arm in kind.arms
            if (not args.arm or arm in args.arm) and self._why_not(arm) is None
        ]
        self._memory: list[Memory] = []
        self._fan_out_plan = [
            arm
            for arm in (FAN_OUT_ARMS if "fan-out" in names else ())
            if (not args.arm or arm in args.arm) and self._why_not(arm) is None
        ]
        self._fan_out: list[FanOut] = []
        self._failures: list[str] = []

    def run(self) -> None:
        """Measure, print, write; Ctrl-C reports what is there by then."""
        machine = environment.machine()
        for tool, purpose in environment.TOOLS.items():
            if not shutil.which(tool):
                self._say(f"missing: {tool} ({purpose})")
        busy = psutil.cpu_percent(BUSY_SECONDS)
        machine["busy_percent_before"] = busy
        if busy > BUSY_PERCENT:
            self._say(
                f"the machine is {busy:.0f} % busy: figures come out higher, compare ratios only"
            )
        started = datetime.now(timezone.utc)
        try:
            with self._setting() as setting, self._progress() as progress:
                self._measure_all(setting, progress)
        except KeyboardInterrupt:
            self._say("stopped: reporting what was measured")
        self._report(machine, started)

    def _rows(self, workload: Workload) -> Result:
        tools = environment.missing_tools(workload)
        rows = []
        for name in workload.arms:
            wanted = not self._args.arm or name in self._args.arm or name == workload.reference
            if not wanted:
                continue
            reason = f"missing: {', '.join(tools)}" if tools else self._why_not(name)
            rows.append(Row(name, ARMS[name].label, ARMS[name].ours, skipped=reason))
            if reason:
                self._say(f"skipped: {workload.name}, {ARMS[name].label}: {reason}")
        return Result(workload, rows)

    def _why_not(self, arm: str) -> str | None:
        return environment.missing(arm, ARMS[arm], self._limit)

    @contextmanager
    def _setting(self) -> Iterator[Setting]:
        """Yield what servers are started with: certificate and Redis exist while it lasts."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            certificate, key = environment.make_certificate(folder) or (None, None)
            extra = {}
            if any("redis-server" in r.workload.tools for r in self._results) and shutil.which(
                "redis-server"
            ):
                extra["BENCHMARK_REDIS_PORT"] = str(stack.enter_context(running_redis(folder)))
            files = folder / "static"
            files.mkdir()
            write_files(files)
            yield Setting(self._limit, certificate, key, files, extra)

    def _progress(self) -> Progress:
        return Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self._console,
            speed_estimate_period=600,
        )

    def _measure_all(self, setting: Setting, progress: Progress) -> None:
        steps = sum(not row.skipped for result in self._results for row in result.rows)
        total = steps * self._args.rounds + len(self._memory_plan) + len(self._fan_out_plan)
        task = progress.add_task("", total=total)
        for result in self._results:
            for number in range(self._args.rounds):
                for row in result.rows:
                    if row.skipped:
                        continue
                    what = f"{result.workload.name}, round {number + 1}: {row.label}"
                    progress.update(task, description=what)
                    self._measure_row(setting, result.workload, row)
                    progress.advance(task)
                    self._show(progress, what, row)
        for kind, arm in self._memory_plan:
            progress.update(task, description=f"{kind.name}: {ARMS[arm].label}")
            self._measure_memory(setting, kind, arm)
            progress.advance(task)
        for arm in self._fan_out_plan:
            progress.update(task, description=f"fan-out: {ARMS[arm].label}")
            try:
                self._fan_out.append(measure_fan_out(setting, arm))
            except ServerError as error:
                self._failures.append(f"fan-out, {ARMS[arm].label}: {error}")
            progress.advance(task)

    def _measure_row(self, setting: Setting, workload: Workload, row: Row) -> None:
        try:
            row.samples.append(measure_once(setting, workload, row.arm, self._args.seconds))
        except ServerError as error:
            row.samples.append(None)
            self._failures.append(f"{workload.name}, {row.label}: {error}")

    def _measure_memory(self, setting: Setting, kind: Idle, arm: str) -> None:
        try:
            self._memory.append(measure_memory(setting, kind, arm))
        except ServerError as error:
            self._failures.append(f"{kind.name}, {ARMS[arm].label}: {error}")

    def _show(self, progress: Progress, what: str, row: Row) -> None:
        """Print the step's figure: above the bar of a terminal, as the progress in a log file."""
        sample = row.samples[-1]
        figure = (
            f"{sample.cpu_us:7.1f} µs {sample.requests_per_second:9,.0f} req/s"
            if sample
            else "  failed: " + self._failures[-1].rpartition(": ")[2]
        )
        progress.console.print(f"{what:58} {figure}", highlight=False, markup=False, soft_wrap=True)

    def _report(self, machine: dict[str, object], started: datetime) -> None:
        for result in self._results:
            for row in result.rows:
                if not any(row.samples) and not row.skipped:
                    row.skipped = "failed, see below" if row.samples else "not reached"
        report.print_results(self._console, self._results)
        report.print_memory(self._console, self._memory)
        report.print_fan_out(self._console, self._fan_out)
        for failure in dict.fromkeys(self._failures):
            self._console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
        settings: dict[str, object] = {
            "started": started.isoformat(timespec="seconds"),
            "rounds": self._args.rounds,
            "seconds": self._args.seconds,
            "failures": self._failures,
            "fan_out": [asdict(entry) for entry in self._fan_out],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{started:%Y-%m-%dT%H%M%S}"
        json_path, png_path = self._folder / f"{stem}.json", self._folder / f"{stem}.png"
        report.write_json(json_path, self._results, self._memory, machine, settings)
        subtitle = (
            f"{machine['cpu']}, server on one core, CPython {machine['python']}, "
            f"commit {machine['commit']}, {self._args.rounds} × {self._args.seconds} s, "
            "lines: min – max"
        )
        plot.write_plot(png_path, self._results, subtitle)
        for path in (json_path, png_path):
            if path.exists():
                self._say(f"written: {path}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
