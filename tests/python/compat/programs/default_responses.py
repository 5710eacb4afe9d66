"""Default response classes, of the application and of routers; several methods of one path."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

app = FastAPI(default_response_class=PlainTextResponse)
pages = APIRouter(default_response_class=HTMLResponse)


@app.get("/text")
async def text():
    return "text"


@app.get("/json", response_class=JSONResponse)
async def as_json():
    return {"a": 1}


@pages.get("/page")
async def page():
    return "<p>page</p>"


@app.get("/both")
async def read():
    return "read"


@app.post("/both")
async def write(request: Request):
    return f"written {len(await request.body())}"


@app.get("/first/{name}")
async def first(name: str):
    return f"first {name}"


@app.get("/first/{other}")
async def second(other: str):
    return f"second {other}"


@app.get("/own")
async def own():
    response = Response("own", media_type="text/css")
    response.headers["x-a"] = "1"
    response.set_cookie("a", "b", secure=True, samesite="strict", domain="example.com")
    response.delete_cookie("old")
    return response


app.include_router(pages)
app.include_router(pages, prefix="/json", default_response_class=JSONResponse)

REQUESTS = [
    ("GET", "/text"),
    ("GET", "/json"),
    ("GET", "/page"),
    ("GET", "/json/page"),
    ("GET", "/both"),
    ("POST", "/both", {"content": b"123"}),
    ("DELETE", "/both"),
    ("GET", "/first/a"),
    ("GET", "/own"),
]
