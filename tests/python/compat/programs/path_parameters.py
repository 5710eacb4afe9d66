"""Typed segments, enumerations, order, whole paths."""

import uuid
from enum import Enum
from typing import Annotated

from fastapi import FastAPI, Path

app = FastAPI()


class Size(str, Enum):
    small = "small"
    large = "large"


@app.get("/users/me")
async def own():
    return {"user": "me"}


@app.get("/users/{user_id}")
async def user(user_id: str):
    return {"user": user_id}


@app.get("/numbers/{number}")
async def number(number: int):
    return {"number": number}


@app.get("/sizes/{size}")
async def size(size: Size):
    return {"size": size, "is_small": size is Size.small}


@app.get("/files/{file_path:path}")
async def file(file_path: str):
    return {"path": file_path}


@app.get("/ids/{id}/parts/{part}")
async def part(
    id: uuid.UUID,
    part: Annotated[float, Path(title="The part", description="Of the whole", gt=0, le=10.5)],
):
    return {"id": id, "part": part}


@app.get("/words/{word}")
async def word(word: Annotated[str, Path(min_length=2, max_length=4, pattern="^[a-z]+$")]):
    return word


KEY = "123e4567-e89b-12d3-a456-426614174000"

REQUESTS = [
    ("GET", "/users/me"),
    ("GET", "/users/anna%20b"),
    ("GET", "/numbers/3"),
    ("GET", "/numbers/3.0"),
    ("GET", "/numbers/3.5"),
    ("GET", "/numbers/x"),
    ("GET", "/sizes/small"),
    ("GET", "/sizes/medium"),
    ("GET", "/files/home/a/b.txt"),
    ("GET", "/files//home/a"),
    ("GET", f"/ids/{KEY}/parts/1.5"),
    ("GET", f"/ids/{KEY}/parts/11"),
    ("GET", "/ids/x/parts/y"),
    ("GET", "/words/ab"),
    ("GET", "/words/a"),
    ("GET", "/words/abcde"),
    ("GET", "/words/AB"),
]
