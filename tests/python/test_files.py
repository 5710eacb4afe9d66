"""Files as responses behind the doors that have no runtime of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikard import FileResponse, Spikard, TestClient

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
