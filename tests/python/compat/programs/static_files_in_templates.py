"""Links to mounted files and to routes, in pages and from the application."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles

HERE = Path(__file__).parent

app = FastAPI()
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


@app.get("/pages/{page:path}", name="page")
async def pages(request: Request, page: str):
    return {
        "file": str(request.url_for("static", path="/hello.txt")),
        "page": str(request.url_for("page", page="a/b")),
        "path": app.url_path_for("static", path="hello.txt"),
    }


REQUESTS = [("GET", "/pages/x/y")]
