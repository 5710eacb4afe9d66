"""The figures of runs as a page: ``python -m benchmarks.page RESULT.json … > docs/benchmarks.md``.

Of a workload that several of the files have, the last one counts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.arms import ARMS

HEADING = """# Benchmarks

CPU time per request of the whole server process, relative to a reference in the same round; less is
better. The ratios carry over to other machines better than the microseconds, and both better than
requests per second. What each workload does, what is left out and how to run it:
[benchmarks/README.md](../benchmarks/README.md). Every server is at its default settings with the
access log off; every framework's program is written as its documentation would.
"""

Document = dict[str, Any]


def page(documents: list[Document]) -> str:
    """Return the page of runs, which should be of one machine and commit."""
    workloads = {each["name"]: each for document in documents for each in document["workloads"]}
    parts = [HEADING, conditions(documents[-1])]
    parts += [workload(each) for each in workloads.values()]
    parts += [memory(document["memory"]) for document in documents if document["memory"]]
    return "\n".join(parts)


def conditions(document: Document) -> str:
    """Return what was measured, on what."""
    machine, settings = document["machine"], document["settings"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cpu']}, CPython {machine['python']}, {settings['rounds']} rounds of "
        f"{settings['seconds']} s per server, {settings['started'][:10]}. {packages}.\n"
    )


def workload(measured: Document) -> str:
    """Return the table of one workload, the cheapest arm first."""
    arms = [arm for arm in measured["arms"] if not arm["skipped"]]
    label = ARMS[measured["reference"]].label
    lines = [
        f"## {measured['title']}",
        "",
        f"| server | µs CPU | × {label} | min – max |",
        "|---|---|---|---|",
    ]
    for arm in sorted(arms, key=lambda arm: float(arm["cpu_us"])):
        name = f"**{arm['label']}**" if arm["ours"] else arm["label"]
        ratio = arm["ratio"]
        spread = f"{ratio['minimum']:.2f} – {ratio['maximum']:.2f}"
        lines.append(f"| {name} | {arm['cpu_us']:.1f} | {ratio['median']:.2f} | {spread} |")
    return "\n".join([*lines, ""])


def memory(entries: list[Document]) -> str:
    """Return the table of resident memory."""
    lines = [
        "## Memory",
        "",
        "| kind | server | fresh, MiB | KiB per connection |",
        "|---|---|---|---|",
    ]
    for entry in entries:
        arm = ARMS[entry["arm"]]
        name = f"**{arm.label}**" if arm.ours else arm.label
        fresh, each = entry["fresh_bytes"] / 2**20, entry["per_connection_bytes"] / 1024
        lines.append(f"| {entry['kind']} | {name} | {fresh:.1f} | {each:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page([json.loads(Path(path).read_text()) for path in sys.argv[1:]]))
