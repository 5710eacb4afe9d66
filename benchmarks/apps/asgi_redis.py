"""Raw ASGI: one `GET` to Redis per request; `BENCHMARK_REDIS_PORT` says where Redis is."""

from __future__ import annotations

import os

from redis.asyncio import Redis

from benchmarks.apps.asgi_types import Event, Receive, Send

client = Redis(port=int(os.environ["BENCHMARK_REDIS_PORT"]))


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer with the value of the key `greeting`."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body: bytes = await client.get("greeting")
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
