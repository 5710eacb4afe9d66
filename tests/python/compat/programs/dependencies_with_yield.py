"""Dependencies that yield: order of what follows, exceptions, HTTP errors from them."""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException

app = FastAPI()
events: list[str] = []


async def outer():
    events.append("outer in")
    try:
        yield "outer"
    except ValueError as exc:
        events.append(f"outer saw {exc}")
        raise
    finally:
        events.append("outer out")


def inner(outer: Annotated[str, Depends(outer)]):
    events.append("inner in")
    try:
        yield outer + " inner"
    finally:
        events.append("inner out")


def translating():
    try:
        yield "translating"
    except KeyError as exc:
        raise HTTPException(status_code=400, detail=f"no {exc}") from exc


@app.get("/good")
async def good(value: Annotated[str, Depends(inner)], tasks: BackgroundTasks):
    events.append("handler")
    tasks.add_task(events.append, "task")
    return value


@app.get("/bad")
async def bad(value: Annotated[str, Depends(inner)]):
    raise ValueError("bad")


@app.get("/http")
async def refuses(value: Annotated[str, Depends(inner)]):
    raise HTTPException(status_code=404, detail="none")


@app.get("/invalid")
async def invalid(number: int, value: Annotated[str, Depends(inner)]):
    return number


REQUESTS = [("GET", "/good"), ("GET", "/http"), ("GET", "/invalid?number=x")]


def exercise(client):
    for path in ("/good", "/http", "/invalid?number=x"):
        events.clear()
        yield client.get(path).status_code
        yield sorted(events)
    events.clear()
    try:
        client.get("/bad")
    except ValueError as exc:
        yield str(exc)
    yield events
