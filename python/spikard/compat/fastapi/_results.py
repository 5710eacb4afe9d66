"""What becomes of a handler's plain result: FastAPI's response models and response classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, cast

import pydantic

from spikard._codecs import encode_json
from spikard._result import Result
from spikard.compat.fastapi._fields import adapter_of
from spikard.compat.fastapi.exceptions import ResponseValidationError
from spikard.compat.fastapi.responses import ORJSONResponse, UJSONResponse
from spikard.compat.fastapi.sse import ServerSentEvent, event_bytes
from spikard.encoders import jsonable_encoder
from spikard.responses import (
    FileResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
    content_type,
    in_thread,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["FastAPIResult"]

_SENT_WHOLE = (RedirectResponse, FileResponse, StreamingResponse)
_OUR_JSON = (JSONResponse, ORJSONResponse, UJSONResponse)


class FastAPIResult(Result):
    """See `Result`.

    Args:
        model: The type of plain results, None for anything.
        status_code: None: the response class's own.
        response_class: Makes responses of plain results.
        dump: Pydantic's ``include``, ``exclude``, ``by_alias``, ``exclude_…``.
        streamed: How what a generator yields is written; None: as it is.
        item: The type of what it yields, None for anything.
    """

    __slots__ = ("_adapter", "_class", "_dump", "_item", "_own_status", "_stream", "is_whole")

    def __init__(
        self,
        model: Any,
        *,
        status_code: int | None,
        response_class: type[Response],
        dump: dict[str, Any],
        streamed: Literal["lines", "events"] | None = None,
        item: Any = None,
    ) -> None:
        self._stream = streamed
        self._item: Any = None if item is None else adapter_of(item)
        self._class = response_class
        self._dump = dump
        self._own_status = status_code
        self._adapter: Any = None if model is None else adapter_of(model)
        self.status_code = 200 if status_code is None else status_code
        # Whether responses must be made one by one: no body says it all.
        self.is_whole = issubclass(response_class, _SENT_WHOLE) or (
            response_class.__init__ is not Response.__init__
        )
        self.media_type = content_type(response_class.media_type or "") or b""
        if self.status_code < 200 or self.status_code in (204, 205, 304):
            self.encode: Callable[[Any], bytes] = _nothing
            self.media_type = b""
            self.is_whole = False
        elif response_class in _OUR_JSON:
            self.encode = self._json
        else:
            self.encode = self._rendered

    def respond(self, value: Any) -> Response:
        """Return the response of any result."""
        if isinstance(value, Response):
            return value
        if self.is_whole:
            options: dict[str, Any] = (
                {} if self._own_status is None else {"status_code": self._own_status}
            )
            return self._class(self._content(value), **options)
        response = Response(None, self.status_code)
        response.body = self.encode(value) if self.media_type else None
        response.raw_headers = [(b"content-type", self.media_type)] if self.media_type else []
        return response

    def stream(self, source: Any) -> Response:
        """Return the response of a handler that yields."""
        if self._stream is None:
            response: Response = StreamingResponse(source, self.status_code)
            media = self._class.media_type
            if media is not None and not issubclass(self._class, JSONResponse):
                response.raw_headers = [(b"content-type", content_type(media))]
            return response
        if self._stream == "lines":
            lines = _written(source, self._line)
            return StreamingResponse(lines, self.status_code, media_type="application/jsonl")
        # Proxies that buffer would keep events from their readers.
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        events = _written(source, self._event)
        return StreamingResponse(events, self.status_code, headers, "text/event-stream")

    def _line(self, value: Any) -> bytes:
        return self._item_json(value) + b"\n"

    def _event(self, value: Any) -> bytes:
        if not isinstance(value, ServerSentEvent):
            return event_bytes(self._item_json(value).decode())
        data = value.raw_data
        if data is None and value.data is not None:
            data = json.dumps(jsonable_encoder(value.data))
        return event_bytes(
            data, event=value.event, id=value.id, retry=value.retry, comment=value.comment
        )

    def _item_json(self, value: Any) -> bytes:
        if self._item is None:
            return json.dumps(jsonable_encoder(value)).encode()
        try:
            checked = self._item.validate_python(value, from_attributes=True)
        except pydantic.ValidationError as exc:
            raise _unfit(exc, value) from exc
        data: bytes = self._item.dump_json(checked, **self._dump)
        return data

    def _json(self, value: Any) -> bytes:
        if self._adapter is None:
            return encode_json(value if _is_plain(value) else jsonable_encoder(value))
        data: bytes = self._adapter.dump_json(self._checked(value), **self._dump)
        return data

    def _rendered(self, value: Any) -> bytes:
        return self._class(self._content(value)).body or b""

    def _content(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if self._adapter is None:
            return value if issubclass(self._class, _SENT_WHOLE) else jsonable_encoder(value)
        return self._adapter.dump_python(self._checked(value), mode="json", **self._dump)

    def _checked(self, value: Any) -> Any:
        try:
            return self._adapter.validate_python(value, from_attributes=True)
        except pydantic.ValidationError as exc:
            raise _unfit(exc, value) from exc


def _unfit(exc: pydantic.ValidationError, value: Any) -> ResponseValidationError:
    errors = [
        {**error, "loc": ("response", *error["loc"])} for error in exc.errors(include_url=False)
    ]
    return ResponseValidationError(errors, body=value)


async def _written(source: Any, write: Callable[[Any], bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the items of a generator of either kind as bytes; it is closed with this one."""
    items = source if hasattr(source, "__anext__") else in_thread(source)
    try:
        async for item in items:
            yield write(item)
    finally:
        await items.aclose()


def _is_plain(value: Any) -> bool:
    """Return whether a value is made of JSON's own types alone."""
    kind = cast("Any", type(value))
    if kind in (str, int, float, bool, type(None)):
        return True
    if kind is list:
        return all(map(_is_plain, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    return False


def _nothing(_: Any) -> bytes:
    return b""
