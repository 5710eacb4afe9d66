"""The application of docs/migration-robyn.md after its move."""

from __future__ import annotations

from msgspec import Struct
from store import Store

from spikard import HTTPException, Request, Response, ServerConfig, Spikard, WebSocket


class Order(Struct):
    """What a customer asks for: the body is checked against it."""

    item: str
    quantity: int = 1


app = Spikard(ServerConfig(port=8080))
store = Store()
app.provide("store", store)  # app.inject(store=store)


@app.get("/")
async def index() -> Response:
    """Answer with text: a plain `str` would be a JSON string."""
    return Response("orders", media_type="text/plain")


@app.get("/orders/{order_id}")  # "/orders/:order_id"
async def read_order(order_id: int, store: Store) -> Order:
    """Return an order; the number has been checked and converted."""
    found = store.find(order_id)
    if found is None:
        raise HTTPException(404, "no such order")
    return Order(**found)


@app.post("/orders")
async def create_order(order: Order, store: Store) -> dict[str, int]:
    """Take an order: the body is a parameter, `request.json()` is not needed."""
    return {"id": store.add({"item": order.item, "quantity": order.quantity})}


@app.on_request  # @app.before_request()
async def note(request: Request) -> Request:
    """Add what the handlers find in the request's state."""
    request.state.client_name = request.headers.get("x-client", "unknown")
    return request


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Send every text back."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


if __name__ == "__main__":
    app.run()
