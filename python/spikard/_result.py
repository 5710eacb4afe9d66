"""How a handler's plain result becomes bytes.

Without an annotation anything that has a JSON form is encoded. A return annotation or
``response_model`` is a promise to the client: what the type does not name is left out, and
a value that does not fit raises (the client sees a 500, the log says why).
"""

from __future__ import annotations

import collections.abc
import functools
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import msgspec

from spikard._codecs import (
    CODECS_LIMIT,
    BareStream,
    MsgspecCodec,
    codec,
    decode_hook,
    encode_json,
    has_own_codec,
    is_class,
    is_pydantic,
    spelling,
    surface,
)
from spikard._exact import exact_or
from spikard._signature import MISSING
from spikard.exceptions import RegistrationError
from spikard.responses import Response, StreamingResponse, content_type, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Result", "result_type"]

JSON_LINES = b"application/jsonl"
"""Of a typed generator's items, one JSON value in each line."""

_BODILESS = (204, 205, 304)
_JSON = "application/json"


class Result:
    """What a route makes of a plain result.

    Attributes:
        encode: The value → the body; raises when it does not fit.
        encode_item: The same for what a typed generator yields; None where chunks are sent as
            they are.
        status_code: Of a plain result.
        media_type: In wire form; empty when such an answer has no body.
    """

    __slots__ = ("encode", "encode_item", "media_type", "status_code")

    def __init__(
        self, annotation: Any, *, owner: str, status_code: int, media_type: str | None
    ) -> None:
        self.status_code = status_code
        self.encode_item: Callable[[Any], bytes] | None = None
        if status_code in _BODILESS or status_code < 200:
            self.encode: Callable[[Any], bytes] = _nothing
            self.media_type = b""
            return
        try:
            encode = encoder(annotation)
            item = item_type(annotation)
            if item is not MISSING:
                self.encode_item = encoder(item)
        except (TypeError, ValueError) as exc:
            raise RegistrationError(f"{owner}: return type: {exc}") from exc
        self.media_type = content_type(media_type or _JSON)
        is_json = media_type is None or media_type == _JSON or media_type.endswith("+json")
        self.encode = encode if is_json else _as_text(encode)

    def respond(self, value: Any) -> Response:
        """Return the response of any result."""
        if isinstance(value, Response):
            return value
        if isinstance(value, bytes):
            octets = self.media_type if self.media_type != b"application/json" else b""
            response = Response(value, self.status_code)
            if octets:
                response.raw_headers = [(b"content-type", octets)]
            return self._trimmed(response)
        try:
            body = self.encode(value)
        except BareStream as stream:
            return self.stream(stream.source)
        # Built slot by slot: the constructor would look at a content that is known already.
        response = object.__new__(Response)
        response.status_code = self.status_code
        response.raw_headers = [(b"content-type", self.media_type)] if self.media_type else []
        response.body = body if self.media_type else None
        response.stream = response.background = response.file = None
        return response

    def stream(self, source: Any) -> Response:
        """Return the response of a bare generator."""
        media = self.media_type if self.media_type != b"application/json" else None
        if self.encode_item is not None:
            source = _lines(source, self.encode_item)
            media = media or JSON_LINES
        response = StreamingResponse(source, self.status_code)
        if media:
            response.raw_headers = [(b"content-type", media)]
        return response

    def _trimmed(self, response: Response) -> Response:
        if not self.media_type:
            response.body = None
            response.raw_headers = []
        return response


def result_type(annotation: Any) -> Any:
    """Return what an annotation says of plain results, `MISSING` for nothing.

    Responses, bytes and iterators are sent as they are, so they say nothing.
    """
    if annotation is MISSING or annotation is Any:
        return MISSING
    if annotation is None:
        return NoneType
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        members = get_args(annotation)
        kept = [each for each in members if result_type(each) is not MISSING]
        if len(kept) == len(members):
            return annotation
        return Union[tuple(kept)] if kept else MISSING  # noqa: UP007 - members from a list
    if origin is Annotated:
        if has_own_codec(annotation):
            return annotation
        return annotation if result_type(get_args(annotation)[0]) is not MISSING else MISSING
    cls = origin or annotation
    if isinstance(cls, type):
        if issubclass(cls, Response | bytes) or cls is object:
            return MISSING
        if cls in _ITERATORS:
            return MISSING
    return annotation


_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def encoder(annotation: Any) -> Callable[[Any], bytes]:
    """Return value → JSON for a declared type, filtering and validating.

    Raises:
        TypeError: No values of the type can be checked.
    """
    annotation = result_type(annotation)
    if annotation is MISSING:
        return encode_json
    try:
        return _encoder(annotation, spelling(annotation))
    except TypeError:
        return _made(annotation)  # it cannot be hashed, or not be encoded: this says which


@functools.lru_cache(maxsize=CODECS_LIMIT)
def _encoder(annotation: Any, _: str) -> Callable[[Any], bytes]:
    return _made(annotation)


def _made(annotation: Any) -> Callable[[Any], bytes]:
    if is_pydantic(annotation):
        return _pydantic_encoder(annotation)
    found = codec(annotation)
    decode = found.decode_json

    def encode(value: Any) -> bytes:
        if isinstance(value, dict) or not isinstance(value, msgspec.Struct):
            value = _converted(value, annotation)
        # Through the wire form: the instances inside are checked too, and what a subclass
        # adds to the declared type stays here.
        return encode_json(decode(encode_json(value)))

    if isinstance(found, MsgspecCodec):
        return exact_or(found.node, encode_json, encode) or encode
    return encode


def _converted(value: Any, annotation: Any) -> Any:
    if type(value).__name__ in ("generator", "async_generator"):
        raise BareStream(value)
    try:
        return msgspec.convert(value, annotation, from_attributes=True, dec_hook=decode_hook)
    except TypeError:
        # A union that only our codec tells apart; the wire form below decides.
        return value


def _pydantic_encoder(annotation: Any) -> Callable[[Any], bytes]:
    from pydantic import TypeAdapter

    adapter: Any = TypeAdapter(annotation)

    def encode(value: Any) -> bytes:
        checked = adapter.validate_python(value, from_attributes=True)
        data: bytes = adapter.dump_json(checked, by_alias=True, warnings="error")
        return data

    return encode


def _as_text(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def encode_text(value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else encode(value)

    return encode_text


def _nothing(_: Any) -> bytes:
    return b""


def item_type(annotation: Any) -> Any:
    """Return the type of what a generator yields, `MISSING` where chunks are sent as they are.

    Those are bytes and text, and generators that do not say.
    """
    if get_origin(annotation) not in _ITERATORS:
        return MISSING
    item = (get_args(annotation) or (Any,))[0]
    if item is Any or item is object:
        return MISSING
    parts = surface(item)
    if all(is_class(part) and issubclass(part, str | bytes) for part in parts):
        return MISSING
    return item


async def _lines(source: Any, encode: Callable[[Any], bytes]) -> AsyncGenerator[bytes, None]:
    items = source if hasattr(source, "__anext__") else in_thread(source)
    try:
        async for item in items:
            yield encode(item) + b"\n"
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def event_type(annotation: Any) -> Any:
    """Return the type of the data of events that a generator yields, `MISSING` for any."""
    item = item_type(annotation)
    if item is MISSING:
        return MISSING
    members = get_args(item) if get_origin(item) in (Union, UnionType) else (item,)
    # Text and `SseEvent`s are no JSON of their own; what is left is the data of both.
    kept = [each for each in members if not _is_event(each)]
    if not kept:
        return MISSING
    return Union[tuple(kept)] if len(kept) > 1 else kept[0]  # noqa: UP007 - members from a list


def _is_event(part: Any) -> bool:
    if not is_class(part):
        return False
    is_own = part.__name__ == "SseEvent" and part.__module__ == "spikard.events"
    return is_own or issubclass(part, str | bytes)


def mentions_stream(annotation: Any) -> bool:
    """Return whether an annotation promises an iterator."""
    return any(part in _ITERATORS for part in surface(annotation) if is_class(part))
