"""`python -m conformance.input`: hostile input for a native application, through three doors."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from conformance import doors
from conformance.input import application
from conformance.input.cases import Case, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikard.testing import TestResponse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case through every door and return the exit code."""
    parser = argparse.ArgumentParser(description="Hostile input for a native application.")
    parser.add_argument("--only", default="", help="part of an id, such as G06")
    options = parser.parse_args(arguments)
    logging.getLogger("spikard").addHandler(logging.NullHandler())
    logging.getLogger("spikard").propagate = False
    app = application.make()
    chosen = [case for case in cases() if options.only in case.id]
    broken: list[str] = []
    opened = doors.Doors()
    try:
        for door in doors.DOORS:
            with opened.client(door, app) as client:
                for case in chosen:
                    answer = client.request(
                        case.method, case.target, content=case.content, headers=case.headers
                    )
                    wrong = _judge(case, answer)
                    if wrong:
                        broken.append(f"{case.id} {door}: {wrong}")
                    elif client.get("/ping").status_code != 200:
                        broken.append(f"{case.id} {door}: no answer to a ping afterwards")
    finally:
        opened.close()
    for line in broken:
        print(f"  BROKEN {line}")
    tried = len(chosen) * len(doors.DOORS)
    print(f"input: {tried - len(broken)} passed, {len(broken)} failed ({', '.join(doors.DOORS)})")
    return 1 if broken or not chosen else 0


def _judge(case: Case, answer: TestResponse) -> str:
    """Return what is wrong with an answer; empty when nothing is."""
    shown = answer.content[:200]
    if answer.status_code not in case.statuses:
        return f"expected {case.statuses}, got {answer.status_code}: {shown!r}"
    if answer.status_code >= 400:
        if answer.headers["content-type"] != "application/problem+json":
            return f"no problem document: {answer.headers['content-type']}"
        if answer.json()["status"] != answer.status_code:
            return f"the problem's status is another: {shown!r}"
        if b"Traceback" in answer.content or b"Error:" in answer.content:
            return f"exception text: {shown!r}"
        if len(answer.content) > case.max_bytes:
            return f"the answer has {len(answer.content)} bytes"
    if case.lacks is not None and case.lacks in answer.content:
        return f"the answer shows {case.lacks!r}"
    if case.body is not ... and answer.json() != case.body:
        return f"expected {case.body!r}, got {shown!r}"
    if any(b"\r" in value or b"\n" in value for _, value in answer.headers.raw):
        return "a header has a line break"
    if "x-injected" in answer.headers:
        return "a header was injected"
    return ""


if __name__ == "__main__":
    sys.exit(main())
