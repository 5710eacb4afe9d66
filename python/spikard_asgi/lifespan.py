"""The lifespan of an ASGI application, driven by its server (ASGI lifespan 2.0)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from spikard_asgi.application import Application

logger = logging.getLogger("spikard.error")


ABANDON_SECONDS = 5
"""How long an application may go on with a start-up that nobody waits for any more."""


class LifespanFailed(Exception):  # noqa: N818  # named after the event
    """The application said that its start-up or shutdown has failed."""


class Lifespan:
    """One run of an application's lifespan, in the loop that serves its requests.

    Args:
        application: `await application(scope, receive, send)`.
        mode: `"auto"` goes on without a lifespan when the application does not know the protocol,
            `"on"` takes that for a failure, `"off"` never asks.

    Attributes:
        state: What the application stored; each request's scope gets a shallow copy.

    Example:
        ```python
        import asyncio

        from spikard_asgi import Lifespan


        async def application(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            scope["state"]["pool"] = "a pool"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})


        async def main():
            lifespan = Lifespan(application)
            await lifespan.startup()
            print(lifespan.state)
            await lifespan.shutdown()


        asyncio.run(main())
        ```
    """

    def __init__(
        self, application: Application, *, mode: Literal["auto", "on", "off"] = "auto"
    ) -> None:
        self.application = application
        self.mode = mode
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._error: BaseException | None = None
        self._supported = mode != "off"
        self._task: asyncio.Task[None] | None = None

    @property
    def is_supported(self) -> bool:
        """Whether the application takes part; known after `startup`."""
        return self._supported

    async def startup(self) -> None:
        """Run the application up to the end of its start-up.

        Raises:
            LifespanFailed: The application refused to start; its message is the exception's. Its
                own exception, if it raised one after that, is the cause.
        """
        if not self._supported:
            return
        self._task = asyncio.create_task(self._run(), name="spikard lifespan")
        await self._events.put({"type": "lifespan.startup"})
        await self._started.wait()
        if self._failure is not None:
            await self._task
            raise LifespanFailed(self._failure or "the application failed to start")
        if self._error is not None:
            self._supported = False
            if self.mode == "on":
                raise LifespanFailed(
                    "the application does not support the lifespan protocol"
                ) from self._error
            if isinstance(self._error, Exception):
                logger.debug("no lifespan: the application raised %r", self._error)

    async def shutdown(self) -> None:
        """Tell the application to shut down and wait until it has.

        Raises:
            LifespanFailed: It said that its shutdown failed, or raised.
        """
        if not self._supported or self._task is None or self._error is not None:
            return
        if self._task.done():
            return
        self._failure = None
        await self._events.put({"type": "lifespan.shutdown"})
        await self._stopped.wait()
        if self._failure is not None:
            raise LifespanFailed(self._failure or "the application failed to shut down")
        if self._error is not None:
            raise LifespanFailed("the application raised during its shutdown") from self._error
        await self._task

    async def abandon(self) -> None:
        """End a start-up that was cut short, without a shutdown."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=ABANDON_SECONDS)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.application(scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            self._error = error
        except BaseException as error:  # an application may raise anything
            self._error = error
        finally:
            self._started.set()
            self._stopped.set()

    async def _receive(self) -> dict[str, Any]:
        try:
            return await self._events.get()
        except asyncio.CancelledError:
            if not self._started.is_set() or self._stopped.is_set():
                raise
            # The loop ends, and nobody will tell the application: so this does.
            return {"type": "lifespan.shutdown"}

    async def _send(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self._started.is_set():
                raise RuntimeError(f"expected a shutdown event, got a late {kind!r}")
            if kind.endswith("failed"):
                self._failure = str(event.get("message", ""))
            self._started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if not self._started.is_set() or self._stopped.is_set():
                raise RuntimeError(f"expected no {kind!r} at this point")
            if kind.endswith("failed"):
                self._failure = str(event.get("message", ""))
            self._stopped.set()
        else:
            raise ValueError(f"expected a lifespan event, got {kind!r}")
