"""The questions of the matrix: each one is asked of every application under every host."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from conformance.hosts.marks import MESSAGE, WORD
from conformance.verdict import check, equal, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.hosts.clients import Http1, Http2Only
    from conformance.hosts.servers import Host

PIECE = bytes(range(256)) * 40
ROOT = "/api"
PATIENCE = 8.0


@dataclasses.dataclass
class Subject:
    """An application under a host.

    Attributes:
        host: The server, for its log.
        client: Speaks to it, below the prefix that the application is mounted at.
        prefix: That prefix.
        patience: Seconds to wait for what should happen.
        behind, through: The same for a server that was told of the root path `/api`, as a proxy asks
            that has cut it off, and as one that has not.
    """

    host: Host
    client: Http1 | Http2Only
    prefix: str
    behind: Http1 | Http2Only
    through: Http1 | Http2Only
    patience: float = PATIENCE

    def is_marked(self, name: str) -> bool:
        """Wait until the application marks `name`."""
        answered = self.client.ask("GET", f"/marked/{name}?within={self.patience:g}")
        return answered == (200, b"true")


def _get(subject: Subject) -> None:
    answered = subject.client.ask("GET", "/hello?name=%C3%BC+b%2Fc")
    equal(_json(answered), {"hello": "ü b/c"}, "the answer")


def _post(subject: Subject) -> None:
    item = {"name": "one", "price": 1.5}
    status, body = subject.client.ask("POST", "/items", json.dumps(item).encode())
    equal((status, json.loads(body)), (201, item), "the answer")


def _upload(subject: Subject) -> None:
    request = subject.client.open("POST", "/upload", has_body=True)
    request.send(PIECE)
    check(subject.is_marked("upload"), "the first piece was not there before the end")
    request.send(PIECE)
    request.end()
    equal(_json(request.answer()), {"bytes": 2 * len(PIECE)}, "the answer")


def _websocket(subject: Subject) -> None:
    texts = ["one", "ü"]
    equal(subject.client.echo(texts), (texts, 3001), "echo and close code")


def _events(subject: Subject) -> None:
    request = subject.client.open("GET", "/events")
    first = request.until(b'data: {"n":1}')
    check(b'{"n":2}' not in first, "both events came at once")
    equal(subject.client.ask("POST", "/mark/go")[0], 200, "status of the mark")
    request.until(b'data: {"n":2}')
    request.leave()


def _state(subject: Subject) -> None:
    equal(_json(subject.client.ask("GET", "/state")), {"word": WORD}, "the state")


def _stripped(subject: Subject) -> None:
    seen = {"root_path": ROOT + subject.prefix}
    equal(_json(subject.behind.ask("GET", "/where")), seen, "what the application sees")


def _verbatim(subject: Subject) -> None:
    seen = {"root_path": ROOT + subject.prefix}
    equal(_json(subject.through.ask("GET", "/where")), seen, "what the application sees")


def _exception(subject: Subject) -> None:
    status, body = subject.client.ask("GET", "/raises")
    equal(status, 500, "status")
    check(MESSAGE.encode() not in body, "the client was told of the exception")
    eventually(lambda: MESSAGE in subject.host.log(), "the exception is not in the host's log")
    _get(subject)


def _disconnect(subject: Subject) -> None:
    request = subject.client.open("GET", "/endless")
    request.until(b"first")
    request.leave()
    check(subject.is_marked("left"), "the stream went on without its client")


def _json(answered: tuple[int, bytes]) -> Any:
    status, body = answered
    check(status == 200, f"status {status}: {body[:100]!r}")
    return json.loads(body)


CELLS: dict[str, Callable[[Subject], None]] = {
    "get": _get,
    "post": _post,
    "upload": _upload,
    "websocket": _websocket,
    "sse": _events,
    "state": _state,
    "stripped": _stripped,
    "verbatim": _verbatim,
    "exception": _exception,
    "disconnect": _disconnect,
}
