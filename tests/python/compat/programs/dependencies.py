"""Dependencies: functions, classes, below each other, cached, for their effect, overridden."""

from typing import Annotated

from fastapi import (
    APIRouter,
    Body,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
)

calls: list[str] = []


async def verify_token(x_token: Annotated[str, Header()]):
    calls.append("token")
    if x_token != "secret":
        raise HTTPException(status_code=400, detail="X-Token header invalid")


def verify_key(x_key: Annotated[str, Header()]):
    calls.append("key")
    if x_key != "secret":
        raise HTTPException(status_code=400, detail="X-Key header invalid")
    return x_key


def everywhere(request: Request):
    calls.append("everywhere")


app = FastAPI(dependencies=[Depends(everywhere)])


async def common(q: str | None = None, skip: int = 0, limit: Annotated[int, Query(le=100)] = 100):
    return {"q": q, "skip": skip, "limit": limit}


class Pagination:
    def __init__(self, page: int = 1, size: int = 10):
        self.page = page
        self.size = size


class Checker:
    def __init__(self, word: str):
        self.word = word

    def __call__(self, q: str = ""):
        return self.word in q


CommonDep = Annotated[dict, Depends(common)]


@app.get("/common")
async def commons(commons: CommonDep):
    return commons


@app.get("/classes")
async def classes(pages: Annotated[Pagination, Depends()], same: Pagination = Depends(Pagination)):
    return {"page": pages.page, "size": pages.size, "same": pages is same}


@app.get("/instance")
async def instance(has: Annotated[bool, Depends(Checker("bar"))]):
    return {"has": has}


def first(q: str | None = None):
    calls.append("first")
    return q


def second(first: Annotated[str | None, Depends(first)], last: str = "none"):
    return first or last


@app.get("/nested")
async def nested(
    second: Annotated[str, Depends(second)],
    again: Annotated[str | None, Depends(first)],
    fresh: Annotated[str | None, Depends(first, use_cache=False)],
):
    return {"second": second, "again": again, "fresh": fresh}


@app.get("/guarded", dependencies=[Depends(verify_token), Depends(verify_key)])
async def guarded(number: int):
    return {"number": number}


def marks(response: Response, request: Request):
    response.headers["x-marked"] = request.url.path
    response.status_code = 202


@app.get("/marked")
async def marked(_: Annotated[None, Depends(marks)]):
    return {"a": 1}


router = APIRouter(prefix="/below", dependencies=[Depends(verify_token)], tags=["below"])


@router.get("/{name}")
async def below(name: str):
    return name


app.include_router(router, dependencies=[Depends(verify_key)])


def from_body(value: Annotated[int, Body()], other: Annotated[str, Body()] = "o"):
    return {"value": value, "other": other}


@app.post("/body")
async def body(made: Annotated[dict, Depends(from_body)], more: Annotated[bool, Body()] = False):
    return {"made": made, "more": more}


def overridden():
    return "original"


@app.get("/overridden")
def use_overridden(value: str = Depends(overridden)):
    return value


TOKEN = {"x-token": "secret"}
BOTH = {**TOKEN, "x-key": "secret"}

REQUESTS = [
    ("GET", "/common?q=a&limit=3"),
    ("GET", "/common?limit=300"),
    ("GET", "/classes?page=2"),
    ("GET", "/instance?q=foobar"),
    ("GET", "/nested?q=1"),
    ("GET", "/nested?last=l"),
    ("GET", "/guarded?number=1"),
    ("GET", "/guarded?number=x", {"headers": {"x-token": "no", "x-key": "no"}}),
    ("GET", "/guarded?number=x", {"headers": BOTH}),
    ("GET", "/guarded?number=1", {"headers": TOKEN}),
    ("GET", "/guarded?number=1", {"headers": BOTH}),
    ("GET", "/marked"),
    ("GET", "/below/a", {"headers": BOTH}),
    ("GET", "/below/a", {"headers": {"x-key": "secret", "x-token": "no"}}),
    ("POST", "/body", {"json": {"value": 1, "more": True}}),
    ("POST", "/body", {"json": {"value": "x"}}),
    ("GET", "/overridden"),
]


def exercise(client):
    calls.clear()
    client.get("/guarded?number=1", headers=BOTH)
    yield list(calls)
    calls.clear()
    client.get("/nested")
    yield list(calls)
    app.dependency_overrides[overridden] = lambda: "replaced"
    yield client.get("/overridden").json()
    app.dependency_overrides = {}
    yield client.get("/overridden").json()
