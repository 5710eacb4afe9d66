"""Responses that a test reads while they come: ``async with client.stream("GET", "/feed")``."""

from __future__ import annotations

import codecs
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from spikard.datastructures import Headers
from spikard.exceptions import SpikardError
from spikard.testing._contexts import Blocking, Closing
from spikard.testing.response import TestResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from typing_extensions import Self

    from spikard.testing._contexts import Call

__all__ = ["Body", "Incoming", "ResponseAbortedError", "SyncTestStream", "TestStream"]


class ResponseAbortedError(SpikardError):
    """A response ended before its end: the application failed after its head was sent."""


class Body(Protocol):
    """The body of a response on its way."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next piece; raises `ResponseAbortedError` for a body that was cut."""
        ...

    async def aclose(self) -> None:
        """Leave as a client does that closes its connection; idempotent."""
        ...


class Incoming(msgspec.Struct):
    """A response as a transport gives it: `headers` have lower-case names."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: Body


class TestStream(Closing):
    """A response whose head has come, and whose body is read piece by piece.

    Leaving the block before the body's end is what a client does that goes away.

    Attributes:
        status_code: Of the final response.
        headers: Case-insensitive.
        url: Of the request that it answers.
        history: The redirects that were followed, in order.
        cookies: Name → value of the cookies that it set.

    Example:
        ```python
        async with client.stream("GET", "/feed") as feed:
            async for line in feed.iter_lines():
                break
        ```
    """

    __test__ = False  # pytest collects classes named Test…

    status_code: int
    headers: Headers
    url: str
    history: tuple[TestResponse, ...]
    cookies: dict[str, str]

    def __init__(self, opening: Callable[[], Awaitable[Opened]]) -> None:
        self._opening = opening
        self._body: Body | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> Self:
        opened = await self._opening()
        incoming = opened.incoming
        self.status_code = incoming.status
        self.headers = Headers(raw=incoming.headers)
        self.url, self.history, self.cookies = opened.url, opened.history, opened.cookies
        self._body = incoming.body
        # One iterator for all of them: a piece that one has taken does not come again.
        self._pieces = _decoded(incoming.body, self.headers.get("content-encoding", ""))
        return self

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, with gzip and deflate undone.

        Raises:
            ResponseAbortedError: The body was cut.
        """
        async for piece in self._open():
            yield piece

    async def iter_text(self) -> AsyncIterator[str]:
        """Yield the body as UTF-8 text; a character between two pieces comes with the later one."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for piece in self._open():
            text = decoder.decode(piece)
            if text:
                yield text
        rest = decoder.decode(b"", final=True)
        if rest:
            yield rest

    async def iter_lines(self) -> AsyncIterator[str]:
        """Yield the lines of the body without their ends, LF or CRLF."""
        rest = b""
        async for piece in self._open():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    async def iter_json(self) -> AsyncIterator[Any]:
        """Yield the values of JSON Lines."""
        async for line in self.iter_lines():
            if line.strip():
                yield msgspec.json.decode(line)

    async def read(self) -> TestResponse:
        """Return the complete response: what is left of the body."""
        body = b"".join([piece async for piece in self._open()])
        headers = [field for field in self.headers.raw if field[0] != b"content-encoding"]
        return TestResponse(
            self.status_code,
            headers,
            body,
            url=self.url,
            history=self.history,
            cookies=self.cookies,
        )

    async def close(self) -> None:
        """Leave; idempotent."""
        if self._body is not None:
            await self._body.aclose()

    def assert_status(self, status_code: int) -> Self:
        """Assert the status code and return the stream.

        Raises:
            AssertionError: It is another.
        """
        if self.status_code != status_code:
            raise AssertionError(
                f"expected status {status_code}, got {self.status_code} from {self.url}"
            )
        return self

    def assert_status_ok(self) -> Self:
        """Assert status 200 and return the stream."""
        return self.assert_status(200)

    def _open(self) -> AsyncIterator[bytes]:
        if self._pieces is None:
            raise RuntimeError("open the stream first: `async with client.stream(…) as response`")
        return self._pieces


class Opened(msgspec.Struct):
    """A response after redirects and cookies."""

    incoming: Incoming
    url: str
    history: tuple[TestResponse, ...]
    cookies: dict[str, str]


class SyncTestStream(Blocking[TestStream]):
    """The same for synchronous code: ``with client.stream("GET", "/feed") as response``."""

    @property
    def status_code(self) -> int:
        """See `TestStream`."""
        return self._async.status_code

    @property
    def headers(self) -> Headers:
        """See `TestStream`."""
        return self._async.headers

    @property
    def url(self) -> str:
        """See `TestStream`."""
        return self._async.url

    @property
    def history(self) -> tuple[TestResponse, ...]:
        """See `TestStream`."""
        return self._async.history

    @property
    def cookies(self) -> dict[str, str]:
        """See `TestStream`."""
        return self._async.cookies

    def iter_bytes(self) -> Iterator[bytes]:
        """See `TestStream.iter_bytes`."""
        return self._each(self._async.iter_bytes())

    def iter_text(self) -> Iterator[str]:
        """See `TestStream.iter_text`."""
        return self._each(self._async.iter_text())

    def iter_lines(self) -> Iterator[str]:
        """See `TestStream.iter_lines`."""
        return self._each(self._async.iter_lines())

    def iter_json(self) -> Iterator[Any]:
        """See `TestStream.iter_json`."""
        return self._each(self._async.iter_json())

    def read(self) -> TestResponse:
        """See `TestStream.read`."""
        response: TestResponse = self._call(self._async.read())
        return response

    def close(self) -> None:
        """See `TestStream.close`."""
        self._call(self._async.close())

    def assert_status(self, status_code: int) -> Self:
        """See `TestStream.assert_status`."""
        self._async.assert_status(status_code)
        return self

    def assert_status_ok(self) -> Self:
        """See `TestStream.assert_status_ok`."""
        return self.assert_status(200)

    def _each(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        return each(items, self._call)


END = object()


def each(items: AsyncIterator[Any], call: Call) -> Iterator[Any]:
    """Yield the items of an async iterator that `call` runs elsewhere."""

    async def following() -> Any:
        return await anext(items, END)  # StopAsyncIteration does not cross a future

    while (item := call(following())) is not END:
        yield item


async def _decoded(body: Body, codings: str) -> AsyncIterator[bytes]:
    coding = codings.strip().lower()
    decoder: Any = None
    if coding in ("gzip", "x-gzip"):
        decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    elif coding == "deflate":
        decoder = zlib.decompressobj()
    async for piece in body:
        data: bytes = piece if decoder is None else decoder.decompress(piece)
        if data:
            yield data
