"""A strict HTTP/1 client on a raw socket: sends exactly the bytes it is given and refuses bad framing in answers."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

from conformance.verdict import BrokenError, broken, check

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

Address = tuple[str, int] | str
Headers = list[tuple[bytes, bytes]]

DEADLINE_SECONDS = 3.0
_BODYLESS = (204, 304)


class ClosedError(BrokenError):
    """The peer closed the connection where an answer was due."""


@dataclasses.dataclass
class Response:
    """An answer as it stood on the wire; header names are lower-cased, everything else is untouched."""

    status: int
    version: bytes
    headers: Headers
    body: bytes = b""
    trailers: Headers = dataclasses.field(default_factory=list)
    interim: list[Response] = dataclasses.field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every header called `name`."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of `name`."""
        return next(iter(self.all(name)), None)


class Connection:
    """One connection to the server; every wait ends at a deadline with a `BrokenError`."""

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        raw = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(DEADLINE_SECONDS)
        try:
            raw.connect(address)
            if family == socket.AF_INET:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        except BaseException:
            raw.close()
            raise
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def tls_version(self) -> str:
        """Return the negotiated version, such as `TLSv1.3`."""
        return (isinstance(self.socket, ssl.SSLSocket) and self.socket.version()) or "none"

    def close(self) -> None:
        """Close in the ordinary way (FIN)."""
        self.socket.close()

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`; a peer that has closed meanwhile is the reader's business."""
        self.socket.settimeout(DEADLINE_SECONDS)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        except TimeoutError:
            broken(f"the server took none of {len(data)} bytes for {DEADLINE_SECONDS:g} s")

    def send_until_blocked(self, data: bytes, *, window: float = 0.3) -> int:
        """Send until the peer has taken nothing for `window` seconds, or all is sent; return the bytes it took."""
        self.socket.settimeout(window)
        view, sent = memoryview(data), 0
        try:
            while sent < len(data):
                sent += self.socket.send(view[sent : sent + 65536])
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        return sent

    def request(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Iterable[str] = (),
        body: bytes | None = None,
        version: str = "1.1",
        host: str = "a",
    ) -> None:
        """Send one well-formed request."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send(
            "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + (body or b"")
        )

    def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Iterable[str] = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Response:
        """Send one well-formed request and return its answer."""
        self.request(target, method=method, headers=headers, body=body, version=version)
        return self.response(method=method)

    def response(self, *, method: str = "GET", within: float = DEADLINE_SECONDS) -> Response:
        """Read the next final answer with its body.

        Raises:
            ClosedError: the connection ended before the answer did.
            BrokenError: the answer's framing is wrong, or the deadline passed.
        """
        end = time.monotonic() + within
        interim = []
        while (answer := self.head(end)).status < 200 and answer.status != 101:
            interim.append(answer)
        answer.interim = interim
        if answer.status != 101:
            self._body(answer, method, end)
        return answer

    def outcome(self, *, within: float = DEADLINE_SECONDS) -> int | None:
        """Return the status of the next answer, or None if the connection closes before it is complete."""
        try:
            return self.response(within=within).status
        except ClosedError:
            self.buffer.clear()
            return None

    def head(self, end: float | None = None) -> Response:
        """Read one status line with its headers, an interim one too."""
        end = end or time.monotonic() + DEADLINE_SECONDS
        status_line, *fields = self.until(b"\r\n\r\n", end)[:-4].split(b"\r\n")
        parts = status_line.split(b" ", 2)
        if len(parts) < 2 or parts[0] not in (b"HTTP/1.1", b"HTTP/1.0") or not parts[1].isdigit():
            broken(f"not a status line: {status_line!r}")
        return Response(status=int(parts[1]), version=parts[0], headers=_fields(fields))

    def until(self, mark: bytes, end: float) -> bytes:
        """Read up to and with `mark`."""
        while (found := self.buffer.find(mark)) < 0:
            self._more(end, f"before {mark!r}")
        return self._take(found + len(mark))

    def exactly(self, count: int, end: float | None = None) -> bytes:
        """Read `count` bytes."""
        end = end or time.monotonic() + DEADLINE_SECONDS
        while len(self.buffer) < count:
            self._more(end, f"{count - len(self.buffer)} bytes early")
        return self._take(count)

    def rest(self, *, within: float = DEADLINE_SECONDS) -> bytes:
        """Read up to the end of the connection, which has to come."""
        end = time.monotonic() + within
        while self._receive(end, "the end of the connection"):
            pass
        return self._take(len(self.buffer))

    def closed(self, *, within: float = DEADLINE_SECONDS) -> None:
        """Wait until the peer closes, having sent nothing more.

        Raises:
            BrokenError: it stayed open, or sent something.
        """
        left = self.rest(within=within)
        check(not left, f"{len(left)} bytes more before the close: {left[:60]!r}")

    def has_ended(self, window: float) -> bool:
        """Read for at most `window` seconds and tell whether the peer has closed; what came stays in the buffer."""
        end = time.monotonic() + window
        try:
            while self._receive(end, "the end of the connection"):
                pass
        except BrokenError:
            return False
        return True

    def quiet(self, window: float = 0.08) -> None:
        """Watch for `window` seconds that nothing comes, the end of the connection neither."""
        check(not self.buffer, f"unexpected bytes {bytes(self.buffer[:60])!r}")
        self.socket.settimeout(window)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return
        except ConnectionResetError:
            data = b""
        broken(f"unexpected bytes {data[:60]!r}" if data else "the connection was closed")

    def _body(self, answer: Response, method: str, end: float) -> None:
        lengths, codings = answer.all(b"content-length"), answer.all(b"transfer-encoding")
        check(len(lengths) <= 1, f"{len(lengths)} content-length headers")
        check(not (lengths and codings), "content-length beside transfer-encoding")
        if method == "HEAD" or answer.status in _BODYLESS:
            return
        if codings:
            check(codings == [b"chunked"], f"transfer-encoding {codings!r}")
            self._chunks(answer, end)
        elif lengths:
            check(lengths[0].isdigit(), f"content-length {lengths[0]!r}")
            answer.body = self.exactly(int(lengths[0]), end)
        else:
            answer.body = self.rest(within=max(0.01, end - time.monotonic()))

    def _chunks(self, answer: Response, end: float) -> None:
        parts = []
        while True:
            line = self.until(b"\r\n", end)[:-2]
            try:
                size = int(line, 16)
            except ValueError:
                broken(f"not a chunk size: {line!r}")
            if not size:
                break
            parts.append(self.exactly(size, end))
            check(self.exactly(2, end) == b"\r\n", "a chunk is not ended by CRLF")
        answer.body = b"".join(parts)
        lines = []
        while line := self.until(b"\r\n", end)[:-2]:
            lines.append(line)
        answer.trailers = _fields(lines)

    def _more(self, end: float, what: str) -> None:
        if not self._receive(end, f"an answer ({what})"):
            raise ClosedError(
                f"closed {what}" + (f", after {bytes(self.buffer[-60:])!r}" if self.buffer else "")
            )

    def _receive(self, end: float, what: str) -> bool:
        # A deadline that has passed still takes what has arrived.
        self.socket.settimeout(max(0.001, end - time.monotonic()))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            broken(
                f"timed out waiting for {what}"
                + (f"; got {bytes(self.buffer[:60])!r}" if self.buffer else "")
            )
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self.buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data


def _fields(lines: Iterable[bytes]) -> Headers:
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        check(colon and name and name.strip() == name, f"not a header field: {line!r}")
        check(
            not any(byte in value for byte in b"\r\n\0"), f"control byte in header field: {line!r}"
        )
        headers.append((name.lower(), value.strip(b" \t")))
    return headers
