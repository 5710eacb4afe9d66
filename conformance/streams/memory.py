"""W04 and W10: what an idle WebSocket costs, and a stream whose peer is slow."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from conformance.case import MUST
from conformance.streams.suite import NATIVE, NEEDS, SUITE
from conformance.verdict import check, equal
from conformance.websocket_client import TEXT, WebSocket, frame

if TYPE_CHECKING:
    from conformance.trial import Trial

KIB, MIB = 1 << 10, 1 << 20
# The claim is 16 KiB, for a release build (`benchmarks`, memory); futures of others are larger.
IDLE_SOCKET_BYTES = 20 * KIB


@SUITE.case("W04", MUST, "an idle WebSocket costs little", needs=NEEDS, on=NATIVE)
def idle_sockets(trial: Trial) -> None:
    def opened(count: int) -> list[WebSocket]:
        return [WebSocket(trial, "ws-plain") for _ in range(count)]

    first = opened(50)  # whatever is made once
    for socket in first:
        socket.connection.send(frame(TEXT, b"x"))
        equal(socket.message(), "x", "echo")
    before = trial.server.memory()
    count = 1000
    opened(count)
    trial.server.ping()
    each = (trial.server.memory() - before) / count
    check(each <= IDLE_SOCKET_BYTES, f"{each / KIB:.1f} KiB each")


@SUITE.case("W10", MUST, "a download to a slow client stays out of memory", needs=NEEDS, on=NATIVE)
def slow_download(trial: Trial) -> None:
    size = 256
    warm = trial.connect()
    warm.request(trial.target("download", "?mebibytes=8"))
    warm.response()
    trial.new_tag()
    before = trial.server.memory()
    connection = trial.connect(receive_buffer=64 * KIB)
    connection.request(trial.target("download", f"?mebibytes={size}"))
    trial.seen("called")
    connection.head()
    largest = 0
    received = 0
    while received < size * MIB:
        connection.exactly(MIB)
        received += MIB
        if not received % (32 * MIB):
            early = received < size * MIB // 2 and trial.observer.all(trial.tag, "complete")
            check(not early, "all of it was taken at once")
            largest = max(largest, trial.server.memory() - before)
    trial.seen("complete")
    check(largest <= 2 * MIB, f"memory grew by {largest / MIB:.1f} MiB")


@SUITE.case(
    "W10-upload", MUST, "an upload that is streamed stays out of memory", needs=NEEDS, on=NATIVE
)
def streamed_upload(trial: Trial) -> None:
    size = 256 * MIB
    piece = bytes(range(256)) * 256
    warm = trial.connect().ask(trial.target("raw"), method="POST", body=piece * 64)
    equal(warm.status, 200, "status")
    trial.new_tag()
    before = trial.server.memory()
    connection = trial.connect()
    connection.request(trial.target("raw"), method="POST", headers=[f"Content-Length: {size}"])
    digest = hashlib.sha256()
    largest = 0
    for index in range(size // len(piece)):
        connection.send(piece)
        digest.update(piece)
        if not index % 512:
            largest = max(largest, trial.server.memory() - before)
    found = json.loads(connection.response(within=30).body)
    equal(found["sha256"], digest.hexdigest(), "hash")
    check(largest <= 2 * MIB, f"memory grew by {largest / MIB:.1f} MiB")
