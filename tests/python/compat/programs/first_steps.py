"""A handler of each kind, and paths that nobody takes."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def greeting():
    return {"greeting": "hello"}


@app.get("/plain")
def plain():
    """Say it from a thread.

    More about it.
    """
    return ["a", 1, 1.5, True, None]


@app.put("/plain")
@app.patch("/plain")
def replaced() -> str:
    return "replaced"


@app.delete("/plain", status_code=204)
def deleted():
    return None


REQUESTS = [
    ("GET", "/"),
    ("GET", "/plain"),
    ("PUT", "/plain"),
    ("PATCH", "/plain"),
    ("DELETE", "/plain"),
    ("GET", "/nothing"),
    ("POST", "/"),
    ("GET", "/plain/"),
    ("HEAD", "/"),
    ("OPTIONS", "/"),
]
