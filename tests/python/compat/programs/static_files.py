"""Directories, as a policy of the server."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

DIRECTORY = Path(__file__).parent / "static"

app = FastAPI()
app.mount("/static", StaticFiles(directory=DIRECTORY), name="static")
app.mount("/site", StaticFiles(directory=str(DIRECTORY), html=True), name="site")


@app.get("/")
async def main():
    return {"a": 1}


REQUESTS = [
    ("GET", "/"),
    ("GET", "/static/hello.txt"),
    ("GET", "/static/nothing.txt"),
    ("GET", "/site/"),
    ("GET", "/static/../programs.py"),
]
