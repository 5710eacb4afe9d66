"""Requests that a test client sends: what the keyword arguments mean on the wire."""

# Values come in every shape that callers think of and are told apart here; mypy checks the rest.
# pyright: basic

from __future__ import annotations

import asyncio
import dataclasses
import io
import mimetypes
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from spikard.datastructures import UploadFile, encode_header
from spikard.responses import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Outgoing", "RequestOptions", "make_outgoing"]

FILE_PIECE_BYTES = 64 * 1024
"""Of a file that is sent, in memory at once."""

_TARGET_SAFE = "!#$%&'()*+,/:;=?@[]~"
_REDIRECTS_TO_GET = {301, 302, 303}


class RequestOptions(TypedDict, total=False):
    """Keyword arguments of a request.

    Keys:
        params: The query: a mapping (lists repeat the name), pairs, or a finished string.
        headers: A mapping or pairs; `bytes` go out as they are.
        cookies: For this request only, beside those of the client.
        json: A JSON body: any value that msgspec encodes.
        content: A body as it is; an iterable of chunks is sent chunked, each chunk when the
            application has taken those before it.
        data: An HTML form (a mapping or pairs); beside `files` the fields of a multipart form.
        files: A multipart form: name → content, file object, or
            ``(filename, content[, media type])``; a list of values repeats the name.
        follow_redirects: Default: as the client was made.
    """

    params: Mapping[str, Any] | Sequence[tuple[str, Any]] | str | None
    headers: Mapping[str, str] | Sequence[tuple[str | bytes, str | bytes]] | None
    cookies: Mapping[str, str] | None
    json: Any
    content: bytes | str | Iterable[bytes] | AsyncIterable[bytes] | None
    data: Mapping[str, Any] | Sequence[tuple[str, Any]] | bytes | str | None
    files: Mapping[str, Any] | Sequence[tuple[str, Any]] | None
    follow_redirects: bool | None


@dataclasses.dataclass(slots=True)
class FilePart:
    """A file within a body, read while it is sent; `length` bytes from its position `start`."""

    file: Any
    start: int
    length: int


@dataclasses.dataclass(slots=True)
class Outgoing:
    """A request on its way.

    Attributes:
        method: Upper case.
        url: Absolute.
        headers: With lower-case names.
        chunks: The body: a list of pieces, a tuple of them whose length is not declared, or an
            iterable that is asked for the next one when there is room for it.
    """

    method: str
    url: str
    headers: list[tuple[bytes, bytes]]
    chunks: Any

    @property
    def is_known(self) -> bool:
        """Whether the body is there, and not made while it is sent."""
        return isinstance(self.chunks, list | tuple)

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in pieces, none of them empty; a sync iterable runs in a thread."""
        if self.is_known:
            for piece in self.chunks:
                if isinstance(piece, FilePart):
                    async for data in _read(piece):
                        yield data
                elif piece:
                    yield piece
            return
        source: Any = self.chunks
        items: Any = source if hasattr(source, "__aiter__") else in_thread(source)
        try:
            async for chunk in items:
                if chunk:
                    yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    @property
    def target(self) -> str:
        """The path and the query."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def redirected(self, status: int, location: str) -> Outgoing:
        """Return the request that follows a redirect (RFC 9110 §15.4).

        Raises:
            RuntimeError: Its body would have to be made once more.
        """
        url = quote(urljoin(self.url, location), safe=_TARGET_SAFE).partition("#")[0]
        method, headers, chunks = self.method, self.headers, self.chunks
        becomes_get = status in _REDIRECTS_TO_GET and (method == "POST" or status == 303)
        if becomes_get and method not in ("GET", "HEAD"):
            method, chunks = "GET", []
            headers = [
                field
                for field in headers
                if not field[0].startswith(b"content-") and field[0] != b"transfer-encoding"
            ]
        if not isinstance(chunks, list | tuple):
            raise RuntimeError(  # noqa: TRY004 - its type is fine, once
                f"cannot send an iterable's body again, to {url}"
            )
        return Outgoing(method, url, headers, chunks)


def make_outgoing(
    method: str,
    base_url: str,
    path: str,
    options: RequestOptions,
    defaults: list[tuple[bytes, bytes]],
) -> Outgoing:
    """Return the request that the arguments of `TestClient.request` describe.

    `defaults` are header fields of the client: those of the request go before them.

    Raises:
        TypeError: An unknown argument, or two bodies.
        ValueError: A header field that cannot be sent.
    """
    unknown = set(options) - set(RequestOptions.__annotations__)
    if unknown:
        raise TypeError(f"unexpected arguments: {', '.join(sorted(unknown))}")
    media_type, chunks = _body(options)
    headers = _pairs(options.get("headers"))
    fields = [encode_header(_field_text(name), _field_text(value)) for name, value in headers]
    names = {name for name, _ in fields}
    fields += [field for field in defaults if field[0] not in names]
    names |= {name for name, _ in defaults}

    def default(name: bytes, value: bytes) -> None:
        if name not in names:
            fields.append((name, value))

    url = _url(base_url, path, options.get("params"))
    default(b"host", urlsplit(url).netloc.rpartition("@")[2].encode())
    default(b"accept", b"*/*")
    default(b"user-agent", b"spikard-testclient")
    if media_type is not None:
        default(b"content-type", media_type)
    if not isinstance(chunks, list):
        default(b"transfer-encoding", b"chunked")
    elif (chunks or method in ("POST", "PUT", "PATCH")) and b"transfer-encoding" not in names:
        default(b"content-length", str(sum(map(_length, chunks))).encode())
    return Outgoing(method, url, fields, chunks)


def _url(base_url: str, path: str, params: Any) -> str:
    separator = "" if path.startswith("/") else "/"
    url = path if re.match(r"[a-z]+://", path) else base_url.rstrip("/") + separator + path
    url = quote(url.partition("#")[0], safe=_TARGET_SAFE)
    if params:
        query = params if isinstance(params, str) else urlencode(_flat(params))
        url += ("&" if "?" in url else "?") + query.lstrip("?")
    return url


def _pairs(values: Any) -> list[tuple[Any, Any]]:
    if not values:
        return []
    return list(values.items() if isinstance(values, Mapping) else values)


def _flat(values: Any) -> list[tuple[str, str]]:
    """Return form or query pairs as text: lists repeat their name, `None` leaves its name out."""
    flat: list[tuple[str, str]] = []
    for name, value in _pairs(values):
        several = value if isinstance(value, list | tuple | set) else [value]
        flat.extend((str(name), _text(each)) for each in several if each is not None)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _field_text(given: Any) -> str:
    return given.decode("latin-1") if isinstance(given, bytes) else str(given)


def _body(options: RequestOptions) -> tuple[bytes | None, Any]:
    """Return the media type and the body: a list of pieces, or an iterable of unknown length."""
    json, content = options.get("json"), options.get("content")
    data, files = options.get("data"), options.get("files")
    if sum((json is not None, content is not None, bool(data or files))) > 1:
        raise TypeError("expected one body: json, content, or data with files")
    if json is not None:
        return b"application/json", [msgspec.json.encode(json)]
    if files:
        return _multipart(_flat(data), files)
    if data and not isinstance(data, bytes | str):
        form = urlencode(_flat(data)).encode()
        return b"application/x-www-form-urlencoded", [form]
    whole: Any = content if content is not None else data
    if whole is None or isinstance(whole, str | bytes | bytearray | memoryview):
        if not whole:
            return None, []
        if isinstance(whole, str):
            return b"text/plain; charset=utf-8", [whole.encode()]
        return None, [bytes(whole)]
    return None, tuple(whole) if isinstance(whole, list | tuple) else whole


def _multipart(fields: list[tuple[str, str]], files: Any) -> tuple[bytes, list[Any]]:
    boundary = secrets.token_hex(16)
    chunks: list[Any] = []
    for name, text in fields:
        chunks += [_part_head(boundary, name), text.encode(), b"\r\n"]
    for name, value in _pairs(files):
        for each in value if isinstance(value, list) else [value]:
            filename, content, media_type = _file(each)
            chunks += [_part_head(boundary, name, filename, media_type), content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}".encode(), _joined(chunks)


def _joined(chunks: list[Any]) -> list[Any]:
    """Return the pieces with neighbours in memory put together: a small form is one piece."""
    joined: list[Any] = []
    for chunk in chunks:
        if joined and isinstance(chunk, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += chunk
        else:
            joined.append(chunk)
    return joined


def _length(piece: Any) -> int:
    return piece.length if isinstance(piece, FilePart) else len(piece)


async def _read(part: FilePart) -> AsyncGenerator[bytes, None]:
    left = part.length
    await asyncio.to_thread(part.file.seek, part.start)
    while left:
        data = await asyncio.to_thread(part.file.read, min(left, FILE_PIECE_BYTES))
        if not data:
            raise ValueError("the file became shorter while it was sent")
        left -= len(data)
        yield data


def _part_head(
    boundary: str, name: str, filename: str | None = None, media_type: str | None = None
) -> bytes:
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"'
    if filename is not None:
        head += f'; filename="{_quoted(filename)}"'
    if media_type is not None:
        head += f"\r\ncontent-type: {media_type}"
    return f"{head}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    # WHATWG HTML, "multipart form data": what would end the parameter is percent-encoded.
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _file(value: Any) -> tuple[str, Any, str]:
    filename: str | None = None
    media_type: str | None = None
    if isinstance(value, tuple):
        filename, content, *rest = value
        media_type = rest[0] if rest else None
    else:
        content = value
    if isinstance(content, UploadFile):
        filename, media_type = filename or content.filename, media_type or content.content_type
    elif isinstance(content, io.IOBase):
        filename = filename or os.path.basename(str(getattr(content, "name", "upload")))
    payload: Any = content
    if isinstance(content, str):
        payload = content.encode()
    elif isinstance(content, UploadFile):
        payload = _part_of(content.file)
    elif hasattr(content, "read"):
        payload = _part_of(content)
    name = str(filename or "upload")
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return name, payload, str(media_type or guessed)


def _part_of(file: Any) -> Any:
    """Return what is left of a file: a part to be read later, or its text or bytes."""
    try:
        start = file.tell()
        length = file.seek(0, os.SEEK_END) or file.tell()
        file.seek(start)
    except (AttributeError, OSError, ValueError):
        start = length = 0
    if length - start > FILE_PIECE_BYTES and not isinstance(file, io.TextIOBase):
        return FilePart(file, start, length - start)
    content = file.read()
    return content.encode() if isinstance(content, str) else content
