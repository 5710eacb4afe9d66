"""WSGI applications (PEP 3333) as ASGI applications, through the package a2wsgi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from spikard.exceptions import NotAvailableError

if TYPE_CHECKING:
    from spikard_asgi.application import Application, Receive, Scope, Send

__all__ = ["wsgi"]

THREADS = 10
"""Requests that one WSGI application works on at once in one worker, each in a thread."""


def wsgi(application: Any, *, threads: int = THREADS) -> Application:
    """Return a WSGI application as ASGI, for `app.mount` and `app.fallback`.

    The wrapper is written out where the application is mounted, and not guessed from a signature:
    whoever reads ``app.mount("/old", spikard.wsgi(flask_app))`` knows that its requests run in
    threads. A mount that is given a WSGI application without it says so at once.

    Below a mount, `SCRIPT_NAME` is the prefix and `PATH_INFO` what follows. Needs the extra `wsgi`
    (`pip install "spikard[wsgi]"`).

    Args:
        application: ``application(environ, start_response)``: Flask's, Django's, any.
        threads: How many requests it works on at once in each worker.

    Raises:
        NotAvailableError: The extra is not installed.
        TypeError: The application cannot be called.
        ValueError: `threads` is less than 1.

    Example:
        ```python
        app.mount("/old", spikard.wsgi(flask_app))
        ```
    """
    if not callable(application):
        raise TypeError(f"expected a WSGI application, got {type(application).__name__}")
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise NotAvailableError(
            'WSGI applications need a2wsgi: pip install "spikard[wsgi]"'
        ) from None
    made: Any = WSGIMiddleware(cast("Any", application), workers=threads)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def awaited() -> dict[str, Any]:
            # a2wsgi calls it on its thread and wants a coroutine; a server's need not be one, and
            # is called on the loop's thread.
            return await receive()

        await made(scope, awaited, send)

    return wrapped
