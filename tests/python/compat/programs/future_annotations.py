"""A program whose annotations are strings, with the spellings of older Pythons."""

from __future__ import annotations

from typing import Annotated, Dict, List, Optional, Union

from fastapi import Body, Depends, FastAPI, Header, Query, Response
from pydantic import BaseModel, Field

app = FastAPI()


class Item(BaseModel):
    name: str
    tags: List[str] = []
    extra: Optional[Dict[str, int]] = None


def common(q: Optional[str] = None, limit: Annotated[int, Field(gt=0)] = 5) -> Dict[str, object]:
    return {"q": q, "limit": limit}


@app.get("/items", response_model=List[Item])
async def items(
    response: Response,
    common: Dict[str, object] = Depends(common),
    ids: List[int] = Query(default=[]),
    token: Optional[str] = Header(None, alias="X-Token"),
):
    response.headers["x-a"] = str(common["limit"])
    return [{"name": f"{common['q']} {ids} {token}"}]


@app.post("/items")
async def create(item: Union[Item, List[Item]], note: Annotated[Optional[str], Body()] = None):
    return {"item": item, "note": note}


REQUESTS = [
    ("GET", "/items?q=a&limit=3&ids=1&ids=2", {"headers": {"x-token": "t"}}),
    ("GET", "/items?limit=0"),
    ("POST", "/items", {"json": {"item": {"name": "a"}, "note": "n"}}),
    ("POST", "/items", {"json": {"item": [{"name": "a", "extra": {"b": 1}}]}}),
    ("POST", "/items", {"json": {"item": 3}}),
]
