"""Exceptions of the framework.

SpikardError
├── RegistrationError (TypeError)      a handler's signature cannot be served
├── RouteError (ValueError)            a bad template, an unknown converter, a conflict
├── DependencyError (RuntimeError)     a dependency graph that cannot be resolved
├── NotAvailableError (RuntimeError)   a feature whose transport is missing from this build
├── HTTPException                      an answer with that status
│   └── RequestValidationError         422 with the list of what is wrong
├── ClientDisconnect                   the client went away while its body was being read
├── WebSocketDisconnect                the peer closed the WebSocket
└── WebSocketException                 close the WebSocket with a code
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ClientDisconnect",
    "DependencyError",
    "HTTPException",
    "NotAvailableError",
    "RegistrationError",
    "RequestValidationError",
    "RouteError",
    "SpikardError",
    "WebSocketDisconnect",
    "WebSocketException",
]


class SpikardError(Exception):
    """Base of every exception that the framework defines."""


class RegistrationError(SpikardError, TypeError):
    """A handler, hook or dependency cannot be registered; names it and the parameter."""


class RouteError(SpikardError, ValueError):
    """A path template is malformed, or two routes conflict."""


class DependencyError(SpikardError, RuntimeError):
    """A dependency is missing, circular or has the wrong scope."""


class NotAvailableError(SpikardError, RuntimeError):
    """A feature was asked for that this build cannot serve."""


class HTTPException(SpikardError):  # noqa: N818 - the name that users know
    """Answer the request with this status and a problem document (RFC 9457).

    Args:
        status_code: 100 to 599.
        detail: What to tell the client; a string, or any JSON value. Default: the
            reason phrase of the status.
        headers: Extra response headers.
        type: The problem's type URI; default ``about:blank``.
        title: The problem's title; default the reason phrase.
        extra: Further members of the problem document.

    Example:
        >>> raise HTTPException(404, "no such user")
        Traceback (most recent call last):
        spikard.exceptions.HTTPException: 404: no such user
    """

    def __init__(
        self,
        status_code: int,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the member's name in RFC 9457
        title: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if not 100 <= status_code <= 599:
            raise ValueError(f"status_code must be 100 to 599, got {status_code}")
        self.status_code = status_code
        self.title = title if title is not None else reason_phrase(status_code)
        self.detail = detail if detail is not None else self.title
        self.headers = dict(headers) if headers is not None else None
        self.type = type
        self.extra = dict(extra) if extra is not None else None
        super().__init__(status_code, detail)

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"


class RequestValidationError(HTTPException):
    """The request does not fit the handler's signature (status 422).

    ``errors`` holds every violation: ``{"type", "loc", "msg", "input"?, "ctx"?}``.
    """

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        self.errors = list(errors)
        count = len(self.errors)
        super().__init__(
            422,
            f"{count} validation error{'' if count == 1 else 's'} in request",
            type="https://spikard.dev/errors/validation-error",
            title="Request Validation Failed",
            extra={"errors": self.errors},
        )


class ClientDisconnect(SpikardError):  # noqa: N818 - what happened, not a fault
    """The client closed the connection before the body was complete."""


class WebSocketDisconnect(SpikardError):  # noqa: N818 - the name that users know
    """The peer closed the WebSocket.

    Args:
        code: Close code of RFC 6455 §7.4; 1005 when the peer sent none.
        reason: The peer's text, up to 123 bytes.
    """

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(code, reason)


class WebSocketException(SpikardError):  # noqa: N818 - the name that users know
    """Close the WebSocket with this code, or refuse its handshake with 403.

    Args:
        code: Close code of RFC 6455 §7.4.1.
        reason: Up to 123 bytes.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        self.code = code
        self.reason = reason or ""
        super().__init__(code, self.reason)


def reason_phrase(status_code: int) -> str:
    """Return the registered reason phrase, or a generic one for unknown codes."""
    try:
        return HTTPStatus(status_code).phrase
    except ValueError:
        return "Error" if status_code >= 400 else "Response"
