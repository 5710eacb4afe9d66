"""B12 and W01 to W10: what is opened is closed again, and memory follows what is in use."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from conformance.case import MUST, SHOULD
from conformance.faults.suite import SUITE
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.verdict import BrokenError, check, equal, eventually
from conformance.websocket_client import WebSocket, handshake

if TYPE_CHECKING:
    from conformance.client import Connection
    from conformance.server import Server
    from conformance.trial import Trial

KIB = 1024
MIB = 1024 * KIB
OWN = Options()
IDLE_SECONDS = 8.0  # idle connections give their buffers back after a second; machines are slow


def census(server: Server) -> tuple[int, int]:
    """Return the server's open descriptors and unfinished tasks, as the application counts them."""
    with server.connect() as connection:
        answer = connection.ask("/census/-", headers=["Connection: close"])
    descriptors, tasks = answer.body.split()
    return int(descriptors), int(tasks)


def back_to(server: Server, before: tuple[int, int], after: str) -> None:
    """Fail unless descriptors and tasks come back to their numbers."""

    def is_back() -> bool:
        try:
            now = census(server)
        except BrokenError:  # it is still busy
            return False
        return now[0] <= before[0] and now[1] <= before[1]

    eventually(is_back, f"descriptors and tasks are not back to {before} after {after}", within=20)


@SUITE.case("B12", SHOULD, "connections that come and go without a byte leave nothing behind")
def come_and_go(trial: Trial) -> None:
    server = trial.start(OWN)
    server.ping()
    before = census(server)
    for _ in range(10):
        opened = [server.connect() for _ in range(500)]
        server.ping(within=2.0)
        for connection in opened:
            connection.close()
    back_to(server, before, "5,000 empty connections")


@SUITE.case("W01", MUST, "memory does not grow with the number of requests")
def many_requests(trial: Trial) -> None:
    server = trial.start(OWN)
    connection = trial.connect(server=server)

    def ask(count: int) -> None:
        for _ in range(count // 20):
            for _ in range(20):
                connection.request("/echo/-")
            for _ in range(20):
                equal(connection.response().status, 200, "status")

    ask(2_000)
    before = server.memory()
    ask(8_000)
    grown = server.memory() - before
    check(grown <= MIB, f"8,000 requests cost {grown / KIB:.0f} KiB")


@SUITE.case("W02", MUST, "an idle HTTP/1.1 connection holds little more than its socket")
def idle_http1(trial: Trial) -> None:
    server = trial.start(OWN)
    trial.connect(server=server).ask("/ping")
    before, number = server.memory(), 2_000
    for _ in range(number):
        equal(trial.connect(server=server).ask("/ping").status, 200, "status")
    eventually(
        lambda: (server.memory() - before) / number <= 8 * KIB,
        "an idle connection costs more than 8 KiB",
        within=IDLE_SECONDS,
    )


@SUITE.case("W03", SHOULD, "a silent connection costs at most 4 KiB")
def silent(trial: Trial) -> None:
    server = trial.start(OWN)
    trial.connect(server=server).ask("/ping")
    before, number = server.memory(), 2_000
    for _ in range(number):
        trial.connect(server=server)
    server.ping()
    cost = (server.memory() - before) / number
    check(cost <= 4 * KIB, f"a silent connection costs {cost / KIB:.1f} KiB")


@SUITE.case("W03-http2", SHOULD, "an idle HTTP/2 connection costs at most 12 KiB", needs={"http2"})
def idle_http2(trial: Trial) -> None:
    server = trial.start(OWN)
    Http2(trial, connection=trial.connect(server=server)).ask("echo")
    before, number = server.memory(), 1_000
    clients = []
    for _ in range(number):
        client = Http2(trial, connection=trial.connect(server=server))
        equal(client.ask("echo", method="POST", body=b"x").status, 200, "status")
        clients.append(client)
    eventually(
        lambda: (server.memory() - before) / number <= 12 * KIB,
        "an idle connection costs more than 12 KiB",
        within=IDLE_SECONDS,
    )
    for client in clients[-50:]:  # the first ones may be over their keep-alive time
        equal(client.ask("echo", method="POST", body=b"again").body, b"again", "body after a rest")


@SUITE.case("W04", MUST, "an idle WebSocket costs at most 16 KiB", needs={"websocket"})
def idle_websocket(trial: Trial) -> None:
    server = trial.start(OWN)
    WebSocket(trial, "ws-echo", connection=trial.connect(server=server))
    before, number = server.memory(), 1_000
    for _ in range(number):
        WebSocket(trial, "ws-echo", connection=trial.connect(server=server))
    eventually(
        lambda: (server.memory() - before) / number <= 16 * KIB,
        "an idle WebSocket costs more than 16 KiB",
        within=IDLE_SECONDS,
    )


@SUITE.case("W05", SHOULD, "memory goes back when many connections have gone")
def gone(trial: Trial) -> None:
    server = trial.start(OWN)
    trial.connect(server=server).ask("/ping")
    before = server.memory()
    busy = [trial.connect(server=server) for _ in range(2_000)]
    for connection in busy:
        connection.request(trial.target("receive-for-ever"))
    trial.seen("called", count=len(busy), timeout=20)
    peak = server.memory()
    for connection in busy:
        connection.close()
    eventually(
        lambda: server.memory() - before <= 0.2 * (peak - before) + MIB,
        f"less than 80 % of the growth by {(peak - before) >> 10} KiB is given back",
        within=30,
    )


@SUITE.case("W06", MUST, "clients that leave in the middle of anything leave nothing behind")
def leave_anywhere(trial: Trial) -> None:
    server = trial.start(OWN)
    server.ping()
    before = census(server)
    starts = [
        b"",
        b"GET /pi",
        b"GET /ping HTTP/1.1\r\nHost: a\r\n",
        b"POST /receive-for-ever/- HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx",
        b"GET /receive-for-ever/- HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /flood/- HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for number in range(6_000):
        with server.connect() as connection:
            connection.send(starts[number % len(starts)])
            if number % 3 == 0:
                connection.reset()
    back_to(server, before, "6,000 clients that left")
    if "websocket" in trial.capabilities:
        for _ in range(500):
            with server.connect() as connection:
                handshake(trial, "ws-echo", connection=connection)
        back_to(server, before, "500 clients that left during a handshake")
    if "http2" in trial.capabilities:
        for _ in range(200):
            with server.connect() as connection:
                Http2(trial, connection=connection).request("receive-for-ever")
        back_to(server, before, "200 clients that left over HTTP/2")
    if "tls" in trial.capabilities:
        _leave_tls(trial)


def _leave_tls(trial: Trial) -> None:
    server = trial.start(Options(tls=True))
    server.ping()
    before = census(server)
    for number in range(300):
        if number % 2:
            with socket.create_connection(server.address) as bare:
                bare.send(b"\x16\x03\x01\x02")
        else:
            with server.connect() as connection:
                connection.send(b"GET /receive-for-ever/- HTTP/1.1\r\nHost: a\r\n\r\n")
    back_to(server, before, "300 clients that left over TLS")


@SUITE.case("W07", MUST, "exceptions and cancelled handlers are not kept", needs={"timers"})
def failures(trial: Trial) -> None:
    server = trial.start(Options(arguments=("--request-timeout", "0.2")))

    def fail(count: int) -> None:
        with server.connect() as connection:
            for _ in range(count):
                equal(connection.ask("/fail-heavily/-").status, 500, "status")

    def cancel(count: int) -> None:
        for _ in range(count // 100):
            waiting = [server.connect() for _ in range(100)]
            for connection in waiting:
                connection.request("/hang/-")
            for connection in waiting:
                equal(connection.response(within=20).status, 408, "status")
                connection.close()

    fail(200)
    cancel(100)
    before, memory = census(server), server.memory()
    fail(2_000)
    cancel(1_000)
    back_to(server, before, "1,000 cancelled handlers")
    grown = server.memory() - memory
    check(grown <= 10 * MIB, f"3,000 failures cost {grown / MIB:.1f} MiB")


@SUITE.case("W10", MUST, "long bodies pass through in little memory, both ways")
def long_bodies(trial: Trial) -> None:
    server = trial.start(OWN)
    _down(trial, server, 1)
    _up(trial, server, 1)
    before = server.memory()
    highest = max(_down(trial, server, 4), _up(trial, server, 4))
    grown = highest - before
    check(grown <= 4 * MIB, f"512 MiB cost {grown / MIB:.1f} MiB")


def _down(trial: Trial, server: Server, times: int) -> int:
    highest = 0
    for _ in range(times):
        with server.connect() as connection:
            connection.request("/flood/-")
            left = 64 * MIB
            while left > 0:
                piece = connection.socket.recv(256 * KIB)
                check(piece, "the response was cut")
                left -= len(piece)
                if left % 64 == 0:
                    highest = max(highest, server.memory())
    return max(highest, server.memory())


def _up(trial: Trial, server: Server, times: int) -> int:
    highest, piece = 0, os.urandom(256 * KIB)
    for _ in range(times):
        with server.connect() as connection:
            _send_body(connection, piece, 256)
            equal(connection.response(within=30).status, 200, "status")
            highest = max(highest, server.memory())
    return highest


def _send_body(connection: Connection, piece: bytes, count: int) -> None:
    length = len(piece) * count
    connection.send(
        f"POST /count/- HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
    )
    for _ in range(count):
        connection.send(piece)
