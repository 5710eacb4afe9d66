"""Blocking functions in the event loop's thread pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_in_thread"]


async def call_in_thread(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return what a function returns that runs in the thread pool, with this context's variables.

    Raises:
        RuntimeError: The function raised `StopIteration` or `GeneratorExit`. Neither crosses a
            future: whoever waits for it would wait for ever, or be closed.
    """
    import asyncio

    return await asyncio.to_thread(_called, function, args, kwargs)


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except (StopIteration, GeneratorExit) as exc:
        # As a coroutine that raises the former (PEP 479).
        name = type(exc).__name__
        raise RuntimeError(f"a function in the thread pool raised {name}") from exc
