"""What an uploaded file must be, as ``file_params`` of `register_route` says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikard._violations import Error, Loc, error
from spikard.exceptions import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikard.datastructures import UploadFile

__all__ = ["FileRule", "file_rule"]

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)

SHOWN_MAGIC_BYTES = 8
"""Leading bytes of a file that an answer shows, in hexadecimal."""


@dataclass(frozen=True)
class FileRule:
    """The rules of one file field.

    Attributes:
        content_types: Media types that the part may declare; empty for any.
        max_size: Bytes, None for the request's own limit.
        checks_content: Whether the first bytes must be of the declared type.
    """

    content_types: tuple[str, ...] = ()
    max_size: int | None = None
    checks_content: bool = False

    def violations(self, name: str, file: UploadFile) -> Iterator[Error]:
        """Yield what is wrong with a file, its position unchanged."""
        loc: Loc = ("files", name)
        declared = (file.content_type or "").partition(";")[0].strip().lower()
        if self.content_types and declared not in self.content_types:
            listed = ", ".join(self.content_types)
            ctx: dict[str, Any] = {"content_type": declared, "expected": listed}
            msg = f"File type should be {listed}"
            yield error("validation_error", loc, msg, file.filename, ctx)
        if self.max_size is not None and file.size > self.max_size:
            msg = f"File should have at most {self.max_size} bytes"
            ctx = {"max_size": self.max_size, "size": file.size}
            yield error("validation_error", loc, msg, file.filename, ctx)
        if self.checks_content:
            yield from self._content(loc, declared, file)

    def _content(self, loc: Loc, declared: str, file: UploadFile) -> Iterator[Error]:
        start = file.file.read(SHOWN_MAGIC_BYTES)
        file.seek(0)
        detected = next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)
        if detected is None or detected == declared:
            return
        msg = f"File type mismatch: MIME type is {declared} but magic numbers indicate {detected}"
        ctx = {"declared_mime": declared, "detected_type": detected, "magic_bytes": start.hex()}
        yield error("validation_error", loc, msg, file.filename, ctx)


def file_rule(owner: str, name: str, declared: dict[str, Any]) -> FileRule:
    """Return the rule of one entry of ``file_params``.

    Raises:
        RegistrationError: The entry says something that is not checked.
    """
    known = {"required", "optional", "content_type", "max_size", "validate_magic_numbers"}
    unknown = set(declared) - known
    if unknown:
        raise RegistrationError(f"{owner}: file_params: {name!r}: unknown {min(unknown)!r}")
    kinds = declared.get("content_type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    return FileRule(
        tuple(kind.lower() for kind in kinds),
        declared.get("max_size"),
        bool(declared.get("validate_magic_numbers")),
    )
