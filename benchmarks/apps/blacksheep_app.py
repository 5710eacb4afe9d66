"""The framework workloads in BlackSheep: `app`, and `hooked` with one middleware.

It has no dependency with `yield`.
"""

from collections.abc import Awaitable, Callable

from blacksheep import Application, FromJSON, Request, Response, Router, text

from benchmarks.apps.models_pydantic import ITEMS, Found, Item, Order, Receipt, User, receipt


async def hook(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    request.headers.add(b"x-method", request.method.encode())
    return await handler(request)


def build() -> Application:
    """Return an application with all routes."""
    app = Application(router=Router())

    @app.router.get("/hello")
    async def hello() -> Response:
        return text("Hello, World!")

    @app.router.get("/users/{id}")
    async def user(id: int) -> User:
        return User(id=id, name="Alice")

    @app.router.get("/search/{category}")
    async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
        return Found(category=category, q=q, limit=limit, exact=exact)

    @app.router.post("/orders")
    async def order(order: FromJSON[Order]) -> Receipt:
        return receipt(order.value)

    @app.router.get("/items")
    async def items() -> list[Item]:
        return ITEMS

    return app


app = build()
hooked = build()
hooked.middlewares.append(hook)
