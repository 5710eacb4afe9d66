"""One handler for every HTTP error, those of routing too, and FastAPI's handlers called from it."""

from fastapi import FastAPI, HTTPException
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

app = FastAPI()
seen: list[str] = []


@app.exception_handler(StarletteHTTPException)
async def http_error(request, exc):
    seen.append(f"{exc.status_code} {exc.detail}")
    if exc.status_code == 404:
        return JSONResponse({"nothing": request.url.path}, status_code=404)
    return await http_exception_handler(request, exc)


@app.exception_handler(RequestValidationError)
async def invalid(request, exc):
    seen.append("invalid")
    return await request_validation_exception_handler(request, exc)


@app.exception_handler(Exception)
async def anything(request, exc):
    return JSONResponse({"broken": str(exc)}, status_code=500)


@app.get("/items/{number}")
async def item(number: int):
    if number == 3:
        raise HTTPException(status_code=418, detail="no 3")
    if number == 4:
        raise RuntimeError("four")
    return number


REQUESTS = [
    ("GET", "/items/1"),
    ("GET", "/items/3"),
    ("GET", "/items/x"),
    ("GET", "/nothing"),
    ("PATCH", "/items/1"),
]


def exercise(client):
    seen.clear()
    for path in ("/items/3", "/items/x", "/nothing"):
        client.get(path)
    yield list(seen)
    client.raise_server_exceptions = False
    if hasattr(client, "_transport"):
        client._transport.raise_server_exceptions = False
    response = client.get("/items/4")
    yield response.status_code, response.json()
