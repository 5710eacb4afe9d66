"""Cross-origin requests, as a policy of the server."""

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://a.example", "https://b.example"],
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
    expose_headers=["X-Total"],
)


@app.get("/")
async def main():
    return {"message": "hello"}


ORIGIN = {"origin": "https://a.example"}

REQUESTS = [
    ("GET", "/"),
    ("GET", "/", {"headers": ORIGIN}),
    ("GET", "/", {"headers": {"origin": "https://evil.example"}}),
]


def exercise(client):
    asked = {
        **ORIGIN,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "X-Token",
    }
    preflight = client.options("/", headers=asked)
    yield preflight.status_code // 100
    for name in ("allow-origin", "allow-credentials", "allow-headers", "max-age"):
        yield name, preflight.headers.get(f"access-control-{name}")
    methods = preflight.headers["access-control-allow-methods"]
    yield sorted(method.strip() for method in methods.split(","))
    foreign = client.options("/", headers={**asked, "origin": "https://evil.example"})
    yield foreign.status_code >= 400, "access-control-allow-origin" in foreign.headers
