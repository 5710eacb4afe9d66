"""What the clients' contexts share: leaving by `close`, and the same for synchronous code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Blocking", "Call", "Closing"]


class _Context(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


C = TypeVar("C", bound=_Context)

Call = Callable[[Coroutine[Any, Any, Any]], Any]


class Closing(ABC):
    """An async context whose end is `close`."""

    @abstractmethod
    async def close(self) -> None:
        """Leave; idempotent."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Blocking(Generic[C]):
    """An async context for synchronous code.

    Args:
        context: What is entered.
        call: Runs a coroutine elsewhere and returns its result.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(self, context: C, call: Call) -> None:
        self._async = context
        self._call = call

    def __enter__(self) -> Self:
        self._call(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._async.__aexit__(kind, error, trace))
