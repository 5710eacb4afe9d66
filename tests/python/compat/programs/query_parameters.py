"""Defaults, optional values, booleans, lists, constraints, aliases, parameter models."""

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

app = FastAPI()


@app.get("/items")
async def items(skip: int = 0, limit: int = 10, q: str | None = None, short: bool = False):
    return {"skip": skip, "limit": limit, "q": q, "short": short}


@app.get("/needy")
async def needy(needed: str, number: float):
    return {"needed": needed, "number": number}


@app.get("/checked")
async def checked(
    q: Annotated[
        str | None,
        Query(
            alias="item-query",
            title="Query",
            description="What to look for",
            min_length=3,
            max_length=50,
            pattern="^fixed",
            deprecated=True,
        ),
    ] = None,
    size: Annotated[int, Query(ge=1, lt=10)] = 5,
    hidden: Annotated[str | None, Query(include_in_schema=False)] = None,
):
    return {"q": q, "size": size, "hidden": hidden}


@app.get("/lists")
async def lists(
    q: Annotated[list[str], Query()] = ["foo", "bar"],  # noqa: B006 - what is tested
    numbers: Annotated[list[int] | None, Query(max_length=3)] = None,
    unique: Annotated[set[int], Query()] = set(),  # noqa: B006
):
    return {"q": q, "numbers": numbers, "unique": sorted(unique)}


@app.get("/old-style")
async def old_style(q: str = Query(default="x", min_length=1), needed: int = Query(...)):
    return {"q": q, "needed": needed}


class Filter(BaseModel):
    model_config = {"extra": "forbid"}

    limit: int = Field(100, gt=0, le=100)
    order: Literal["created", "updated"] = "created"
    tags: list[str] = []
    other: str | None = Field(default=None, alias="otherName")


@app.get("/model")
async def model(filter: Annotated[Filter, Query()]):
    return filter


@app.get("/choices")
async def choices(kind: Literal["a", "b"] = "a", both: int | str = 1):
    return {"kind": kind, "both": both}


REQUESTS = [
    ("GET", "/items"),
    ("GET", "/items?skip=1&limit=2&q=x&short=on"),
    ("GET", "/items?skip=1&skip=2"),
    ("GET", "/items?short=maybe&limit=x"),
    ("GET", "/items?q="),
    ("GET", "/needy"),
    ("GET", "/needy?needed=a&number=1e3"),
    ("GET", "/checked?item-query=fixedquery&size=3"),
    ("GET", "/checked?item-query=no&size=10"),
    ("GET", "/checked?hidden=1"),
    ("GET", "/lists"),
    ("GET", "/lists?q=a&q=b&numbers=1&numbers=2&unique=2&unique=2&unique=1"),
    ("GET", "/lists?numbers=1&numbers=2&numbers=3&numbers=4"),
    ("GET", "/lists?numbers=1&numbers=x"),
    ("GET", "/old-style?needed=1"),
    ("GET", "/old-style?q="),
    ("GET", "/model"),
    ("GET", "/model?limit=5&order=updated&tags=a&tags=b&otherName=o"),
    ("GET", "/model?limit=500&order=x"),
    ("GET", "/model?unknown=1"),
    ("GET", "/choices?kind=b&both=x"),
    ("GET", "/choices?kind=c"),
]
