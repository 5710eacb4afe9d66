"""Uploaded files: in memory while they are small, then on disk."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeVar

from spikard._headers import Headers

if TYPE_CHECKING:
    import tempfile
    from collections.abc import Callable


T = TypeVar("T")

SPOOL_MAX_BYTES = 1024 * 1024
"""Bytes of one uploaded file kept in memory before it moves to a file on disk."""


class UploadFile:
    """An uploaded file, in memory up to 1 MiB and on disk above.

    Every operation exists twice: plain, and with an ``a`` in front to await.

    Args:
        file: The binary file that holds the content; default a new spooled one.
        filename: The name the client sent; not to be trusted as a path.
        headers: The part's own header fields.
    """

    __slots__ = ("_size", "charged", "file", "filename", "headers", "on_close")

    def __init__(
        self,
        file: tempfile.SpooledTemporaryFile[bytes] | io.BytesIO | None = None,
        *,
        filename: str | None = None,
        headers: Headers | None = None,
        size: int | None = None,
    ) -> None:
        self.file = file if file is not None else spooled_file()
        self.filename = filename
        self.headers = headers if headers is not None else Headers()
        self._size = size
        # Whom to tell that the bytes on disk are free; see `spikard._forms`.
        self.charged = 0
        self.on_close: Callable[[UploadFile], None] | None = None

    def __del__(self) -> None:
        if self.on_close is not None:
            self.on_close(self)

    @property
    def content_type(self) -> str | None:
        """The media type the client named for this part."""
        return self.headers.get("content-type")

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        if self._size is None:
            position = self.file.tell()
            self._size = self.file.seek(0, io.SEEK_END) or self.file.tell()
            self.file.seek(position)
        return self._size

    @property
    def rolled_to_disk(self) -> bool:
        """Whether the content has moved from memory to disk."""
        return bool(getattr(self.file, "_rolled", False))

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the current position, all when negative."""
        return self.file.read(size)

    def write(self, data: bytes) -> int:
        """Write at the current position and return the number of bytes."""
        self._size = None
        return self.file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position and return it."""
        self.file.seek(offset, whence)
        return self.file.tell()

    def close(self) -> None:
        """Close the file; a spooled one is removed from disk."""
        self.file.close()
        told, self.on_close = self.on_close, None
        if told is not None:
            told(self)

    async def aread(self, size: int = -1) -> bytes:
        """As `read`; a file on disk is read in the thread pool."""
        return await self._call(self.read, size)

    async def awrite(self, data: bytes) -> int:
        """As `write`, off the event loop when the file is, or is about to be, on disk."""
        if self._would_roll(len(data)):
            import asyncio

            return await asyncio.to_thread(self.write, data)
        return self.write(data)

    async def append(self, chunks: list[bytes]) -> None:
        """Write several pieces at the end, with one step off the event loop if any is needed."""
        added = sum(map(len, chunks))
        size = self.size + added
        if self._would_roll(added):
            import asyncio

            def write_all() -> None:
                self.file.writelines(chunks)

            await asyncio.to_thread(write_all)
        else:
            self.file.writelines(chunks)
        self._size = size

    async def aseek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `seek`."""
        return await self._call(self.seek, offset, whence)

    async def aclose(self) -> None:
        """As `close`."""
        await self._call(self.close)

    def as_bytes_io(self) -> io.BytesIO:
        """Return the whole content as a new in-memory file at position 0."""
        position = self.file.tell()
        self.file.seek(0)
        content = io.BytesIO(self.file.read())
        self.file.seek(position)
        return content

    def _would_roll(self, added: int) -> bool:
        """Whether a write reaches the disk: of a file that is there, or is about to go."""
        if self.rolled_to_disk:
            return True
        limit: int = getattr(self.file, "_max_size", 0)
        return bool(limit) and self.file.tell() + added > limit

    async def _call(self, func: Callable[..., T], *args: Any) -> T:
        if not self.rolled_to_disk:
            return func(*args)
        import asyncio

        return await asyncio.to_thread(func, *args)

    def __repr__(self) -> str:
        return f"UploadFile(filename={self.filename!r}, content_type={self.content_type!r})"


def spooled_file() -> tempfile.SpooledTemporaryFile[bytes]:
    """Return a file that lives in memory up to `SPOOL_MAX_BYTES`, then on disk."""
    import tempfile

    return tempfile.SpooledTemporaryFile(max_size=SPOOL_MAX_BYTES)
