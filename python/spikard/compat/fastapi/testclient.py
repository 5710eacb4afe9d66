"""FastAPI's `TestClient`: synchronous, also without ``with``, and it raises what escapes."""

# FastAPI's meaning differs from Spikard's in what these methods return: overriding is the point.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

import contextlib
import http
import json
from typing import TYPE_CHECKING, Any

from spikard.compat.fastapi._failures import ESCAPED
from spikard.compat.fastapi.datastructures import URL
from spikard.compat.fastapi.websockets import REFUSED
from spikard.exceptions import WebSocketDisconnect
from spikard.testing.client import TestClient as PlainClient
from spikard.testing.response import TestResponse
from spikard.testing.session import Portal
from spikard.testing.websocket import WebSocketRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from spikard.testing.websocket import TestWebSocket

__all__ = ["HTTPStatusError", "Response", "TestClient", "WebSocketSession"]


class HTTPStatusError(Exception):
    """What `Response.raise_for_status` raises."""


class Response(TestResponse):
    """A complete response with httpx's attributes."""

    @property
    def text(self) -> str:  # type: ignore[override]
        """The body as text."""
        return super().text()

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300

    @property
    def is_client_error(self) -> bool:
        """Whether the status is 4xx."""
        return 400 <= self.status_code < 500

    @property
    def is_server_error(self) -> bool:
        """Whether the status is 5xx."""
        return self.status_code >= 500

    @property
    def is_error(self) -> bool:
        """Whether the status is 4xx or 5xx."""
        return self.status_code >= 400

    @property
    def is_redirect(self) -> bool:
        """Whether the status is a redirect's and names a place."""
        return 300 <= self.status_code < 400 and "location" in self.headers

    @property
    def reason_phrase(self) -> str:
        """The status in words."""
        return http.HTTPStatus(self.status_code).phrase

    @property
    def has_redirect_location(self) -> bool:
        """As `is_redirect`."""
        return self.is_redirect

    @property
    def encoding(self) -> str:
        """The charset of the content type, UTF-8 when it names none."""
        _, _, parameter = self.headers.get("content-type", "").partition("charset=")
        return parameter.partition(";")[0].strip(' "') or "utf-8"

    def read(self) -> bytes:
        """Return the body."""
        return self.content

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body: it has been read whole."""
        yield self.content

    def iter_text(self) -> Iterator[str]:
        """Yield the body as text."""
        yield self.text

    def iter_lines(self) -> Iterator[str]:
        """Yield the body's lines, without their ends."""
        yield from self.text.splitlines()

    def raise_for_status(self) -> Self:
        """Return the response.

        Raises:
            HTTPStatusError: It is an error.
        """
        if self.is_error:
            raise HTTPStatusError(f"{self.status_code} {self.reason_phrase} for {self.url}")
        return self


class TestClient:
    """A client of an application in the same process.

    Args:
        app: A `FastAPI` application, or any ASGI application.
        base_url: What the requests' URLs begin with.
        raise_server_exceptions: Raise what no exception handler took.
        root_path: Accepted for `FastAPI(root_path=...)`'s sake; must be empty.
        backend: Accepted; asyncio it is.
        backend_options: Accepted.
        cookies: To begin with.
        headers: Sent with every request that does not say otherwise.
        follow_redirects: Whether redirects within the application are followed.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(
        self,
        app: Any,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: str = "asyncio",
        backend_options: dict[str, Any] | None = None,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
    ) -> None:
        del backend, backend_options
        if root_path:
            raise ValueError("TestClient(root_path=...) is not available: give it to FastAPI")
        self.app = app
        self.base_url = URL(base_url)
        self.raise_server_exceptions = raise_server_exceptions
        self._client = PlainClient(
            app,
            base_url=base_url,
            # The codings that httpx, below FastAPI's client, asks for wherever it is installed.
            headers={
                "accept-encoding": "gzip, deflate",
                "user-agent": "testclient",
                **(headers or {}),
            },
            cookies=cookies,
            follow_redirects=follow_redirects,
        )
        self._portal: Portal | None = None

    @property
    def cookies(self) -> Any:
        """The cookies that are sent, to change too."""
        return self._client.cookies

    @cookies.setter
    def cookies(self, cookies: Mapping[str, str]) -> None:
        self._client.cookies.clear()
        self._client.cookies.update(cookies)

    @property
    def headers(self) -> Any:
        """The headers that are sent, to change too."""
        return self._client.headers

    def __enter__(self) -> Self:
        portal = Portal()
        portal.start()
        try:
            portal.call(self._client.__aenter__())
        except BaseException:
            portal.stop()
            raise
        self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        portal = self._portal
        if portal is not None:
            try:
                portal.call(self._client.__aexit__(kind, error, trace))
            finally:
                self._portal = None
                portal.stop()

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Send a request and return the complete response.

        Args:
            method: In any case.
            url: A path, or an absolute URL.
            options: httpx's: ``params``, ``headers``, ``cookies``, ``json``, ``content``,
                ``data``, ``files``, ``auth`` (user, password), ``follow_redirects``.
        """
        auth = options.pop("auth", None)
        options.pop("timeout", None)
        options.pop("extensions", None)
        if auth is not None:
            import base64

            token = base64.b64encode(":".join(auth).encode()).decode()
            given: dict[str, str] = options.get("headers") or {}
            headers = {"authorization": f"Basic {token}", **given}
            options["headers"] = headers
        answer: Response = self._run(self._sent(method.upper(), url, options))
        return answer

    async def _sent(self, method: str, url: str, options: dict[str, Any]) -> Response:
        escaped: list[BaseException] = []
        token = ESCAPED.set(escaped)
        try:
            answer = await self._client.request(method, url, **options)
        finally:
            ESCAPED.reset(token)
        if escaped and self.raise_server_exceptions:
            raise escaped[0]
        return _response(answer)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._portal is not None:
            return self._portal.call(work)
        portal = Portal()
        portal.start()
        try:
            return portal.call(self._client.outside(work))
        finally:
            portal.stop()

    @contextlib.contextmanager
    def stream(self, method: str, url: str, **options: Any) -> Generator[Response, None, None]:
        """Send a request; the response is complete when the block begins."""
        yield self.request(method, url, **options)

    def get(self, url: str, **options: Any) -> Response:
        """Send a GET request; see `request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Response:
        """Send a POST request; see `request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Response:
        """Send a PUT request; see `request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Response:
        """Send a PATCH request; see `request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Response:
        """Send a DELETE request; see `request`."""
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Any) -> Response:
        """Send a HEAD request; see `request`."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Any) -> Response:
        """Send an OPTIONS request; see `request`."""
        return self.request("OPTIONS", url, **options)

    def websocket_connect(
        self,
        url: str,
        subprotocols: Sequence[str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> WebSocketSession:
        """Return a WebSocket to open with ``with``.

        Raises:
            WebSocketDisconnect: When it is opened: the application refused it.
        """
        given = dict(headers or {})
        if cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        return WebSocketSession(self, url, tuple(subprotocols or ()), given)


class WebSocketSession:
    """The client's end of a WebSocket."""

    def __init__(
        self, client: TestClient, url: str, subprotocols: tuple[str, ...], headers: dict[str, str]
    ) -> None:
        self._client = client
        self._own: Portal | None = None
        self._socket: Any = None
        self._call: Any = None
        self._escaped: list[BaseException] = []
        self._refused: list[tuple[int, str]] = []
        self._make: Callable[[], TestWebSocket] = lambda: client._client.websocket(  # noqa: SLF001 - its own client
            url, subprotocols=subprotocols, headers=headers
        )

    def __enter__(self) -> Self:
        portal = self._client._portal  # noqa: SLF001 - its own client
        if portal is None:
            portal = self._own = Portal()
            portal.start()
        self._call = portal.call
        try:
            portal.call(self._opened())
        except WebSocketRejectedError as exc:
            self._stop()
            code, reason = self._refused[-1] if self._refused else (1000, "")
            raise WebSocketDisconnect(code, reason) from exc
        except BaseException:
            self._stop()
            raise
        return self

    async def _opened(self) -> None:
        # The application's task inherits these.
        escaped, refused = ESCAPED.set(self._escaped), REFUSED.set(self._refused)
        try:
            self._socket = self._make()
            await self._socket.__aenter__()
        finally:
            ESCAPED.reset(escaped)
            REFUSED.reset(refused)
        if self._escaped and self._client.raise_server_exceptions:
            raise self._escaped[0]

    def __exit__(self, *trace: object) -> None:
        try:
            self._call(self._socket.__aexit__(*trace))
        finally:
            self._stop()
        if self._escaped and self._client.raise_server_exceptions and trace[1] is None:
            raise self._escaped[0]

    def _stop(self) -> None:
        if self._own is not None:
            self._own.stop()
            self._own = None

    @property
    def accepted_subprotocol(self) -> str | None:
        """What the application chose."""
        chosen: str | None = self._socket.subprotocol
        return chosen

    def send_text(self, data: str) -> None:
        """Send a text message."""
        self._call(self._socket.send(data))

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._call(self._socket.send(data))

    def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON, in a ``text`` or ``binary`` message."""
        encoded = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        self._call(self._socket.send(encoded if mode == "text" else encoded.encode()))

    def receive_text(self) -> str:
        """Return the next message; raises `WebSocketDisconnect` when the application closed."""
        message: str | bytes = self._call(self._socket.receive())
        return message if isinstance(message, str) else message.decode()

    def receive_bytes(self) -> bytes:
        """As `receive_text`, as bytes."""
        message: str | bytes = self._call(self._socket.receive())
        return message.encode() if isinstance(message, str) else message

    def receive_json(self, mode: str = "text") -> Any:
        """As `receive_text`, decoded from JSON."""
        del mode
        return json.loads(self._call(self._socket.receive()))

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection."""
        self._call(self._socket.close(code, reason or ""))


def _response(answer: TestResponse) -> Response:
    return Response(
        answer.status_code,
        answer.headers.raw,
        answer.raw,
        url=URL(answer.url),
        history=tuple(_response(each) for each in answer.history),
        cookies=answer.cookies,
    )
