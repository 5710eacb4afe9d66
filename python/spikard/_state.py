"""The application's own values, of the whole application and of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class State:
    """A namespace for the application's own values.

    A request's state falls back to the application's for names it has not set.
    """

    __slots__ = ("_parent", "_values")

    _values: dict[str, Any]
    _parent: State | None

    def __init__(
        self, values: Mapping[str, Any] | None = None, parent: State | None = None
    ) -> None:
        object.__setattr__(self, "_values", dict(values) if values else {})
        object.__setattr__(self, "_parent", parent)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"state has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._values[name]
        except KeyError:
            raise AttributeError(f"state has no {name!r}") from None

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if self._parent is not None:
            return self._parent[name]
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or (self._parent is not None and name in self._parent)

    def __repr__(self) -> str:
        return f"State({self._values!r})"

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several names."""
        self._values.update(values)

    def clear(self) -> None:
        """Forget every name set here."""
        self._values.clear()

    def share(self, values: dict[str, Any]) -> None:
        """Keep the values in this dict, which others may read and change."""
        object.__setattr__(self, "_values", values)
