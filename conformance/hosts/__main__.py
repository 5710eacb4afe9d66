"""`python -m conformance.hosts`: every application under every server, as a table."""

from __future__ import annotations

import argparse
import concurrent.futures
import fnmatch
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.hosts.applications import APPLICATIONS, MOUNTED
from conformance.hosts.cells import CELLS, PATIENCE, ROOT, Subject
from conformance.hosts.clients import Http1, Http2Only, Place
from conformance.hosts.servers import HOSTS, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXPECTED = Path(__file__).parents[1] / "expected" / "hosts.txt"
KNOWN_SECONDS = 0.5  # to wait for what is known not to happen
AT_ONCE = 3  # pairs: most of a cell's time is waiting

Key = tuple[str, str, str]  # host, application, cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the matrix and return the exit code."""
    parser = argparse.ArgumentParser(description="Applications under ASGI servers.")
    parser.add_argument("--host", action="append", choices=list(HOSTS))
    parser.add_argument("--app", action="append", choices=list(APPLICATIONS))
    options = parser.parse_args(arguments)
    pairs = [
        (host, application)
        for host in options.host or HOSTS
        for application in options.app or APPLICATIONS
    ]
    expected = _expected()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        rows = pool.map(lambda pair: _try(*pair, expected), pairs)
        reasons: dict[Key, str] = {}
        for (host, application), row in zip(pairs, rows, strict=True):
            reasons |= {(host, application, cell): why for cell, why in row.items()}
    complete = len(pairs) == len(HOSTS) * len(APPLICATIONS)
    unexpected = {key: why for key, why in reasons.items() if why and not _covering(expected, key)}
    stale = _stale(expected, reasons) if complete else []
    _print(reasons, expected)
    for (host, application, cell), why in unexpected.items():
        print(f"  BROKEN {host} / {application} / {cell}: {why}")
    for line in stale:
        print(f"  BROKEN {line}")
    passed = sum(not why for why in reasons.values())
    failed = len(unexpected) + len(stale)
    known = len(reasons) - passed - len(unexpected)
    print(f"hosts: {passed} passed, {failed} failed, {known} not applicable")
    return 1 if failed or not passed else 0


def _try(host: str, application: str, expected: dict[Key, str]) -> dict[str, str]:
    """Return why each cell is broken, an empty text where it is not."""
    prefix = MOUNTED.get(application, "")
    speak = Http2Only if HOSTS[host].http == 2 else Http1
    try:
        with Host(host, application) as server, Host(host, application, ROOT) as rooted:
            subject = Subject(
                server,
                speak(Place(server.connect, prefix)),
                prefix,
                speak(Place(rooted.connect, prefix)),
                speak(Place(rooted.connect, ROOT + prefix)),
            )
            row = {}
            for cell, ask in CELLS.items():
                is_known = _covering(expected, (host, application, cell))
                subject.patience = KNOWN_SECONDS if is_known else PATIENCE
                row[cell] = _reason(ask, subject)
            return row
    except Exception as error:
        print(f"{host} / {application}: {error}")
        return dict.fromkeys(CELLS, "it did not start")


def _reason(ask: Callable[[Subject], None], subject: Subject) -> str:
    try:
        ask(subject)
    except Exception as error:
        return " ".join(f"{error}".split()) or type(error).__name__
    return ""


def _expected() -> dict[Key, str]:
    entries: dict[Key, str] = {}
    for line in EXPECTED.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            place, colon, reason = line.partition(": ")
            parts = [part.strip() for part in place.split(" / ")]
            if len(parts) != 3 or not colon or not reason.strip():
                raise SystemExit(f"{EXPECTED}: {line!r} is not `host / application / cell: reason`")
            entries[parts[0], parts[1], parts[2]] = reason.strip()
    return entries


def _covers(entry: Key, key: Key) -> bool:
    return all(map(fnmatch.fnmatchcase, key, entry))


def _covering(expected: dict[Key, str], key: Key) -> str:
    return next((reason for entry, reason in expected.items() if _covers(entry, key)), "")


def _stale(expected: dict[Key, str], reasons: dict[Key, str]) -> list[str]:
    stale = []
    for entry, reason in expected.items():
        fine = [key for key, why in reasons.items() if _covers(entry, key) and not why]
        if fine or not any(_covers(entry, key) for key in reasons):
            name = " / ".join(fine[0] if fine else entry)
            stale.append(f"{name}: expected to fail ({reason}), but does not")
    return stale


def _print(reasons: dict[Key, str], expected: dict[Key, str]) -> None:
    notes: dict[str, int] = {}
    width = max(len(host) for host, _, _ in reasons)
    for application in dict.fromkeys(key[1] for key in reasons):
        print(f"\n{application}")
        print(f"  {'':{width}}  " + "  ".join(f"{cell:>10}" for cell in CELLS))
        for host in dict.fromkeys(key[0] for key in reasons):
            marks = []
            for cell in CELLS:
                key = host, application, cell
                reason = _covering(expected, key)
                if not reasons[key]:
                    marks.append("ok")
                elif reason:
                    marks.append(f"[{notes.setdefault(reason, len(notes) + 1)}]")
                else:
                    marks.append("BROKEN")
            print(f"  {host:{width}}  " + "  ".join(f"{mark:>10}" for mark in marks))
    print()
    for reason, number in notes.items():
        print(f"  [{number}] {reason}")


if __name__ == "__main__":
    sys.exit(main())
