"""Cookies and headers: single values, lists, models; and those of responses."""

from typing import Annotated

from fastapi import Cookie, FastAPI, Header, Response
from pydantic import BaseModel

app = FastAPI()


@app.get("/cookie")
async def cookie(ads_id: Annotated[str | None, Cookie()] = None, count: int = Cookie(default=1)):
    return {"ads_id": ads_id, "count": count}


@app.get("/header")
async def header(
    user_agent: Annotated[str | None, Header()] = None,
    x_token: Annotated[list[str] | None, Header()] = None,
    strange_header: Annotated[str | None, Header(convert_underscores=False)] = None,
    number: Annotated[int, Header(alias="X-Number", ge=1)] = 1,
):
    return {
        "user_agent": user_agent,
        "x_token": x_token,
        "strange": strange_header,
        "number": number,
    }


class Cookies(BaseModel):
    model_config = {"extra": "forbid"}

    session_id: str
    tracker: int | None = None


@app.get("/cookies")
async def cookies(cookies: Annotated[Cookies, Cookie()]):
    return cookies


class Headers(BaseModel):
    host: str
    save_data: bool
    if_modified_since: str | None = None
    x_tag: list[str] = []


@app.get("/headers")
async def headers(headers: Annotated[Headers, Header()]):
    return headers


@app.get("/set")
async def given(response: Response):
    response.set_cookie(key="fake", value="token", httponly=True, max_age=60)
    response.set_cookie("second", "2", path="/set")
    response.headers["X-Cat"] = "alone"
    response.status_code = 202
    return {"message": "look at the headers"}


@app.get("/needs")
async def needs(needed: Annotated[str, Header()], also: Annotated[str, Cookie()]):
    return [needed, also]


REQUESTS = [
    ("GET", "/cookie"),
    ("GET", "/cookie", {"headers": {"cookie": "ads_id=abc; count=3"}}),
    ("GET", "/cookie", {"headers": {"cookie": "count=x"}}),
    ("GET", "/header", {"headers": {"user-agent": "me", "x-number": "2", "strange_header": "s"}}),
    ("GET", "/header", {"headers": {"user-agent": "me", "x-token": "a"}}),
    ("GET", "/header", {"headers": {"user-agent": "me", "x-number": "0"}}),
    ("GET", "/cookies", {"headers": {"cookie": "session_id=1; tracker=2"}}),
    ("GET", "/cookies", {"headers": {"cookie": "tracker=x; more=1"}}),
    ("GET", "/headers", {"headers": {"save-data": "true", "x-tag": "a", "host": "h"}}),
    ("GET", "/headers", {"headers": {"save-data": "x", "host": "h"}}),
    ("GET", "/set"),
    ("GET", "/needs"),
]
