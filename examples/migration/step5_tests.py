"""Step 5: the tests, `pytest step5_tests.py`: the client's names are those of FastAPI's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from step4_dependencies import app
from store import Store

from spikard.testing import SyncTestClient, TestClient


@pytest.fixture
def client() -> Iterator[SyncTestClient]:
    """Run the application with its start-up and shutdown around a test."""
    with TestClient(app) as client:
        yield client


def test_order_is_taken_and_read(client: SyncTestClient) -> None:
    """An order comes back under its number."""
    taken = client.post("/orders", json={"item": "tea", "quantity": 2})
    assert taken.status_code == 201
    assert client.get(f"/orders/{taken.json()['id']}").json() == taken.json()


def test_order_without_items_is_refused(client: SyncTestClient) -> None:
    """All that is wrong is in one answer, with FastAPI's error types and places."""
    refused = client.post("/orders", json={"item": "x", "quantity": 0})
    assert refused.status_code == 422
    assert [(error["type"], error["loc"]) for error in refused.json()["errors"]] == [
        ("string_too_short", ["body", "item"]),
        ("greater_than_equal", ["body", "quantity"]),
    ]


class FullStore(Store):
    """A store for one test."""

    def newest(self, limit: int) -> list[tuple[int, dict[str, object]]]:
        """Return one order, whatever was asked for."""
        return [(7, {"item": "tea", "quantity": limit})]


def test_dependency_is_replaced(client: SyncTestClient) -> None:
    """`dependency_overrides` takes the key that was provided."""
    app.dependency_overrides[Store] = FullStore
    try:
        assert client.get("/orders?limit=3").json() == [{"id": 7, "item": "tea", "quantity": 3}]
    finally:
        app.dependency_overrides.clear()
