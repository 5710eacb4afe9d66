"""The application of docs/migration-litestar.md after its move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from store import Store

from spikard import HTTPException, Provide, Request, Response, Router, Spikard


@dataclass
class NewOrder:
    """What a customer asks for; dataclasses stay as they are."""

    item: str
    quantity: int = 1


async def open_store() -> AsyncIterator[Store]:
    """Open the store for one request."""
    store = Store()
    try:
        yield store
    finally:
        store.close()


orders = Router(prefix="/orders", tags=["orders"])


@orders.post("", status_code=201)
async def create_order(body: NewOrder, store: Store) -> dict[str, int]:
    """Take an order: `data` is called `body`."""
    return {"id": store.add({"item": body.item, "quantity": body.quantity})}


@orders.get("/{order_id:int}")
async def read_order(order_id: int, store: Store) -> NewOrder:
    """Return an order; path parameters are written alike."""
    found = store.find(order_id)
    if found is None:
        raise HTTPException(404, "no such order")
    return NewOrder(**found)


@orders.delete("/{order_id:int}", status_code=204)
async def cancel_order(order_id: int) -> None:
    """Cancel an order; the status is said, as 200 is the default of every method."""


@asynccontextmanager
async def lifespan(_: Spikard) -> AsyncIterator[dict[str, str]]:
    """Open what all requests share; what is yielded is in `request.state`."""
    yield {"region": "north"}


app = Spikard(lifespan=lifespan)
app.provide("store", Provide(open_store))  # by the parameter's name, as in Litestar
app.include_router(orders)


@app.on_request  # before_request
async def refuse_bots(request: Request) -> Response | None:
    """Answer at once, or go on."""
    if "bot" in request.headers.get("user-agent", ""):
        return Response("no bots", 403, media_type="text/plain")
    return None


@app.on_response  # after_request
async def name_region(request: Request, response: Response) -> Response:
    """Add a header to every response."""
    response.headers["x-region"] = request.state.region
    return response


if __name__ == "__main__":
    app.run()
