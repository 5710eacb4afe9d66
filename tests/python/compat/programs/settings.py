"""Settings from the environment, as a cached dependency that tests replace."""

import os
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    app_name: str = "Awesome"
    items_per_user: int = 50


@lru_cache
def get_settings():
    return Settings()


app = FastAPI()


@app.get("/info")
async def info(settings: Annotated[Settings, Depends(get_settings)]):
    return {"app_name": settings.app_name, "items_per_user": settings.items_per_user}


REQUESTS = [("GET", "/info")]


def exercise(client):
    os.environ["ITEMS_PER_USER"] = "7"
    get_settings.cache_clear()
    yield client.get("/info").json()
    del os.environ["ITEMS_PER_USER"]
    get_settings.cache_clear()
    app.dependency_overrides[get_settings] = lambda: Settings(app_name="Tested")
    yield client.get("/info").json()
    app.dependency_overrides.clear()
