"""Bodies: one model, several, single values, embedding, media types, broken JSON."""

from typing import Annotated, Any

from fastapi import Body, FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


class Item(BaseModel):
    """A thing to sell."""

    name: str = Field(examples=["Hammer"], max_length=20)
    description: str | None = Field(default=None, title="What it is")
    price: float = Field(gt=0, description="Without tax")
    tax: float | None = None


class User(BaseModel):
    username: str
    full_name: str | None = None


@app.post("/items")
async def create(item: Item):
    return {**item.model_dump(), "total": item.price + (item.tax or 0)}


@app.put("/items/{item_id}")
async def update(item_id: int, item: Item, q: str | None = None):
    return {"id": item_id, "q": q, "item": item}


@app.put("/both/{item_id}")
async def both(item_id: int, item: Item, user: User, importance: Annotated[int, Body(gt=0)]):
    return {"id": item_id, "item": item, "user": user, "importance": importance}


@app.put("/embedded")
async def embedded(item: Annotated[Item, Body(embed=True)]):
    return item


@app.post("/optional")
async def optional(item: Item | None = None):
    return {"item": item}


@app.post("/some")
async def some(item: Item | None = None, count: Annotated[int, Body()] = 3):
    return {"item": item, "count": count}


@app.post("/numbers")
async def numbers(values: list[int]):
    return sum(values)


@app.post("/weights")
async def weights(weights: dict[int, float]):
    return weights


@app.post("/anything")
async def anything(body: Annotated[Any, Body()]):
    return {"given": body}


@app.post("/raw")
async def raw(text: Annotated[str, Body(media_type="text/plain")]):
    return text


@app.post("/examples")
async def examples(
    item: Annotated[
        Item,
        Body(
            openapi_examples={
                "normal": {"summary": "Normal", "value": {"name": "a", "price": 1}},
                "bad": {"value": {"name": "a", "price": "x"}},
            }
        ),
    ],
):
    return item


GOOD = {"name": "Hammer", "price": 12.5}
JSON = {"content-type": "application/json"}

REQUESTS = [
    ("POST", "/items", {"json": GOOD}),
    ("POST", "/items", {"json": {**GOOD, "tax": "1.5", "unknown": 1}}),
    ("POST", "/items", {"json": {"name": "x" * 30, "price": -1, "tax": "no"}}),
    ("POST", "/items", {"json": []}),
    ("POST", "/items", {"json": "text"}),
    ("POST", "/items", {"json": None}),
    ("POST", "/items"),
    ("POST", "/items", {"content": b"{broken", "headers": JSON}),
    ("POST", "/items", {"content": b'{"name": "a", ', "headers": JSON}),
    (
        "POST",
        "/items",
        {"content": b'{"name": "a", "price": 1}', "headers": {"content-type": "text/plain"}},
    ),
    (
        "POST",
        "/items",
        {
            "content": b'{"name": "a", "price": 1}',
            "headers": {"content-type": "application/geo+json"},
        },
    ),
    ("PUT", "/items/3?q=x", {"json": GOOD}),
    ("PUT", "/items/x", {"json": {}}),
    ("PUT", "/both/1", {"json": {"item": GOOD, "user": {"username": "u"}, "importance": 5}}),
    ("PUT", "/both/1", {"json": {"item": {}, "importance": 0}}),
    ("PUT", "/both/1", {"json": []}),
    ("PUT", "/both/1"),
    ("PUT", "/embedded", {"json": {"item": GOOD}}),
    ("PUT", "/embedded", {"json": GOOD}),
    ("POST", "/optional"),
    ("POST", "/optional", {"json": GOOD}),
    ("POST", "/optional", {"content": b"null", "headers": JSON}),
    ("POST", "/some"),
    ("POST", "/some", {"json": {"count": 4}}),
    ("POST", "/numbers", {"json": [1, 2, 3]}),
    ("POST", "/numbers", {"json": [1, "x"]}),
    ("POST", "/weights", {"json": {"1": 1.5, "2": 2}}),
    ("POST", "/weights", {"json": {"x": 1}}),
    ("POST", "/anything", {"json": {"a": [1, None]}}),
    ("POST", "/raw", {"content": b"some text", "headers": {"content-type": "text/plain"}}),
    ("POST", "/examples", {"json": GOOD}),
]
