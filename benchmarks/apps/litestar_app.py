"""The framework workloads in Litestar: `app`, and `hooked` with one `before_request` hook."""

from collections.abc import AsyncIterator

from litestar import Litestar, MediaType, Request, get, post
from litestar.di import Provide

from benchmarks.apps.models_msgspec import ITEMS, Found, Item, Order, Receipt, User, receipt


class Session:
    """What the dependency hands out."""

    open = True


async def open_session() -> AsyncIterator[Session]:
    """Open a session for one request and close it afterwards."""
    opened = Session()
    yield opened
    opened.open = False


@get("/hello", media_type=MediaType.TEXT)
async def hello() -> str:
    return "Hello, World!"


@get("/users/{id:int}")
async def user(id: int) -> User:
    return User(id=id, name="Alice")


@get("/search/{category:str}")
async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
    return Found(category=category, q=q, limit=limit, exact=exact)


@post("/orders", status_code=200)
async def order(data: Order) -> Receipt:
    return receipt(data)


@get("/items")
async def items() -> list[Item]:
    return ITEMS


@get("/session", dependencies={"session": Provide(open_session)})
async def with_session(session: Session) -> dict[str, bool]:
    return {"open": session.open}


async def hook(request: Request) -> None:
    request.state.method = request.method


HANDLERS = [hello, user, search, order, items, with_session]
app = Litestar(HANDLERS)
hooked = Litestar(HANDLERS, before_request=hook)
