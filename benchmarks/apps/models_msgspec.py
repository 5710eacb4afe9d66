"""The data of the typed workloads as msgspec Structs; `models_pydantic.py` has the same fields."""

from __future__ import annotations

from msgspec import Struct


class User(Struct):
    """Answer of `GET /users/{id}`."""

    id: int
    name: str


class Found(Struct):
    """Answer of `GET /search/{category}?q=…&limit=…&exact=…`: its parameters."""

    category: str
    q: str
    limit: int
    exact: bool


class Item(Struct):
    """One line of an order, and one element of `GET /items`."""

    sku: str
    name: str
    quantity: int
    price: float
    tags: list[str]


class Order(Struct):
    """Body of `POST /orders`: 1 KiB of JSON."""

    id: int
    customer: str
    email: str
    paid: bool
    items: list[Item]
    note: str | None = None


class Receipt(Struct):
    """Answer of `POST /orders`."""

    id: int
    lines: int
    total: float


ITEMS = [
    Item(sku=f"SKU-{n:05}", name=f"Item {n}", quantity=n % 7, price=n + 0.5, tags=["new", "blue"])
    for n in range(200)
]


def receipt(order: Order) -> Receipt:
    """Return the order's number of lines and price."""
    price = sum(item.quantity * item.price for item in order.items)
    return Receipt(id=order.id, lines=len(order.items), total=price)
