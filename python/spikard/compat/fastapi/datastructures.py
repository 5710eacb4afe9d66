"""FastAPI's data structures: URLs with parts, addresses with names, files to await."""

# FastAPI's meaning differs from Spikard's in what these methods return: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from spikard import datastructures

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from typing_extensions import Self

__all__ = ["URL", "Address", "FormData", "Headers", "QueryParams", "State", "UploadFile"]

FormData = datastructures.FormData
Headers = datastructures.Headers
QueryParams = datastructures.QueryParams
State = datastructures.State


class Address(NamedTuple):
    """A peer."""

    host: str
    port: int


class URL(str):
    """An absolute URL, a string whose parts have names."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urlsplit(self).scheme

    @property
    def netloc(self) -> str:
        """Host and port."""
        return urlsplit(self).netloc

    @property
    def hostname(self) -> str | None:
        """The host in lower case."""
        return urlsplit(self).hostname

    @property
    def port(self) -> int | None:
        """The port, None when the URL names none."""
        return urlsplit(self).port

    @property
    def path(self) -> str:
        """The path."""
        return urlsplit(self).path

    @property
    def query(self) -> str:
        """The query string."""
        return urlsplit(self).query

    @property
    def fragment(self) -> str:
        """The fragment."""
        return urlsplit(self).fragment

    @property
    def is_secure(self) -> bool:
        """Whether it is served over TLS."""
        return self.scheme in ("https", "wss")

    def replace(self, *args: Any, **parts: Any) -> Any:
        """Return the URL with other parts; with positional arguments as `str.replace`."""
        if args:
            return str.replace(self, *args, **parts)
        split = urlsplit(self)
        if {"hostname", "port"} & parts.keys():
            host = parts.pop("hostname", split.hostname) or ""
            port = parts.pop("port", split.port)
            parts["netloc"] = host if port is None else f"{host}:{port}"
        return type(self)(split._replace(**parts).geturl())

    def include_query_params(self, **params: Any) -> Self:
        """Return the URL with these query parameters in it."""
        given = parse_qsl(self.query, keep_blank_values=True)
        pairs = [(name, value) for name, value in given if name not in params]
        pairs += [(name, str(value)) for name, value in params.items()]
        url: Self = self.replace(query=urlencode(pairs))
        return url


class UploadFile(datastructures.UploadFile):
    """An uploaded file whose operations are awaited."""

    __slots__ = ()

    async def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        """Return up to ``size`` bytes from the current position."""
        return await self.aread(size)

    async def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write at the current position."""
        await self.awrite(data)

    async def seek(self, offset: int) -> None:  # type: ignore[override]
        """Move the position."""
        await self.aseek(offset)

    async def close(self) -> None:  # type: ignore[override]
        """Close the file."""
        await self.aclose()

    async def aread(self, size: int = -1) -> bytes:
        """As `read`."""
        return await self._call(self.file.read, size)

    async def awrite(self, data: bytes) -> int:
        """As `write`."""
        self._size = None
        return await self._call(self.file.write, data)

    async def aseek(self, offset: int, whence: int = 0) -> int:
        """As `seek`."""
        return await self._call(self.file.seek, offset, whence)

    async def aclose(self) -> None:
        """As `close`."""
        await self._call(self.file.close)

    @classmethod
    def of(cls, file: datastructures.UploadFile) -> UploadFile:
        """Return the same file, to await."""
        return cls(file.file, filename=file.filename, headers=file.headers, size=file.size)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> Any:
        from pydantic_core import core_schema

        del source, handler
        return core_schema.with_info_plain_validator_function(cls._validated)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        del core_schema, handler
        return {"type": "string", "contentMediaType": "application/octet-stream"}

    @classmethod
    def _validated(cls, value: Any, _: Any) -> Any:
        if not isinstance(value, datastructures.UploadFile):
            raise ValueError(f"Expected UploadFile, received: {type(value)}")  # noqa: TRY004 - Pydantic
        return value
