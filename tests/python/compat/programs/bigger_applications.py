"""Routers in routers, with prefixes, tags, dependencies and responses of their own."""

from enum import Enum
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException


class Tag(Enum):
    items = "items"
    users = "users"


async def token(x_token: Annotated[str, Header()]):
    if x_token != "t":
        raise HTTPException(status_code=400, detail="X-Token header invalid")


items = APIRouter(
    prefix="/items",
    tags=[Tag.items],
    dependencies=[Depends(token)],
    responses={404: {"description": "Not found"}},
)


@items.get("/")
async def read_items():
    return ["a"]


@items.get("/{item_id}", name="one_item")
async def read_item(item_id: str):
    if item_id == "none":
        raise HTTPException(status_code=404, detail="Item not found")
    return {"id": item_id}


@items.put("/{item_id}", tags=["custom"], responses={403: {"description": "Forbidden"}})
async def update_item(item_id: str):
    return {"updated": item_id}


users = APIRouter()


@users.get("/users/", tags=[Tag.users])
async def read_users():
    return []


@users.get("")
async def at_prefix():
    return "at the prefix"


@users.api_route("/several", methods=["GET"], operation_id="several")
async def several():
    return "several"


admin = APIRouter(deprecated=True)


@admin.post("/", summary="Update the admin", description="All of it.")
async def update_admin():
    return {"message": "admin"}


inner = APIRouter(prefix="/inner")
inner.include_router(
    admin, prefix="/admin", tags=["admin"], responses={418: {"description": "Tea"}}
)

app = FastAPI(title="Bigger", responses={503: {"description": "Busy"}})
app.include_router(items)
app.include_router(users, prefix="/all")
app.include_router(inner, prefix="/outer/{version}")
app.include_router(admin, prefix="/hidden", include_in_schema=False)


@app.get("/")
async def root():
    return {"url": app.url_path_for("one_item", item_id="x")}


T = {"headers": {"x-token": "t"}}

REQUESTS = [
    ("GET", "/"),
    ("GET", "/items/", T),
    ("GET", "/items", T),
    ("GET", "/items/"),
    ("GET", "/items/a", T),
    ("GET", "/items/none", T),
    ("PUT", "/items/a", {"headers": {"x-token": "no"}}),
    ("GET", "/all/users/"),
    ("GET", "/all"),
    ("GET", "/all/several"),
    ("POST", "/outer/3/inner/admin/"),
    ("POST", "/hidden/"),
]
