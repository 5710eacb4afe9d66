"""WebSockets of the in-process test client: the application's end is ASGI, without frames."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from spikard.exceptions import SpikardError, WebSocketDisconnect
from spikard.testing.response import TestResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from types import TracebackType

    from typing_extensions import Self

    Application = Callable[..., Awaitable[None]]

__all__ = ["SyncTestWebSocket", "TestWebSocket", "WebSocketRejectedError"]

CLOSE_SECONDS = 10.0
"""For the application to end after its peer has gone, before its task is cancelled."""


class WebSocketRejectedError(SpikardError):
    """The application refused the handshake.

    Attributes:
        response: What it answered: 403 unless it said otherwise.
    """

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        super().__init__(f"the WebSocket was refused with {response.status_code}")


class TestWebSocket:
    """The client's end of a WebSocket: ``async with client.websocket("/chat") as socket``.

    Attributes:
        subprotocol: What the application chose; known in the block.
        headers: Of its answer to the handshake.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(self, application: Application, scope: Callable[[], dict[str, Any]]) -> None:
        self.subprotocol: str | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self._application = application
        self._scope = scope
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._closed: tuple[int, str] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="spikard test websocket")
        await self._to_app.put({"type": "websocket.connect"})
        event = await self._from_app.get()
        if event is not None and event["type"] == "websocket.accept":
            self.subprotocol = event.get("subprotocol")
            self.headers = list(event.get("headers") or [])
            return self
        response = await self._refusal(event)
        await self._task  # what the application raised is raised here
        raise WebSocketRejectedError(response)

    async def _run(self) -> None:
        try:
            await self._application(self._scope(), self._to_app.get, self._from_app.put)
        finally:
            await self._from_app.put(None)

    async def _refusal(self, event: dict[str, Any] | None) -> TestResponse:
        if event is None or event["type"] != "websocket.http.response.start":
            return TestResponse(403, [], b"")
        body: list[bytes] = []
        while (part := await self._from_app.get()) is not None:
            body.append(part.get("body", b""))
            if not part.get("more_body", False):
                break
        return TestResponse(event["status"], list(event.get("headers") or []), b"".join(body))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
        task, self._task = self._task, None
        if task is None:
            return
        done, _ = await asyncio.wait([task], timeout=CLOSE_SECONDS)
        if not done:
            task.cancel()
            await asyncio.wait([task])
        elif error is None:
            task.result()

    async def send(self, data: str | bytes) -> None:
        """Send a message."""
        key = "text" if isinstance(data, str) else "bytes"
        await self._to_app.put({"type": "websocket.receive", key: data})

    async def send_json(self, value: Any) -> None:
        """Send a value as a text message of JSON."""
        await self.send(json.dumps(value, ensure_ascii=False))

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketDisconnect: The application has closed the connection, or has ended.
        """
        if self._closed is not None:
            raise WebSocketDisconnect(*self._closed)
        event = await self._from_app.get()
        if event is None:
            self._closed = (1006, "")
        elif event["type"] == "websocket.close":
            self._closed = (event.get("code", 1000), event.get("reason") or "")
        else:
            text: str | None = event.get("text")
            message: str | bytes = event["bytes"] if text is None else text
            return message
        raise WebSocketDisconnect(*self._closed)

    async def receive_json(self) -> Any:
        """Return the next message, parsed as JSON."""
        return json.loads(await self.receive())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; idempotent."""
        if self._closed is None:
            self._closed = (code, reason)
            event = {"type": "websocket.disconnect", "code": code, "reason": reason}
            await self._to_app.put(event)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Yield messages until the application closes."""
        try:
            while True:
                yield await self.receive()
        except WebSocketDisconnect:
            return


class SyncTestWebSocket:
    """The same for synchronous code: ``with client.websocket("/chat") as socket``."""

    __test__ = False  # pytest collects classes named Test…

    def __init__(
        self, socket: TestWebSocket, call: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self._socket = socket
        self._call = call

    @property
    def subprotocol(self) -> str | None:
        """See `TestWebSocket`."""
        return self._socket.subprotocol

    def __enter__(self) -> Self:
        self._call(self._socket.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._socket.__aexit__(kind, error, trace))

    def send(self, data: str | bytes) -> None:
        """See `TestWebSocket.send`."""
        self._call(self._socket.send(data))

    def send_json(self, value: Any) -> None:
        """See `TestWebSocket.send_json`."""
        self._call(self._socket.send_json(value))

    def receive(self) -> str | bytes:
        """See `TestWebSocket.receive`."""
        message: str | bytes = self._call(self._socket.receive())
        return message

    def receive_json(self) -> Any:
        """See `TestWebSocket.receive_json`."""
        return self._call(self._socket.receive_json())

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See `TestWebSocket.close`."""
        self._call(self._socket.close(code, reason))

    def __iter__(self) -> Iterator[str | bytes]:
        try:
            while True:
                yield self.receive()
        except WebSocketDisconnect:
            return
