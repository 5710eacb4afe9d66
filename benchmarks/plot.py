"""The plot: a panel per workload, a bar per server: its CPU time relative to the reference."""

from __future__ import annotations

import math

import matplotlib as mpl

from benchmarks.report import cpu_us

mpl.use("Agg")
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.measure import Result

OURS, REFERENCE, OTHERS = "#1b7f4d", "#444444", "#a9b4c0"
COLUMNS = 2
BAR_INCHES = 0.27
HEAD_INCHES = 0.75


def write_plot(path: Path, results: Sequence[Result], subtitle: str) -> None:
    """Draw the measured workloads into a PNG file."""
    drawn = [result for result in results if result.reference]
    if not drawn:
        return
    rows = math.ceil(len(drawn) / COLUMNS)
    tallest = [
        max(len(measured(result)) for result in drawn[row * COLUMNS : (row + 1) * COLUMNS])
        for row in range(rows)
    ]
    heights = [HEAD_INCHES + BAR_INCHES * bars for bars in tallest]
    columns = min(COLUMNS, len(drawn))
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(8 * columns, sum(heights) + 1),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(f"Server CPU time per request (shorter is better)\n{subtitle}", fontsize=12)
    for number, (axis, result) in enumerate(zip(axes.flat, drawn, strict=False)):
        panel(axis, result, slots=tallest[number // COLUMNS])
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def measured(result: Result) -> list[tuple[float, float, float, float, str, str]]:
    """Return (ratio, smallest, largest, µs, label, colour) of each arm, the dearest first."""
    reference = result.reference
    rows = []
    for row in result.rows:
        ratio = row.ratio_to(reference) if reference else None
        if ratio:
            other = REFERENCE if row is reference else OTHERS
            colour = OURS if row.ours else other
            micros = row.median(cpu_us) or 0.0
            rows.append((ratio.median, ratio.minimum, ratio.maximum, micros, row.label, colour))
    return sorted(rows, reverse=True)


def panel(axis: Axes, result: Result, slots: int) -> None:
    """Draw one workload with room for that many bars, so that bars are equally thick everywhere."""
    rows = measured(result)
    ratios, smallest, largest, micros, labels, colours = zip(*rows, strict=True)
    spread = [
        [ratio - low for ratio, low in zip(ratios, smallest, strict=True)],
        [high - ratio for ratio, high in zip(ratios, largest, strict=True)],
    ]
    positions = range(len(rows))
    axis.barh(
        positions,
        ratios,
        color=colours,
        height=0.72,
        xerr=spread,
        error_kw={"ecolor": "#555555", "elinewidth": 1, "capsize": 2},
    )
    axis.set_yticks(positions, labels, fontsize=9)
    axis.axvline(1, color=REFERENCE, linewidth=0.8, linestyle=":")
    for position, ratio, high, micro in zip(positions, ratios, largest, micros, strict=True):
        axis.annotate(
            f"{ratio:.2f} ×  ({micro:.1f} µs)",
            (max(ratio, high), position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axis.set_ylim(len(rows) - slots - 0.5, len(rows) - 0.5)
    axis.set_xlim(0, max(largest) * 1.28)
    axis.set_title(
        f"{result.workload.title}: × {result.reference.label if result.reference else ''}",
        fontsize=10,
        loc="left",
        fontweight="bold",
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="x", labelsize=8)
