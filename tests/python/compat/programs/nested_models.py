"""Models in models, lists and sets of them, discriminated unions, dataclasses."""

import dataclasses
from typing import Annotated, Literal

from fastapi import Body, FastAPI
from pydantic import BaseModel, Field, HttpUrl

app = FastAPI()


class Image(BaseModel):
    url: HttpUrl
    name: str


class Item(BaseModel):
    name: str
    tags: set[str] = set()
    image: Image | None = None
    images: list[Image] = []


class Offer(BaseModel):
    name: str
    items: list[Item]
    parent: "Offer | None" = None


class Cat(BaseModel):
    kind: Literal["cat"]
    meows: int


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: float


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@app.post("/offers")
async def offers(offer: Offer):
    return offer


@app.post("/images")
async def images(images: list[Image]) -> list[Image]:
    return images


@app.post("/pets")
async def pets(pet: Annotated[Cat | Dog, Body(discriminator="kind")]):
    return pet


@app.post("/points")
async def points(point: Point) -> Point:
    return point


@app.post("/either")
async def either(value: Cat | Dog | int = Body()):
    return value


@app.post("/by-name")
async def by_name(pets: dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]]):
    return sorted(pets)


IMAGE = {"url": "https://example.com/a.png", "name": "a"}
ITEM = {"name": "i", "tags": ["a", "a"], "image": IMAGE, "images": [IMAGE]}

REQUESTS = [
    ("POST", "/offers", {"json": {"name": "o", "items": [ITEM]}}),
    ("POST", "/offers", {"json": {"name": "o", "items": [], "parent": {"name": "p", "items": []}}}),
    (
        "POST",
        "/offers",
        {"json": {"name": "o", "items": [{"name": "i", "images": [{"url": "no"}]}]}},
    ),
    ("POST", "/images", {"json": [IMAGE]}),
    ("POST", "/images", {"json": IMAGE}),
    ("POST", "/pets", {"json": {"kind": "cat", "meows": 3}}),
    ("POST", "/pets", {"json": {"kind": "dog", "meows": 3}}),
    ("POST", "/pets", {"json": {"kind": "fish"}}),
    ("POST", "/points", {"json": {"x": 1}}),
    ("POST", "/points", {"json": {"y": "a"}}),
    ("POST", "/either", {"json": 3}),
    ("POST", "/either", {"json": {"kind": "dog", "barks": 1}}),
    (
        "POST",
        "/by-name",
        {"json": {"b": {"kind": "cat", "meows": 1}, "a": {"kind": "dog", "barks": 1}}},
    ),
]
