"""ASGI middleware around a whole application.

An application with middleware is served as ASGI, on our own server too: each request goes through
the middleware, the policies and the endpoint in one task, so that all of them see one scope and
share their context variables. What an exception is answered with is prepared first and sent last:
the exception bubbles through the middleware, and whoever wants to may answer it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from spikard.exceptions import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from spikard._forms import Forms
    from spikard.app import Spikard
    from spikard_asgi.application import Application, Receive, Scope, Send

__all__ = ["PENDING", "Middleware", "Outermost", "Pending", "make_middleware"]

logger = logging.getLogger("spikard")

PENDING = "spikard.pending"
"""Where a scope keeps its `Pending`: middleware may copy a scope, and both copies lead here."""

X_REQUEST_ID = b"x-request-id"


@dataclass
class Middleware:
    """A middleware class with what it is made with: ``factory(app, *args, **kwargs)``."""

    factory: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """For messages."""
        return str(getattr(self.factory, "__name__", type(self.factory).__name__))

    def around(self, app: Application) -> Application:
        """Return the middleware around an application.

        Raises:
            RegistrationError: Its class raised.
        """
        try:
            made: Application = self.factory(app, *self.args, **self.kwargs)
        except Exception as error:
            raise RegistrationError(f"middleware {self.name}: {error}") from error
        return made


def make_middleware(given: Any, *args: Any, **kwargs: Any) -> Middleware:
    """Return checked middleware.

    Args:
        given: A class; or a pair of it and its keywords; or an object with `cls`, `args` and
            `kwargs` (Starlette's `Middleware`).
        args: For the class, after the application.
        kwargs: For the class.

    Raises:
        RegistrationError: It cannot be called.
    """
    factory: Any = given
    if isinstance(given, tuple):
        factory, more = cast("tuple[Any, dict[str, Any]]", given)
        kwargs = {**more, **kwargs}
    elif hasattr(given, "cls") and hasattr(given, "kwargs"):
        factory, args, kwargs = given.cls, getattr(given, "args", ()), given.kwargs
    if not callable(factory):
        raise RegistrationError(
            f"middleware: expected an ASGI middleware class, got {type(factory).__name__}"
        )
    return Middleware(factory, tuple(args), dict(kwargs))


class Pending:
    """The answer of one request that raised, while the exception bubbles through the middleware.

    Attributes:
        error: The exception; `None` while nothing is pending.
        give: Sends the answer.
        forms: The application's limits of forms, for the requests that middleware makes.
    """

    __slots__ = ("error", "forms", "give")

    def __init__(self, forms: Forms) -> None:
        self.forms = forms
        self.error: BaseException | None = None
        self.give: Callable[[], Awaitable[None]] | None = None


class Outermost:
    """The middleware of an application and what holds it, as one ASGI application.

    Args:
        app: The application.
        forms: Its limits of forms.
        inner: The application without its middleware.
        middleware: Outermost first.
        respond: ``await respond(scope, send, error)`` answers an exception of the middleware.

    Raises:
        RegistrationError: A middleware class raised.
    """

    def __init__(
        self,
        app: Spikard,
        forms: Forms,
        inner: Application,
        middleware: Sequence[Middleware],
        respond: Callable[[Scope, Send, Exception], Awaitable[None]],
    ) -> None:
        self._app = app
        self._forms = forms
        self._respond = respond
        self._stack = inner
        for each in reversed(middleware):
            self._stack = each.around(self._stack)
        names = ", ".join(each.name for each in middleware)
        logger.info(
            "ASGI middleware (%s): every request is one ASGI call through Python instead of the "
            "native path, for a small handler several times the CPU",
            names,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        scope["app"] = self._app
        if scope["type"] == "lifespan":
            await self._stack(scope, receive, send)
            return
        pending = scope[PENDING] = Pending(self._forms)
        is_answered = False

        async def watched(event: dict[str, Any]) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                if event["type"] == "http.response.start":
                    event = _with_one_id(event)
            await send(event)

        try:
            await self._stack(scope, receive, watched)
        except Exception as error:
            if not is_answered:
                if error is pending.error and pending.give is not None:
                    await pending.give()
                elif scope["type"] == "http":
                    await self._respond(scope, send, error)
                    return
            raise


def _with_one_id(event: dict[str, Any]) -> dict[str, Any]:
    """Return the head of a response with at most one request id: middleware may add its own."""
    headers: list[tuple[bytes, bytes]] = list(event.get("headers", ()))
    places = [index for index, (name, _) in enumerate(headers) if name.lower() == X_REQUEST_ID]
    for index in reversed(places[:-1]):
        del headers[index]
    return {**event, "headers": headers} if len(places) > 1 else event
