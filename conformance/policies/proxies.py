"""Group P: whose word about client, scheme and host counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.suite import SUITE, Line, profile, table
from conformance.verdict import check, equal, eventually

if TYPE_CHECKING:
    from conformance.trial import Trial

PEER = "127.0.0.1"
ITS = [PEER, "http://a/who"]

# id, header lines, client and URL as the handler sees them
TRUSTED: list[tuple[str, list[str], list[str]]] = [
    ("P02-one", ["X-Forwarded-For: 192.0.2.1"], ["192.0.2.1", ITS[1]]),
    ("P02-right-most", ["X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.1.2.3"], ["192.0.2.1", ITS[1]]),
    (
        "P02-lines",
        ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.1"],
        ["192.0.2.1", ITS[1]],
    ),
    ("P02-all-trusted", ["X-Forwarded-For: 10.0.0.1, 10.0.0.2"], ["10.0.0.1", ITS[1]]),
    ("P02-scheme", ["X-Forwarded-Proto: https"], [PEER, "https://a/who"]),
    ("P02-host", ["X-Forwarded-Host: b.example"], [PEER, "http://b.example/who"]),
    (
        "P02-forwarded",
        ['Forwarded: for="[2001:db8::1]:4711";proto=https;host=b.example'],
        ["2001:db8::1", "https://b.example/who"],
    ),
    (
        "P02-forwarded-hops",
        ["Forwarded: for=6.6.6.6, for=192.0.2.1;proto=https, for=10.0.0.1;proto=http"],
        ["192.0.2.1", ITS[1]],
    ),
    (
        "P02-forwarded-first",
        ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 6.6.6.6"],
        ["192.0.2.1", ITS[1]],
    ),
    ("P03-garbage", ["X-Forwarded-For: not an address"], ITS),
    ("P03-garbage-last", ["X-Forwarded-For: 6.6.6.6, <script>"], ITS),
    ("P03-port", ["X-Forwarded-For: 192.0.2.1:8080"], ["192.0.2.1", ITS[1]]),
    ("P03-brackets", ["X-Forwarded-For: [2001:db8::1]:80"], ["2001:db8::1", ITS[1]]),
    ("P03-hops", ["X-Forwarded-For: " + ",".join(["10.0.0.1"] * 1800)], ["10.0.0.1", ITS[1]]),
    ("P03-empty", ["X-Forwarded-For:"], ITS),
    ("P03-commas", ["X-Forwarded-For: ,,,"], ITS),
    ("P03-number", ["X-Forwarded-For: 3221225985"], ITS),
    ("P03-octal", ["X-Forwarded-For: 0300.0.2.1"], ITS),
    ("P03-unknown", ["Forwarded: for=unknown"], ITS),
    ("P03-hidden", ["Forwarded: for=_secret"], ITS),
    ("P03-bytes", ["X-Forwarded-For: 192.0.2.1\xff"], ITS),
    ("P03-scheme", ["X-Forwarded-Proto: javascript"], ITS),
    ("P03-host", ["X-Forwarded-Host: evil.example/path?x"], ITS),
    ("P03-host-userinfo", ["X-Forwarded-Host: a@evil.example"], ITS),
    ("P03-forwarded", ['Forwarded: for="192.0.2.1;=;,"";"'], ITS),
]

for _id, _lines, _seen in TRUSTED:

    @SUITE.case(
        _id,
        MUST,
        f"from a trusted proxy: {', '.join(_lines)[:60]}",
        on=profile("proxy"),
        hostile=True,
    )
    def _(trial: Trial, lines: list[str] = _lines, seen: list[str] = _seen) -> None:
        answer = trial.connect().ask("/who", headers=lines)
        equal(answer.status, 200, "status")
        document = json.loads(answer.body)
        equal([document["client"], document["url"]], seen, "client and URL")


SPOOFED = [
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
    "X-Real-IP: 192.0.2.1",
    "Forwarded: for=192.0.2.1;proto=https;host=evil.example",
]


@SUITE.case(
    "P01", MUST, "from anybody else such fields mean nothing", on=profile("plain", access_log=True)
)
def untrusted(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask("/who", headers=SPOOFED)
    document = json.loads(answer.body)
    equal([document["client"], document["url"]], ITS, "client and URL")
    answer = connection.ask("/static/sub", headers=SPOOFED)
    equal(answer.header(b"location"), b"./sub/", "location")
    check(answer.header(b"strict-transport-security") is None, "taken for https")
    eventually(lambda: "/static/sub" in trial.server.log_since_mark(), "no access log")
    check("192.0.2.1" not in trial.server.log_since_mark(), "the access log believes it")


@SUITE.case(
    "P01-limit", MUST, "a limit by address is that of the peer", on=profile("limit-and-key")
)
def untrusted_limit(trial: Trial) -> None:
    server = trial.start(profile("limit-and-key"))
    connection = trial.connect(server=server)
    found = [
        connection.ask("/open", headers=[f"X-Forwarded-For: 192.0.2.{number}"]).status
        for number in range(4)
    ]
    equal(found, [200, 200, 200, 429], "statuses")


@SUITE.case(
    "P04",
    MUST,
    "the access log names the client that a trusted proxy names",
    on=profile("proxy", access_log=True),
)
def logged(trial: Trial) -> None:
    connection = trial.connect()
    connection.ask("/who", headers=["X-Forwarded-For: 6.6.6.6, 192.0.2.77"])
    connection.ask("/mounted/", headers=["Forwarded: for=192.0.2.78"])
    connection.ask("/nothing", headers=["X-Forwarded-For: 192.0.2.79"])
    connection.ask("/text")
    eventually(lambda: "/text" in trial.server.log_since_mark(), "no access log")
    lines = [line for line in trial.server.log_since_mark().splitlines() if "HTTP/1.1" in line]
    found = [line.split(":")[0].split(" ")[0] for line in lines if "/ping" not in line]
    equal(found, ["192.0.2.77", "192.0.2.78", "192.0.2.79", PEER], "clients in the log")


@SUITE.case(
    "P05",
    MUST,
    "a peer on a Unix socket is trusted only if it is configured",
    needs={"uds"},
    on=profile("limit", uds=True),
)
def unix_peer(trial: Trial) -> None:
    for name, client in (("limit", "192.0.2.1"), ("plain", None)):
        server = trial.start(profile(name, uds=True))
        answer = trial.connect(server=server).ask("/who", headers=["X-Forwarded-For: 192.0.2.1"])
        equal(json.loads(answer.body)["client"], client, f"client under {name}")


HOSTS: list[tuple[str, str, int]] = [
    ("same", "example.com", 200),
    ("case", "EXAMPLE.com", 200),
    ("port", "example.com:8443", 200),
    ("dot", "example.com.", 200),
    ("below", "x.example.net", 200),
    ("deep", "x.y.example.net", 200),
    ("not-itself", "example.net", 400),
    ("any-character", "exampleXcom", 400),
    ("suffix", "example.com.evil", 400),
    ("prefix", "evilexample.com", 400),
    ("below-suffix", "xexample.net", 400),
    ("below-evil", "x.example.net.evil", 400),
    ("address", "127.0.0.1", 400),
    ("port-odd", "example.com:evil", 400),
]

for _id, _host, _status in HOSTS:

    @SUITE.case(f"P07-{_id}", MUST, f"host {_host}: {_status}", on=profile("hosts"), hostile=True)
    def _(trial: Trial, host: str = _host, status: int = _status) -> None:
        connection = trial.connect()
        connection.request("/text", host=host)
        equal(connection.outcome(), status, "status")


LINES: list[Line] = [
    ("P07-absolute", "GET http://evil.example/text", [], "400", "the target's own host counts"),
    ("P07-forwarded", "GET /text", ["X-Forwarded-Host: evil.example"], "200", "an untrusted host"),
]
table("hosts", LINES)
