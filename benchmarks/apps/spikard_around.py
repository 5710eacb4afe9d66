"""Spikard around others: `mounted`, a FastAPI application below it; `wrapped`, in a middleware."""

from benchmarks.apps.asgi_middleware import PathNoting
from benchmarks.apps.fastapi_app import app as fastapi_app
from benchmarks.apps.models_msgspec import User
from spikard import Spikard

mounted = Spikard()
mounted.mount("/old", fastapi_app)

wrapped = Spikard()
wrapped.add_middleware(PathNoting)


@wrapped.get("/users/{id:int}")
async def user(id: int) -> User:
    return User(id=id, name="Alice")
