"""Work after the response: from the handler, from a dependency, on a response."""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import JSONResponse

app = FastAPI()
log: list[str] = []


def write(message: str, times: int = 1):
    log.extend([message] * times)


async def write_async(message: str):
    log.append(message)


def query(tasks: BackgroundTasks, q: str | None = None):
    if q:
        tasks.add_task(write, f"query {q}")
    return q


@app.post("/notify/{email}", status_code=202)
async def notify(email: str, tasks: BackgroundTasks, q: Annotated[str | None, Depends(query)]):
    tasks.add_task(write, f"to {email}", times=2)
    tasks.add_task(write_async, "done")
    return {"message": "sent"}


@app.get("/response")
def response(tasks: BackgroundTasks):
    tasks.add_task(write, "with response")
    return JSONResponse({"a": 1}, background=tasks)


REQUESTS = [("POST", "/notify/a@example.com?q=x"), ("GET", "/response")]


def exercise(client):
    log.clear()
    client.post("/notify/b@example.com?q=y")
    yield list(log)
    client.post("/notify/c@example.com")
    yield list(log)
