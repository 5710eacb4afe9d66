"""Requests and the values they are made of: headers, query, state, uploaded files.

Everything here is lazy: a `Request` wraps the head that the server parsed (see
`RequestHead`) and builds a view only when somebody reads it.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload
from urllib.parse import parse_qsl, quote

import msgspec

from spikard.exceptions import HTTPException

if TYPE_CHECKING:
    import tempfile
    from collections.abc import Callable, Generator

    from typing_extensions import Self

    from spikard._forms import Forms
    from spikard.app import Spikard

__all__ = [
    "Exchange",
    "FormData",
    "Headers",
    "MultiDict",
    "QueryParams",
    "Request",
    "RequestHead",
    "State",
    "UploadFile",
]

T = TypeVar("T")

FORM_PAIRS_LIMIT = 1000
FORM_VALUE_LIMIT = 1 << 20
"""Pairs in one query string or urlencoded body: parsing more costs CPU for nobody's use."""

SPOOL_MAX_BYTES = 1024 * 1024
"""Bytes of one uploaded file kept in memory before it moves to a file on disk."""


class RequestHead(Protocol):
    """What the server knows of a request before its body (``spikard._spikard.RequestHead``)."""

    @property
    def method(self) -> str:
        """Upper case, as sent."""
        ...

    @property
    def http_version(self) -> str:
        """``"1.0"``, ``"1.1"`` or ``"2"``."""
        ...

    @property
    def scheme(self) -> str:
        """``"http"`` or ``"https"``."""
        ...

    @property
    def path(self) -> str:
        """Percent-decoded."""
        ...

    @property
    def raw_path(self) -> bytes:
        """As sent, without the query."""
        ...

    @property
    def query_string(self) -> bytes:
        """As sent."""
        ...

    @property
    def root_path(self) -> str:
        """Where the application is mounted."""
        ...

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``[(b"name", b"value"), ...]``, lower-case names; a new list each time."""
        ...

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the peer."""
        ...

    @property
    def server(self) -> tuple[str, int | None] | None:
        """Address and port that took the connection."""
        ...

    @property
    def path_params(self) -> dict[str, str]:
        """Raw strings, percent-decoded."""
        ...

    @property
    def request_id(self) -> str | None:
        """Given by the client or made here."""
        ...

    @property
    def claims(self) -> dict[str, Any] | None:
        """Of the verified JWT."""
        ...

    def header(self, name: str) -> str | None:
        """Return the first value of a field."""
        ...

    def header_all(self, name: str) -> list[str]:
        """Return all values of a field."""
        ...

    def query_pairs(self) -> list[tuple[str, str]]:
        """Return the decoded query, order kept."""
        ...

    def cookies(self) -> dict[str, str]:
        """Return the cookies; of a repeated name the first."""
        ...


class Exchange(Protocol):
    """The rest of a request: its body and its connection."""

    @property
    def forms(self) -> Forms | None:
        """The limits of forms, None for the defaults."""
        ...

    async def body(self) -> bytes:
        """Return the whole body."""
        ...

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        ...

    def hold(self, max_body_bytes: int | None, request_timeout: float | None) -> None:
        """Hold the request to the limits of its route, once that is known."""
        ...

    def is_disconnected(self) -> bool:
        """Return whether the client has gone."""
        ...

    async def early_hints(self, links: list[str]) -> None:
        """Send ``103 Early Hints``."""
        ...


class Headers(MutableMapping[str, str]):
    """Header fields: case-insensitive names, repeated fields kept in order.

    The wire form ``[(b"name", b"value"), ...]`` with lower-case names is the storage, so a
    view over a response's ``raw_headers`` changes the response.
    """

    __slots__ = ("raw",)

    def __init__(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        *,
        raw: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.raw: list[tuple[bytes, bytes]] = [] if raw is None else raw
        if headers is not None:
            self.raw.extend(encode_header(name, value) for name, value in field_pairs(headers))

    def __getitem__(self, name: str) -> str:
        key = name.lower().encode("latin-1", "replace")
        for field, value in self.raw:
            if field == key:
                return value.decode("latin-1")
        raise KeyError(name)

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def get(self, name: str, default: Any = None) -> Any:  # the base's goes through an exception
        """Return the first field of that name, or the default."""
        key = name.lower().encode("latin-1", "replace")
        for field, value in self.raw:
            if field == key:
                return value.decode("latin-1")
        return default

    def __setitem__(self, name: str, value: str) -> None:
        """Replace every field of that name by one."""
        pair = encode_header(name, value)
        for index, (field, _) in enumerate(self.raw):
            if field == pair[0]:
                tail = [item for item in self.raw[index + 1 :] if item[0] != pair[0]]
                self.raw[index:] = [pair, *tail]
                return
        self.raw.append(pair)

    def __delitem__(self, name: str) -> None:
        key = name.lower().encode("latin-1", "replace")
        kept = [item for item in self.raw if item[0] != key]
        if len(kept) == len(self.raw):
            raise KeyError(name)
        self.raw[:] = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(field.decode("latin-1") for field, _ in self.raw))

    def __len__(self) -> int:
        return len({field for field, _ in self.raw})

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.lower().encode("latin-1", "replace")
        return any(field == key for field, _ in self.raw)

    def __repr__(self) -> str:
        return f"Headers({self.multi_items()!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field, keeping others of that name."""
        self.raw.append(encode_header(name, value))

    append = add

    def getlist(self, name: str) -> list[str]:
        """Return the values of every field of that name, in order."""
        key = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for field, value in self.raw if field == key]

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every field as ``(name, value)``, repeated names included."""
        return [(field.decode("latin-1"), value.decode("latin-1")) for field, value in self.raw]


_FIELD_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def field_pairs(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
) -> Iterable[tuple[str, str]]:
    """Return the pairs of headers given in either form."""
    if isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a field in wire form.

    Raises:
        ValueError: The name is no token, or the value holds CR, LF or NUL (RFC 9110 §5.5):
            sending it would split the response.
    """
    field = name.lower().encode("latin-1")
    if not field or not _FIELD_NAME.issuperset(field):
        raise ValueError(f"invalid header name {name!r}")
    content = value.encode("latin-1")
    if b"\n" in content or b"\r" in content or b"\0" in content:
        raise ValueError(f"header {name!r}: value must not contain CR, LF or NUL")
    return field, content


class MultiDict(Mapping[str, Any]):
    """An immutable mapping whose keys may have several values; ``d[key]`` is the last."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._pairs = list(pairs)

    def __getitem__(self, key: str) -> Any:
        for name, value in reversed(self._pairs):
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"

    def getlist(self, key: str) -> list[Any]:
        """Return every value of the key, in order."""
        return [value for name, value in self._pairs if name == key]

    def multi_items(self) -> list[tuple[str, Any]]:
        """Return every pair, repeated keys included."""
        return list(self._pairs)


class QueryParams(MultiDict):
    """The decoded query string."""

    __slots__ = ()


class FormData(MultiDict):
    """The fields of a form: strings, and `UploadFile` for files."""

    __slots__ = ()


class State:
    """A namespace for the application's own values.

    A request's state falls back to the application's for names it has not set.
    """

    __slots__ = ("_parent", "_values")

    _values: dict[str, Any]
    _parent: State | None

    def __init__(
        self, values: Mapping[str, Any] | None = None, parent: State | None = None
    ) -> None:
        object.__setattr__(self, "_values", dict(values) if values else {})
        object.__setattr__(self, "_parent", parent)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"state has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._values[name]
        except KeyError:
            raise AttributeError(f"state has no {name!r}") from None

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if self._parent is not None:
            return self._parent[name]
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or (self._parent is not None and name in self._parent)

    def __repr__(self) -> str:
        return f"State({self._values!r})"

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several names."""
        self._values.update(values)

    def clear(self) -> None:
        """Forget every name set here."""
        self._values.clear()

    def share(self, values: dict[str, Any]) -> None:
        """Keep the values in this dict, which others may read and change."""
        object.__setattr__(self, "_values", values)


def _of_head(name: str) -> Any:
    """Return a property that reads the head, unless a hook assigned another value."""

    def read(request: Request) -> Any:
        # Part of Request, outside the class only to be written once.
        items = request._items  # noqa: SLF001
        if items is not None and name in items:
            return items[name]
        return getattr(request._head, name)  # noqa: SLF001

    def assign(request: Request, value: Any) -> None:
        request[name] = value

    return property(read, assign)


class Answer:
    """A yes or no that is there at once and may be awaited, as Starlette's users do."""

    __slots__ = ("_is_yes",)

    def __init__(self, is_yes: bool) -> None:
        self._is_yes = is_yes

    def __bool__(self) -> bool:
        return self._is_yes

    def __await__(self) -> Generator[None, None, bool]:
        yield from ()  # what can be awaited is a generator
        return self._is_yes

    def __repr__(self) -> str:
        return repr(self._is_yes)


class Request:
    """One HTTP request, the same object for hooks, dependencies and the handler.

    ``request.method`` and ``request["method"]`` are the same; what a hook assigns
    (attributes, items, ``request.headers[...]``, ``request.state``) is seen downstream.
    """

    __slots__ = (
        "_app",
        "_body",
        "_cookies",
        "_exchange",
        "_failure",
        "_form",
        "_head",
        "_headers",
        "_items",
        "_query",
        "_state",
    )

    if TYPE_CHECKING:
        method: str
        http_version: str
        scheme: str
        path: str
        raw_path: bytes
        query_string: bytes
        root_path: str
        client: tuple[str, int] | None
        server: tuple[str, int | None] | None
        path_params: dict[str, Any]
        request_id: str | None
        _failure: BaseException
    else:
        method = _of_head("method")
        http_version = _of_head("http_version")
        scheme = _of_head("scheme")
        path = _of_head("path")
        raw_path = _of_head("raw_path")
        query_string = _of_head("query_string")
        root_path = _of_head("root_path")
        client = _of_head("client")
        server = _of_head("server")
        path_params = _of_head("path_params")
        request_id = _of_head("request_id")

    def __init__(self, head: RequestHead, exchange: Exchange, app: Spikard | None = None) -> None:
        self._head = head
        self._exchange = exchange
        self._app = app
        self._headers: Headers | None = None
        self._query: QueryParams | None = None
        self._cookies: dict[str, str] | None = None
        self._state: State | None = None
        self._body: bytes | None = None
        self._form: FormData | None = None
        self._items: dict[str, Any] | None = None

    def _is_changed(self) -> bool:
        """Whether a hook may have changed what a handler's parameters are read from.

        Header fields apart, which go back to the pipeline.
        """
        return not (self._items is self._query is self._cookies is None)

    def belonging_to(self, app: Spikard) -> Self:
        """Return this request, of that application unless it has one: servers know of none."""
        if self._app is None:
            self._app = app
        return self

    @property
    def app(self) -> Spikard:
        """The application that serves the request."""
        if self._app is None:
            raise RuntimeError("this request belongs to no application")
        return self._app

    @property
    def headers(self) -> Headers:
        """The header fields; changes are seen by everything that runs later."""
        headers = self._headers
        if headers is None:
            headers = self._headers = Headers(raw=self._head.headers)
        return headers

    @headers.setter
    def headers(self, headers: Mapping[str, str]) -> None:
        self._headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._cookies = None

    @property
    def query_params(self) -> QueryParams:
        """The decoded query string."""
        query = self._query
        if query is None:
            if self._items is not None and "query_string" in self._items:
                query = QueryParams(form_pairs(self._items["query_string"]))
            else:
                query = QueryParams(self._head.query_pairs())
            self._query = query
        return query

    @query_params.setter
    def query_params(self, query: Mapping[str, Any]) -> None:
        self._query = query if isinstance(query, QueryParams) else QueryParams(query.items())

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies; of a repeated name the first."""
        cookies = self._cookies
        if cookies is None:
            if self._headers is None:
                cookies = self._head.cookies()
            else:
                cookies = cookie_pairs(self._headers.getlist("cookie"))
            self._cookies = cookies
        return cookies

    @cookies.setter
    def cookies(self, cookies: dict[str, str]) -> None:
        self._cookies = cookies

    @property
    def state(self) -> State:
        """Values of this request; names not set here are looked up in ``app.state``."""
        state = self._state
        if state is None:
            state = self._state = State(parent=None if self._app is None else self._app.state)
            scope = self._scope
            if scope is not None:
                state.share(scope.setdefault("state", {}))
            claims = self._head.claims
            if claims is not None:
                state["claims"] = claims
        return state

    @property
    def session(self) -> dict[str, Any]:
        """The session; the ASGI middleware that makes it also stores it."""
        session: dict[str, Any] = self._of_middleware("session", "SessionMiddleware")
        return session

    @property
    def user(self) -> Any:
        """Who asks, as ASGI middleware for authentication says."""
        return self._of_middleware("user", "AuthenticationMiddleware")

    @property
    def auth(self) -> Any:
        """What the user may do, as ASGI middleware for authentication says."""
        return self._of_middleware("auth", "AuthenticationMiddleware")

    @property
    def _scope(self) -> dict[str, Any] | None:
        """The ASGI scope; none on our own server without ASGI middleware."""
        scope: dict[str, Any] | None = getattr(self._exchange, "scope", None)
        return scope

    def _of_middleware(self, name: str, middleware: str) -> Any:
        scope = self._scope
        if scope is None or name not in scope:
            raise RuntimeError(
                f"request.{name} needs ASGI middleware that sets it: "
                f"app.add_middleware({middleware}, ...)"
            )
        return scope[name]

    @property
    def content_type(self) -> str | None:
        """The raw ``content-type`` field."""
        return self.headers.get("content-type")

    @property
    def url(self) -> str:
        """The absolute URL, as the client asked for it."""
        host = self.headers.get("host")
        if host is None:
            name, port = self.server or ("localhost", None)
            host = name if port is None else f"{name}:{port}"
        query = self.query_string.decode("latin-1")
        path = quote(self.root_path) + self.raw_path.decode("latin-1")
        return f"{self.scheme}://{host}{path}{'?' + query if query else ''}"

    def url_for(self, name: str, /, **params: Any) -> str:
        """Return the absolute URL of a named route."""
        origin = self.url.split("://", 1)
        host = origin[1].split("/", 1)[0].split("?", 1)[0]
        return f"{origin[0]}://{host}{self.root_path}{self.app.url_path_for(name, **params)}"

    async def body(self) -> bytes:
        """Return the whole body; it is read once and kept."""
        body = self._body
        if body is None:
            body = self._body = await self._exchange.body()
        return body

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; nothing is kept."""
        if self._body is not None:
            yield self._body
            return
        async for chunk in self._exchange.stream():
            yield chunk

    async def json(self) -> Any:
        """Return the decoded JSON body.

        Raises:
            HTTPException: 400, the body is not JSON.
        """
        body = await self.body()
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
            raise HTTPException(400, "Invalid request format") from exc

    async def form(self) -> FormData:
        """Return the fields of an urlencoded or multipart body.

        Raises:
            HTTPException: 400, the body is malformed; 415, it is no form.
        """
        if self._form is None:
            content_type = self.headers.get("content-type", "")
            media = content_type.partition(";")[0].strip().lower()
            forms = self._exchange.forms
            if media == "application/x-www-form-urlencoded":
                body = await self.body()
                pairs = (
                    form_pairs(body)
                    if forms is None
                    else form_pairs(body, forms.max_parts, forms.max_field_bytes)
                )
                self._form = FormData(pairs)
            elif media == "multipart/form-data":
                from spikard._multipart import read_form

                self._form = FormData(await read_form(content_type, self.stream(), forms))
            else:
                raise HTTPException(
                    415,
                    f"expected a form, got {media or 'no content type'!r}",
                    type="https://spikard.dev/errors/unsupported-media-type",
                )
        return self._form

    async def close_form(self) -> None:
        """Close the uploaded files; the framework does so after the response."""
        if self._form is not None:
            for _, value in self._form.multi_items():
                if isinstance(value, UploadFile):
                    await value.aclose()

    def is_disconnected(self) -> Answer:
        """Return whether the client has gone; with or without ``await``."""
        return Answer(self._exchange.is_disconnected())

    async def early_hints(self, links: list[str]) -> None:
        """Send ``103 Early Hints`` with these ``Link`` values, where the protocol allows."""
        await self._exchange.early_hints(links)

    def __getitem__(self, name: str) -> Any:
        if self._items is not None and name in self._items:
            return self._items[name]
        if name in _ITEM_NAMES:
            return getattr(self, name)
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name in _VIEW_NAMES:
            setattr(self, name, value)
            return
        if self._items is None:
            self._items = {}
        self._items[name] = value
        if name == "query_string":
            self._query = None

    def __contains__(self, name: object) -> bool:
        return name in _ITEM_NAMES or (self._items is not None and name in self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*_ITEM_NAMES, *(self._items or ())]))

    def keys(self) -> list[str]:
        """Return the names that ``request[...]`` knows."""
        return list(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return ``request[name]``, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"


_HEAD_NAMES = (
    "method",
    "http_version",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "client",
    "server",
    "path_params",
    "request_id",
)
_VIEW_NAMES = ("headers", "query_params", "cookies")
_ITEM_NAMES = (*_HEAD_NAMES, *_VIEW_NAMES, "state", "url")


def form_pairs(
    data: bytes, max_pairs: int = FORM_PAIRS_LIMIT, max_value_bytes: int = FORM_VALUE_LIMIT
) -> list[tuple[str, str]]:
    """Return the pairs of ``application/x-www-form-urlencoded`` data.

    Raises:
        HTTPException: 400, not UTF-8 after decoding; 413, too many pairs, or one is too long.
    """
    if data.count(b"&") > max_pairs:
        # Empty pairs count too: nobody sends them, and skipping many takes time.
        raise HTTPException(413, f"more than {max_pairs} form fields")
    try:
        pairs = parse_qsl(
            data.decode("utf-8"), keep_blank_values=True, errors="strict", encoding="utf-8"
        )
    except UnicodeDecodeError as exc:
        raise HTTPException(400, "form data is not UTF-8") from exc
    if len(pairs) > max_pairs:
        raise HTTPException(413, f"more than {max_pairs} form fields")
    if len(data) > max_value_bytes:
        for name, value in pairs:
            if len(name.encode()) > max_value_bytes or len(value.encode()) > max_value_bytes:
                raise HTTPException(413, f"a form field is longer than {max_value_bytes} bytes")
    return pairs


def cookie_pairs(fields: list[str]) -> dict[str, str]:
    """Return the cookies of ``cookie`` fields; of a repeated name the first (RFC 6265bis)."""
    cookies: dict[str, str] = {}
    for field in fields:
        for part in field.split(";"):
            name, equals, value = part.partition("=")
            name, value = name.strip(), value.strip()
            if not equals or not name:
                continue
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            cookies.setdefault(name, value)
    return cookies


class UploadFile:
    """An uploaded file, in memory up to 1 MiB and on disk above.

    Every operation exists twice: plain, and with an ``a`` in front to await.

    Args:
        file: The binary file that holds the content; default a new spooled one.
        filename: The name the client sent; not to be trusted as a path.
        headers: The part's own header fields.
    """

    __slots__ = ("_size", "charged", "file", "filename", "headers", "on_close")

    def __init__(
        self,
        file: tempfile.SpooledTemporaryFile[bytes] | io.BytesIO | None = None,
        *,
        filename: str | None = None,
        headers: Headers | None = None,
        size: int | None = None,
    ) -> None:
        self.file = file if file is not None else spooled_file()
        self.filename = filename
        self.headers = headers if headers is not None else Headers()
        self._size = size
        # Whom to tell that the bytes on disk are free; see `spikard._forms`.
        self.charged = 0
        self.on_close: Callable[[UploadFile], None] | None = None

    def __del__(self) -> None:
        if self.on_close is not None:
            self.on_close(self)

    @property
    def content_type(self) -> str | None:
        """The media type the client named for this part."""
        return self.headers.get("content-type")

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        if self._size is None:
            position = self.file.tell()
            self._size = self.file.seek(0, io.SEEK_END) or self.file.tell()
            self.file.seek(position)
        return self._size

    @property
    def rolled_to_disk(self) -> bool:
        """Whether the content has moved from memory to disk."""
        return bool(getattr(self.file, "_rolled", False))

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the current position, all when negative."""
        return self.file.read(size)

    def write(self, data: bytes) -> int:
        """Write at the current position and return the number of bytes."""
        self._size = None
        return self.file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position and return it."""
        self.file.seek(offset, whence)
        return self.file.tell()

    def close(self) -> None:
        """Close the file; a spooled one is removed from disk."""
        self.file.close()
        told, self.on_close = self.on_close, None
        if told is not None:
            told(self)

    async def aread(self, size: int = -1) -> bytes:
        """As `read`; a file on disk is read in the thread pool."""
        return await self._call(self.read, size)

    async def awrite(self, data: bytes) -> int:
        """As `write`, off the event loop when the file is, or is about to be, on disk."""
        if self._would_roll(len(data)):
            import asyncio

            return await asyncio.to_thread(self.write, data)
        return self.write(data)

    async def append(self, chunks: list[bytes]) -> None:
        """Write several pieces at the end, with one step off the event loop if any is needed."""
        added = sum(map(len, chunks))
        size = self.size + added
        if self._would_roll(added):
            import asyncio

            def write_all() -> None:
                self.file.writelines(chunks)

            await asyncio.to_thread(write_all)
        else:
            self.file.writelines(chunks)
        self._size = size

    async def aseek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `seek`."""
        return await self._call(self.seek, offset, whence)

    async def aclose(self) -> None:
        """As `close`."""
        await self._call(self.close)

    def as_bytes_io(self) -> io.BytesIO:
        """Return the whole content as a new in-memory file at position 0."""
        position = self.file.tell()
        self.file.seek(0)
        content = io.BytesIO(self.file.read())
        self.file.seek(position)
        return content

    def _would_roll(self, added: int) -> bool:
        """Whether a write reaches the disk: of a file that is there, or is about to go."""
        if self.rolled_to_disk:
            return True
        limit: int = getattr(self.file, "_max_size", 0)
        return bool(limit) and self.file.tell() + added > limit

    async def _call(self, func: Callable[..., T], *args: Any) -> T:
        if not self.rolled_to_disk:
            return func(*args)
        import asyncio

        return await asyncio.to_thread(func, *args)

    def __repr__(self) -> str:
        return f"UploadFile(filename={self.filename!r}, content_type={self.content_type!r})"


def spooled_file() -> tempfile.SpooledTemporaryFile[bytes]:
    """Return a file that lives in memory up to `SPOOL_MAX_BYTES`, then on disk."""
    import tempfile

    return tempfile.SpooledTemporaryFile(max_size=SPOOL_MAX_BYTES)
