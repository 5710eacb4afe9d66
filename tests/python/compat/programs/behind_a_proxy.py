"""A prefix that a proxy strips."""

from fastapi import FastAPI, Request

app = FastAPI(root_path="/api/v1", servers=[{"url": "https://example.com", "description": "All"}])


@app.get("/app")
def main(request: Request):
    return {"root_path": request.scope.get("root_path"), "url": str(request.url_for("main"))}


@app.get("/items/")
def items():
    return ["a"]


REQUESTS = [
    ("GET", "/app"),
    ("GET", "/items/"),
    ("GET", "/openapi.json"),
    # A proxy that does not strip it.
    ("GET", "/api/v1/app"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1x/app"),
]
