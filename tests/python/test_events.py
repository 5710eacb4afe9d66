"""Server-Sent Events on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003 - handlers' annotations are read
from typing import Any

import msgspec
import pytest

from spikard import Header, LiveTestClient, Provide, Response, Spikard, SseEvent, TestClient
from spikard.events import EventResponse, Replay, encode_event, kept_alive
from spikard.exceptions import RegistrationError
from spikard.testing import ResponseAbortedError


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


def test_silence_is_filled_with_comments_and_the_stream_is_closed():
    closed = []

    async def silent() -> Any:
        try:
            await asyncio.Event().wait()
            yield b"never"
        finally:
            closed.append(True)

    async def run() -> None:
        stream = kept_alive(silent(), 0.001)
        assert await anext(stream) == b":\n\n"
        await stream.aclose()

    asyncio.run(run())
    assert closed == [True]


def test_a_stream_that_is_kept_alive_runs_in_one_task_and_raises_what_it_raises():
    tasks = set()

    async def events() -> Any:
        for number in range(3):
            tasks.add(asyncio.current_task())
            yield b"%d" % number
        raise LookupError("the end")

    async def run() -> list[bytes]:
        stream = kept_alive(events(), 60)
        heard = [await anext(stream) for _ in range(3)]
        with pytest.raises(LookupError, match="the end"):
            await anext(stream)
        return heard

    assert asyncio.run(run()) == [b"0", b"1", b"2"]
    assert len(tasks) == 1


class Quiet(EventResponse):
    """A stream of events whose silence ends soon."""

    __slots__ = ()
    keep_alive_seconds = 0.001


def test_the_server_fills_silence_with_comments():
    app = Spikard()

    @app.get("/")
    async def silent() -> Response:
        async def nothing() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        return Quiet(nothing())

    with TestClient(app) as process, LiveTestClient(app) as live:
        for client in (process, live):
            with client.stream("GET", "/") as response:
                lines = response.iter_lines()
                assert [next(lines) for _ in range(4)] == [":", "", ":", ""]


async def replayed(replay: Replay, last: str | None, *events: Any) -> list[str]:
    async def handler() -> AsyncIterator[Any]:
        for event in events:
            yield event

    wires = [wire async for wire in replay.events(handler(), last, msgspec.json.encode)]
    return [line for wire in wires for line in wire.decode().splitlines() if "data" in line]


def numbered(*numbers: int) -> list[SseEvent]:
    return [SseEvent(number, id=f"e{number}") for number in numbers]


@pytest.mark.parametrize(
    ("last", "events", "heard"),
    [
        (None, numbered(7), [7]),
        ("e4", [], [5, 6]),
        ("e4", numbered(7, 8), [5, 6, 7, 8]),
        ("e4", numbered(1, 2, 3, 4, 5, 6, 7), [5, 6, 1, 2, 7]),
        ("e6", numbered(7), [7]),
        ("e6", numbered(6, 6), [6]),
        ("gone", numbered(7), [3, 4, 5, 6, 7]),
        ("e5", [SseEvent(9), {"a": 1}], [6, 9, '{"a":1}']),
    ],
)  # fmt: skip
def test_events_after_the_last_one_come_from_memory(last, events, heard):
    replay = Replay(4)

    async def run() -> list[str]:
        assert len(await replayed(replay, None, *numbered(1, 2, 3, 4, 5, 6))) == 6
        # Another client's handler yields the same: remembered once.
        await replayed(replay, None, *numbered(5, 6))
        return await replayed(replay, last, *events)

    assert asyncio.run(run()) == [f"data: {each}" for each in heard]


def test_a_route_with_replay_answers_last_event_id():
    app = Spikard()
    started: list[int] = []

    @app.sse("/", replay=2)
    async def events() -> AsyncIterator[SseEvent]:
        started.append(1)
        if len(started) == 1:
            for number in range(3):
                yield SseEvent(number, id=str(number))

    with TestClient(app) as client:
        with client.sse("/") as first:
            assert [event.data for event in first] == ["0", "1", "2"]
            assert first.last_event_id == "2"
        for last, missed in (("1", ["2"]), ("2", []), ("0", ["1", "2"]), ("", [])):
            with client.sse("/", last_event_id=last) as again:
                assert [event.data for event in again] == missed


def test_replay_is_for_events_and_a_positive_number():
    app = Spikard()

    async def handler() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(RegistrationError, match="replay is for server-sent events"):
        app.get("/", replay=1)(handler)
    with pytest.raises(RegistrationError, match="at least 1, got 0"):
        app.sse("/", replay=0)(handler)


class Tick(msgspec.Struct):
    number: int


def test_typed_events_are_checked_and_documented():
    app = Spikard()

    @app.sse("/typed")
    async def typed(count: int = 3) -> AsyncIterator[Tick | SseEvent | str]:
        yield Tick(1)
        yield SseEvent({"number": 2, "more": True}, id="2")
        yield "text"
        yield SseEvent({"number": "no number"})

    @app.sse("/free")
    async def free() -> AsyncIterator[Any]:
        yield 1

    with TestClient(app) as client, client.sse("/typed") as events:
        assert [next(events).data for _ in range(3)] == ['{"number":1}', '{"number":2}', "text"]
        with pytest.raises(ResponseAbortedError):
            next(events)
    content = app.openapi()["paths"]["/typed"]["get"]["responses"]["200"]["content"]
    schema = content["text/event-stream"]["schema"]
    assert schema["contentMediaType"] == "application/json"
    assert schema["contentSchema"] == {"$ref": "#/components/schemas/Tick"}
    content = app.openapi()["paths"]["/free"]["get"]["responses"]["200"]["content"]
    assert content == {"text/event-stream": {"schema": {"type": "string"}}}
