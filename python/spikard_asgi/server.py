"""The server as a function: any ASGI application, in a running event loop or a whole process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikard.config import ServerConfig

__all__ = ["run", "serve"]


async def serve(
    application: Any,
    *,
    config: ServerConfig | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an ASGI application in the running loop until cancelled, SIGTERM or Ctrl-C.

    It stops gracefully: requests in flight finish, then the application's shutdown runs. A loop
    that has no selector of its own (uvloop) gets its server in a thread. Policies that change
    requests or responses by default (compression, request ids, limits on bodies) are off unless the
    configuration, or a variable, asks for them.

    Args:
        application: Any ASGI application, or a `Spikard` object.
        config: Of the server; `SPIKARD_…` variables go over it. One worker.
        on_ready: Called with the URL when connections are accepted.

    Raises:
        ValueError: The configuration asks for several workers, which are processes: see `run`.
        ListenError: It cannot listen where it should.
        LifespanFailed: The application refused to start, or failed to shut down.
        KeyboardInterrupt: After the graceful stop that Ctrl-C began.

    Example:
        ```python
        import asyncio
        import urllib.request

        from spikard_asgi import ServerConfig, serve


        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"hello"})


        def fetch(url):
            with urllib.request.urlopen(url) as response:
                return response.read()


        async def main():
            ready = asyncio.get_running_loop().create_future()
            config = ServerConfig(port=0, lifespan="off")  # any free port
            server = asyncio.create_task(
                serve(application, config=config, on_ready=ready.set_result)
            )
            print(await asyncio.to_thread(fetch, await ready))
            server.cancel()


        asyncio.run(main())
        ```
    """
    from spikard import _server

    await _server.serve(application, config, on_ready)


def run(application: Any, *, config: ServerConfig | None = None) -> None:
    """Serve an ASGI application until a signal stops the process; blocks.

    What the command `spikard MODULE:ATTRIBUTE` does, from code: the log goes to stderr, and with
    several workers each one imports the module again that has the application as a global.

    Args:
        application: Any ASGI application, or a `Spikard` object.
        config: Of the server; `SPIKARD_…` variables go over it. For defaults see `serve`.

    Raises:
        SystemExit: The server could not start, which one line on stderr explains, or was stopped
            by a second signal.

    Example:
        ```python
        from spikard_asgi import ServerConfig, run


        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"hello"})


        if __name__ == "__main__":
            run(application, config=ServerConfig(port=8080, workers=2))
        ```
    """
    from spikard._run import run_app
    from spikard._server import is_spikard
    from spikard.config import ServerConfig

    base = config or ServerConfig()
    if not is_spikard(application):
        base = base.for_foreign_app()
    run_app(application, base)
