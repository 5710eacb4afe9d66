"""Exceptions: raised, with headers, handled by class and status, unhandled."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

app = FastAPI()


class Unicorn(Exception):
    def __init__(self, name: str):
        self.name = name


@app.exception_handler(Unicorn)
async def unicorn(request: Request, exc: Unicorn):
    return JSONResponse(status_code=418, content={"oops": exc.name, "at": request.url.path})


@app.exception_handler(409)
def conflict(request: Request, exc: HTTPException):
    return PlainTextResponse(f"conflict: {exc.detail}", status_code=409)


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, exc: RequestValidationError):
    return JSONResponse(
        status_code=400, content=jsonable_encoder({"errors": exc.errors(), "body": exc.body})
    )


@app.get("/items/{id}")
async def item(id: str):
    if id == "none":
        raise HTTPException(status_code=404, detail="Item not found", headers={"X-Error": "none"})
    if id == "structured":
        raise HTTPException(status_code=400, detail={"why": ["a", 1]})
    if id == "short":
        raise HTTPException(status_code=403)
    if id == "conflict":
        raise HTTPException(status_code=409, detail="twice")
    if id == "empty":
        raise HTTPException(status_code=304)
    return {"id": id}


@app.get("/unicorns/{name}")
async def unicorns(name: str):
    raise Unicorn(name)


@app.get("/typed/{number}")
async def typed(number: int):
    return number


class Item(BaseModel):
    size: int


@app.post("/items")
async def create(item: Item):
    return item


@app.get("/broken")
async def broken():
    raise RuntimeError("broken")


REQUESTS = [
    ("GET", "/items/a"),
    ("GET", "/items/none"),
    ("GET", "/items/structured"),
    ("GET", "/items/short"),
    ("GET", "/items/conflict"),
    ("GET", "/items/empty"),
    ("GET", "/unicorns/u"),
    ("GET", "/typed/x"),
    ("POST", "/items", {"json": {"size": "XL"}}),
    ("POST", "/items", {"content": b"{", "headers": {"content-type": "application/json"}}),
]


def exercise(client):
    try:
        client.get("/broken")
    except Exception as exc:
        yield type(exc).__name__, str(exc)
