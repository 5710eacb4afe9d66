"""Bodies made while they are sent: iterators of both kinds, JSON lines, events, files."""

import io
from collections.abc import AsyncIterable, Iterable

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str


async def chunks():
    for number in range(3):
        yield f"chunk {number}\n"


@app.get("/async")
async def from_async():
    return StreamingResponse(chunks(), media_type="text/plain", headers={"x-a": "b"})


@app.get("/sync", response_class=StreamingResponse)
def from_sync():
    return StreamingResponse(io.BytesIO(b"a\nb\n"), media_type="application/octet-stream")


@app.get("/lines")
async def lines() -> AsyncIterable[Item]:
    for name in "ab":
        yield Item(name=name)


@app.get("/sync-lines")
def sync_lines() -> Iterable[Item]:
    for name in "ab":
        yield {"name": name, "more": 1}


@app.get("/untyped-lines")
async def untyped():
    yield {"a": 1}
    yield [1, 2]


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[Item]:
    yield Item(name="a")
    yield ServerSentEvent(data={"b": 1}, event="e", id="1", retry=10)
    yield ServerSentEvent(raw_data="one\ntwo", comment="c")


REQUESTS = [
    ("GET", "/async"),
    ("GET", "/sync"),
    ("GET", "/lines"),
    ("GET", "/sync-lines"),
    ("GET", "/untyped-lines"),
    ("GET", "/events"),
]
