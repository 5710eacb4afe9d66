"""The framework workloads in django-bolt: `api`, and `hooked` with one middleware.

It has no dependency with `yield`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django_bolt import BoltAPI
from django_bolt.responses import PlainText

from benchmarks.apps.models_msgspec import ITEMS, Found, Item, Order, Receipt, User, receipt


class Hook:
    """Middleware that notes the request's method."""

    def __init__(self, get_response: Callable[[Any], Awaitable[Any]]) -> None:
        self.get_response = get_response

    async def __call__(self, request: Any) -> Any:
        """Go on with the request."""
        request.state["method"] = request.method
        return await self.get_response(request)


def build(**options: Any) -> BoltAPI:
    """Return the API with all routes; `options` are BoltAPI's."""
    api = BoltAPI(**options)

    @api.get("/hello")
    async def hello() -> PlainText:
        return PlainText("Hello, World!")

    @api.get("/users/{id}")
    async def user(id: int) -> User:
        return User(id=id, name="Alice")

    @api.get("/search/{category}")
    async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
        return Found(category=category, q=q, limit=limit, exact=exact)

    @api.post("/orders")
    async def order(order: Order) -> Receipt:
        return receipt(order)

    @api.get("/items")
    async def items() -> list[Item]:
        return ITEMS

    return api


api = build()
hooked = build(middleware=[Hook])
