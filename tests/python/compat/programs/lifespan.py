"""Start-up and shutdown: a context manager, with state for requests."""

from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

events: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI):
    events.append("start")
    app.state.model = "loaded"
    yield {"answer": 42}
    events.append("stop")


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def main(request: Request):
    return {"model": request.app.state.model, "answer": request.state.answer}


REQUESTS = []


def exercise(client):
    events.clear()
    with client:
        yield list(events)
        yield client.get("/").json()
    yield list(events)
