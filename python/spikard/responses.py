"""Responses: a status, wire-form headers and a body, bytes, a stream or a file.

The slots of `Response` are what the server reads (docs/architecture.md): nothing is
computed after construction. `raw_headers` holds lower-case ``(b"name", b"value")`` pairs
with the content type included; the server adds length, date and what its policies ask for.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote

from spikard.datastructures import Headers, encode_header, field_pairs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

__all__ = [
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "PlainTextResponse",
    "RedirectResponse",
    "Response",
    "StreamingResponse",
]

HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]


class Response:
    """An answer with a body in memory.

    Args:
        content: ``bytes`` as they are, ``str`` as UTF-8 text, ``None`` for no body, and
            any other value as JSON.
        status_code: 200 to 599.
        headers: A mapping, or pairs when a name repeats.
        media_type: The content type; ``text/*`` gets ``; charset=utf-8``. A
            ``content-type`` among the headers wins.
        background: Awaited after the response has been sent.
    """

    __slots__ = ("background", "body", "file", "raw_headers", "status_code", "stream")

    media_type: str | None = None
    keep_alive_seconds: float | None = None

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: HeadersLike | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        self.stream: AsyncIterator[bytes] | None = None
        self.file: str | None = None
        self.body: bytes | None = self.render(content)
        self.raw_headers = wire_headers(
            headers, media_type or self.media_type or _default_media_type(content)
        )

    def render(self, content: Any) -> bytes | None:
        """Return the body for a content; subclasses override it."""
        if content is None:
            return None
        if isinstance(content, bytes):
            return content
        if isinstance(content, str):
            return content.encode()
        if isinstance(content, bytearray | memoryview):
            return bytes(content)
        return _json(content)

    @property
    def headers(self) -> Headers:
        """The header fields; changes go out with the response."""
        return Headers(raw=self.raw_headers)

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a ``set-cookie`` field; earlier ones stay.

        Args:
            key: The cookie's name, a token.
            value: Printable ASCII without space, quote, comma, semicolon, backslash.
            max_age: Lifetime in seconds; 0 or less deletes.
            expires: End of life: an aware datetime, an HTTP date, or seconds from now.
            path: Where the client sends it back.
            domain: Hosts it is sent to; default this host alone.
            secure: Only over TLS.
            httponly: Hidden from scripts.
            samesite: When it goes along with requests from other sites.
            partitioned: Keep one per top-level site (CHIPS).

        Raises:
            ValueError: Something no client would store (RFC 6265bis §4.1, §5.7).
        """
        self.raw_headers.append(
            (
                b"set-cookie",
                _cookie(
                    key,
                    value,
                    max_age=max_age,
                    expires=expires,
                    path=path,
                    domain=domain,
                    secure=secure,
                    httponly=httponly,
                    samesite=samesite,
                    partitioned=partitioned,
                ),
            )
        )

    def delete_cookie(
        self,
        key: str,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
    ) -> None:
        """Tell the client to forget a cookie; path and domain must be those it was set with."""
        self.set_cookie(
            key,
            "",
            max_age=0,
            expires="Thu, 01 Jan 1970 00:00:00 GMT",
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status_code={self.status_code})"


class JSONResponse(Response):
    """Any JSON value, Structs, dataclasses and Pydantic models included."""

    __slots__ = ()
    media_type = "application/json"

    def render(self, content: Any) -> bytes | None:
        """Encode the content; ``None`` is ``null``."""
        return _json(content)


class HTMLResponse(Response):
    """A page of HTML."""

    __slots__ = ()
    media_type = "text/html"


class PlainTextResponse(Response):
    """Plain text."""

    __slots__ = ()
    media_type = "text/plain"


class RedirectResponse(Response):
    """Send the client elsewhere.

    Args:
        url: Where to; characters a URL cannot hold are percent-encoded.
        status_code: 301, 302, 303, 307 (default: the method stays) or 308.
    """

    __slots__ = ()

    def __init__(
        self,
        url: str,
        status_code: int = 307,
        headers: HeadersLike | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(None, status_code, headers, None, background)
        self.headers["location"] = quote(str(url), safe=":/%#?=@[]!$&'()*+,;~")


class StreamingResponse(Response):
    """A body that is sent while it is produced, chunk by chunk.

    Args:
        content: A sync or async iterator of ``bytes`` or ``str``; sync ones run in the
            thread pool. It is closed when the client goes.
        status_code: 200 to 599.
        headers: As in `Response`.
        media_type: The content type.
        background: Awaited after the last chunk.
    """

    __slots__ = ()

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: HeadersLike | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(None, status_code, headers, media_type, background)
        if isinstance(content, AsyncIterator):
            self.stream = Chunks(content)
        elif hasattr(content, "__aiter__"):
            self.stream = Chunks(content.__aiter__())
        elif isinstance(content, Iterable) and not isinstance(content, str | bytes):
            self.stream = Chunks(in_thread(content))
        else:
            raise TypeError(
                f"StreamingResponse needs an iterator of bytes or str, got {type(content).__name__}"
            )


class FileResponse(Response):
    """A file from disk; the server answers ranges, ``If-*`` and HEAD, and sets the ETag.

    Args:
        path: The file. That it exists is checked when it is sent.
        status_code: 200 to 599.
        headers: As in `Response`.
        media_type: Default: guessed from the name.
        filename: Offer the file as a download of that name.
        content_disposition_type: ``attachment`` (default) or ``inline``.
        background: Awaited after the file has been sent.
    """

    __slots__ = ()

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: HeadersLike | None = None,
        media_type: str | None = None,
        filename: str | None = None,
        content_disposition_type: Literal["attachment", "inline"] = "attachment",
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        location = os.fspath(path)
        if media_type is None:
            import mimetypes

            media_type = mimetypes.guess_type(filename or location)[0] or "application/octet-stream"
        super().__init__(None, status_code, headers, media_type, background)
        self.file = location
        if filename is not None and "content-disposition" not in self.headers:
            disposition = _content_disposition(content_disposition_type, filename)
            self.headers["content-disposition"] = disposition


def wire_headers(headers: HeadersLike | None, media_type: str | None) -> list[tuple[bytes, bytes]]:
    """Return headers in wire form, with the content type unless it is among them."""
    raw: list[tuple[bytes, bytes]] = []
    if headers:
        raw = [encode_header(name, value) for name, value in field_pairs(headers)]
        if any(name == b"content-type" for name, _ in raw):
            return raw
    if media_type is not None:
        raw.append((b"content-type", content_type(media_type)))
    return raw


_content_types: dict[str, bytes] = {}


def content_type(media_type: str) -> bytes:
    """Return the header value of a media type; ``text/*`` names its charset."""
    known = _content_types.get(media_type)
    if known is None:
        value = media_type
        if media_type.startswith("text/") and "charset" not in media_type:
            value += "; charset=utf-8"
        known = encode_header("content-type", value)[1]
        if len(_content_types) < 256:  # a program that makes its types up must not fill memory
            _content_types[media_type] = known
    return known


def _default_media_type(content: Any) -> str | None:
    if content is None:
        return None
    if isinstance(content, str):
        return "text/plain"
    if isinstance(content, bytes | bytearray | memoryview):
        return "application/octet-stream"
    return "application/json"


def _json(content: Any) -> bytes:
    from spikard._codecs import encode_json

    return encode_json(content)


class Chunks(AsyncIterator[bytes]):
    """What an async iterator gives, as bytes; it is closed with this.

    Attributes:
        source: The iterator, of ``bytes`` and ``str``.
    """

    __slots__ = ("source",)

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self.source = source

    async def __anext__(self) -> bytes:
        return _chunk(await self.source.__anext__())

    async def aclose(self) -> None:
        """Close the source, if it can be closed."""
        close = getattr(self.source, "aclose", None)
        if close is not None:
            await close()


def _chunk(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return cast("bytes", chunk)
    raise TypeError(f"a stream yields bytes or str, got {type(chunk).__name__}")


_END = object()


async def in_thread(source: Iterable[Any]) -> AsyncGenerator[Any, None]:
    """Yield the items of a sync iterator, each made in the loop's thread pool.

    All of it runs in one context, its end too. A step that runs cannot be stopped, so whoever
    closes waits for it.
    """
    import asyncio
    import contextvars

    run_in_executor = asyncio.get_running_loop().run_in_executor
    run: Any = contextvars.copy_context().run
    iterator = iter(source)
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            # StopIteration cannot cross a future, hence the sentinel.
            step = run_in_executor(None, run, next, iterator, _END)
            chunk = await asyncio.shield(step)
            if chunk is _END:
                return
            yield chunk
    finally:
        close = getattr(iterator, "close", None)
        if step is not None and not step.done():
            await asyncio.wait({step})
            step.exception()  # nobody is left who wants it
        if close is not None:
            await run_in_executor(None, run, close)


_COOKIE_NAME = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
_COOKIE_VALUE = frozenset(chr(code) for code in range(0x21, 0x7F)) - frozenset('",;\\')
_COOKIE_PAIR_LIMIT = 4096
_COOKIE_ATTRIBUTE_LIMIT = 1024


def _cookie(
    key: str,
    value: str,
    *,
    max_age: int | None,
    expires: datetime | str | int | None,
    path: str | None,
    domain: str | None,
    secure: bool,
    httponly: bool,
    samesite: str | None,
    partitioned: bool,
) -> bytes:
    if not key or not _COOKIE_NAME.issuperset(key):
        raise ValueError(f"invalid cookie name {key!r}")
    if not _COOKIE_VALUE.issuperset(value):
        raise ValueError(
            f"cookie {key!r}: value must be printable ASCII without space, quote, comma, "
            "semicolon and backslash"
        )
    if len(key) + len(value) > _COOKIE_PAIR_LIMIT:
        raise ValueError(f"cookie {key!r}: name and value exceed {_COOKIE_PAIR_LIMIT} bytes")
    for attribute, text in (("path", path), ("domain", domain)):
        if text is None:
            continue
        if not text.isascii() or not text.isprintable() or ";" in text:
            raise ValueError(f"cookie {key!r}: invalid {attribute} {text!r}")
        if len(text) > _COOKIE_ATTRIBUTE_LIMIT:
            raise ValueError(f"cookie {key!r}: {attribute} exceeds {_COOKIE_ATTRIBUTE_LIMIT} bytes")
    folded = samesite.lower() if samesite is not None else None
    if folded not in (None, "lax", "strict", "none"):
        raise ValueError(f"cookie {key!r}: samesite must be lax, strict or none, got {samesite!r}")
    if folded == "none" and not secure:
        raise ValueError(f"cookie {key!r}: samesite=none needs secure=True")
    if partitioned and not secure:
        raise ValueError(f"cookie {key!r}: partitioned needs secure=True")
    # RFC 6265bis §4.1.3: clients ignore prefixed cookies that break their prefix's promise.
    prefix = key.lower()
    if prefix.startswith(("__secure-", "__host-")) and not secure:
        raise ValueError(f"cookie {key!r}: the prefix needs secure=True")
    if prefix.startswith("__host-") and (path != "/" or domain):
        raise ValueError(f"cookie {key!r}: __Host- needs path='/' and no domain")
    parts = [f"{key}={value}"]
    if max_age is not None:
        parts.append(f"Max-Age={int(max_age)}")
    if expires is not None:
        parts.append(f"Expires={_expires(key, expires)}")
    if domain:
        parts.append(f"Domain={domain}")
    if path:
        parts.append(f"Path={path}")
    if secure:
        parts.append("Secure")
    if httponly:
        parts.append("HttpOnly")
    if folded is not None:
        parts.append(f"SameSite={folded.capitalize()}")
    if partitioned:
        parts.append("Partitioned")
    return "; ".join(parts).encode("ascii")


def _expires(key: str, expires: datetime | str | int) -> str:
    from datetime import datetime, timedelta, timezone
    from email.utils import format_datetime

    if isinstance(expires, str):
        if not expires.isascii() or not expires.isprintable() or ";" in expires:
            raise ValueError(f"cookie {key!r}: invalid expires {expires!r}")
        return expires
    if isinstance(expires, datetime):
        moment = expires if expires.tzinfo is not None else expires.replace(tzinfo=timezone.utc)
    else:
        moment = datetime.now(timezone.utc) + timedelta(seconds=expires)
    return format_datetime(moment.astimezone(timezone.utc), usegmt=True)


def _content_disposition(kind: str, filename: str) -> str:
    plain = filename.encode("ascii", "ignore").decode().replace("\\", "").replace('"', "")
    plain = "".join(char for char in plain if char.isprintable())
    if plain == filename:
        return f'{kind}; filename="{plain}"'
    # RFC 6266 §4.3: the extended form for clients that know it, a plain one for the others.
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
