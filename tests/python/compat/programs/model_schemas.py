"""Models whose input and output differ, aliases, generics, examples, recursion, unions."""

import datetime as dt
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Body, FastAPI, Form, Header, Query
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from typing_extensions import TypedDict

app = FastAPI()
T = TypeVar("T")


class Colour(str, Enum):
    """A colour."""

    red = "red"
    blue = "blue"


class Sub(BaseModel):
    value: int = 3
    colour: Colour = Colour.red


class InAndOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "x"}]}, populate_by_name=True
    )

    name: str = Field(alias="theName", description="Its name")
    sub: Sub = Sub()
    more: list[Sub] | None = None
    at: dt.datetime | None = None
    old: int | None = Field(default=None, deprecated=True)

    @field_validator("name")
    @classmethod
    def _shouting(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("not a good name")
        return value.upper()


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


class Tree(BaseModel):
    children: list["Tree"] = []


class Movie(TypedDict):
    title: str
    year: int


class Names(RootModel[list[str]]):
    pass


@app.post("/in-and-out")
async def in_and_out(value: InAndOut) -> InAndOut:
    return value


@app.get("/pages", response_model=Page[Sub])
async def pages():
    return {"items": [{}, {"value": 4}], "total": 2}


@app.get("/string-pages")
async def string_pages() -> Page[str]:
    return Page[str](items=["a"], total=1)


@app.post("/trees")
async def trees(tree: Tree) -> Tree:
    return tree


@app.post("/movies")
async def movies(movie: Movie) -> Movie:
    return movie


@app.post("/names")
async def names(names: Names) -> Names:
    return names


@app.post("/colours")
async def colours(
    colour: Annotated[Colour, Body(embed=True)], level: Literal[1, 2] = Body(default=1)
):
    return {"colour": colour, "level": level}


@app.post("/either")
async def either(value: Sub | Tree | list[int]) -> Sub | Tree | list[int]:
    return value


@app.get("/documented")
async def documented(
    q: Annotated[
        str | None,
        Query(title="Q", description="Look for it", examples=["a", "b"], deprecated=True),
    ] = None,
    size: Annotated[int, Query(description="How many", json_schema_extra={"x-unit": "cm"})] = 3,
    example: Annotated[str, Query(openapi_examples={"one": {"value": "1"}})] = "1",
    x_when: Annotated[dt.date | None, Header(description="When")] = None,
):
    return [q, size, example, x_when]


@app.post("/forms")
async def forms(
    name: Annotated[str, Form(alias="full-name", description="Whole")],
    colours: Annotated[list[Colour], Form()],
    number: Annotated[int | None, Form(ge=3)] = None,
):
    return {"name": name, "colours": colours, "number": number}


@app.get("/any")
async def anything() -> Any:
    return {"a": {1, 2, 3}}


@app.get("/dict")
async def plain_dict() -> dict[str, int | None]:
    return {"a": 1, "b": None}


REQUESTS = [
    ("POST", "/in-and-out", {"json": {"theName": "x", "sub": {"value": "7"}}}),
    ("POST", "/in-and-out", {"json": {"name": "x", "more": [{}], "at": "2024-01-01"}}),
    ("POST", "/in-and-out", {"json": {"theName": "bad", "sub": {"colour": "green"}}}),
    ("POST", "/in-and-out", {"json": {}}),
    ("GET", "/pages"),
    ("GET", "/string-pages"),
    ("POST", "/trees", {"json": {"children": [{"children": []}]}}),
    ("POST", "/trees", {"json": {"children": [{"children": 3}]}}),
    ("POST", "/movies", {"json": {"title": "a", "year": "2000"}}),
    ("POST", "/movies", {"json": {"title": 1}}),
    ("POST", "/names", {"json": ["a"]}),
    ("POST", "/names", {"json": "a"}),
    ("POST", "/colours", {"json": {"colour": "blue", "level": 2}}),
    ("POST", "/colours", {"json": {"colour": "green", "level": 3}}),
    ("POST", "/either", {"json": {"children": []}}),
    ("POST", "/either", {"json": [1, 2]}),
    ("GET", "/documented?q=a&size=4", {"headers": {"x-when": "2024-01-02"}}),
    ("GET", "/documented?size=x", {"headers": {"x-when": "no"}}),
    ("POST", "/forms", {"data": {"full-name": "a", "colours": ["red", "blue"], "number": "3"}}),
    ("POST", "/forms", {"data": {"full-name": "a", "colours": "pink", "number": "1"}}),
    ("GET", "/any"),
    ("GET", "/dict"),
]
