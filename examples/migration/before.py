"""The FastAPI application that is moved: orders, kept in a store that a dependency opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from store import Store


class NewOrder(BaseModel):
    """What a customer asks for."""

    item: str = Field(min_length=2)
    quantity: int = Field(ge=1)


class Order(NewOrder):
    """An order that has been taken."""

    id: int


async def open_store() -> AsyncIterator[Store]:
    """Open the store for one request."""
    store = Store()
    try:
        yield store
    finally:
        store.close()


router = APIRouter(prefix="/orders", tags=["orders"])


@router.post("", status_code=201)
async def create_order(order: NewOrder, store: Annotated[Store, Depends(open_store)]) -> Order:
    """Take an order."""
    return Order(id=store.add(order.model_dump()), **order.model_dump())


@router.get("/{order_id}")
async def read_order(order_id: int, store: Annotated[Store, Depends(open_store)]) -> Order:
    """Return an order."""
    found = store.find(order_id)
    if found is None:
        raise HTTPException(404, "no such order")
    return Order(id=order_id, **found)


@router.get("")
async def list_orders(store: Annotated[Store, Depends(open_store)], limit: int = 10) -> list[Order]:
    """Return the newest orders."""
    return [Order(id=number, **fields) for number, fields in store.newest(limit)]


app = FastAPI(title="Orders")
app.include_router(router)
