"""Server-Sent Events on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spikard import Header, Provide, Spikard, SseEvent
from spikard.events import encode_event, event_stream


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        ({"a": 1}, b'data: {"a":1}\n\n'),
        ("text", b"data: text\n\n"),
        ("two\r\nlines\rthree\n", b"data: two\ndata: lines\ndata: three\ndata: \n\n"),
        (SseEvent({"a": 1}, "tick", "7", 100),
         b'event: tick\nid: 7\nretry: 100\ndata: {"a":1}\n\n'),
    ],
)  # fmt: skip
def test_event_is_encoded(event, wire):
    assert encode_event(event) == wire


@pytest.mark.parametrize("bad", [{"event_type": "a\nb"}, {"id": "a\0"}, {"retry": -1}])
def test_event_that_would_break_the_stream_is_refused(bad):
    with pytest.raises(ValueError, match="must not"):
        SseEvent("x", **bad)


@pytest.mark.parametrize("is_async", [True, False])
def test_handler_is_served_as_an_event_stream(is_async, door):
    app = Spikard()
    app.provide("start", Provide(lambda: 1))

    if is_async:

        @app.sse("/")
        async def handler(start, last_event_id: Header[str] = Header("none")):  # noqa: B008
            yield {"n": start}
            yield last_event_id
    else:

        @app.sse("/")
        def sync_handler(start, last_event_id: Header[str] = Header("none")):  # noqa: B008
            yield {"n": start}
            yield last_event_id

    answer = door(app).get("/", headers={"Last-Event-ID": "7"})
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert answer.header("cache-control") == "no-cache"
    assert answer.body == b'data: {"n":1}\n\ndata: 7\n\n'


def test_silence_is_filled_with_comments_and_the_generator_is_closed():
    closed = []

    async def silent() -> Any:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            closed.append(True)

    async def run() -> None:
        stream = event_stream(silent(), keep_alive_seconds=0.001)
        assert await stream.__anext__() == b": keep-alive\n\n"
        await stream.aclose()

    asyncio.run(run())
    assert closed == [True]
