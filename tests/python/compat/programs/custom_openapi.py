"""A document that the program changes, and operations named after their functions."""

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

app = FastAPI()


@app.get("/items/")
async def read_items(q: int = 3):
    return [{"name": "a"}]


def custom():
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title="Custom", version="2", summary="S", routes=app.routes)
    schema["info"]["x-logo"] = {"url": "https://example.com/logo.png"}
    app.openapi_schema = schema
    return app.openapi_schema


app.openapi = custom  # type: ignore[method-assign]

for route in app.routes:
    if isinstance(route, APIRoute):
        route.operation_id = route.name

REQUESTS = [("GET", "/items/"), ("GET", "/openapi.json")]
