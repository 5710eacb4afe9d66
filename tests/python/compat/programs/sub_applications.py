"""An application mounted in another: its own paths, document and errors."""

from fastapi import FastAPI, Request

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


app.mount("/api", sub)

REQUESTS = [
    ("GET", "/app"),
    ("GET", "/api/sub"),
    ("GET", "/api/typed/x"),
    ("GET", "/api/nothing"),
    ("GET", "/api/openapi.json"),
]
