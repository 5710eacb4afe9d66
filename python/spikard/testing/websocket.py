"""WebSockets of the test clients; in process the application's end is ASGI, without frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from spikard.exceptions import SpikardError, WebSocketDisconnect
from spikard.testing._contexts import Blocking, Closing
from spikard.testing.response import TestResponse
from spikard_asgi.exceptions import ClientDisconnected, ProtocolError, is_answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    Application = Callable[..., Awaitable[None]]

__all__ = ["InProcessWebSocket", "SyncTestWebSocket", "TestWebSocket", "WebSocketRejectedError"]

CLOSE_SECONDS = 10.0
"""For the application to end after its peer has gone, before its task is cancelled."""

QUEUED_MESSAGES = 64
"""Messages on their way in either direction before the sender waits."""


class WebSocketRejectedError(SpikardError):
    """The application refused the handshake.

    Attributes:
        response: What it answered: 403 unless it said otherwise.
    """

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        super().__init__(f"the WebSocket was refused with {response.status_code}")


class TestWebSocket(Closing):
    """The client's end of a WebSocket: ``async with client.websocket("/chat") as socket``.

    Attributes:
        subprotocol: What the application chose; known in the block.
        headers: Of its answer to the handshake.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self.headers: list[tuple[bytes, bytes]] = []

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def send(self, data: str | bytes) -> None:
        """Send a message.

        Raises:
            WebSocketDisconnect: The connection is closed.
        """

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketDisconnect: The application has closed the connection, or has ended.
        """

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; idempotent."""

    async def send_json(self, value: Any) -> None:
        """Send a value as a text message of JSON: anything that msgspec encodes."""
        await self.send(msgspec.json.encode(value).decode())

    async def receive_text(self) -> str:
        """Return the next message, which must be text."""
        message = await self.receive()
        if not isinstance(message, str):
            raise TypeError(f"expected a text message, got {len(message)} bytes")
        return message

    async def receive_bytes(self) -> bytes:
        """Return the next message, which must be binary."""
        message = await self.receive()
        if not isinstance(message, bytes):
            raise TypeError(f"expected a binary message, got text: {message[:100]!r}")
        return message

    async def receive_json(self) -> Any:
        """Return the next message, parsed as JSON."""
        return json.loads(await self.receive())

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Yield messages until the application closes."""
        try:
            while True:
                yield await self.receive()
        except WebSocketDisconnect:
            return


class InProcessWebSocket(TestWebSocket):
    """A WebSocket of an application in the same process."""

    def __init__(
        self,
        application: Application,
        scope: Callable[[], dict[str, Any]],
        subprotocols: list[str],
    ) -> None:
        super().__init__()
        self._application = application
        self._subprotocols = subprotocols
        self._scope = scope
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUED_MESSAGES)
        # Bounded, so that an application that only sends waits for its client as on a server.
        self._from_app: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(QUEUED_MESSAGES)
        self._task: asyncio.Task[None] | None = None
        self._closed: tuple[int, str] | None = None
        self._has_left = False

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
            await self._application(self._scope(), self._receive_event, self._send_event)
        except Exception as error:
            if not is_answered(error):  # with a close code, which the test sees
                raise
        finally:
            if not self._has_left:
                await self._from_app.put(None)

    async def _receive_event(self) -> dict[str, Any]:
        if self._has_left and self._to_app.empty():
            code, reason = self._closed or (1006, "")
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        return await self._to_app.get()

    async def _send_event(self, event: dict[str, Any]) -> None:
        if self._has_left:
            raise ClientDisconnected("the client has disconnected")
        chosen = event.get("subprotocol")
        if chosen is not None and chosen not in self._subprotocols:
            offered = ", ".join(self._subprotocols) or "none"
            raise ProtocolError(
                f"expected a subprotocol that the client offers ({offered}), got {chosen!r}"
            )
        await self._from_app.put(event)

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
        elif error is None and not isinstance(task.exception(), ClientDisconnected):
            task.result()

    async def send(self, data: str | bytes) -> None:
        """See `TestWebSocket.send`."""
        if self._closed is not None:
            raise WebSocketDisconnect(*self._closed)
        key = "text" if isinstance(data, str) else "bytes"
        await self._to_app.put({"type": "websocket.receive", key: data})

    async def receive(self) -> str | bytes:
        """See `TestWebSocket.receive`."""
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

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See `TestWebSocket.close`."""
        if self._has_left:
            return
        self._closed = self._closed or (code, reason)
        self._has_left = True
        # Whoever waits goes on: the application in `receive` hears of the end, in `send` too.
        with contextlib.suppress(asyncio.QueueFull):
            code, reason = self._closed
            event = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._to_app.put_nowait(event)
        while not self._from_app.empty():
            self._from_app.get_nowait()


class SyncTestWebSocket(Blocking[TestWebSocket]):
    """The same for synchronous code: ``with client.websocket("/chat") as socket``."""

    @property
    def subprotocol(self) -> str | None:
        """See `TestWebSocket`."""
        return self._async.subprotocol

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """See `TestWebSocket`."""
        return self._async.headers

    def send(self, data: str | bytes) -> None:
        """See `TestWebSocket.send`."""
        self._call(self._async.send(data))

    def send_json(self, value: Any) -> None:
        """See `TestWebSocket.send_json`."""
        self._call(self._async.send_json(value))

    def receive(self) -> str | bytes:
        """See `TestWebSocket.receive`."""
        message: str | bytes = self._call(self._async.receive())
        return message

    def receive_text(self) -> str:
        """See `TestWebSocket.receive_text`."""
        message: str = self._call(self._async.receive_text())
        return message

    def receive_bytes(self) -> bytes:
        """See `TestWebSocket.receive_bytes`."""
        message: bytes = self._call(self._async.receive_bytes())
        return message

    def receive_json(self) -> Any:
        """See `TestWebSocket.receive_json`."""
        return self._call(self._async.receive_json())

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See `TestWebSocket.close`."""
        self._call(self._async.close(code, reason))

    def __iter__(self) -> Iterator[str | bytes]:
        try:
            while True:
                yield self.receive()
        except WebSocketDisconnect:
            return
