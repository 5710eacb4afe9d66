"""Step 4: all routes have moved, the dependency with them; models are Structs now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta, Struct, structs
from store import Store

from spikard import HTTPException, Provide, Router, Spikard


class NewOrder(Struct):
    """What a customer asks for."""

    item: Annotated[str, Meta(min_length=2)]
    quantity: Annotated[int, Meta(ge=1)]


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


orders = Router(prefix="/orders", tags=["orders"])


@orders.post("", status_code=201)
async def create_order(order: NewOrder, store: Store) -> Order:
    """Take an order."""
    fields = structs.asdict(order)
    return Order(id=store.add(fields), **fields)


@orders.get("/{order_id}")
async def read_order(order_id: int, store: Store) -> Order:
    """Return an order."""
    found = store.find(order_id)
    if found is None:
        raise HTTPException(404, "no such order")
    return Order(id=order_id, **found)


@orders.get("")
async def list_orders(store: Store, limit: int = 10) -> list[Order]:
    """Return the newest orders."""
    return [Order(id=number, **fields) for number, fields in store.newest(limit)]


app = Spikard(title="Orders")
app.provide(Store, Provide(open_store))  # parameters of the type Store receive it
app.include_router(orders)

if __name__ == "__main__":
    app.run()
