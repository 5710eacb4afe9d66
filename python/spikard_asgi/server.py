"""The server as a function: any ASGI application inside a running event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard.config import ServerConfig


async def serve(
    application: Any,
    *,
    config: ServerConfig | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an ASGI application in the running loop until cancelled, SIGTERM or Ctrl-C.

    It stops gracefully: requests in flight finish, then the application's shutdown runs. See
    `spikard._server.serve` for loops and signals.

    Args:
        application: Any ASGI application, or a `Spikard` object.
        config: Of the server; `SPIKARD_…` variables go over it.
        on_ready: Called with the URL when connections are accepted.

    Raises:
        ValueError: The configuration asks for several workers, which are processes.
        ListenError: It cannot listen where it should.
        LifespanFailed: The application refused to start, or failed to shut down.

    Example:
        ```python
        asyncio.run(serve(app, config=ServerConfig(port=8000)))
        ```
    """
    from spikard import _server

    await _server.serve(application, config, on_ready)
