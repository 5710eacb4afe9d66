"""One schema for input and output alike."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI(separate_input_output_schemas=False)


class Item(BaseModel):
    name: str
    description: str | None = None
    size: int = 3


@app.post("/items")
def create(item: Item) -> list[Item]:
    return [item]


REQUESTS = [("POST", "/items", {"json": {"name": "a"}})]
