"""The doors into an application, for tests that hold behind each of them.

`with door(app, config) as client:` gives an `httpx.Client`, or what behaves like one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from spikard.testing import TestClient, serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikard.config import ServerConfig

PATIENCE = 20  # seconds, for anything that should happen at all


@contextlib.contextmanager
def our_server(app: Any, config: ServerConfig | None = None) -> Iterator[Any]:
    with (
        serve_in_thread(app, config=config) as url,
        httpx.Client(base_url=url, timeout=PATIENCE) as client,
    ):
        yield client


@contextlib.contextmanager
def in_process(app: Any, config: ServerConfig | None = None) -> Iterator[Any]:
    if config is not None:
        app.config = config
    with TestClient(app, follow_redirects=False) as client:
        yield Plain(client)


@contextlib.contextmanager
def under_uvicorn(app: Any, config: ServerConfig | None = None, **options: Any) -> Iterator[Any]:
    if config is not None:
        app.config = config
    # Headers as the tests have them: uvicorn would look at forwarded ones itself.
    defaults: dict[str, Any] = {"proxy_headers": False, "server_header": False}
    options = {"log_level": "critical", **defaults, **options}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


DOORS = [our_server, in_process, under_uvicorn]


class Plain:
    """The test client with the methods of httpx's that the tests use."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def request(self, method: str, target: str, **options: Any) -> PlainResponse:
        return PlainResponse(self._client.request(method, target, **options))

    def get(self, target: str, **options: Any) -> PlainResponse:
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> PlainResponse:
        return self.request("POST", target, **options)

    def options(self, target: str, **options: Any) -> PlainResponse:
        return self.request("OPTIONS", target, **options)


class PlainResponse:
    """A response with the attributes of httpx's that the tests use."""

    def __init__(self, response: Any) -> None:
        self.status_code: int = response.status_code
        self.headers = httpx.Headers(response.headers.multi_items())
        self.content: bytes = response.content
        self.text = response.text()
        self.json = response.json
        self.cookies = response.cookies
