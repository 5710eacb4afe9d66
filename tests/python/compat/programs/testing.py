"""Tests of an application: cookies that stay, uploads, headers of the client, errors, lifespan."""

from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, File, Form, Header, HTTPException, Response

items = {}


@asynccontextmanager
async def lifespan(app: FastAPI):
    items["foo"] = {"name": "Fighters"}
    yield
    items.clear()


app = FastAPI(lifespan=lifespan)


async def common(limit: int = 100):
    return {"limit": limit}


@app.get("/items/{name}")
async def item(name: str, x_token: Annotated[str, Header()]):
    if x_token != "coneofsilence":
        raise HTTPException(status_code=400, detail="Invalid X-Token header")
    if name not in items:
        raise HTTPException(status_code=404, detail="Item not found")
    return items[name]


@app.post("/login")
async def login(response: Response, name: Annotated[str, Form()]):
    response.set_cookie("session", name)


@app.get("/me")
async def me(session: Annotated[str | None, Cookie()] = None):
    return session


@app.post("/upload")
async def upload(files: Annotated[list[bytes], File()], note: Annotated[str, Form()] = ""):
    return [len(each) for each in files], note


@app.get("/list")
async def listed(common: Annotated[dict, Depends(common)]):
    return common


@app.get("/broken")
async def broken():
    raise RuntimeError("broken")


REQUESTS = [("GET", "/items/foo"), ("GET", "/list?limit=x")]


def exercise(client):
    yield client.get("/items/foo", headers={"x-token": "coneofsilence"}).status_code
    with client:
        client.headers["x-token"] = "coneofsilence"
        yield client.get("/items/foo").json()
        yield client.get("/items/bar").json()
        yield client.get("/items/foo", headers={"X-Token": "other"}).json()
    yield dict(items)
    yield client.get("/me").json()
    client.post("/login", data={"name": "ann"})
    yield client.get("/me").json(), dict(client.cookies)
    client.cookies.clear()
    yield client.get("/me").json()
    yield client.post(
        "/upload", data={"note": "two"}, files=[("files", b"a"), ("files", ("b.txt", b"bb"))]
    ).json()
    app.dependency_overrides[common] = lambda: {"limit": "overridden"}
    yield client.get("/list").json()
    app.dependency_overrides = {}
    yield client.get("/list", params={"limit": 3}).json()
    try:
        client.get("/broken")
    except RuntimeError as error:
        yield str(error)
    with client.stream("GET", "/list") as response:
        yield response.read().decode()
