"""Status codes, response classes, further responses in the documentation."""

import os

from fastapi import FastAPI, Response, status
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
)
from pydantic import BaseModel

app = FastAPI()


class Message(BaseModel):
    message: str


class Item(BaseModel):
    id: str


class XMLResponse(Response):
    media_type = "application/xml"


class Shouting(JSONResponse):
    def render(self, content):
        return super().render({"SHOUTED": content})


@app.post("/items", status_code=status.HTTP_201_CREATED)
async def create(name: str):
    return {"name": name}


@app.get("/html", response_class=HTMLResponse)
async def html():
    return "<h1>hello</h1>"


@app.get("/text", response_class=PlainTextResponse)
def text():
    return "hello"


@app.get("/xml")
def xml():
    return Response(content="<a/>", media_type="application/xml")


@app.get("/own", response_class=XMLResponse)
def own():
    return "<b/>"


@app.get("/shout", response_class=Shouting)
def shout():
    return {"a": 1}


@app.get("/moved", response_class=RedirectResponse, status_code=302)
async def moved():
    return "https://example.com/"


@app.get("/file", response_class=FileResponse)
async def file():
    return os.path.join(os.path.dirname(__file__), "static", "hello.txt")


@app.get(
    "/items/{id}",
    response_model=Item,
    response_description="The item itself",
    responses={
        404: {"model": Message, "description": "There is none"},
        302: {"description": "It moved"},
        "5XX": {"description": "Our fault"},
        200: {"content": {"application/json": {"example": {"id": "x"}}}},
        "default": {"description": "Anything"},
    },
)
async def item(id: str):
    if id == "none":
        return JSONResponse(status_code=404, content={"message": "none"})
    return {"id": id}


@app.delete("/items/{id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(id: str) -> None:
    return None


@app.get("/teapot", status_code=418, response_class=PlainTextResponse)
async def teapot():
    return "short and stout"


REQUESTS = [
    ("POST", "/items?name=a"),
    ("GET", "/html"),
    ("GET", "/text"),
    ("GET", "/xml"),
    ("GET", "/own"),
    ("GET", "/shout"),
    ("GET", "/moved", {"follow_redirects": False}),
    ("GET", "/file"),
    ("GET", "/items/a"),
    ("GET", "/items/none"),
    ("DELETE", "/items/a"),
    ("GET", "/teapot"),
]
