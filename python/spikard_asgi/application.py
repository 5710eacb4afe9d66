"""ASGI applications as callables: what counts as one, and how an older form becomes a new one."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from spikard_asgi.exceptions import is_answered, is_disconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


logger = logging.getLogger("spikard.error")


def single_callable(application: Any) -> Application:
    """Return `application` in the ASGI 3 form, `await app(scope, receive, send)`.

    A legacy application, `app(scope)` that returns `async (receive, send)`, is wrapped. A callable
    that is not `async` but returns an awaitable is an ASGI 3 application as it is.

    Raises:
        TypeError: `application` cannot be called.

    Example:
        ```python
        from spikard_asgi import single_callable


        class Legacy:
            def __init__(self, scope):
                self.scope = scope

            async def __call__(self, receive, send):
                await send({"type": "http.response.start", "status": 204})
                await send({"type": "http.response.body"})


        application = single_callable(Legacy)  # async (scope, receive, send)
        ```
    """
    if not callable(application):
        raise TypeError(f"expected an ASGI application, got {type(application).__name__}")
    known: Any = application
    if not _is_double_callable(known):
        checked: Application = known
        return checked

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        instance = known(scope)
        await instance(receive, send)

    return wrapped


def _is_double_callable(application: Any) -> bool:
    call = application
    if inspect.isclass(application):
        call = application.__init__
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return False
    if inspect.isclass(application):
        parameters = parameters[1:]
    elif inspect.iscoroutinefunction(application):
        return False
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind
        in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is inspect.Parameter.empty
    ]
    takes_more = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return len(positional) == 1 and not takes_more


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Await `awaitable`: a coroutine around what is not one."""
    return await awaitable


def log_failure(what: BaseException | str) -> None:
    """Log what an application did wrong: an exception it raised, or a sentence of the server's.

    A client that has gone is nobody's failure, and what has been answered has been logged.
    """
    if isinstance(what, str):
        logger.error("%s", what)
    elif not is_answered(what) and not is_disconnect(what):
        logger.error("the application raised an exception", exc_info=what)
