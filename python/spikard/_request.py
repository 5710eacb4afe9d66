"""The request: a view of the head that the server parsed, each part made when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from spikard._headers import Headers
from spikard._multidict import FormData, QueryParams, form_pairs
from spikard._state import State
from spikard._uploads import UploadFile
from spikard.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator, Mapping

    from typing_extensions import Self

    from spikard._forms import Forms
    from spikard.app import Spikard


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
