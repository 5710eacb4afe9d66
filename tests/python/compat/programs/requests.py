"""The request itself: its URL, client, headers, body, state, cookies."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.api_route("/show/{name}", methods=["GET"])
async def show(request: Request, name: str):
    return {
        "method": request.method,
        "url": str(request.url),
        "path": request.url.path,
        "query": request.url.query,
        "hostname": request.url.hostname,
        "scheme": request.url.scheme,
        "base": str(request.base_url),
        "link": str(request.url_for("show", name="other")),
        "params": request.path_params,
        "q": request.query_params.get("q"),
        "all": request.query_params.getlist("q"),
        "host": request.client.host is not None,
        "agent": request.headers["User-Agent"],
        "cookie": request.cookies.get("c"),
        "with": str(request.url.include_query_params(z=1)),
    }


@app.post("/json")
async def as_json(request: Request):
    request.state.value = 1
    return {"given": await request.json(), "state": request.state.value}


@app.post("/stream")
async def stream(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return size


REQUESTS = [
    ("GET", "/show/a?q=1&q=2", {"headers": {"user-agent": "me", "cookie": "c=1"}}),
    ("POST", "/json", {"json": {"a": 1}}),
    ("POST", "/stream", {"content": b"12345"}),
]
