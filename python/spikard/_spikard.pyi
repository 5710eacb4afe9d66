"""The extension: the server, the pipeline and the reactor (`src/bridge/`)."""

from asyncio import AbstractEventLoop, Future, Task, Transport
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Literal, TypeAlias, final

from spikard._endpoint import RouteSpec
from spikard._forms import Forms
from spikard.datastructures import Request
from spikard.responses import Response

__all__ = [
    "COUNTS_BYTES",
    "KEEP_ALIVE_COMMENT",
    "AsgiServer",
    "BodyDecoder",
    "Call",
    "Core",
    "Exact",
    "FilePieces",
    "Filter",
    "Misfits",
    "MultipartParser",
    "NativeServer",
    "Peer",
    "Reactor",
    "RequestHead",
    "Schema",
    "Sink",
    "SocketIo",
    "Source",
    "encode_event",
    "may_hold_whole_fraction",
]

COUNTS_BYTES: int
"""Bytes of the memory in which workers count requests together."""

KEEP_ALIVE_COMMENT: bytes
"""What is sent in the silence of a stream of events."""

def encode_event(
    data: str | bytes,
    event_type: str | None = None,
    event_id: str | None = None,
    retry: int | None = None,
) -> bytes:
    """Return the wire form of an event; `data` is text, or text as UTF-8.

    Raises `ValueError` for a type or id that would break the stream.
    """

def may_hold_whole_fraction(json: bytes) -> bool:
    """Return whether a JSON text may hold an integer written as `2.0` or `2e1`."""

@final
class Reactor:
    """asyncio's selector and the runtime behind it. Lives and dies on one thread."""

    def __new__(cls, event_loop: AbstractEventLoop) -> Reactor: ...
    def watch_selector(self, descriptor: int) -> None:
        """Watch asyncio's own selector by its descriptor, which is duplicated."""
    def select(self, timeout: float | None) -> bool:
        """Serve until asyncio has to go on; True when its own selector may have events.

        `timeout` is in seconds; None waits for ever, 0 or less does not wait.
        """
    def flush(self) -> None:
        """Write what asyncio's transports keep for the end of the turn."""
    def tasks(self) -> list[Task[Any]]:
        """Return the tasks of handlers that have not finished."""
    def close(self) -> None:
        """End the runtime with everything that still runs in it. Idempotent."""

@final
class AsgiServer:
    """Serves an ASGI application. `config` is `ServerConfig.to_json()`."""

    def __new__(
        cls,
        application: Callable[..., Any],
        *,
        as_coroutine: Callable[[Awaitable[Any]], Any],
        log: Callable[[Any], None],
        config: bytes,
        state: dict[str, Any] | None = None,
        access_log: int | Callable[..., None] | None = None,
    ) -> AsgiServer: ...
    def listen(self, reactor: Reactor, descriptor: int) -> None:
        """Accept connections from a listening socket; the descriptor is duplicated."""
    def reload_tls(self) -> None:
        """Read certificates and keys again, for new connections; a broken one keeps the old."""
    def stop(self, reactor: Reactor, grace: float) -> Future[int]:
        """Stop: finish requests for `grace` seconds, then cut; the number of connections cut."""
    def stop_now(self, reactor: Reactor) -> None:
        """Cut all connections."""

@final
class NativeServer:
    """Serves a Spikard application; methods as those of `AsgiServer`."""

    def __new__(
        cls,
        core: Core,
        *,
        config: bytes,
        state: dict[str, Any] | None = None,
        access_log: int | Callable[..., None] | None = None,
    ) -> NativeServer: ...
    def listen(self, reactor: Reactor, descriptor: int) -> None: ...
    def reload_tls(self) -> None: ...
    def stop(self, reactor: Reactor, grace: float) -> Future[int]: ...
    def stop_now(self, reactor: Reactor) -> None: ...

@final
class Core:
    """An application's routes and policies: filled route by route, then only used."""

    def __new__(
        cls, config: bytes, *, counts: int | None = None, forms: Forms | None = None
    ) -> Core: ...
    def add_route(self, spec: RouteSpec) -> None:
        """Add a route. Raises RouteError for a bad template or a conflict."""
    def add_mount(
        self,
        prefix: str,
        application: Callable[..., Any],
        *,
        state: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        foreign: bool = False,
    ) -> None:
        """Add an ASGI application that takes every path below `prefix` that no route takes.

        `state` is what its own lifespan stores, `options` are as those of a route. A `foreign`
        application is answered for as without policies.
        """
    def set_refusals(self, statuses: Sequence[int], answer: Callable[..., Any]) -> None:
        """Set what makes responses of the answers that policies give with these statuses.

        It is called with the request, the status, the header fields and the body.
        """
    def set_driver(self, driver: Callable[..., Any], socket_driver: Callable[..., Any]) -> None:
        """Set the coroutine functions that run the hooks around every request and WebSocket."""
    def set_mount_door(self, door: Callable[..., Any]) -> None:
        """Set the ASGI application that our server calls for requests to mounts instead of them."""
    def begin(self, head: RequestHead) -> Call:
        """Begin a request that comes from no socket and no ASGI server."""
    def begin_scope(self, scope: dict[str, Any]) -> Call:
        """Begin a request, or the handshake of a WebSocket, of another ASGI server.

        Raises ValueError for what the specification does not allow.
        """

@final
class Call:
    """One request on its way through the pipeline, awaited in Python."""

    @property
    def next(
        self,
    ) -> Literal["hooks", "respond", "file", "handle", "websocket", "mounted"]:
        """What is to be done."""
    def accept(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Put the policies' fields on those of a WebSocket handshake that is accepted."""
    def resume(self, headers: Iterable[tuple[bytes, bytes]] | None = None) -> None:
        """Go on after the `on_request` hooks, with the header fields as they left them."""
    @property
    def head(self) -> RequestHead:
        """The head with all that is known by now."""
    @property
    def max_body_bytes(self) -> int | None:
        """The longest body in bytes that the endpoint may be given."""
    @property
    def request_timeout(self) -> float | None:
        """Seconds until the head of the response has to be there."""
    def tell_route(self, scope: dict[str, Any]) -> None:
        """Put the route that is to be called into a scope: `route`, `endpoint`, `path_params`."""
    def begin_quickly(self, scope: dict[str, Any]) -> tuple[bool, float | None] | None:
        """Tell the route of an endpoint that does not take the request, and what it needs.

        `(wants_body, request_timeout)`; None, and nothing told, for everything else.
        """
    @property
    def mount(self) -> tuple[str, Callable[..., Any], dict[str, Any] | None]:
        """Prefix, application and own state of the mount that is to be called."""
    @property
    def wants_body(self) -> bool:
        """Whether the endpoint wants the whole body before it is called."""
    def overload(self) -> None:
        """Answer with 503: too many handlers run already."""
    def time_out(self) -> None:
        """Answer with 408: the endpoint took too long."""
    def body_decoder(self) -> BodyDecoder | None:
        """Return what the body goes through before anybody reads it, if it does."""
    def invoke(
        self, request: Request | None = None, body: bytes | None = None, is_changed: bool = False
    ) -> tuple[bool | None, Any]:
        """Call the endpoint; with a request that hooks have changed, by what that says.

        Returns:
            `(True, awaitable)`, `(False, result)`, or `(None, response)` when the request does not
            fit; without a request, which only an endpoint may be called with that does not want
            it, `(None, None)`.
        """
    def encode(self, result: Any) -> tuple[int, bytes | None, bytes]:
        """Encode a result that is no `Response`: status, media type if it has a body, body."""
    def fail(self, request: Request, error: BaseException) -> Response | Awaitable[Response]:
        """Make a response of an exception of the endpoint."""
    def response(self) -> _Begun:
        """Return the pipeline's own answer; reads the first piece of a file."""
    def file(self, path: str, status: int, headers: Iterable[tuple[bytes, bytes]]) -> _Begun:
        """Return a file as a response; reads its first piece."""
    def finish(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | None = None,
    ) -> _Finished:
        """Put the policies' last word on a response.

        A body without a filter goes out as it comes back, its length among the headers. With one
        it is to be encoded first: a stream (`body=None`) chunk by chunk, a long body off the
        loop's thread.
        """
    def reply(self, result: Any) -> _Finished:
        """As `finish`, for a result that is no `Response`; raises what its encoder raises."""

_Headers: TypeAlias = list[tuple[bytes, bytes]]
_Begun: TypeAlias = tuple[int, _Headers, bytes, FilePieces | None]
"""`(status, headers, first piece, what reads the others)`"""
_Finished: TypeAlias = tuple[int, _Headers, bytes | None, Filter | None]
"""`(status, headers, body, filter)`"""

@final
class BodyDecoder:
    """Takes a request's body out of its content coding."""

    def decode(self, chunk: bytes, limit: int | None, *, is_last: bool) -> bytes:
        """Return the plain bytes of the next chunk; it stops once they are more than `limit`.

        Raises HTTPException for what does not decode (400) or grows too much (413).
        """

@final
class FilePieces:
    """What of a file is still to be sent."""

    @property
    def path(self) -> str | None:
        """The path that names all of what is sent, the first piece too, where there is one."""
    def read(self) -> bytes | None:
        """Return the next 64 KiB or less, None at the end; call it off the loop's thread."""

@final
class Filter:
    """What all chunks of a streamed response go through."""

    def whole(self, body: bytes) -> bytes:
        """Return a whole body as it is to be sent."""
    def push(self, chunk: bytes) -> bytes:
        """Return the bytes to send for this chunk."""
    def finish(self) -> bytes:
        """Return the bytes to send after the last chunk."""

@final
class RequestHead:
    """A request before its body; nothing is made before it is read."""

    def __new__(
        cls,
        method: str,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        http_version: str = "1.1",
        scheme: str = "http",
        client: tuple[str, int] | None = None,
        server: tuple[str, int | None] | None = None,
        root_path: str = "",
    ) -> RequestHead: ...
    @staticmethod
    def of_scope(scope: dict[str, Any]) -> RequestHead:
        """Return the head of a request of another ASGI server; see `Core.begin_scope`."""
    @property
    def method(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def raw_path(self) -> bytes: ...
    @property
    def query_string(self) -> bytes: ...
    @property
    def root_path(self) -> str: ...
    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def client(self) -> tuple[str, int] | None: ...
    @property
    def server(self) -> tuple[str, int | None] | None: ...
    @property
    def path_params(self) -> dict[str, str]: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def claims(self) -> dict[str, Any] | None: ...
    def header(self, name: str) -> str | None: ...
    def header_all(self, name: str) -> list[str]: ...
    def query_pairs(self) -> list[tuple[str, str]]: ...
    def cookies(self) -> dict[str, str]: ...

@final
class Source:
    """The server's end of a request's body."""

    def receive(self) -> Awaitable[bytes | None]:
        """Return an awaitable of the next piece, None at the end."""
    def is_disconnected(self) -> bool: ...
    def set_limits(self, max_body_bytes: int | None, request_timeout: float | None) -> None:
        """Hold the request to other limits: bytes of its body, seconds from its beginning."""
    def early_hints(self, links: list[str]) -> None: ...

@final
class Sink:
    """Where a streamed response goes."""

    def send(self, chunk: bytes | str) -> Awaitable[None] | None:
        """Send a chunk; None when there is room for the next, else the wait for it."""

@final
class Peer:
    """The server's end of a WebSocket."""

    def accept(
        self,
        subprotocol: str | None,
        headers: list[tuple[bytes, bytes]],
    ) -> Awaitable[None]: ...
    def reject(self, response: Response) -> Awaitable[None]: ...
    def receive(self) -> Awaitable[str | bytes]: ...
    def send(self, data: str | bytes) -> Awaitable[None]: ...
    def close(self, code: int, reason: str) -> Awaitable[None]: ...
    def is_disconnected(self) -> bool: ...

@final
class Schema:
    """A compiled JSON Schema."""

    def __new__(cls, source: bytes) -> Schema: ...
    def check(self, data: bytes) -> list[dict[str, Any]]:
        """Return everything that is wrong with a JSON document."""

@final
class Misfits:
    """What in a decoded document does not have its declared type."""

    def __new__(cls, root: tuple[Any, ...]) -> Misfits: ...
    def __call__(
        self, value: Any, loc: tuple[str, ...], shown: Any, limit: int
    ) -> list[dict[str, Any]]:
        """Return the errors of a value; a leaf's or container's `check` words them."""

@final
class Exact:
    """Calls `then` for values that hold only instances of the very types that theirs names."""

    def __new__(
        cls,
        root: tuple[Any, ...],
        structs: list[tuple[type, list[tuple[str, tuple[Any, ...]]]]],
        then: Callable[[Any], Any],
        otherwise: Callable[[Any], Any],
    ) -> Exact: ...
    def __call__(self, value: Any) -> Any: ...

@final
class MultipartParser:
    """Parses `multipart/form-data` as it arrives."""

    def __new__(cls, boundary: str, *, max_parts: int, max_field_bytes: int) -> MultipartParser: ...
    def push(self, chunk: bytes) -> None: ...
    def next_event(self) -> tuple[Any, ...] | None: ...
    def finish(self) -> None: ...

@final
class SocketIo:
    """Reads and writes the socket of one of asyncio's transports."""

    def __new__(
        cls,
        transport: Transport,
        event_loop: AbstractEventLoop,
        descriptor: int,
        slow_write: Callable[[Any, Any], None],
        slow_writelines: Callable[[Any, Any], None],
    ) -> SocketIo: ...
    def start(
        self, reactor: Reactor, context: Context, data_received: Callable[[bytes], None]
    ) -> None:
        """Hand what arrives to `data_received` in `context`, until `stop` or the end.

        Raises OSError for a descriptor that cannot be watched.
        """
    def stop(self) -> None:
        """Read no more. Idempotent."""
    def write(self, data: Any) -> None:
        """Be `Transport.write`."""
    def writelines(self, list_of_data: Any) -> None:
        """Be `Transport.writelines`."""
    def flush(self) -> None:
        """Write what is kept for the end of the turn; asyncio has what the socket does not take."""
    def forget(self) -> None:
        """Drop what is kept."""
