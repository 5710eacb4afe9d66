"""What goes wrong between an ASGI application and its server.

Exception
├── ClientDisconnected (OSError)   `send` after the client has gone
└── ProtocolError (RuntimeError)   an event that the protocol does not allow
"""

from __future__ import annotations


class ClientDisconnected(OSError):  # noqa: N818  # the ASGI specification speaks of the event
    """The client has gone, and the response cannot reach it (ASGI HTTP 2.4, "Disconnected Client").

    The server takes it back out of the application without a word in the log.
    """


class ProtocolError(RuntimeError):
    """An event came out of order, or has a value that cannot be sent."""


def is_disconnect(error: BaseException) -> bool:
    """Return whether `error` is nothing but a client that has gone.

    Frameworks wrap what `send` raises: in an exception group of their task group, or in an
    exception of their own whose cause or context it is.
    """
    # Chains may be rings: `raise` inside a task group can put an exception into its own context.
    seen: set[int] = set()
    found = False
    pending: list[BaseException] = [error]
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, ClientDisconnected):
            found = True
            continue
        group: tuple[BaseException, ...] = getattr(current, "exceptions", ())
        if group:
            pending.extend(group)
            continue
        wrapped = current.__cause__ or current.__context__
        if wrapped is None:
            return False
        pending.append(wrapped)
    return found


def mark_answered(error: BaseException) -> None:
    """Note on an exception that its request has been answered and that it need not be logged.

    It still goes out to the host, for its error reporting.
    """
    vars(error)["_spikard_answered"] = True


def is_answered(error: BaseException) -> bool:
    """Return whether `mark_answered` was called."""
    return getattr(error, "_spikard_answered", False)
