from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spikard._deadline import DeadlinePassedError, within


def test_coroutine_that_never_waits_sets_no_timer():
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        made = []
        loop.call_later = lambda *given: made.append(given)  # type: ignore[method-assign,assignment]

        async def quick() -> Any:
            return 7

        return await within(quick(), 10), made

    assert asyncio.run(main()) == (7, [])


def test_coroutine_that_waits_long_enough_is_cancelled():
    seen = []

    async def slow() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> Any:
        with pytest.raises(DeadlinePassedError):
            await within(slow(), 0.001)
        await asyncio.sleep(0)  # the caller's task goes on

    asyncio.run(main())
    assert seen == ["cancelled"]


def test_result_and_exception_come_through_after_waiting():
    async def waits(error: Exception | None = None) -> str:
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(0), 10)
        if error is not None:
            raise error
        return "done"

    async def main() -> Any:
        assert await within(waits(), 10) == "done"
        with pytest.raises(ValueError, match="mine"):
            await within(waits(ValueError("mine")), 10)

    asyncio.run(main())


def test_cancellation_of_somebody_else_is_no_timeout():
    async def main() -> Any:
        task = asyncio.ensure_future(within(asyncio.Event().wait(), 10))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_coroutine_that_ignores_the_cancellation_is_not_cut():
    async def stubborn() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished"

    async def main() -> Any:
        assert await within(stubborn(), 0.001) == "finished"
        await asyncio.sleep(0)

    asyncio.run(main())
