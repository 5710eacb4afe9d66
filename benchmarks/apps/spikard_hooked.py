"""Spikard with one `on_request` hook in front of `GET /users/{id}`."""

from benchmarks.apps.models_msgspec import User
from spikard import Request, Spikard

app = Spikard()


@app.on_request
async def hook(request: Request) -> Request:
    request.state.method = request.method
    return request


@app.get("/users/{id:int}")
async def user(id: int) -> User:
    return User(id=id, name="Alice")
