"""What a run leaves: a table on the terminal, a JSON file, a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.arms import ARMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from benchmarks.fanout import FanOut
    from benchmarks.measure import Result, Row, Sample
    from benchmarks.memory import Memory


def print_results(console: Console, results: Sequence[Result]) -> None:
    """Print one table per workload, cheapest arm first."""
    for result in results:
        reference = result.reference
        label = reference.label if reference else "(its reference was not measured)"
        table = Table(
            title=f"{result.workload.title}: CPU time relative to {label}",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("server", min_width=28)
        for heading in ("µs CPU", "ratio", "min – max", "req/s", "p99 ms", "errors"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in sorted(result.rows, key=lambda row: row.median(cpu_us) or float("inf")):
            if row.skipped:
                continue
            table.add_row(*figures(row, reference), style="bold green" if row.ours else None)
        console.print(table)
        for row in result.rows:
            if row.skipped:
                console.print(f"  {row.label}: {row.skipped}", style="dim", highlight=False)


def cpu_us(sample: Sample) -> float:
    """Return the figure that the arms are ranked by."""
    return sample.cpu_us


def figures(row: Row, reference: Row | None) -> tuple[str, ...]:
    """Return a measured row's cells."""
    ratio = row.ratio_to(reference) if reference else None
    p99 = row.median(lambda s: s.p99_ms)
    errors = sum(sample.errors for sample in row.samples if sample)
    return (
        row.label,
        f"{row.median(cpu_us) or 0:.1f}",
        f"{ratio.median:.2f}" if ratio else "–",
        f"{ratio.minimum:.2f}–{ratio.maximum:.2f}" if ratio else "–",
        f"{row.median(lambda s: s.requests_per_second) or 0:,.0f}",
        "–" if p99 is None else f"{p99:.2f}",
        str(errors) if errors else "",
    )


def print_memory(console: Console, memory: Sequence[Memory]) -> None:
    """Print the memory figures."""
    if not memory:
        return
    title = "Memory: resident, whole process tree"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("kind")
    table.add_column("server", min_width=28)
    table.add_column("fresh MiB", justify="right")
    table.add_column("KiB/connection", justify="right")
    for entry in memory:
        arm = ARMS[entry.arm]
        table.add_row(
            entry.kind,
            arm.label,
            f"{entry.fresh_bytes / 2**20:.1f}",
            f"{entry.per_connection_bytes / 1024:.1f}",
            style="bold green" if arm.ours else None,
        )
    console.print(table)


def print_fan_out(console: Console, fan_out: Sequence[FanOut]) -> None:
    """Print the figures of events for many."""
    if not fan_out:
        return
    title = f"Server-sent events to {fan_out[0].clients:,} clients"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("server", min_width=28)
    for name in ("KiB/client", "ms to the last", "µs CPU/delivery"):
        table.add_column(name, justify="right")
    for entry in fan_out:
        table.add_row(
            entry.label,
            f"{entry.per_client_bytes / 1024:.1f}",
            f"{entry.last_ms:.0f}",
            f"{entry.cpu_us:.1f}",
            style="bold green" if ARMS[entry.arm].ours else None,
        )
    console.print(table)


def write_json(
    path: Path,
    results: Sequence[Result],
    memory: Sequence[Memory],
    machine: dict[str, object],
    settings: dict[str, object],
) -> None:
    """Write everything that was measured, raw samples included."""
    document = {
        "machine": machine,
        "settings": settings,
        "workloads": [result.as_json() for result in results],
        "memory": [asdict(entry) for entry in memory],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
