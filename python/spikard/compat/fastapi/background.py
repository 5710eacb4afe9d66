"""Work after the response: `BackgroundTasks`, and Starlette's single `BackgroundTask`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.background import BackgroundTasks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundTask", "BackgroundTasks"]


class BackgroundTask(BackgroundTasks):
    """One function to call: ``Response(background=BackgroundTask(send_mail, address))``."""

    __slots__ = ()

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.add_task(func, *args, **kwargs)
