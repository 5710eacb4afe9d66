"""The framework workloads in Robyn; the word `hooked` after the port adds a `before_request` hook.

It has no dependency with `yield`.
"""

import sys

from robyn import Request, Robyn

from benchmarks.apps.models_pydantic import ITEMS, Found, Item, Order, Receipt, User, receipt

app = Robyn(__file__)


@app.get("/hello")
async def hello() -> str:
    return "Hello, World!"


@app.get("/users/:id")
async def user(id: int) -> User:
    return User(id=id, name="Alice")


@app.get("/search/:category")
async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
    return Found(category=category, q=q, limit=limit, exact=exact)


@app.post("/orders")
async def order(order: Order) -> Receipt:
    return receipt(order)


@app.get("/items")
async def items() -> list[Item]:
    return ITEMS


if "hooked" in sys.argv:

    @app.before_request()
    async def hook(request: Request) -> Request:
        request.headers.set("x-method", request.method)
        return request


if __name__ == "__main__":
    app.start(port=int(sys.argv[1]))
