"""A handler of every exception: what has an answer of its own keeps it."""

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

app = FastAPI()


@app.exception_handler(Exception)
async def anything(request, exc):
    return JSONResponse({"broken": str(exc)}, status_code=500)


@app.get("/items/{number}")
async def item(number: int):
    if number == 3:
        raise HTTPException(status_code=418, detail="no 3", headers={"x-a": "b"})
    if number == 5:
        raise HTTPException(status_code=500, detail="five")
    return number


@app.get("/four")
async def four():
    raise RuntimeError("four")


REQUESTS = [
    ("GET", "/items/1"),
    ("GET", "/items/3"),
    ("GET", "/items/5"),
    ("GET", "/items/x"),
    ("GET", "/nothing"),
]


def exercise(client):
    client.raise_server_exceptions = False
    if hasattr(client, "_transport"):
        client._transport.raise_server_exceptions = False
    response = client.get("/four")
    yield response.status_code, response.json()
