"""One client for both protocols: requests, unfinished ones too, and WebSockets."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from conformance import http2_client
from conformance.client import DEADLINE_SECONDS, Connection
from conformance.http2_client import Http2, WebSocketStream
from conformance.verdict import equal
from conformance.websocket_client import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN = 10.0


class Place:
    """Where the surface is: what the WebSocket clients want to know of a trial."""

    tag = "x"

    def __init__(self, connect: Callable[[], Connection], prefix: str) -> None:
        self.connect = connect
        self.prefix = prefix

    def target(self, handler: str, suffix: str = "") -> str:
        """Return a request target."""
        return f"{self.prefix}/{handler}/{self.tag}{suffix}"


class Open(Protocol):
    """A request whose answer, or whose own end, is still to come."""

    def send(self, piece: bytes) -> None:
        """Send a piece of the body."""

    def end(self) -> None:
        """End the body."""

    def answer(self) -> tuple[int, bytes]:
        """Read the whole answer: status and body."""

    def until(self, mark: bytes) -> bytes:
        """Read the answer up to some bytes, framing and all."""

    def leave(self) -> None:
        """Go away."""


class Http1:
    """A connection a request."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def open(self, method: str, path: str, *, has_body: bool = False) -> Open:
        """Send the head of a request."""
        connection = self.place.connect()
        coding = ["Transfer-Encoding: chunked"] if has_body else []
        connection.request(self.place.prefix + path, method=method, headers=coding)
        return _Http1Open(connection, method)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and return status and body of its answer."""
        with contextlib.closing(self.place.connect()) as connection:
            json = ["Content-Type: application/json"] if body is not None else []
            target = self.place.prefix + path
            connection.request(target, method=method, headers=json, body=body)
            answer = connection.response(method=method, within=WITHIN)
            return answer.status, answer.body

    def echo(self, texts: list[str]) -> tuple[list[str], int]:
        """Send texts to the WebSocket; return what came back and the code of its close."""
        socket = WebSocket(self.place, "ws")  # type: ignore[arg-type]  # it is all it asks for
        with contextlib.closing(socket.connection):
            answers = []
            for text in texts:
                socket.text(text)
                answers.append(str(socket.message()))
            socket.text("bye")
            return answers, socket.closed(within=WITHIN)[0]


class _Http1Open:
    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._method = method

    def send(self, piece: bytes) -> None:
        self._connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    def end(self) -> None:
        self._connection.send(b"0\r\n\r\n")

    def answer(self) -> tuple[int, bytes]:
        with contextlib.closing(self._connection):
            answer = self._connection.response(method=self._method, within=WITHIN)
            return answer.status, answer.body

    def until(self, mark: bytes) -> bytes:
        return self._connection.until(mark, time.monotonic() + DEADLINE_SECONDS)

    def leave(self) -> None:
        self._connection.close()


class Http2Only:
    """A stream a request, one connection."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._client = Http2(place)  # type: ignore[arg-type]  # it is all it asks for

    def open(self, method: str, path: str, *, has_body: bool = False) -> Open:
        """Send the head of a request."""
        client = Http2(self.place)  # type: ignore[arg-type]
        fields = http2_client.pseudo(self.place.prefix + path, method=method)
        return _Http2Open(client, client.send_fields(fields, end=not has_body))

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and return status and body of its answer."""
        fields = http2_client.pseudo(self.place.prefix + path, method=method)
        if body is not None:
            fields.append(("content-type", "application/json"))
        stream = self._client.send_fields(fields, end=body is None)
        if body is not None:
            self._client.frame(http2_client.DATA, http2_client.END_STREAM, stream, body)
        answer = self._client.response(stream, within=WITHIN)
        return answer.status, answer.body

    def echo(self, texts: list[str]) -> tuple[list[str], int]:
        """Send texts to the WebSocket; return what came back and the code of its close."""
        client = Http2(self.place)  # type: ignore[arg-type]
        with contextlib.closing(client.connection):
            socket = WebSocketStream(client, f"{self.place.prefix}/ws".lstrip("/"))
            equal(socket.status, 200, "status of the handshake")
            answers = []
            for text in texts:
                socket.text(text)
                answers.append(socket.text_received())
            socket.text("bye")
            return answers, socket.closed()[0]


class _Http2Open:
    def __init__(self, client: Http2, stream: int) -> None:
        self._client = client
        self._stream = stream

    def send(self, piece: bytes) -> None:
        self._client.frame(http2_client.DATA, 0, self._stream, piece)

    def end(self) -> None:
        self._client.frame(http2_client.DATA, http2_client.END_STREAM, self._stream)

    def answer(self) -> tuple[int, bytes]:
        with contextlib.closing(self._client.connection):
            answer = self._client.response(self._stream, within=WITHIN)
            return answer.status, answer.body

    def until(self, mark: bytes) -> bytes:
        answers = self._client.answers
        self._client.until(lambda: self._stream in answers and mark in answers[self._stream].body)
        return answers[self._stream].body

    def leave(self) -> None:
        self._client.reset(self._stream)
        self._client.connection.close()
