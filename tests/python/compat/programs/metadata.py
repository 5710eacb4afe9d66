"""What the document says about the API, where it is served, and how operations are named."""

from fastapi import FastAPI
from fastapi.routing import APIRoute


def unique_id(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else 'none'}-{route.name}"


app = FastAPI(
    title="Shop",
    summary="Sells things",
    description="# Things\n\nAll of them.",
    version="2.5.0",
    terms_of_service="https://example.com/terms/",
    contact={"name": "Ann", "url": "https://example.com/contact/", "email": "ann@example.com"},
    license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    openapi_tags=[
        {"name": "users", "description": "Who"},
        {"name": "items", "externalDocs": {"description": "More", "url": "https://example.com/"}},
    ],
    servers=[{"url": "https://example.com", "description": "Production"}],
    openapi_external_docs={"description": "Docs", "url": "https://example.com/docs"},
    openapi_url="/api/v1/openapi.json",
    docs_url="/documentation",
    redoc_url=None,
    generate_unique_id_function=unique_id,
)


@app.get("/users/", tags=["users"])
async def users():
    return []


@app.get(
    "/items/",
    tags=["items"],
    summary="All items",
    description="Every **item**.",
    response_description="The items",
    deprecated=True,
    operation_id="all_items",
    openapi_extra={"x-aperture": "blue", "externalDocs": {"url": "https://example.com/items"}},
)
async def items():
    return []


@app.get("/documented/")
async def documented():
    """
    Show a docstring.

    - **with** markdown
    \f
    Not shown.
    """
    return []


@app.get("/hidden/", include_in_schema=False)
async def hidden():
    return []


REQUESTS = [
    ("GET", "/users/"),
    ("GET", "/hidden/"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/openapi.json"),
    ("GET", "/redoc"),
    ("GET", "/docs"),
]


def exercise(client):
    page = client.get("/documentation")
    yield page.headers["content-type"]
