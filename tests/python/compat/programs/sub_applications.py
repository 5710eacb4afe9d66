"""An application mounted in another: its own paths, document and errors."""

from fastapi import FastAPI, HTTPException, Request

app = FastAPI()
sub = FastAPI(title="Sub")


@app.get("/app")
async def main():
    return {"message": "main"}


@sub.get("/sub")
async def below(request: Request):
    return {"message": "sub", "root_path": request.scope["root_path"]}


@sub.get("/typed/{number}")
async def typed(number: int):
    return number


deep = FastAPI(title="Deep")


@deep.middleware("http")
async def marked(request: Request, call_next):
    response = await call_next(request)
    response.headers["x-marked"] = request.scope["root_path"]
    return response


@deep.get("/place")
async def place(request: Request):
    return {"root_path": request.scope["root_path"], "url": str(request.url_for("place"))}


@deep.get("/lost")
async def lost():
    raise HTTPException(status_code=404, detail="lost")


sub.mount("/deep", deep)
app.mount("/api", sub)

REQUESTS = [
    ("GET", "/app"),
    ("GET", "/api/sub"),
    ("GET", "/api/typed/x"),
    ("GET", "/api/nothing"),
    ("GET", "/api/openapi.json"),
    ("POST", "/api/sub"),
    ("GET", "/api/deep/place"),
    ("GET", "/api/deep/lost"),
    ("GET", "/api/deep/openapi.json"),
    ("GET", "/apix"),
]
