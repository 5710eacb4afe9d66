"""FastAPI's `Request`: Spikard's, with Starlette's attributes."""

# FastAPI's meaning differs from Spikard's in what these methods return: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard import datastructures
from spikard.compat.fastapi.datastructures import URL, Address, FormData, UploadFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping

__all__ = ["HTTPConnection", "Request"]


class HTTPConnection(datastructures.Request):
    """What requests and WebSockets share beyond Spikard's classes, for dependencies of both."""

    __slots__ = ()

    @property
    def url(self) -> URL:
        """The absolute URL, as the client asked for it."""
        return URL(super().url)

    @property
    def client(self) -> Address | None:  # type: ignore[override]
        """The peer."""
        client = super().client
        return None if client is None else Address(*client)

    def url_for(self, name: str, /, **params: Any) -> URL:
        """Return the absolute URL of a named route."""
        return URL(super().url_for(name, **params))

    @property
    def base_url(self) -> URL:
        """The URL of the application."""
        url = self.url
        return URL(f"{url.scheme}://{url.netloc}{self.root_path.rstrip('/')}/")

    @property
    def scope(self) -> Mapping[str, Any]:
        """ASGI's scope; without ASGI middleware on our own server a copy of what it says."""
        if self._scope is not None:
            # As FastAPI does: the application's own prefix, where the host has none.
            self._scope["root_path"] = self._scope.get("root_path") or self.root_path
            return self._scope
        is_socket = hasattr(self, "application_state")
        scope: dict[str, Any] = {
            "type": "websocket" if is_socket else "http",
            "http_version": self.http_version,
            "scheme": self.scheme,
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query_string,
            "root_path": self.root_path,
            "headers": self.headers.raw,
            "client": self.client,
            "server": self.server,
            "app": self.app,
            "path_params": self.path_params,
            "state": self.state,
        }
        if not is_socket:
            scope["method"] = self.method
        return scope


class Request(HTTPConnection):
    """One HTTP request."""

    __slots__ = ()

    def form(  # type: ignore[override]
        self, **limits: Any
    ) -> AwaitableForm:
        """Return the form, to await or to open with ``async with``."""
        return AwaitableForm(super().form())

    async def is_disconnected(self) -> bool:  # type: ignore[override]
        """Return whether the client has gone."""
        return bool(super().is_disconnected())

    async def close(self) -> None:
        """Close the uploaded files."""
        await self.close_form()


class AwaitableForm:
    """A form that is read when it is awaited, and closed at the end of its block."""

    __slots__ = ("_form", "_read")

    def __init__(self, read: Awaitable[datastructures.FormData]) -> None:
        self._read = read
        self._form: FormData | None = None

    def __await__(self) -> Generator[Any, None, FormData]:
        return self._files().__await__()

    async def _files(self) -> FormData:
        given = await self._read
        return FormData(
            [
                (name, UploadFile.of(value) if _is_plain_file(value) else value)
                for name, value in given.multi_items()
            ]
        )

    async def __aenter__(self) -> FormData:
        self._form = await self._files()
        return self._form

    async def __aexit__(self, *_: object) -> None:
        for _name, value in self._form.multi_items() if self._form is not None else ():
            if isinstance(value, datastructures.UploadFile):
                await value.aclose()


def _is_plain_file(value: Any) -> bool:
    return isinstance(value, datastructures.UploadFile) and not isinstance(value, UploadFile)
