"""What a field marked as secret holds is in no answer."""

from __future__ import annotations

from spikard import Spikard, TestClient


def test_secret_parameter_of_a_raw_schema_is_not_shown() -> None:
    app = Spikard()
    schema = {"query": {"pin": {"type": "string", "maxLength": 2, "format": "password"}}}
    app.register_route("GET", "/", lambda: 1, parameter_schema=schema)
    with TestClient(app) as client:
        answer = client.get("/", params={"pin": "12345"})
    assert [item["type"] for item in answer.json()["errors"]] == ["string_too_long"]
    assert b"12345" not in answer.content
