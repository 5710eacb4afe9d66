"""Group L: the rate limiter lets through what it says, for whom it says, whatever clients do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.policies.application import HASHED_KEY, KEY
from conformance.policies.suite import SUITE, problem, profile
from conformance.policies.tokens import bearer, claims, signed
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.client import Connection, Response
    from conformance.trial import Trial

BURST, RATE = 200, 100
LIMIT = profile("limit")
FEW = 3


def pipelined(connection: Connection, target: str, count: int, headers: str = "") -> list[Response]:
    """Send that many requests at once and return their answers."""
    connection.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode() * count)
    return [connection.response() for _ in range(count)]


def statuses(connection: Connection, client: str, count: int = FEW + 1) -> list[int]:
    """Return the statuses of requests that a trusted proxy sends for a client."""
    answers = pipelined(connection, "/text", count, f"X-Forwarded-For: {client}\r\n")
    return [answer.status for answer in answers]


@SUITE.case(
    "L01", MUST, "300 requests at once: exactly the burst of 200 passes", on=profile("burst")
)
def burst(trial: Trial) -> None:
    found = [answer.status for answer in pipelined(trial.connect(), "/text", 300)]
    equal(found, [200] * BURST + [429] * (300 - BURST), "statuses")


@SUITE.case("L02", MUST, "then as many a second as per_second says", on=profile("rate"))
def refill(trial: Trial) -> None:
    connection = trial.connect()
    start = time.monotonic()
    passed, refused = 0, False
    while not refused or time.monotonic() < start + 1.5:
        answer = connection.ask("/own")
        refused |= answer.status == 429
        passed += answer.status != 429
        check(time.monotonic() < start + 30, "a server this slow never meets its limit")
    elapsed = time.monotonic() - start
    check(passed <= BURST + RATE * elapsed + 2, f"{passed} passed in {elapsed:.2f} s")
    check(passed >= BURST + RATE * 1.0, f"only {passed} passed in {elapsed:.2f} s")


@SUITE.case(
    "L03", MUST, "per_second=100 is 100 tokens a second, not one in 100 s", on=profile("burst")
)
def unit(trial: Trial) -> None:
    server = trial.start(profile("rate"))
    connection = trial.connect(server=server)
    answer = connection.ask("/own")
    equal(answer.header(b"ratelimit-limit"), b"200", "ratelimit-limit")
    equal(answer.header(b"ratelimit-reset"), b"1", "seconds until a single request is earned back")


@SUITE.case(
    "L04",
    MUST,
    "four workers hold the limit together, under 32 clients at once",
    needs={"workers"},
    on=profile("burst", workers=4),
)
def workers(trial: Trial) -> None:
    found: list[int] = []
    lock = threading.Lock()
    start = threading.Barrier(32, timeout=10)

    def client() -> None:
        with trial.server.connect() as connection:
            start.wait()
            seen = [answer.status for answer in pipelined(connection, "/text", 20)]
        with lock:
            found.extend(seen)

    threads = [threading.Thread(target=client) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(len(found), 640, "answers")
    equal(found.count(200), BURST, "requests that passed")
    equal(found.count(429), 640 - BURST, "requests that were refused")


@SUITE.case(
    "L06",
    MUST,
    "a crowd of addresses costs a fixed amount of memory",
    on=profile("many"),
    hostile=True,
)
def crowd(trial: Trial) -> None:
    connection = trial.connect()

    def ask(addresses: range) -> list[int]:
        requests = (
            f"GET /own HTTP/1.1\r\nHost: a\r\n"
            f"X-Forwarded-For: 10.{number >> 16}.{number >> 8 & 255}.{number & 255}\r\n\r\n"
            for number in addresses
        )
        connection.send("".join(requests).encode())
        return [connection.response().status for _ in addresses]

    ask(range(200))
    before = trial.server.memory()
    opened = trial.connect
    for start in range(200, 20_000, 200):
        if start % 8000 == 0:  # a connection is closed after 10 000 requests
            connection = opened()
        found = ask(range(start, start + 200))
        check(set(found) == {404}, f"statuses {set(found)} of clients that come for the first time")
    grown = trial.server.memory() - before
    check(grown < 16 << 20, f"memory grew by {grown >> 20} MiB")


# id, addresses that share one budget, or None where each has its own
NETWORKS = [
    ("network", ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "[2001:db8:1:2::3]:80"], True),
    ("other-network", ["2001:db8:2:1::1", "2001:db8:2:2::1", "2001:db8:2:3::1"], False),
    ("mapped", ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:8080"], True),
    ("zone", ["fe80::1%eth0", "fe80::1%25eth0", "fe80::1%x"], True),
    ("garbage", ["not an address", "999.1.1.1", "unknown"], True),
]

for _id, _addresses, _shared in NETWORKS:

    @SUITE.case(
        f"L07-{_id}",
        MUST,
        f"{'one budget' if _shared else 'a budget each'}: {', '.join(_addresses)}",
        on=LIMIT,
    )
    def _(
        trial: Trial, addresses: list[str] = _addresses, shared: bool = _shared, id: str = _id
    ) -> None:
        # Addresses that cannot be read count as the peer's own, which other cases use too.
        server = trial.start(LIMIT) if id in ("zone", "garbage") else trial.server
        connection = trial.connect(server=server)
        found = [statuses(connection, address, 1)[0] for address in addresses]
        equal(found, [200] * 3, "first statuses")
        found = [statuses(connection, address, 1)[0] for address in addresses]
        equal(found, [429 if shared else 200] * 3, "second statuses")


@SUITE.case(
    "L08", MUST, "a 429 says how long to wait, is short, and keeps the connection", on=LIMIT
)
def shape(trial: Trial) -> None:
    connection = trial.connect()
    answers = pipelined(connection, "/text", 5, "X-Forwarded-For: 192.0.2.8\r\n")
    for number, answer in enumerate(answers):
        equal(answer.header(b"ratelimit-limit"), b"3", "ratelimit-limit")
        remaining = max(0, FEW - 1 - number)
        equal(answer.header(b"ratelimit-remaining"), b"%d" % remaining, "ratelimit-remaining")
        reset = int(answer.header(b"ratelimit-reset") or b"0")
        full = 100 * min(number + 1, FEW)
        check(full - 10 < reset <= full, f"ratelimit-reset is {reset}, about {full}")
    problem(answers[3], 429)
    wait = int(answers[3].header(b"retry-after") or b"0")
    check(90 < wait <= 100, f"retry-after is {wait}, about 100")
    check(len(answers[3].body) < 300, f"a body of {len(answers[3].body)} bytes")
    equal(connection.ask("/ping").status, 200, "status of the next request")


@SUITE.case("L10", MUST, "every kind of request is counted", on=LIMIT)
def every_kind(trial: Trial) -> None:
    connection = trial.connect()
    for number, (method, target) in enumerate(
        (
            ("GET", "/text"),
            ("HEAD", "/text"),
            ("OPTIONS", "/text"),
            ("DELETE", "/text"),
            ("GET", "/nothing"),
            ("GET", "/events"),
            ("GET", "/mounted/"),
            ("GET", "/socket"),
            ("GET", "/api/outer/inner/text"),
        )
    ):
        lines = [f"X-Forwarded-For: 198.51.100.{number}"]
        found = [
            connection.ask(target, method=method, headers=lines).status for _ in range(FEW + 1)
        ]
        check(429 not in found[:FEW], f"{method} {target}: {found}")
        equal(found[FEW], 429, f"status of {method} {target} over the limit")


@SUITE.case("L10-socket", MUST, "handshakes of WebSockets are counted", on=LIMIT)
def sockets(trial: Trial) -> None:
    lines = ["X-Forwarded-For: 203.0.113.1"]
    fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *lines,
    ]
    found = [trial.connect().ask("/socket", headers=fields) for _ in range(FEW + 1)]
    equal([answer.status for answer in found], [101] * FEW + [429], "statuses")
    equal(found[0].header(b"ratelimit-remaining"), b"2", "ratelimit-remaining of a handshake")


@SUITE.case(
    "L13",
    MUST,
    "clients on a Unix socket share one budget",
    needs={"uds"},
    on=profile("limit", uds=True),
)
def unix_socket(trial: Trial) -> None:
    found = [trial.connect().ask("/text").status for _ in range(FEW + 1)]
    equal(found, [200] * FEW + [429], "statuses")


@SUITE.case("L14", MUST, "a route's own limit counts instead of the server's", on=LIMIT)
def own_limit(trial: Trial) -> None:
    connection = trial.connect()
    lines = ["X-Forwarded-For: 192.0.2.14"]
    found = [connection.ask("/own-limit", headers=lines) for _ in range(2)]
    equal([answer.status for answer in found], [200, 429], "statuses of the route")
    equal(found[0].header(b"ratelimit-limit"), b"1", "ratelimit-limit")
    equal(statuses(connection, "192.0.2.14"), [200, 200, 200, 429], "statuses of the others")


@SUITE.case(
    "L15", MUST, "a limit by key counts each key, after authentication", on=profile("limit-by-key")
)
def by_key(trial: Trial) -> None:
    connection = trial.connect()
    for key in (KEY, HASHED_KEY):
        found = [
            connection.ask("/text", headers=[f"X-API-Key: {key}"]).status for _ in range(FEW + 1)
        ]
        equal(found, [200] * FEW + [429], f"statuses of {key}")
    equal(connection.ask("/text", headers=["X-API-Key: x"]).status, 401, "status of a bad key")


@SUITE.case("L15-claim", MUST, "a limit by claim counts each value", on=profile("limit-by-claim"))
def by_claim(trial: Trial) -> None:
    connection = trial.connect()
    for sub in ("alice", "bob"):
        lines = [bearer(signed(claims(sub=sub)))]
        found = [connection.ask("/text", headers=lines).status for _ in range(FEW + 1)]
        equal(found, [200] * FEW + [429], f"statuses of {sub}")


SUITE.left_out(
    "L09", "a step of the wall clock", "shown with a clock that steps, in the Rust tests"
)
SUITE.left_out(
    "L12", "64 threads on one key", "shown in the Rust tests; L04 does so with processes"
)
