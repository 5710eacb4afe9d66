"""The suite object that the parts of `conformance.policies` fill, the profiles' servers, and how a table line becomes a case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from conformance.case import MUST, Case, Suite
from conformance.http1.judge import judge
from conformance.policies import files, tokens
from conformance.server import Options
from conformance.verdict import equal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.client import Response
    from conformance.trial import Trial

SUITE = Suite("policies")
APP = "conformance.policies.application:app"

# id, method and target, header lines, expectation as in conformance.http1.judge, title
Line = tuple[str, str, list[str], str, str]


def profile(name: str, **further: Any) -> Options:
    """Return the options of a server under a profile of `conformance.policies.application`."""
    environment = {"CONFORMANCE_PROFILE": name, "CONFORMANCE_FILES": str(files.root())}
    if name == "rs256":
        environment["CONFORMANCE_PUBLIC_KEY"] = tokens.public_pem()
    if name == "jwks":
        environment["CONFORMANCE_JWKS"] = tokens.jwks("old", "new")
    return Options(app=APP, environment=tuple(environment.items()), **further)


def table(name: str, lines: Iterable[Line]) -> None:
    """Add a case for each line: one request to a server under the profile, and its outcome judged."""
    for id, request, headers, expect, title in lines:
        head = "".join(f"{line}\r\n" for line in [f"{request} HTTP/1.1", "Host: a", *headers])
        data = f"{head}\r\n".encode("latin-1")

        def run(trial: Trial, data: bytes = data, expect: str = expect) -> None:
            judge(trial, data, expect)

        case = Case(
            id=id,
            level=MUST,
            title=f"{title}: {expect}",
            run=run,
            on=profile(name),
            hostile=True,
        )
        SUITE.add(case)


def problem(answer: Response, status: int) -> dict[str, Any]:
    """Return the problem document of an answer, which has to be one."""
    equal(answer.status, status, "status")
    equal(answer.header(b"content-type"), b"application/problem+json", "content-type")
    document: dict[str, Any] = json.loads(answer.body)
    equal(document["status"], status, "status in the document")
    return document


def says(answer: Response, status: int, title: str, detail: str) -> None:
    """Hold a problem document against title and detail of the contract."""
    document = problem(answer, status)
    equal(document["title"], title, "title")
    equal(document["detail"], detail, "detail")
