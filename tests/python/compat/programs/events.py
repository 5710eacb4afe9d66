"""Start-up and shutdown: functions for events."""

from fastapi import FastAPI

log: list[str] = []
app = FastAPI()


@app.on_event("startup")
async def start():
    log.append("start")


@app.on_event("shutdown")
def stop():
    log.append("stop")


@app.get("/")
async def main():
    return log


REQUESTS = []


def exercise(client):
    log.clear()
    with client:
        yield client.get("/").json()
    yield list(log)
