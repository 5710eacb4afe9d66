"""Group R: cookies, redirects, fields, errors, the documentation's pages and events cannot be turned against their reader."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.application import HARMFUL_TITLE
from conformance.policies.suite import SUITE, problem, profile
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

PLAIN = profile("plain")


@SUITE.case(
    "R02", MUST, "a cookie that could end its line or break its prefix is refused", on=PLAIN
)
def cookies_out(trial: Trial) -> None:
    connection = trial.connect()
    for kind in (
        "semicolon",
        "line",
        "nul",
        "name",
        "path",
        "host-path",
        "host-insecure",
        "host-domain",
        "secure",
    ):
        answer = connection.ask(f"/cookies/{kind}")
        equal((answer.status, answer.body), (200, b"refused"), kind)
        check(answer.header(b"set-cookie") is None, f"{kind} was set")
    equal(len(connection.ask("/cookies/good").all(b"set-cookie")), 1, "a good one")


@SUITE.case("R03", MUST, "SameSite=None without Secure is refused", on=PLAIN)
def same_site(trial: Trial) -> None:
    equal(trial.connect().ask("/cookies/same-site").body, b"refused", "body")


@SUITE.case(
    "R04",
    MUST,
    "of a repeated cookie the first counts; odd ones are no error",
    on=PLAIN,
    hostile=True,
)
def cookies_in(trial: Trial) -> None:
    connection = trial.connect()
    for lines, expected in (
        (["Cookie: a=1; a=2"], {"a": "1"}),
        (["Cookie: __Host-a=1", "Cookie: __Host-a=2; b=3"], {"__Host-a": "1", "b": "3"}),
        (['Cookie: a="x\\054y"; =nobody; lonely'], {"a": "x,y"}),
        (["Cookie: a=caf\xe9"], {"a": "café"}),
        (["Cookie: ;;; = ; a="], {"a": ""}),
    ):
        answer = connection.ask("/cookies/seen", headers=lines)
        equal(answer.status, 200, "status")
        equal(json.loads(answer.body), expected, f"cookies of {lines}")


@SUITE.case(
    "R05",
    MUST,
    "a redirect of ours is relative, whatever path and host say",
    on=PLAIN,
    hostile=True,
)
def redirects(trial: Trial) -> None:
    for target in (
        "//evil.example/static/sub",
        "/\\evil.example",
        "/%5cevil.example/",
        "//evil.example/..",
        "/static//evil.example",
        "/static/sub",
    ):
        for host in ("a", "evil.example"):
            connection = trial.connect()
            connection.request(target, host=host)
            answer = connection.response()
            location = answer.header(b"location")
            check(answer.status in (307, 400, 404), f"{target} answers {answer.status}")
            check(location in (None, b"./sub/"), f"{target} leads to {location!r}")


@SUITE.case("R06", MUST, "a redirect target cannot end its header line", on=PLAIN)
def redirect_line(trial: Trial) -> None:
    answer = trial.connect().ask("/redirect/line")
    check(answer.header(b"x-injected") is None, "a field was injected")
    check(b"\n" not in (answer.header(b"location") or b""), "a line break in location")


@SUITE.case(
    "R06-fields", MUST, "neither can a field's name or value: 500, and nothing of it", on=PLAIN
)
def field_lines(trial: Trial) -> None:
    connection = trial.connect()
    for kind in ("line", "nul", "name"):
        answer = connection.ask(f"/header/{kind}")
        problem(answer, 500)
        check(answer.header(b"x-injected") is None, "a field was injected")


@SUITE.case("R07", MUST, "a download's name is encoded as RFC 6266 says", on=PLAIN)
def download(trial: Trial) -> None:
    connection = trial.connect()
    for name, shown in (
        ("a.txt", b'filename="a.txt"'),
        ("a%22b.txt", b"a"),
        ("a%0d%0ax-injected:%201", b"a"),
        ("%E2%82%AC.txt", b"filename*="),
    ):
        answer = connection.ask(f"/download?name={name}")
        disposition = answer.header(b"content-disposition") or b""
        equal(answer.status, 200, f"status for {name}")
        check(answer.header(b"x-injected") is None, "a field was injected")
        check(shown in disposition, f"{name}: {disposition!r}")
        inside = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", disposition)
        check(b'"' not in inside, f"an unbalanced quote: {disposition!r}")


@SUITE.case("R08", MUST, "an exception's text stays in the log, with the request's id", on=PLAIN)
def exception_text(trial: Trial) -> None:
    answer = trial.connect().ask("/raises", headers=["X-Request-ID: trace-77"])
    problem(answer, 500)
    equal(answer.header(b"x-request-id"), b"trace-77", "x-request-id")
    for word in (b"hunter2", b"RuntimeError", b"Traceback", b".py"):
        check(word not in answer.body, f"{word!r} is in the answer")
    log = trial.server.log_since_mark()
    check("hunter2" in log and "Traceback" in log, "the traceback is not in the log")
    check("trace-77" in log, "the request's id is not in the log")


@SUITE.case("R09", MUST, "titles, prefixes and queries cannot script the documentation", on=PLAIN)
def documentation(trial: Trial) -> None:
    connection = trial.connect()
    pages = {}
    for target in ("/docs", "/redoc"):
        plain = connection.ask(target)
        equal(plain.status, 200, f"status of {target}")
        check(HARMFUL_TITLE.encode() not in plain.body, f"{target} has the title unescaped")
        pages[target] = plain.body
        for query, lines in (
            ("?url=//evil.example/x.json", []),
            ("?configUrl=//evil.example/x.json", []),
            ("", ["X-Forwarded-Prefix: ');alert(1)//"]),
            ("", ["X-Forwarded-Host: evil.example", "X-Forwarded-Proto: javascript"]),
            ("", ["Host-Override: evil.example"]),
        ):
            answer = connection.ask(target + query, headers=lines)
            equal(answer.body, plain.body, f"{target}{query} with {lines}")
    document = connection.ask("/openapi.json", headers=["X-Forwarded-Prefix: /evil"])
    check(b"/evil" not in document.body, "the document believes a prefix")
    script = connection.ask("/docs/start.js")
    check(b"queryConfigEnabled: false" in script.body, "Swagger UI reads its query")


@SUITE.case("R10", MUST, "the documentation loads from its own origin only", on=PLAIN)
def assets(trial: Trial) -> None:
    connection = trial.connect()
    for target in ("/docs", "/redoc"):
        page = connection.ask(target)
        policy = page.header(b"content-security-policy") or b""
        check(policy.startswith(b"default-src 'self';"), f"policy {policy!r}")
        check(b"script-src" not in policy, "scripts have a rule of their own")
        equal(page.header(b"x-content-type-options"), b"nosniff", "x-content-type-options")
        links = re.findall(rb'(?:src|href)="([^"]*)"', page.body)
        check(links, "no links in the page")
        for link in links:
            check(b":" not in link and not link.startswith(b"/"), f"{target} loads {link!r}")
            answer = connection.ask("/" + link.decode())
            equal(answer.status, 200, f"status of {link!r}")
            equal(answer.header(b"x-content-type-options"), b"nosniff", "nosniff")
        inline = re.findall(rb"<script([^>]*)>([^<]+)</script>", page.body)
        check(all(b'type="application/json"' in kind for kind, _ in inline), "a script in the page")


@SUITE.case("R12", MUST, "no data, id or name of an event becomes a field of its own", on=PLAIN)
def events(trial: Trial) -> None:
    answer = trial.connect().ask("/events")
    equal(answer.header(b"content-type"), b"text/event-stream; charset=utf-8", "content-type")
    equal(answer.header(b"cache-control"), b"no-cache", "cache-control")
    expected = b"data: one\n\nevent: odd\ndata: a\ndata: \ndata: id: 7\ndata: data: b\n\n"
    equal(answer.body, expected, "the stream")


SUITE.left_out(
    "R05-slash", "a path with a slash too many", "such a path is a 404: no redirect exists"
)
