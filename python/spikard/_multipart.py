"""Multipart forms (RFC 7578): from the parser's events to fields and spooled files.

The parser is Rust's (``spikard._spikard.MultipartParser``) and does no I/O; only `parser`
names it. Files go to `UploadFile`s as they arrive: in memory up to 1 MiB, then on disk, with
the writes to disk off the event loop, many chunks in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from spikard import _spikard
from spikard._forms import DEFAULT_FORMS, Forms
from spikard.datastructures import Headers, UploadFile
from spikard.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["parser", "read_form"]

BATCH_BYTES = 256 * 1024
"""Of a file, collected before it is written: a step into a thread costs more than a copy."""

Event = tuple[Any, ...]


class Parser(Protocol):
    """``spikard._spikard.MultipartParser``; raises `HTTPException` for what is malformed."""

    def push(self, chunk: bytes) -> None:
        """Take the next chunk of the body."""
        ...

    def next_event(self) -> Event | None:
        """Return the next event, None when it needs another chunk.

        ``("part", name, filename or None, [(b"name", b"value"), ...])``, ``("data", bytes)``,
        ``("part_end",)`` or ``("end",)``.
        """
        ...

    def finish(self) -> None:
        """Check that the form was complete."""
        ...


def parser(boundary: str, forms: Forms = DEFAULT_FORMS) -> Parser:
    """Return a parser for a boundary, with these limits.

    Raises:
        HTTPException: 400, it is none.
    """
    made: Parser = _spikard.MultipartParser(
        boundary, max_parts=forms.max_parts, max_field_bytes=forms.max_field_bytes
    )
    return made


async def read_form(
    content_type: str, chunks: AsyncIterator[bytes], forms: Forms | None = None
) -> list[tuple[str, str | UploadFile]]:
    """Return a form's fields in order: text as ``str``, parts with a file name as `UploadFile`.

    When it raises, the files it had begun are closed.

    Raises:
        HTTPException: 400, the form is malformed or a field is not UTF-8; 413, over a limit; 503
            or 507, there is no room for its files.
    """
    forms = forms or DEFAULT_FORMS
    reader = _Reader(parser(_boundary(content_type), forms), forms)
    try:
        async for chunk in chunks:
            await reader.take(chunk)
        reader.finish()
    except BaseException:
        reader.discard()
        raise
    return reader.found


class _Reader:
    def __init__(self, source: Parser, forms: Forms) -> None:
        self.found: list[tuple[str, str | UploadFile]] = []
        self._parser = source
        self._forms = forms
        self._name = ""
        self._data: list[bytes] = []  # of a field, or of a file what has not been written
        self._waiting = 0
        self._file: UploadFile | None = None

    async def take(self, chunk: bytes) -> None:
        """Take a chunk of the body and everything that it completes."""
        self._parser.push(chunk)
        while (event := self._parser.next_event()) is not None:
            kind = event[0]
            if kind == "data":
                self._data.append(event[1])
                if self._file is not None:
                    self._waiting += len(event[1])
                    if self._waiting >= BATCH_BYTES:
                        await self._write(self._file)
            elif kind == "part":
                self._begin(*event[1:])
            elif kind == "part_end":
                await self._end()

    def finish(self) -> None:
        """Check that the form was complete."""
        self._parser.finish()

    def discard(self) -> None:
        """Close every file, also the one that is being written."""
        files = [value for _, value in self.found if isinstance(value, UploadFile)]
        for file in [*files, self._file]:
            if file is not None:
                file.close()

    def _begin(self, name: str, filename: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        self._name, self._data, self._waiting = name, [], 0
        if filename is not None:
            self._file = self._forms.new_file(filename, Headers(raw=list(headers)))

    async def _write(self, file: UploadFile) -> None:
        data, self._data, self._waiting = self._data, [], 0
        await self._forms.write(file, data)

    async def _end(self) -> None:
        file = self._file
        if file is not None:
            if self._data:
                await self._write(file)
            await file.aseek(0)
            self.found.append((self._name, file))
            self._file = None
            return
        try:
            text = b"".join(self._data).decode()
        except UnicodeDecodeError:
            raise HTTPException(400, f"form field {self._name!r} is not UTF-8") from None
        self.found.append((self._name, text))


def _boundary(content_type: str) -> str:
    from email.message import Message

    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise HTTPException(400, "multipart form without a boundary")
    return boundary
