"""A FastAPI application as it is, on this server: `spikard --app-dir examples fastapi_app:app`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Item(BaseModel):
    """What the shop sells."""

    name: str
    price: float


class Order(BaseModel):
    """What a customer asks for."""

    number: int
    count: int = 1


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, dict[int, Item]]]:
    """Open the stock when the server starts, and close it when it stops."""
    stock = {1: Item(name="tea", price=2.5)}
    yield {"stock": stock}
    stock.clear()


app = FastAPI(lifespan=lifespan)


@app.get("/items/{number}")
async def read_item(number: int, request: Request) -> Item:
    """Return one item of the stock that the lifespan opened."""
    stock: dict[int, Item] = request.state.stock
    if number not in stock:
        raise HTTPException(404, "no such item")
    return stock[number]


@app.put("/items/{number}")
async def write_item(number: int, item: Item, request: Request) -> Item:
    """Store an item."""
    request.state.stock[number] = item
    return item


@app.get("/count")
async def count(to: int = 3) -> StreamingResponse:
    """Stream a line per number, each as soon as it is there."""

    async def lines() -> AsyncIterator[str]:
        for number in range(1, to + 1):
            await asyncio.sleep(0)
            yield f"{number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/orders")
async def take_orders(websocket: WebSocket) -> None:
    """Answer each order, `{"number": 1, "count": 2}`, with its price until the customer leaves."""
    stock: dict[int, Item] = websocket.state.stock
    await websocket.accept()
    async for text in websocket.iter_text():
        order = Order.model_validate_json(text)
        item = stock.get(order.number)
        price = None if item is None else item.price * order.count
        await websocket.send_json({"number": order.number, "price": price})
