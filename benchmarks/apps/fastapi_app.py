"""The framework workloads in FastAPI.

`app` is plain, `hooked` has one of FastAPI's middleware, `wrapped` one ASGI middleware, and
`below` has all paths below `/old`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from benchmarks.apps.asgi_middleware import PathNoting
from benchmarks.apps.models_pydantic import ITEMS, Found, Item, Order, Receipt, User, receipt

router = APIRouter()


class Session:
    """What the dependency hands out."""

    open = True


async def session() -> AsyncIterator[Session]:
    """Open a session for one request and close it afterwards."""
    opened = Session()
    yield opened
    opened.open = False


@router.get("/hello", response_class=PlainTextResponse)
async def hello() -> str:
    return "Hello, World!"


@router.get("/users/{id}")
async def user(id: int) -> User:
    return User(id=id, name="Alice")


@router.get("/search/{category}")
async def search(category: str, q: str, limit: int = 10, exact: bool = False) -> Found:
    return Found(category=category, q=q, limit=limit, exact=exact)


@router.post("/orders")
async def order(order: Order) -> Receipt:
    return receipt(order)


@router.get("/items")
async def items() -> list[Item]:
    return ITEMS


@router.get("/session")
async def with_session(session: Annotated[Session, Depends(session)]) -> dict[str, bool]:
    return {"open": session.open}


app = FastAPI()
app.include_router(router)
below = FastAPI()
below.include_router(router, prefix="/old")
wrapped = FastAPI()
wrapped.include_router(router)
wrapped.add_middleware(PathNoting)
hooked = FastAPI()
hooked.include_router(router)


@hooked.middleware("http")
async def hook(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    request.state.method = request.method
    return await call_next(request)
