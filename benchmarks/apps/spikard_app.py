"""The framework workloads in Spikard that need handlers only."""

from benchmarks.apps.models_msgspec import ITEMS, Found, Item, Order, Receipt, User, receipt
from spikard import Spikard

app = Spikard()


@app.get("/hello")
async def hello() -> bytes:
    return b"Hello, World!"


@app.get("/users/{id:int}")
async def user(id: int) -> User:
    return User(id=id, name="Alice")


@app.get("/search/{category}")
async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
    return Found(category=category, q=q, limit=limit, exact=exact)


@app.post("/orders")
async def order(order: Order) -> Receipt:
    return receipt(order)


@app.get("/items")
async def items() -> list[Item]:
    return ITEMS
