"""What both applications keep their orders in: here a dictionary, elsewhere a database."""

from __future__ import annotations

from typing import Any

_orders: dict[int, dict[str, Any]] = {}


class Store:
    """A connection, as it were."""

    opened = 0

    def __init__(self) -> None:
        Store.opened += 1

    def add(self, fields: dict[str, Any]) -> int:
        """Store an order and return its number."""
        number = len(_orders) + 1
        _orders[number] = fields
        return number

    def find(self, number: int) -> dict[str, Any] | None:
        """Return an order, None when there is none."""
        return _orders.get(number)

    def newest(self, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the newest orders with their numbers."""
        return sorted(_orders.items(), reverse=True)[:limit]

    def close(self) -> None:
        """Give the connection back."""
        Store.opened -= 1
