"""The real server in a thread of the test's process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from spikard._listen import bind
from spikard._server import is_spikard
from spikard._thread import ServerThread
from spikard.config import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Generator


@contextlib.contextmanager
def serve_in_thread(
    asgi_app: Any, port: int = 0, config: ServerConfig | None = None
) -> Generator[str, None, None]:
    """Serve an application on 127.0.0.1 from a thread, for the time of a `with` block.

    The application, its lifespan included, runs on an event loop of that thread. At the block's end
    the server stops gracefully and the thread ends.

    Args:
        asgi_app: A `Spikard` object or any ASGI application.
        port: 0 for any free one; it replaces the configuration's.
        config: Of the server; default: that of a `Spikard` object. One worker, whatever it
            says. See also `ServerConfig.for_foreign_app`.

    Yields:
        The URL, without a slash at its end.

    Raises:
        ListenError: The port is in use.
        LifespanFailed: The application refused to start, or failed to shut down.

    Example:
        ```python
        with serve_in_thread(app) as url:
            assert httpx.get(f"{url}/hello").status_code == 200
        ```
    """
    own = asgi_app.config if is_spikard(asgi_app) else None
    if config is None and own is not None:
        config = own.copy(host="127.0.0.1", uds=None, fd=None)
    config = (config or ServerConfig()).copy(port=port, workers=1)
    if not is_spikard(asgi_app):
        config = config.for_foreign_app()
    listeners = bind(config)
    server = ServerThread(asgi_app, config, listeners.per_worker[0])
    server.start()
    try:
        server.ready.result()
        yield listeners.url
    finally:
        server.stop()
        server.join()
        listeners.close()
    server.ended.result()
