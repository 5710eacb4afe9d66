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


async def short():
    events.append("short in")
    yield "short"
    events.append("short out")


@app.get("/short")
async def shorter(
    value: Annotated[str, Depends(short, scope="function")],
    outer: Annotated[str, Depends(outer)],
    tasks: BackgroundTasks,
):
    tasks.add_task(events.append, "task")
    return value + outer


async def failing_late():
    yield
    raise HTTPException(status_code=409, detail="late")


@app.get("/late", dependencies=[Depends(failing_late, scope="function")])
async def late():
    return "done"


REQUESTS = [("GET", "/good"), ("GET", "/http"), ("GET", "/invalid?number=x"), ("GET", "/late")]


def exercise(client):
    for path in ("/good", "/http", "/invalid?number=x"):
        events.clear()
        yield client.get(path).status_code
        yield sorted(events)
    events.clear()
    yield client.get("/short").json()
    yield list(events)
    events.clear()
    try:
        client.get("/bad")
    except ValueError as exc:
        yield str(exc)
    yield events
