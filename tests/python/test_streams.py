"""The test clients' streams, events and WebSockets, alike in process and over a real server."""

from __future__ import annotations

import asyncio
import collections
import hashlib
import io
import itertools
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations are read
from typing import Any

import msgspec
import pytest

from spikard import (
    HTTPException,
    LiveTestClient,
    Request,
    Response,
    ServerConfig,
    Spikard,
    SseEvent,
    StreamingResponse,
    TestClient,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from spikard.testing import EventsRefusedError, ResponseAbortedError, WebSocketRejectedError
from spikard.testing.events import TestEvents
from spikard.testing.stream import Incoming, Opened, TestStream

pytestmark = pytest.mark.anyio

app = Spikard(config=ServerConfig(max_body_size=100_000_000))
closed: collections.defaultdict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)


@app.get("/endless")
async def endless(name: str = "") -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            for number in itertools.count():
                yield b"%d\n" % number
        finally:
            closed[name].set()

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/closed/{name}")
async def wait_closed(name: str) -> bool:
    await asyncio.wait_for(closed[name].wait(), 10)
    return True


@app.get("/breaks")
async def breaks() -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0)
        raise LookupError("inside")

    return StreamingResponse(chunks())


@app.post("/double")
async def double(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk * 2

    return StreamingResponse(chunks())


@app.post("/hash")
async def hashed(file: UploadFile) -> dict[str, Any]:
    digest = hashlib.sha256()
    while chunk := await file.aread(100_000):
        digest.update(chunk)
    return {"sha256": digest.hexdigest(), "name": file.filename, "size": file.size}


@app.get("/gzip")
async def zipped() -> Response:
    async def chunks() -> AsyncIterator[str]:
        for number in range(3):
            yield f"line {number} " + "x" * 2000 + "\n"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/moved")
async def moved() -> Response:
    return Response(status_code=302, headers={"location": "/gzip"})


@app.sse("/news")
async def news(request: Request) -> AsyncIterator[Any]:
    yield {"last": request.headers.get("last-event-id")}
    yield SseEvent("two\nlines", event_type="named", id="7", retry=250)
    yield "text"


@app.sse("/ticks")
async def ticks(name: str = "") -> AsyncIterator[int]:
    try:
        for number in itertools.count():
            yield number
    finally:
        closed[name].set()


@app.get("/plain")
async def plain() -> str:
    return "plain"


@app.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept(subprotocol="b")
    async for text in socket.iter_text():
        if text == "leave":
            await socket.close(4000, "as told")
            return
        await socket.send_text(f"{socket.cookies.get('who')}: {text}")


@app.websocket("/flood")
async def flood(socket: WebSocket) -> None:
    await socket.accept()
    try:
        for number in itertools.count():
            await socket.send_bytes(b"%d" % number)
    finally:
        closed["flood"].set()


@app.websocket("/refused")
async def refused(socket: WebSocket) -> None:
    raise HTTPException(403, "members only")


@pytest.fixture(params=["process", "live", "asgi"])
async def client(request) -> AsyncIterator[Any]:
    closed.clear()
    made: Any
    if request.param == "process":
        made = TestClient(app)
    elif request.param == "live":
        made = LiveTestClient(app)
    else:

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)

        made = TestClient(wrapped)
    async with made as opened:
        yield opened


async def test_an_endless_stream_is_read_for_three_chunks_and_closed(client):
    async with client.stream("GET", "/endless", params={"name": "three"}) as response:
        response.assert_status_ok()
        assert response.headers["content-type"].startswith("text/plain")
        lines = response.iter_lines()
        assert [await anext(lines) for _ in range(3)] == ["0", "1", "2"]
    (await client.get("/closed/three")).assert_status_ok()


async def test_a_stream_that_raises_is_no_complete_response(client):
    with pytest.raises(ResponseAbortedError):
        await client.get("/breaks")
    async with client.stream("GET", "/breaks") as response:
        pieces = response.iter_bytes()
        assert await anext(pieces) == b"first"
        with pytest.raises(ResponseAbortedError):
            await anext(pieces)


async def test_bodies_stream_in_both_directions_at_once(client):
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def questions() -> AsyncIterator[bytes]:
        yield b"a"
        for _ in range(3):
            # Not before the answer to the last one has come.
            yield (await answers.get())[:1]

    whole = b""
    async with client.stream("POST", "/double", content=questions()) as response:
        async for piece in response.iter_bytes():
            whole += piece
            if len(whole) % 2 == 0:
                answers.put_nowait(piece)
    assert whole == b"a" * 8


async def test_a_sync_iterable_is_a_streamed_body(client):
    def numbers() -> Iterator[bytes]:
        for number in range(5):
            yield b"a" * number

    assert (await client.post("/double", content=numbers())).content == b"a" * 20


async def test_a_large_file_is_sent_without_being_read_whole(client, tmp_path):
    path = tmp_path / "large.bin"
    data = bytes(range(256)) * 20_000
    path.write_bytes(data)
    with path.open("rb") as file:
        response = await client.post("/hash", files={"file": file}, data={"a": "b"})
    expected = {"sha256": hashlib.sha256(data).hexdigest(), "name": "large.bin", "size": len(data)}
    assert response.assert_status_ok().json() == expected
    response = await client.post("/hash", files={"file": ("s", io.BytesIO(b"small"))})
    assert response.json()["sha256"] == hashlib.sha256(b"small").hexdigest()


async def test_compressed_streams_are_undone_and_redirects_followed(client):
    headers = {"accept-encoding": "gzip"}
    async with client.stream("GET", "/moved", headers=headers) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert [each.status_code for each in response.history] == [302]
        lines = [line async for line in response.iter_lines()]
        assert [line[:6] for line in lines] == ["line 0", "line 1", "line 2"]
    async with client.stream("GET", "/gzip", headers=headers) as response:
        assert (await response.read()).text().count("\n") == 3


async def test_events_are_heard(client):
    async with client.sse("/news", last_event_id="6") as events:
        assert events.headers["cache-control"] == "no-cache"
        heard = [event async for event in events]
    assert heard[0].json() == {"last": "6"}
    assert (heard[0].event_type, heard[0].id) == ("message", "")
    assert (heard[1].data, heard[1].event_type, heard[1].id) == ("two\nlines", "named", "7")
    assert (heard[2].data, heard[2].event_type, heard[2].id) == ("text", "message", "7")
    assert (events.last_event_id, events.retry) == ("7", 250)


async def test_endless_events_are_left_and_their_generator_closed(client):
    async with client.sse("/ticks", params={"name": "ticks"}) as events:
        assert [(await anext(events)).json() for _ in range(3)] == [0, 1, 2]
    (await client.get("/closed/ticks")).assert_status_ok()


async def test_what_is_no_stream_of_events_is_refused(client):
    for path, status in (("/plain", 200), ("/nowhere", 404)):
        with pytest.raises(EventsRefusedError) as refused:
            await client.sse(path).__aenter__()
        assert refused.value.response.status_code == status


async def test_a_websocket_is_opened_spoken_through_and_closed_by_the_application(client):
    client.cookies["who"] = "me"
    async with client.websocket("/talk", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol == "b"
        await socket.send("hello")
        assert await socket.receive_text() == "me: hello"
        await socket.send("leave")
        with pytest.raises(WebSocketDisconnect) as left:
            await socket.receive()
    assert (left.value.code, left.value.reason) == (4000, "as told")


async def test_a_refused_websocket_shows_the_answer(client):
    for path, status in (("/refused", 403), ("/nowhere", 404)):
        with pytest.raises(WebSocketRejectedError) as refused:
            await client.websocket(path).__aenter__()
        assert refused.value.response.status_code == status
    assert b"members only" in (await _refusal(client, "/refused")).content


async def _refusal(client: Any, path: str) -> Any:
    try:
        await client.websocket(path).__aenter__()
    except WebSocketRejectedError as refused:
        return refused.response


async def test_a_websocket_that_only_sends_waits_for_its_client(client):
    async with client.websocket("/flood") as socket:
        assert [await socket.receive_bytes() for _ in range(3)] == [b"0", b"1", b"2"]
    (await client.get("/closed/flood")).assert_status_ok()


@pytest.mark.parametrize("kind", [TestClient, LiveTestClient])
def test_synchronous_tests_have_the_same(kind):
    with kind(app, cookies={"who": "me"}) as client:
        with client.stream("GET", "/endless") as response:
            lines = response.iter_lines()
            assert [next(lines) for _ in range(3)] == ["0", "1", "2"]
        with client.sse("/ticks") as events:
            assert [next(events).data for _ in range(3)] == ["0", "1", "2"]
        with client.websocket("/talk", subprotocols=["b"]) as socket:
            socket.send("a")
            assert socket.receive_text() == "me: a"
        with pytest.raises(WebSocketRejectedError):
            client.websocket("/talk").__enter__()  # it chooses what is not offered
        answer = client.post("/double", content=(b"a" for _ in range(3)))
        assert answer.content == b"aaaaaa"


async def test_the_test_s_own_iterable_raises_in_the_test(client):
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError("of the test")

    with pytest.raises(LookupError, match="of the test"):
        await client.post("/hash", content=broken())


async def test_a_client_that_leaves_is_asked_for_no_more_of_its_body(client):
    ended = asyncio.Event()

    async def waits() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with client.stream("POST", "/double", content=waits()) as response:
        assert await anext(response.iter_bytes()) == b"aa"
    assert ended.is_set()


async def test_a_cancelled_request_cancels_the_handler():
    local = Spikard()
    called, ended = asyncio.Event(), asyncio.Event()

    @local.get("/")
    async def wait() -> None:
        called.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with TestClient(local) as client:
        task = asyncio.create_task(client.get("/"))
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


@pytest.mark.parametrize(
    ("pieces", "events"),
    [
        ([b"data: a\n\n"], [("a", "message", "")]),
        ([b"data: a\r\n\r", b"\ndata: b\r\r"], [("a", "message", ""), ("b", "message", "")]),
        ([b"\xef\xbb\xbfdata:a\n\n"], [("a", "message", "")]),
        ([b": comment\n\ndata\n\n"], [("", "message", "")]),
        ([b"event: x\n\ndata: a\n\n"], [("a", "message", "")]),
        ([b"id: 1\ndata: a\n\nid\ndata: b\n\n"], [("a", "message", "1"), ("b", "message", "")]),
        ([b"id: 1\0\nretry: x\ndata: a"], []),
        ([b"data: \xc3", b"\xa4\n\n"], [("ä", "message", "")]),
    ],
)  # fmt: skip
async def test_event_streams_are_parsed(pieces, events):
    class Pieces:
        def __init__(self) -> None:
            self._left = list(pieces)

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            if not self._left:
                raise StopAsyncIteration
            piece: bytes = self._left.pop(0)
            return piece

        async def aclose(self) -> None:
            pass

    async def opening() -> Opened:
        headers = [(b"content-type", b"text/event-stream")]
        return Opened(Incoming(200, headers, Pieces()), "", (), {})

    async with TestEvents(TestStream(opening)) as heard:
        found = [(event.data, event.event_type, event.id) async for event in heard]
    assert found == events


class Row(msgspec.Struct):
    number: int


def rows_app() -> Spikard:
    rows = Spikard()

    @rows.get("/async")
    async def with_async() -> AsyncIterator[Row]:
        for number in range(2):
            yield Row(number)

    @rows.get("/sync")
    def with_sync() -> Iterator[Row]:
        yield Row(0)
        yield {"number": 1, "more": True}  # type: ignore[misc] # what is left out

    @rows.get("/returned")
    async def returned() -> AsyncIterator[Row]:
        async def made() -> AsyncIterator[Row]:
            yield Row(0)
            yield Row(1)

        return made()

    @rows.get("/own", media_type="application/x-ndjson")
    async def with_own_type() -> AsyncIterator[Row]:
        yield Row(0)
        yield Row(1)

    @rows.get("/wrong")
    async def wrong() -> AsyncIterator[Row]:
        yield Row(0)
        yield "no row"  # type: ignore[misc]

    @rows.get("/text")
    async def text() -> AsyncIterator[str]:
        yield "as"
        yield " it is"

    return rows


async def test_typed_generators_are_json_lines():
    async with TestClient(rows_app()) as client:
        for path, media_type in (
            ("/async", "application/jsonl"),
            ("/sync", "application/jsonl"),
            ("/returned", "application/jsonl"),
            ("/own", "application/x-ndjson"),
        ):
            async with client.stream("GET", path) as response:
                assert response.headers["content-type"] == media_type, path
                items = [item async for item in response.iter_json()]
            assert items == [{"number": 0}, {"number": 1}], path
        assert (await client.get("/text")).text() == "as it is"
        with pytest.raises(ResponseAbortedError):
            await client.get("/wrong")


def test_typed_generators_are_documented():
    paths = rows_app().openapi()["paths"]
    content = paths["/async"]["get"]["responses"]["200"]["content"]
    line = content["application/jsonl"]["schema"]
    assert line["contentMediaType"] == "application/json"
    assert line["contentSchema"] == {"$ref": "#/components/schemas/Row"}
    assert "application/x-ndjson" in paths["/own"]["get"]["responses"]["200"]["content"]
    assert "application/octet-stream" in paths["/text"]["get"]["responses"]["200"]["content"]


async def test_a_sync_stream_is_closed_in_its_thread_after_the_step_that_runs():
    local = Spikard()
    stepping, go_on = threading.Event(), threading.Event()
    closed_in: list[int] = []

    @local.get("/")
    async def handler() -> Response:
        def chunks() -> Iterator[bytes]:
            try:
                yield b"first"
                stepping.set()
                go_on.wait(10)
                yield b"second"
            finally:
                closed_in.append(threading.get_ident())

        return StreamingResponse(chunks())

    async with TestClient(local) as client:
        async with client.stream("GET", "/") as response:
            pieces = response.iter_bytes()
            assert await anext(pieces) == b"first"
            waiting = asyncio.ensure_future(anext(pieces))
            await asyncio.to_thread(stepping.wait, 10)
            waiting.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert len(closed_in) == 1
        assert closed_in[0] != threading.get_ident()


async def test_an_upload_goes_to_disk_off_the_event_loop():
    threads: list[int] = []

    class Watched(tempfile.SpooledTemporaryFile[bytes]):
        def writelines(self, lines: Any) -> None:
            threads.append(threading.get_ident())
            super().writelines(lines)

    file = UploadFile(Watched(max_size=10), size=0)
    for piece in (b"small", b"over the limit", b"on disk"):
        await file.append([piece])
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, False, False]
    assert (file.size, file.rolled_to_disk) == (26, True)
    file.close()
