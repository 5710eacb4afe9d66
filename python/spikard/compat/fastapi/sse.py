"""Server-sent events: ``response_class=EventSourceResponse`` on a handler that yields."""

from __future__ import annotations

from typing import Any

import pydantic

from spikard.responses import StreamingResponse

__all__ = ["EventSourceResponse", "ServerSentEvent"]


class EventSourceResponse(StreamingResponse):
    """A stream of events."""

    __slots__ = ()
    media_type = "text/event-stream"


class ServerSentEvent(pydantic.BaseModel):
    """One event with its fields (WHATWG HTML, "Server-sent events").

    Attributes:
        data: Sent as JSON.
        raw_data: Sent as it is, in place of `data`.
        event: The event's name.
        id: What the client sends back as ``Last-Event-ID``.
        retry: Milliseconds before the client connects again.
        comment: A line that clients ignore.
    """

    data: Any = None
    raw_data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = pydantic.Field(default=None, ge=0)
    comment: str | None = None

    @pydantic.field_validator("event", "id")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and any(each in value for each in "\r\n\0"):
            raise ValueError("must be one line")
        return value

    @pydantic.model_validator(mode="after")
    def _one_data(self) -> ServerSentEvent:
        if self.data is not None and self.raw_data is not None:
            raise ValueError("either data or raw_data, not both")
        return self


def event_bytes(
    data: str | None,
    *,
    event: str | None = None,
    id: str | None = None,  # noqa: A002 - the field's name
    retry: int | None = None,
    comment: str | None = None,
) -> bytes:
    """Return an event on the wire."""
    lines = [f": {each}" for each in (comment or "").splitlines()]
    if event is not None:
        lines.append(f"event: {event}")
    if data is not None:
        lines += [f"data: {each}" for each in (data.splitlines() or [""])]
    if id is not None:
        lines.append(f"id: {id}")
    if retry is not None:
        lines.append(f"retry: {retry}")
    return ("\n".join(lines) + "\n\n").encode()
