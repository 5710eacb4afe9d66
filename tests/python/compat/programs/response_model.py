"""What a response model keeps, leaves out, checks and documents."""

from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field, computed_field

app = FastAPI()


class BaseUser(BaseModel):
    username: str
    full_name: str | None = None


class UserIn(BaseUser):
    password: str


class Item(BaseModel):
    name: str
    price: float = 10.5
    tags: list[str] = []
    alias: str | None = Field(default=None, alias="otherName")


class Area(BaseModel):
    side: int

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


@app.post("/user")
async def user(user: UserIn) -> BaseUser:
    return user


@app.post("/user-model", response_model=BaseUser)
async def user_model(user: UserIn) -> Any:
    return user


@app.get("/dicts", response_model=list[Item])
async def dicts() -> Any:
    return [{"name": "a", "secret": 1}, {"name": "b", "price": "3"}]


ITEMS = {
    "a": {"name": "A"},
    "b": {"name": "B", "price": 1, "tags": ["x"], "otherName": "o"},
}


@app.get("/unset/{key}", response_model=Item, response_model_exclude_unset=True)
async def unset(key: str):
    return ITEMS[key]


@app.get("/none/{key}", response_model=Item, response_model_exclude_none=True)
async def none(key: str):
    return ITEMS[key]


@app.get("/defaults/{key}", response_model=Item, response_model_exclude_defaults=True)
async def defaults(key: str):
    return ITEMS[key]


@app.get("/include", response_model=Item, response_model_include={"name", "price"})
async def include():
    return ITEMS["b"]


@app.get("/exclude", response_model=Item, response_model_exclude={"tags"})
async def exclude():
    return ITEMS["b"]


@app.get("/names", response_model=Item, response_model_by_alias=False)
async def names():
    return ITEMS["b"]


@app.get("/response")
async def response(elsewhere: bool = False) -> Response:
    if elsewhere:
        return RedirectResponse(url="https://example.com/a b")
    return JSONResponse(content={"a": 1}, status_code=201, headers={"x-a": "b"})


@app.get("/no-model", response_model=None)
async def no_model() -> Response | dict[str, str]:
    return {"a": "b"}


@app.get("/union", response_model=BaseUser | Item)
async def union():
    return {"name": "x"}


@app.post("/area")
async def area(area: Area) -> Area:
    return area


@app.get("/wrong", response_model=Item)
async def wrong():
    return {"price": "x"}


@app.get("/scalar")
async def scalar() -> int:
    return 3


@app.get("/nothing")
async def nothing() -> None:
    return None


USER = {"username": "u", "password": "secret"}

REQUESTS = [
    ("POST", "/user", {"json": USER}),
    ("POST", "/user-model", {"json": USER}),
    ("GET", "/dicts"),
    ("GET", "/unset/a"),
    ("GET", "/unset/b"),
    ("GET", "/none/a"),
    ("GET", "/defaults/a"),
    ("GET", "/include"),
    ("GET", "/exclude"),
    ("GET", "/names"),
    ("GET", "/response"),
    ("GET", "/response?elsewhere=1", {"follow_redirects": False}),
    ("GET", "/no-model"),
    ("GET", "/union"),
    ("POST", "/area", {"json": {"side": 3}}),
    ("GET", "/scalar"),
    ("GET", "/nothing"),
]


def exercise(client):
    try:
        client.get("/wrong")
    except Exception as exc:
        yield type(exc).__name__, [error["type"] for error in exc.errors()]
