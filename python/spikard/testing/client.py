"""`TestClient`: an application in process, without sockets, its lifespan around the block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.app import Spikard
from spikard.testing.in_process import AsgiTransport, NativeTransport
from spikard.testing.session import Session, SyncSession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from spikard.testing.session import Transport

__all__ = ["SyncTestClient", "TestClient"]


class SyncTestClient(SyncSession):
    """What a plain ``with TestClient(app)`` gives: the methods return responses at once."""


class TestClient(Session):
    """A client of an application in the same process.

    A handler that raises is answered and logged as on a server; what the application's start-up
    or shutdown raises is raised by the block.

    Args:
        app: A `Spikard` object or any ASGI application.
        base_url: What the requests' URLs begin with; `https` makes them secure.
        headers: Sent with every request that does not say otherwise.
        cookies: To begin with.
        follow_redirects: Whether redirects within the application are followed.

    Example:
        ```python
        async def test_hello():
            async with TestClient(app) as client:
                response = await client.get("/hello")
                assert response.assert_status_ok().json() == "hello"


        def test_hello_synchronously():
            with TestClient(app) as client:
                client.get("/hello").assert_status_ok()
        ```
    """

    def __init__(
        self,
        app: Any,
        *,
        base_url: str = "http://testserver",
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
    ) -> None:
        transport: Transport = (
            NativeTransport(app, base_url)
            if isinstance(app, Spikard)
            else AsgiTransport(app, base_url)
        )
        super().__init__(
            transport, headers=headers, cookies=cookies, follow_redirects=follow_redirects
        )
        self.app = app
        self._sync: SyncTestClient | None = None

    def __enter__(self) -> SyncTestClient:
        if self._is_open or self._sync is not None:
            raise RuntimeError("the client is open already")
        sync = SyncTestClient(self)
        sync.__enter__()
        self._sync = sync
        return sync

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sync, self._sync = self._sync, None
        if sync is not None:
            sync.__exit__(kind, error, trace)
