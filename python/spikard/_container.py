"""Values that outlive a request: singletons, and dependencies made outside requests."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from spikard._endpoint import close_generator
from spikard._plan import provider_of, refuse_cycles
from spikard._signature import MISSING, read_signature
from spikard.di import Provide, name_of
from spikard.exceptions import DependencyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from spikard.app import Spikard

__all__ = ["Container", "Single", "Singletons"]

T = TypeVar("T")


class Single:
    """The one value of a singleton, made on first use; concurrent users wait for it."""

    __slots__ = ("_making", "_owner", "_provider", "ready", "value")

    def __init__(self, owner: Singletons, provider: Provide) -> None:
        self.ready = False
        self.value: Any = None
        self._owner = owner
        self._provider = provider
        self._making: Any = None

    async def make(self) -> Any:
        """Return the value, making it if nobody has."""
        import asyncio

        while not self.ready:
            if self._making is not None:
                # Shielded: a user that goes away must not cancel what others wait for.
                await asyncio.shield(self._making)
                continue
            self._making = asyncio.ensure_future(self._owner.resolver.make(self._provider))
            try:
                self.value = await asyncio.shield(self._making)
                self.ready = True
            finally:
                self._making = None
        return self.value

    def forget(self) -> None:
        """Drop the value: the next use makes a new one."""
        self.ready = False
        self.value = None


class Singletons:
    """All singletons of one application."""

    def __init__(self, providers: Callable[[], Mapping[Any, Provide]]) -> None:
        self._cells: dict[int, Single] = {}
        self._kept: list[Provide] = []
        self._holders = 0
        self.resolver = _Resolver(providers, self)

    def cell(self, provider: Provide) -> Single:
        """Return the holder of a provider's value."""
        cell = self._cells.get(id(provider))
        if cell is None:
            cell = self._cells[id(provider)] = Single(self, provider)
            self._kept.append(provider)  # an id is only an identity while the object lives
        return cell

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None, None]:
        """Keep the values until the last holder lets go: a server's life, or a container."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                await self.close()

    async def close(self) -> None:
        """Finish the generators behind the values, the last one made first."""
        await self.resolver.close(None)
        for cell in self._cells.values():
            cell.forget()


class _Resolver:
    """Makes dependencies one by one, without a request."""

    def __init__(
        self, providers: Callable[[], Mapping[Any, Provide]], singletons: Singletons
    ) -> None:
        self._providers = providers
        self._singletons = singletons
        self._opened: list[Any] = []
        self._made: dict[int, Any] = {}

    async def make(self, provider: Provide) -> Any:
        """Make a value; generators stay open until `close`."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if provider.kind != "value":
            for parameter in read_signature(provider.dependency, "dependency").parameters:
                value = await self._argument(parameter)
                if value is MISSING:
                    continue
                if parameter.keyword or len(args) != parameter.position:
                    kwargs[parameter.name] = value
                else:
                    args.append(value)
        made = provider.factory(*args, **kwargs)
        if provider.kind == "coroutine" or inspect.isawaitable(made):
            return await made
        if provider.kind == "generator":
            value = next(made)
        elif provider.kind == "async generator":
            value = await made.__anext__()
        else:
            return made
        self._opened.append(made)
        return value

    async def get(self, key: Any) -> Any:
        """Return the value of a key."""
        provider = self._providers().get(key)
        if provider is None:
            raise DependencyError(f"nothing provides {name_of(key)}")
        return await self._value(provider)

    async def _value(self, provider: Provide) -> Any:
        if provider.kind == "value":
            return provider.dependency()
        if provider.singleton:
            return await self._singletons.cell(provider).make()
        if not provider.use_cache:
            return await self.make(provider)
        identity = id(provider.dependency)
        if identity not in self._made:
            self._made[identity] = await self.make(provider)
        return self._made[identity]

    async def _argument(self, parameter: Any) -> Any:
        providers = self._providers()
        depends = parameter.depends
        if depends is None or depends.dependency is None:
            provider = provider_of(parameter, providers)
        else:
            provider = providers.get(depends.dependency)
            if provider is None and callable(depends.dependency):
                provider = Provide(depends.dependency, use_cache=depends.use_cache)
        if provider is not None:
            return await self._value(provider)
        if not parameter.required:
            return MISSING
        raise DependencyError(
            f"{parameter.owner}: parameter {parameter.name!r}: nothing provides "
            f"{name_of(parameter.annotation)} outside a request"
        )

    async def close(self, exc: BaseException | None) -> None:
        self._made.clear()
        while self._opened:
            await close_generator(self._opened.pop(), exc)


class Container:
    """The application's dependencies outside requests.

    What it makes is closed when it is left; singletons too, unless a server is using them.

    Example:
        ```python
        async with app.container() as container:
            pool = await container.get(DatabasePool)
        ```
    """

    def __init__(self, app: Spikard, providers: Callable[[], Mapping[Any, Provide]]) -> None:
        self._providers = providers
        self._singletons = app.singletons
        self._resolver = _Resolver(providers, app.singletons)
        self._stack = AsyncExitStack()

    @overload
    async def get(self, key: type[T]) -> T: ...
    @overload
    async def get(self, key: str) -> Any: ...
    async def get(self, key: type | str) -> Any:
        """Return the value of a type or name; one that is no singleton lives until exit."""
        return await self._resolver.get(key)

    async def __aenter__(self) -> Self:
        refuse_cycles(self._providers())
        await self._stack.enter_async_context(self._singletons.held())
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            await self._resolver.close(exc)
        finally:
            await self._stack.aclose()
