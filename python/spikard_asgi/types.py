"""The types of ASGI: scopes, events and callables (HTTP and WebSocket 2.5, lifespan 2.0).

They describe plain dictionaries and cost nothing at run time. Keys that a server may leave out, or
that an application need not give, are `NotRequired`; what the specification leaves to extensions
is `HTTPExtensions`, `WebSocketExtensions` and the events named after them.

Example:
    ```python
    from spikard_asgi.types import Receive, Scope, Send


    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
    ```
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, Union

if sys.version_info >= (3, 11):
    from typing import NotRequired
elif TYPE_CHECKING:
    from typing_extensions import NotRequired

__all__ = [
    "ASGI2Application",
    "ASGI2Protocol",
    "ASGI3Application",
    "ASGIApplication",
    "ASGIVersions",
    "HTTPDisconnectEvent",
    "HTTPExtensions",
    "HTTPReceiveEvent",
    "HTTPRequestEvent",
    "HTTPResponseBodyEvent",
    "HTTPResponseEarlyHintEvent",
    "HTTPResponsePathsendEvent",
    "HTTPResponseStartEvent",
    "HTTPResponseTrailersEvent",
    "HTTPResponseZeroCopySendEvent",
    "HTTPScope",
    "HTTPSendEvent",
    "Header",
    "LifespanReceiveEvent",
    "LifespanScope",
    "LifespanSendEvent",
    "LifespanShutdownCompleteEvent",
    "LifespanShutdownEvent",
    "LifespanShutdownFailedEvent",
    "LifespanStartupCompleteEvent",
    "LifespanStartupEvent",
    "LifespanStartupFailedEvent",
    "Receive",
    "ReceiveEvent",
    "Scope",
    "Send",
    "SendEvent",
    "TLSExtension",
    "WWWScope",
    "WebSocketAcceptEvent",
    "WebSocketCloseEvent",
    "WebSocketConnectEvent",
    "WebSocketDisconnectEvent",
    "WebSocketExtensions",
    "WebSocketReceiveEvent",
    "WebSocketReceivedEvent",
    "WebSocketResponseBodyEvent",
    "WebSocketResponseStartEvent",
    "WebSocketScope",
    "WebSocketSendEvent",
    "WebSocketSentEvent",
]

Header: TypeAlias = tuple[bytes, bytes]
"""Name in lower case, and value: `(b"content-type", b"text/plain")`."""


class ASGIVersions(TypedDict):
    """`scope["asgi"]`: of ASGI itself (`"3.0"`) and of the protocol's specification."""

    version: str
    spec_version: NotRequired[str]


class TLSExtension(TypedDict):
    """What the handshake settled; there is none without TLS."""

    server_cert: str | None
    """PEM."""
    client_cert_chain: Iterable[str]
    """PEM each, the client's own first; empty without a client certificate."""
    client_cert_name: str | None
    """An RFC 4514 string."""
    client_cert_error: str | None
    tls_version: int | None
    """`0x0303` for TLS 1.2, `0x0304` for TLS 1.3."""
    cipher_suite: int | None
    """Its number in the IANA registry."""


HTTPExtensions = TypedDict(
    "HTTPExtensions",
    {
        "tls": TLSExtension,
        "http.response.trailers": "dict[str, Any]",
        "http.response.early_hint": "dict[str, Any]",
        "http.response.pathsend": "dict[str, Any]",
        "http.response.zerocopysend": "dict[str, Any]",
        "http.response.push": "dict[str, Any]",
        "http.response.debug": "dict[str, Any]",
    },
    total=False,
)
"""What the server can do for this request beyond the protocol."""

WebSocketExtensions = TypedDict(
    "WebSocketExtensions",
    {"tls": TLSExtension, "websocket.http.response": "dict[str, Any]"},
    total=False,
)
"""What the server can do for this connection beyond the protocol."""


class HTTPScope(TypedDict):
    """One HTTP request."""

    type: Literal["http"]
    asgi: ASGIVersions
    http_version: str
    """`"1.0"`, `"1.1"`, `"2"` or `"3"`."""
    method: str
    """Upper case."""
    scheme: NotRequired[str]
    path: str
    """Percent-decoded, with `root_path` in front."""
    raw_path: NotRequired[bytes | None]
    """As it came, without the query."""
    query_string: bytes
    """Percent-encoded, without its `?`."""
    root_path: NotRequired[str]
    """Where the application is mounted."""
    headers: Iterable[Header]
    client: NotRequired[tuple[str, int] | None]
    server: NotRequired[tuple[str, int | None] | None]
    """Host and port, or the path of a Unix socket and None."""
    state: NotRequired[dict[str, Any]]
    """A shallow copy of what the application stored during its start-up."""
    extensions: NotRequired[HTTPExtensions | None]


class WebSocketScope(TypedDict):
    """One WebSocket connection, from its handshake on."""

    type: Literal["websocket"]
    asgi: ASGIVersions
    http_version: str
    scheme: NotRequired[str]
    """`"ws"` or `"wss"`."""
    path: str
    raw_path: NotRequired[bytes | None]
    query_string: NotRequired[bytes]
    root_path: NotRequired[str]
    headers: Iterable[Header]
    client: NotRequired[tuple[str, int] | None]
    server: NotRequired[tuple[str, int | None] | None]
    subprotocols: NotRequired[Iterable[str]]
    """Those that the client offers, in its order."""
    state: NotRequired[dict[str, Any]]
    extensions: NotRequired[WebSocketExtensions | None]


class LifespanScope(TypedDict):
    """One run of the application, from before the first request until after the last."""

    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: NotRequired[dict[str, Any]]
    """To be filled: each request's scope gets a shallow copy."""


WWWScope: TypeAlias = HTTPScope | WebSocketScope
Scope: TypeAlias = HTTPScope | WebSocketScope | LifespanScope


class HTTPRequestEvent(TypedDict):
    """A piece of the request's body."""

    type: Literal["http.request"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPDisconnectEvent(TypedDict):
    """The client has gone, or the response is complete."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    """The response's head."""

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[Iterable[Header]]
    trailers: NotRequired[bool]
    """Whether `http.response.trailers` follows the body."""


class HTTPResponseBodyEvent(TypedDict):
    """A piece of the response's body."""

    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPResponseTrailersEvent(TypedDict):
    """Fields after the body; an extension."""

    type: Literal["http.response.trailers"]
    headers: NotRequired[Iterable[Header]]
    more_trailers: NotRequired[bool]


class HTTPResponseEarlyHintEvent(TypedDict):
    """`103 Early Hints`; an extension."""

    type: Literal["http.response.early_hint"]
    links: Iterable[bytes]
    """Values of `Link` fields."""


class HTTPResponsePathsendEvent(TypedDict):
    """A file as the whole body; an extension."""

    type: Literal["http.response.pathsend"]
    path: str
    """Absolute."""


class HTTPResponseZeroCopySendEvent(TypedDict):
    """A stretch of an open file as a piece of the body; an extension."""

    type: Literal["http.response.zerocopysend"]
    file: Any
    """A file object with a descriptor, or the descriptor."""
    offset: NotRequired[int]
    count: NotRequired[int]
    more_body: NotRequired[bool]


class WebSocketConnectEvent(TypedDict):
    """The handshake waits for an answer."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """The handshake's answer."""

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[Iterable[Header]]


_Bytes = bytes  # below a key of that name hides the type


class WebSocketReceivedEvent(TypedDict):
    """A message from the client: one of the two is there and not None."""

    type: Literal["websocket.receive"]
    bytes: NotRequired[_Bytes | None]
    text: NotRequired[str | None]


class WebSocketSentEvent(TypedDict):
    """A message to the client: one of the two."""

    type: Literal["websocket.send"]
    bytes: NotRequired[_Bytes | None]
    text: NotRequired[str | None]


class WebSocketDisconnectEvent(TypedDict):
    """The client has closed, or has gone."""

    type: Literal["websocket.disconnect"]
    code: int
    """1005 when it gave none, 1006 when the connection was lost."""
    reason: NotRequired[str | None]


class WebSocketCloseEvent(TypedDict):
    """Close; before `websocket.accept`, refuse the handshake with 403."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class WebSocketResponseStartEvent(TypedDict):
    """The head of a response instead of a handshake; an extension."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: NotRequired[Iterable[Header]]


class WebSocketResponseBodyEvent(TypedDict):
    """A piece of such a response's body."""

    type: Literal["websocket.http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class LifespanStartupEvent(TypedDict):
    """Start up."""

    type: Literal["lifespan.startup"]


class LifespanShutdownEvent(TypedDict):
    """Shut down."""

    type: Literal["lifespan.shutdown"]


class LifespanStartupCompleteEvent(TypedDict):
    """Ready for requests."""

    type: Literal["lifespan.startup.complete"]


class LifespanStartupFailedEvent(TypedDict):
    """Not to be served."""

    type: Literal["lifespan.startup.failed"]
    message: NotRequired[str]


class LifespanShutdownCompleteEvent(TypedDict):
    """Everything is closed."""

    type: Literal["lifespan.shutdown.complete"]


class LifespanShutdownFailedEvent(TypedDict):
    """Something could not be closed."""

    type: Literal["lifespan.shutdown.failed"]
    message: NotRequired[str]


HTTPReceiveEvent: TypeAlias = HTTPRequestEvent | HTTPDisconnectEvent
HTTPSendEvent: TypeAlias = (
    HTTPResponseStartEvent
    | HTTPResponseBodyEvent
    | HTTPResponseTrailersEvent
    | HTTPResponseEarlyHintEvent
    | HTTPResponsePathsendEvent
    | HTTPResponseZeroCopySendEvent
)
WebSocketReceiveEvent: TypeAlias = (
    WebSocketConnectEvent | WebSocketReceivedEvent | WebSocketDisconnectEvent
)
WebSocketSendEvent: TypeAlias = (
    WebSocketAcceptEvent
    | WebSocketSentEvent
    | WebSocketCloseEvent
    | WebSocketResponseStartEvent
    | WebSocketResponseBodyEvent
)
LifespanReceiveEvent: TypeAlias = LifespanStartupEvent | LifespanShutdownEvent
LifespanSendEvent: TypeAlias = (
    LifespanStartupCompleteEvent
    | LifespanStartupFailedEvent
    | LifespanShutdownCompleteEvent
    | LifespanShutdownFailedEvent
)
ReceiveEvent: TypeAlias = HTTPReceiveEvent | WebSocketReceiveEvent | LifespanReceiveEvent
SendEvent: TypeAlias = HTTPSendEvent | WebSocketSendEvent | LifespanSendEvent

Receive: TypeAlias = Callable[[], Awaitable[ReceiveEvent]]
Send: TypeAlias = Callable[[SendEvent], Awaitable[None]]
ASGI3Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class ASGI2Protocol(Protocol):
    """A class of the older form: made with the scope, then called."""

    def __init__(self, scope: Scope) -> None: ...

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Serve the connection."""
        ...


ASGI2Application: TypeAlias = (
    "type[ASGI2Protocol] | Callable[[Scope], Callable[[Receive, Send], Awaitable[None]]]"
)
ASGIApplication: TypeAlias = Union[ASGI3Application, "ASGI2Application"]
"""Either form; `spikard_asgi.application.single_callable` makes one of both."""
