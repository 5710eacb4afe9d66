#!/usr/bin/env python3
"""Measure CPU time per request, throughput, latency and memory of Spikard and others: `make bench`.

Start it with any Python ≥ 3.10. It creates its own virtual environment with the newest competitors
(CPython 3.13 where found), builds our release wheel and the limit, and goes on there. What cannot
be measured is skipped by name.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import environment  # noqa: E402 - the repository's root has to be on the path first
from benchmarks.arms import ARMS  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402

RESULTS = ROOT / "benchmarks/results"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print workloads and arms, and stop")
    parser.add_argument(
        "--workload",
        action="append",
        metavar="NAME",
        choices=[w.name for w in WORKLOADS] + ["memory", "fan-out"],
        help="only this workload, or 'memory', or 'fan-out' (repeatable; default: all)",
    )
    parser.add_argument(
        "--arm",
        action="append",
        metavar="NAME",
        choices=list(ARMS),
        help="only this arm, beside the workload's reference (repeatable; default: all)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all arms (default: 3)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="measured seconds per arm and round (default: 3)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--python", help="interpreter to measure on (default: CPython 3.13)")
    parser.add_argument(
        "--no-build", action="store_true", help="measure the Spikard that is already installed"
    )
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 1
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return args


def main() -> None:
    """Prepare the environment, then measure inside it."""
    args = parse()
    if args.list:
        print_list()
        return
    try:
        venv = environment.find_venv(args.python)
        if venv.running:
            # Only the environment has the packages that this needs.
            from benchmarks.session import Session

            Session(args, RESULTS).run()
            return
        venv.prepare(say)
        if not args.no_build:
            venv.install_spikard(say)
    except environment.SetupError as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")
    sys.stdout.flush()
    os.execv(venv.python, [str(venv.python), __file__, *sys.argv[1:]])  # noqa: S606 - our own


def print_list() -> None:
    """Print what there is to measure."""
    say("workloads (--workload) and their arms (--arm):")
    for workload in WORKLOADS:
        say(f"  {workload.name:14} {workload.title}: {', '.join(workload.arms)}")
    say("  memory         fresh server, idle connections")
    say("  fan-out        server-sent events to 2,000 clients")


def say(line: str) -> None:
    """Print one line of progress at once."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
