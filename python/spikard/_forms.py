"""What one worker's forms may hold, and where their files are put."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spikard.datastructures import SPOOL_MAX_BYTES, UploadFile
from spikard.exceptions import HTTPException

if TYPE_CHECKING:
    from spikard.config import ServerConfig
    from spikard.datastructures import Headers

__all__ = ["DEFAULT_FORMS", "Forms"]

RETRY_SECONDS = 5
"""What a client is told to wait when the uploads of others fill the quota."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(slots=True)
class Forms:
    """The limits of one server's forms, and the disk space that its uploads hold.

    Attributes:
        max_parts: Fields and files of a form.
        max_field_bytes: Of a field that is not a file.
        memory_bytes: Of a file, before it goes to disk.
        quota_bytes: Of all files on disk at once, None for any number.
        on_disk: Bytes of them now.
    """

    max_parts: int = 1000
    max_field_bytes: int = 1 << 20
    memory_bytes: int = SPOOL_MAX_BYTES
    quota_bytes: int | None = None
    on_disk: int = field(default=0, init=False)

    @classmethod
    def of(cls, config: ServerConfig) -> Forms:
        """Return the limits of a configuration."""
        return cls(
            config.max_form_parts,
            config.max_form_field_size,
            config.spool_memory,
            config.spool_quota,
        )

    def new_file(self, filename: str, headers: Headers) -> UploadFile:
        """Return an empty upload."""
        # A maximum of 0 would mean "never" to the standard library.
        most = max(self.memory_bytes, 1)
        spool = tempfile.SpooledTemporaryFile(max_size=most)  # noqa: SIM115 - the upload closes it
        return UploadFile(spool, filename=filename, headers=headers, size=0)

    async def write(self, file: UploadFile, chunks: list[bytes]) -> None:
        """Append to an upload, off the event loop what goes to disk.

        Raises:
            HTTPException: 503, the quota is used up; 507, the disk is.
        """
        try:
            await file.append(chunks)
        except OSError as error:
            if error.errno in _FULL:
                raise HTTPException(507, "there is no room for the upload") from error
            raise
        if file.rolled_to_disk:
            self._charge(file)

    def _charge(self, file: UploadFile) -> None:
        grown = file.size - file.charged
        if self.quota_bytes is not None and self.on_disk + grown > self.quota_bytes:
            raise HTTPException(
                503,
                "there is no room for the upload now",
                headers={"retry-after": str(RETRY_SECONDS)},
            )
        self.on_disk += grown
        file.charged += grown
        file.on_close = self._release

    def _release(self, file: UploadFile) -> None:
        self.on_disk -= file.charged
        file.charged = 0


DEFAULT_FORMS = Forms()
"""For requests that no server's configuration concerns."""
