"""Files as responses behind the doors that have no runtime of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from spikard import FileResponse, Spikard, TestClient
from spikard.config import ServerConfig, StaticFilesConfig
from spikard.testing import serve_in_thread

if TYPE_CHECKING:
    from pathlib import Path


def test_file_response_reaches_the_in_process_client_whole(tmp_path: Path) -> None:
    content = b"content" * 20_000
    (tmp_path / "a.txt").write_bytes(content)
    app = Spikard()

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(tmp_path / "a.txt")

    with TestClient(app) as client:
        answer = client.get("/file")
        part = client.get("/file", headers={"range": "bytes=7-13"})
    assert (answer.status_code, answer.content) == (200, content)
    assert (part.status_code, part.content) == (206, b"content")


def is_cached(path: Path) -> bool:
    """Tell whether the system can say that it has the file in memory, and has it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        buffer = bytearray(os.fstat(descriptor).st_size)
        return os.preadv(descriptor, [buffer], 0, os.RWF_NOWAIT) == len(buffer)
    except (AttributeError, OSError):
        return False
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("way", ["FileResponse", "static", "pathsend"])
def test_file_in_memory_is_sent_without_a_thread(tmp_path: Path, way: str, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    if not is_cached(path):
        pytest.skip("the file system does not say what it has in memory")
    static = StaticFilesConfig(directory=str(tmp_path), route_prefix="/static")
    app = Spikard(ServerConfig(static_files=[static]))

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    @app.get("/FileResponse/file")
    async def file() -> FileResponse:
        return FileResponse(path)

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if scope["path"] == "/ready":
                await send({"type": "http.response.body"})
            else:
                await send({"type": "http.response.pathsend", "path": str(path)})

    with serve_in_thread(foreign if way == "pathsend" else app) as url, httpx.Client() as client:
        client.get(f"{url}/ready")
        before = set(os.listdir("/proc/self/task"))
        # Identity: a variant that is not there would be looked for on the disk, once.
        answer = client.get(f"{url}/{way}/file", headers={"accept-encoding": "identity"})
        started = set(os.listdir("/proc/self/task")) - before
    assert (answer.status_code, len(answer.content)) == (200, size)
    assert started == set()
