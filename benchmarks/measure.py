"""Measure workloads: a round starts each arm once, so that what disturbs one disturbs them all."""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arms import ARMS, LIMIT
from benchmarks.load import Load, load_for
from benchmarks.server import Server, ServerError, free_port
from benchmarks.static import write_nginx_configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.workloads import Workload

READY_SECONDS = 30
WARM_UP_SECONDS = 1
PROBE_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Sample:
    """One arm in one round."""

    cpu_us: float  # user + system time of the server's process tree per request
    requests_per_second: float
    p99_ms: float | None
    errors: int


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    minimum: float
    maximum: float


@dataclass
class Row:
    """One arm of a workload over all rounds; `samples[i]` is round i's, None where it failed."""

    arm: str
    label: str
    ours: bool
    samples: list[Sample | None] = field(default_factory=list)
    skipped: str | None = None

    def median(self, figure: Callable[[Sample], float | None]) -> float | None:
        """Return the median of one figure over the rounds that have it."""
        values = [v for s in self.samples if s is not None and (v := figure(s)) is not None]
        return statistics.median(values) if values else None

    def ratio_to(self, reference: Row) -> Spread | None:
        """Return CPU per request relative to the reference arm in the same round."""
        pairs = zip(self.samples, reference.samples, strict=False)
        ratios = [a.cpu_us / b.cpu_us for a, b in pairs if a and b and b.cpu_us]
        return Spread(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


@dataclass
class Result:
    """One workload's rows."""

    workload: Workload
    rows: list[Row]

    @property
    def reference(self) -> Row | None:
        """The row that the ratios are relative to, if it was measured."""
        named = (row for row in self.rows if row.arm == self.workload.reference)
        return next((row for row in named if any(row.samples)), None)

    def as_json(self) -> dict[str, object]:
        """Return the raw samples and the figures made of them."""
        reference = self.reference
        rows = []
        for row in self.rows:
            ratio = row.ratio_to(reference) if reference else None
            rows.append(
                {
                    **asdict(row),
                    "cpu_us": row.median(lambda s: s.cpu_us),
                    "requests_per_second": row.median(lambda s: s.requests_per_second),
                    "p99_ms": row.median(lambda s: s.p99_ms),
                    "ratio": asdict(ratio) if ratio else None,
                }
            )
        return {
            "name": self.workload.name,
            "title": self.workload.title,
            "reference": self.workload.reference,
            "arms": rows,
        }


@dataclass(frozen=True)
class Setting:
    """What servers are started with, besides port and application."""

    limit: Path | None
    certificate: Path | None
    key: Path | None
    files: Path
    environment: Mapping[str, str]

    def start(self, arm: str, app: str) -> Server:
        """Start an arm on a free port."""
        port = free_port()
        values = {
            "bin": Path(sys.executable).parent,
            "limit": self.limit,
            "certificate": self.certificate,
            "key": self.key,
            "port": port,
            "files": self.files,
            "nginx": write_nginx_configuration(self.files, port) if arm == "nginx" else "",
        }
        command = ARMS[arm].command.format(**values, app=app.format(**values))
        return Server(shlex.split(command), port, self.environment)


def measure_once(setting: Setting, workload: Workload, arm: str, seconds: float) -> Sample:
    """Start an arm, check its answer, warm it up, measure it and end it."""
    load = load_for(workload)
    with setting.start(arm, workload.arms[arm]) as server:
        wait_until_ready(server, load, check_body=arm != LIMIT)
        load.run(server.port, WARM_UP_SECONDS)
        before = server.cpu_seconds()
        answered = load.run(server.port, seconds)
        used = server.cpu_seconds() - before
        server.check_alive()
    if not answered.requests:
        raise ServerError("no request was answered")
    return Sample(
        cpu_us=used / answered.requests * 1e6,
        requests_per_second=answered.requests / answered.seconds,
        p99_ms=answered.p99_ms,
        errors=answered.errors,
    )


def wait_until_ready(server: Server, load: Load, *, check_body: bool) -> None:
    """Ask until the server answers as the workload says.

    Raises:
        ServerError: it exited, answered wrongly or did not answer in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        server.check_alive()
        try:
            load.probe(server.port, check_body=check_body)
        except (ConnectionError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise ServerError(f"not ready: {error!r}; {server.last_line()}") from error
            time.sleep(PROBE_PAUSE_SECONDS)
        else:
            return
