"""Dependencies: what an application can provide, and how one is asked for.

``app.provide(DatabasePool, Provide(create_pool, singleton=True))`` registers a factory under
a type or a name; parameters of that type or name receive its value. ``Depends(f)`` names
the factory at the parameter itself. Both end in the same plan (`spikard._endpoint`).
"""

# Deriving from Any needs an ignore for mypy that is none for pyright.
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal

from spikard._pool import call_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from typing_extensions import Self

__all__ = ["Depends", "Provide", "Security"]

Kind = Literal["function", "coroutine", "generator", "async generator", "value"]


class Provide:
    """A factory and the life of what it makes.

    Args:
        dependency: A function, class, coroutine function, generator function or async
            generator function. Its own parameters are injected like a handler's. What
            follows a generator's ``yield`` runs after the response has been sent.
        depends_on: Names of dependencies to inject by name even though a parameter's
            name or type would not say so; also documents the order.
        use_cache: Make it at most once per request; otherwise every parameter that asks
            gets its own.
        singleton: Make it once per application, on first use; closed at shutdown.
        sync_to_thread: Call a plain function or class in the thread pool, because it blocks.
            Else it is called on the event loop, as everything here that is not a ``def``
            handler: most factories only put something together.

    Example:
        ```python
        app.provide(DatabasePool, Provide(create_pool, singleton=True))
        ```
    """

    __slots__ = (
        "dependency",
        "depends_on",
        "factory",
        "kind",
        "signature",
        "singleton",
        "use_cache",
    )

    def __init__(
        self,
        dependency: Callable[..., Any],
        *,
        depends_on: list[str] | tuple[str, ...] | None = None,
        use_cache: bool = False,
        singleton: bool = False,
        sync_to_thread: bool = False,
    ) -> None:
        if not callable(dependency):
            raise TypeError(f"Provide needs a callable, got {type(dependency).__name__}")
        self.dependency = dependency
        self.depends_on = tuple(depends_on or ())
        self.use_cache = use_cache
        self.singleton = singleton
        self.kind: Kind = kind_of(dependency)
        self.factory: Callable[..., Any] = dependency  # what makes a value, called as `kind` says
        if sync_to_thread:
            if self.kind != "function":
                raise TypeError(
                    f"sync_to_thread is for plain functions, {name_of(dependency)} is a {self.kind}"
                )
            self.kind = "coroutine"
            self.factory = functools.partial(call_in_thread, dependency)
        self.signature: Any = None  # read once, when the first plan needs it

    @classmethod
    def of(cls, dependency: Any) -> Provide:
        """Return the provider of what ``app.provide`` was given: a factory, or a ready value."""
        if isinstance(dependency, Provide):
            return dependency
        if inspect.isroutine(dependency) or inspect.isclass(dependency):
            return cls(dependency)
        return cls.value(dependency)

    @classmethod
    def value(cls, value: Any) -> Provide:
        """Return a provider of one existing value."""
        provider = cls(lambda: value, singleton=True)
        provider.kind = "value"
        return provider

    def __repr__(self) -> str:
        return f"Provide({name_of(self.dependency)})"


if TYPE_CHECKING:

    class Depends(Any):  # type: ignore[misc] # fits any parameter
        """See the class of this name below."""

        dependency: Callable[..., Any] | None
        use_cache: bool

        def __new__(
            cls, dependency: Callable[..., Any] | None = None, *, use_cache: bool = True
        ) -> Any:
            """Return what type checkers accept as a default of any parameter."""

    class Security(Depends):
        """See the class of this name below."""

        scopes: tuple[str, ...]

        def __new__(
            cls,
            dependency: Callable[..., Any] | None = None,
            *,
            scopes: Sequence[str] | None = None,
            use_cache: bool = True,
        ) -> Any:
            """Return what type checkers accept as a default of any parameter."""

else:

    class Depends:
        """Inject what a factory makes: ``user: Annotated[User, Depends(current_user)]``.

        Args:
            dependency: As in `Provide`; default: the parameter's own type.
            use_cache: Make it once per request for all that ask for this factory.
        """

        __slots__ = ("dependency", "use_cache")

        def __init__(
            self, dependency: Callable[..., Any] | None = None, *, use_cache: bool = True
        ) -> None:
            self.dependency = dependency
            self.use_cache = use_cache

        def __repr__(self) -> str:
            return f"{type(self).__name__}({name_of(self.dependency)})"

    class Security(Depends):
        """As `Depends`, for what guards: ``Security(current_user, scopes=["items"])``.

        Args:
            dependency: As in `Depends`.
            scopes: What `SecurityScopes` parameters below this dependency receive, after the
                scopes of those above; the OpenAPI document lists them with the scheme.
            use_cache: As in `Depends`.
        """

        __slots__ = ("scopes",)

        def __init__(
            self,
            dependency: Callable[..., Any] | None = None,
            *,
            scopes: Sequence[str] | None = None,
            use_cache: bool = True,
        ) -> None:
            super().__init__(dependency, use_cache=use_cache)
            if isinstance(scopes, str):
                raise TypeError(f"Security scopes are a list of strings, got {scopes!r}")
            self.scopes = tuple(scopes or ())


def kind_of(function: Callable[..., Any]) -> Kind:
    """Return how a factory's value is obtained."""
    target: Any = function
    while isinstance(target, functools.partial):
        inner: Any = target.func  # pyright: ignore[reportUnknownMemberType]
        target = inner
    if not inspect.isroutine(target) and not inspect.isclass(target):
        target = getattr(target.__class__, "__call__", target)  # noqa: B004 - the function itself
    if inspect.isasyncgenfunction(target):
        return "async generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    if inspect.iscoroutinefunction(target):
        return "coroutine"
    return "function"


def name_of(thing: Any) -> str:
    """Return how messages call a function, class or key."""
    if isinstance(thing, str):
        return repr(thing)
    return str(getattr(thing, "__qualname__", None) or repr(thing))


class Overrides(dict[Any, Any]):
    """``app.dependency_overrides``: key or factory → replacement.

    Also a context manager that restores what was there::

        with app.dependency_overrides:
            app.dependency_overrides[DatabasePool] = FakePool()

        with app.dependency_overrides({DatabasePool: FakePool()}):
            ...
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self._saved: list[dict[Any, Any]] = []

    def __setitem__(self, key: Hashable, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def __delitem__(self, key: Hashable) -> None:
        super().__delitem__(key)
        self._changed()

    def clear(self) -> None:
        """Forget every override."""
        super().clear()
        self._changed()

    def pop(self, key: Hashable, *default: Any) -> Any:
        """Forget one override and return it."""
        value = super().pop(key, *default)
        self._changed()
        return value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add overrides."""
        super().update(*args, **kwargs)
        self._changed()

    def __call__(self, overrides: Mapping[Any, Any]) -> Overrides:
        """Add overrides; used in a ``with`` statement they last for its block."""
        self._saved.append(dict(self))
        self.update(overrides)
        return self

    def __enter__(self) -> Self:
        if not self._saved or self._saved[-1] is _ENTERED:
            self._saved.append(dict(self))
        # Marks the saved state as belonging to a block, so that a nested plain `with` saves anew.
        self._saved.append(_ENTERED)
        return self

    def __exit__(self, *_: object) -> None:
        self._saved.pop()
        before = self._saved.pop()
        super().clear()
        self.update(before)


_ENTERED: dict[Any, Any] = {}
