"""Dates, times, durations, decimals, UUIDs, bytes, addresses, enums."""

import datetime as dt
import ipaddress
from decimal import Decimal
from enum import IntEnum
from typing import Annotated
from uuid import UUID

from fastapi import Body, FastAPI, Query
from pydantic import BaseModel

app = FastAPI()


class Level(IntEnum):
    low = 1
    high = 2


class Everything(BaseModel):
    when: dt.datetime
    day: dt.date
    at: dt.time
    takes: dt.timedelta
    amount: Decimal
    key: UUID
    data: bytes
    host: ipaddress.IPv4Address
    level: Level
    names: frozenset[str]
    pair: tuple[int, str]


@app.post("/everything")
async def everything(value: Everything) -> Everything:
    return value


@app.put("/items/{item_id}")
async def read(
    item_id: UUID,
    start: Annotated[dt.datetime, Body()],
    end: Annotated[dt.datetime, Body()],
    after: Annotated[dt.timedelta, Body()],
    repeat_at: Annotated[dt.time | None, Body()] = None,
):
    return {
        "id": item_id,
        "start": start,
        "after": after,
        "duration": end - start,
        "repeat_at": repeat_at,
    }


@app.get("/query")
async def query(
    day: dt.date,
    amount: Annotated[Decimal, Query(max_digits=4, decimal_places=2)],
    level: Level = Level.low,
    host: ipaddress.IPv4Address | None = None,
):
    return {"day": day, "amount": amount, "level": level, "host": host}


@app.get("/values")
async def values():
    return {
        "when": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
        "amount": Decimal("1.10"),
        "whole": Decimal(3),
        "level": Level.high,
        "takes": dt.timedelta(hours=1),
        "set": {1},
        "bytes": b"abc",
    }


EVERYTHING = {
    "when": "2024-01-02T03:04:05Z",
    "day": "2024-01-02",
    "at": "03:04:05",
    "takes": "PT1H",
    "amount": "1.50",
    "key": "123e4567-e89b-12d3-a456-426614174000",
    "data": "abc",
    "host": "127.0.0.1",
    "level": 2,
    "names": ["a"],
    "pair": [1, "x"],
}
ITEM = "/items/123e4567-e89b-12d3-a456-426614174000"

REQUESTS = [
    ("POST", "/everything", {"json": EVERYTHING}),
    ("POST", "/everything", {"json": dict.fromkeys(EVERYTHING, "no")}),
    (
        "PUT",
        ITEM,
        {"json": {"start": "2024-01-01T00:00:00", "end": "2024-01-02T00:00:00", "after": 60}},
    ),
    ("PUT", ITEM, {"json": {"start": 1, "end": "x", "after": "P1D", "repeat_at": "10:00"}}),
    ("GET", "/query?day=2024-01-02&amount=12.34&level=2&host=::1"),
    ("GET", "/query?day=2024-01-02&amount=12.34&level=2&host=10.0.0.1"),
    ("GET", "/query?day=2024-13-02&amount=12.345&level=3"),
    ("GET", "/values"),
]
