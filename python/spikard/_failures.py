"""From an exception to a response: handlers by class and status, problems, the debug page."""

from __future__ import annotations

import inspect
import logging
import traceback
from typing import TYPE_CHECKING, Any

from spikard._codecs import BareStream
from spikard._hooks import run_on_error
from spikard._problems import problem, problem_of
from spikard.exceptions import HTTPException, RequestValidationError
from spikard.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from spikard_asgi.exceptions import is_disconnect, mark_answered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from spikard._result import Result
    from spikard.datastructures import Request

__all__ = ["Failures"]

_log = logging.getLogger("spikard.error")


class Failures:
    """What a route, or the application outside of routes, makes of exceptions.

    Args:
        handlers: Tables ``{class or status: handler}``, innermost first.
        hooks: ``on_error`` hooks.
        debug: Show tracebacks to clients.
        result: How a bare generator is answered.
        adopt: Makes a request of the server one of the application.
    """

    def __init__(
        self,
        handlers: Sequence[dict[Any, Callable[..., Any]]],
        hooks: Sequence[Any],
        *,
        debug: bool,
        result: Result | None,
        adopt: Callable[[Request], Request],
    ) -> None:
        self._handlers = [table for table in handlers if table]
        self._hooks = list(hooks)
        self._debug = debug
        self._result = result
        self._adopt = adopt

    _answers: tuple[type[Exception], ...] = (HTTPException,)
    """Exceptions that are answers, no failures."""

    def handles(self, exc: Exception) -> bool:
        """Return whether an exception handler wants this exception."""
        return self._find(exc)[0] is not None

    def handles_refusals(self) -> bool:
        """Whether some handler wants the 400, 415 and 422 that validation makes."""
        keys = {key for table in self._handlers for key in table}
        return bool(keys & {400, 415, 422, *RequestValidationError.__mro__} - {object})

    def __call__(self, request: Request, exc: BaseException) -> Response | Awaitable[Response]:
        """Return the response of an exception; a coroutine when user code is to run."""
        if isinstance(exc, BareStream) and self._result is not None:
            return self._result.stream(exc.source)
        if not isinstance(exc, Exception):
            raise exc
        request = self._adopt(request)
        handler, is_general = self._find(exc)
        if is_general and not isinstance(exc, self._answers) and not is_disconnect(exc):
            mark_answered(exc)
            request._failure = exc  # noqa: SLF001  # for the door, which lets it bubble
        if handler is not None or self._hooks:
            return self._answered(handler, request, exc)
        return self._default(request, exc)

    def _find(self, exc: Exception) -> tuple[Callable[..., Any] | None, bool]:
        """Return the handler, and whether it is nobody's in particular: a failure."""
        status = exc.status_code if isinstance(exc, HTTPException) else None
        for table in self._handlers:
            if status is not None and status in table:
                return table[status], False
            for cls in type(exc).__mro__:
                if cls in table:
                    return table[cls], cls in (Exception, BaseException) and status is None
            if status is None and 500 in table:
                return table[500], True
        return None, status is None

    async def _answered(
        self, handler: Callable[..., Any] | None, request: Request, exc: Exception
    ) -> Response:
        if handler is None:
            response = self._default(request, exc)
        else:
            try:
                response = await self._handled(handler, request, exc)
            except Exception as raised:
                if raised is not exc:
                    _log.exception("exception handler %s raised", _label(handler))
                response = self._default(request, raised, logged=raised is not exc)
        if self._hooks and not isinstance(exc, RequestValidationError):
            try:
                response = await run_on_error(self._hooks, request, exc, response)
            except Exception:
                _log.exception("on_error hook raised")
        return response

    async def _handled(
        self, handler: Callable[..., Any], request: Request, exc: Exception
    ) -> Response:
        count = len(inspect.signature(handler).parameters)
        answer = handler(exc) if count == 1 else handler(request, exc)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Response):
            return answer
        status = exc.status_code if isinstance(exc, HTTPException) else 500
        if status == 500:
            log_failure(request, exc)
        return JSONResponse(answer, status)

    def _default(self, request: Request, exc: Exception, *, logged: bool = False) -> Response:
        if isinstance(exc, HTTPException):
            return problem_of(exc)
        if not logged:
            log_failure(request, exc)
        if self._debug:
            return debug_page(request, exc)
        return problem(500)


def log_failure(request: Request, exc: BaseException) -> None:
    """Write the traceback with the request's id, method and path to ``spikard.error``.

    A client that has gone is nobody's failure.
    """
    if is_disconnect(exc):
        return
    _log.error(
        "%s %s raised %s (request id %s)",
        request.method,
        # Escaped: a decoded path may hold line breaks that would forge log lines.
        request.path.encode("unicode_escape").decode("ascii"),
        type(exc).__name__,
        request.request_id,
        exc_info=exc,
    )


def debug_page(request: Request, exc: BaseException) -> Response:
    """Return the traceback, as HTML to a browser and as text to everyone else."""
    import html

    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(text, 500)
    title = html.escape(f"{type(exc).__name__}: {exc}")
    place = html.escape(f"{request.method} {request.path}")
    return HTMLResponse(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{title}</title><style>{_DEBUG_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{place} <small>request {html.escape(request.request_id or '')}</small></p>"
        f"<pre>{html.escape(text)}</pre></body></html>",
        500,
        {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


_DEBUG_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:70rem;"
    "color:#222;background:#fff}"
    "h1{font-size:1.4rem;color:#b00020;overflow-wrap:anywhere}"
    "small{color:#767676}"
    "pre{font-size:.85rem;background:#f6f6f6;padding:1rem;border-radius:.4rem;overflow-x:auto}"
)


def _label(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
