"""One HTTP/1.1 request over a socket of its own, its bodies read and written as they come.

`http.client` frames the messages; its blocking calls run in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spikard.testing.stream import Incoming, ResponseAbortedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from spikard.testing.outgoing import Outgoing

__all__ = ["REQUEST_SECONDS", "exchanged"]

REQUEST_SECONDS = 30.0
"""Without a byte from the server before a request fails."""

PIECE_BYTES = 64 * 1024
"""Of a response, read at once."""


async def exchanged(
    base_url: str, outgoing: Outgoing, details: Callable[[], str] = lambda: ""
) -> Incoming:
    """Send a request and return the response once its head has come.

    Args:
        base_url: Of the server.
        outgoing: The request; its body goes on being sent while the response is read.
        details: Returns what to add to the message of a response that is cut.

    Raises:
        OSError: There is no connection, or it broke.
        http.client.HTTPException: The response is malformed.
    """
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=REQUEST_SECONDS
    )
    exchange = _Exchange(connection, outgoing, details)
    try:
        return await exchange.answered()
    except BaseException:
        await exchange.aclose()
        raise


class _Exchange:
    """A request on its way, and the body of its response."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        outgoing: Outgoing,
        details: Callable[[], str],
    ) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._details = details
        self._socket: socket.socket | None = None
        self._sending: asyncio.Task[None] | None = None
        self._response: http.client.HTTPResponse | None = None

    async def answered(self) -> Incoming:
        """Send the head, begin with the body, and wait for the response's head."""
        await asyncio.to_thread(self._begin)
        self._sending = asyncio.create_task(self._send_body())
        answering = asyncio.ensure_future(asyncio.to_thread(self._connection.getresponse))
        await asyncio.wait({answering, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        if self._sending.done() and self._sending.exception() is not None:
            self._cut()
            await asyncio.wait({answering})
            answering.exception()  # it is that of the cut
            self._sending.result()
        response = self._response = await answering
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.getheaders()
        ]
        return Incoming(response.status, fields, self)

    def _begin(self) -> None:
        connection, outgoing = self._connection, self._outgoing
        connection.putrequest(
            outgoing.method, outgoing.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in outgoing.headers:
            connection.putheader(name.decode("latin-1"), value)
        connection.endheaders()
        self._socket = connection.sock

    async def _send_body(self) -> None:
        is_chunked = (b"transfer-encoding", b"chunked") in self._outgoing.headers
        body = self._outgoing.body()
        try:
            async for chunk in body:
                data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk
                await asyncio.to_thread(self._send, data)
            if is_chunked:
                await asyncio.to_thread(self._send, b"0\r\n\r\n")
        except OSError as error:
            # A server may answer before the end of a body that it does not want.
            if not isinstance(error, BrokenPipeError | ConnectionResetError):
                raise
        finally:
            await body.aclose()

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            raise BrokenPipeError
        self._socket.sendall(data)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._response is None:
            raise StopAsyncIteration
        try:
            piece = await asyncio.to_thread(self._read, self._response)
        except (OSError, http.client.HTTPException) as error:
            details = self._details()
            await self.aclose()
            raise ResponseAbortedError(f"the response was cut: {error!r}\n{details}") from error
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        piece = response.read1(PIECE_BYTES)
        if not piece and response.length:
            raise http.client.IncompleteRead(piece, response.length)
        return piece

    async def aclose(self) -> None:
        """Close the connection; a thread that waits for it ends."""
        self._cut()
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})
            if not sending.cancelled():
                sending.exception()  # what it raised was raised, or concerns nobody any more
        response, self._response = self._response, None
        if response is not None:
            response.close()
        self._connection.close()
        if self._socket is not None:
            self._socket.close()

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
