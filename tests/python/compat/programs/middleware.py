"""A function around every request, a class of the program's own, and gzip and hosts."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware import Middleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import PlainTextResponse


class Stamping:
    """A plain ASGI middleware."""

    def __init__(self, app, name):
        self.app = app
        self.name = name

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def stamped(event):
            if event["type"] == "http.response.start":
                event["headers"] = [*event["headers"], (b"x-a", self.name.encode())]
            await send(event)

        scope["state"] = {**scope.get("state", {}), "stamp": self.name}
        await self.app(scope, receive, stamped)


app = FastAPI(middleware=[Middleware(Stamping, name="outer")])
app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=["testserver", "*.example.com"])


@app.middleware("http")
async def marked(request: Request, call_next):
    request.state.marked = request.url.path
    response = await call_next(request)
    response.headers["x-marked"] = request.method
    return response


@app.middleware("http")
async def refusing(request: Request, call_next):
    if "refuse" in request.query_params:
        return PlainTextResponse("refused", status_code=403)
    return await call_next(request)


@app.get("/text")
async def text(request: Request):
    return PlainTextResponse(request.state.marked * 500)


@app.get("/error")
async def error():
    raise HTTPException(status_code=404, detail="none")


@app.post("/echo")
async def echo(request: Request):
    return PlainTextResponse(await request.body())


@app.get("/stamp")
async def stamp(request: Request):
    return request.state.stamp


REQUESTS = [
    ("GET", "/stamp"),
    ("GET", "/text"),
    ("GET", "/text", {"headers": {"accept-encoding": "identity"}}),
    ("GET", "/text?refuse=1"),
    ("GET", "/error"),
    ("GET", "/nothing"),
    ("POST", "/echo", {"content": b"body"}),
    ("GET", "/text", {"headers": {"host": "a.example.com"}}),
]
