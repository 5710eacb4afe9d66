"""Other ASGI applications below a path: their registration and their lifespans."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from spikard.exceptions import RegistrationError, RouteError
from spikard_asgi.application import single_callable
from spikard_asgi.lifespan import Lifespan, LifespanFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from spikard_asgi.application import Application

__all__ = ["Mount", "MountOptions", "make_mount", "mount_prefix", "mounted_lifespans"]

logger = logging.getLogger("spikard.error")

START_SECONDS: float = 300
"""How long one mount may take to start: an application that loads a model takes minutes, and one
that hangs must say so before somebody wonders why nothing listens."""

STOP_SECONDS: float = 10
"""How long one mount may take to shut down: less than the server's `shutdown_timeout`, so that one
that hangs does not take the others' time."""


class MountOptions(TypedDict, total=False):
    """Policies of a mount.

    Attributes:
        require_auth: ``False`` opens the mount where the server authenticates.
        scopes: A JWT must carry all of these.
        max_body_size: Bytes, over the server's limit; ``None`` for no limit.
        request_timeout: Seconds, over the server's limit; ``None`` for no limit.
        compress: ``False`` never compresses the responses.
    """

    require_auth: bool
    scopes: Sequence[str]
    max_body_size: int | None
    request_timeout: float | None
    compress: bool


@dataclass
class Mount:
    """An ASGI application below a prefix.

    Attributes:
        prefix: Without a slash at its end; empty for what no route takes.
        app: As given.
        call: ``await call(scope, receive, send)``.
        options: Policies of the mount, as a route's.
        state: What its own lifespan stored.
    """

    prefix: str
    app: Any
    call: Application
    options: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def label(self) -> str:
        """For messages."""
        return f"mount {self.prefix or '/'!r}"


def make_mount(path: str, app: Any, options: Mapping[str, Any], known: Iterable[Mount]) -> Mount:
    """Return a checked mount.

    Raises:
        RouteError: The path is no prefix, or has a mount already.
        RegistrationError: It is no ASGI application.
    """
    unknown = set(options) - set(MountOptions.__annotations__)
    if unknown:
        raise RegistrationError(f"mount {path!r}: unknown option {min(unknown)!r}")
    prefix = mount_prefix(path)
    if any(other.prefix == prefix for other in known):
        raise RouteError(f"mount {path!r}: this path has a mount already")
    if _is_wsgi(app):
        raise RegistrationError(
            f"mount {path!r}: expected an ASGI application, got one that takes two arguments; "
            "wrap a WSGI application in spikard.wsgi(...)"
        )
    try:
        call = single_callable(app)
    except TypeError as error:
        raise RegistrationError(f"mount {path!r}: {error}") from None
    return Mount(prefix, app, call, dict(options))


def mount_prefix(path: str) -> str:
    """Return a mount's path without a slash at its end.

    Raises:
        RouteError: It does not start with one.
    """
    if not path.startswith("/"):
        raise RouteError(f"mount {path!r}: must start with '/'")
    return path.rstrip("/")


def _is_wsgi(app: Any) -> bool:
    """Return whether an application takes exactly two arguments (PEP 3333)."""
    if inspect.isclass(app) or not callable(app):
        return False
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        and each.default is each.empty
    ]
    takes_more = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return len(required) == 2 and not takes_more


@asynccontextmanager
async def mounted_lifespans(mounts: Iterable[Mount]) -> AsyncGenerator[None, None]:
    """Start every mount in order, and shut them down in reverse.

    An application that is mounted twice starts once. One that does not know the lifespan protocol,
    or raises at it, goes without.

    Raises:
        LifespanFailed: One refused to start, or took too long; those before it are shut down.
    """
    mounts = list(mounts)
    started: list[tuple[Mount, Lifespan]] = []
    try:
        await _start_all(mounts, started)
    except BaseException:
        await _stop_all(mounts, started)
        raise
    failure: LifespanFailed | None = None
    try:
        yield
    finally:
        failure = await _stop_all(mounts, started)
    if failure is not None:
        raise failure


async def _start_all(mounts: list[Mount], started: list[tuple[Mount, Lifespan]]) -> None:
    states: dict[int, dict[str, Any]] = {}
    for mount in mounts:
        shared = states.setdefault(id(mount.app), mount.state)
        if shared is mount.state:
            await _start(mount, started)
        else:
            mount.state.update(shared)


async def _start(mount: Mount, started: list[tuple[Mount, Lifespan]]) -> None:
    lifespan = Lifespan(mount.call)
    try:
        await asyncio.wait_for(lifespan.startup(), START_SECONDS)
    except LifespanFailed as error:
        raise LifespanFailed(f"{mount.label}: {error}") from error
    except asyncio.TimeoutError:
        await lifespan.abandon()
        raise LifespanFailed(
            f"{mount.label}: did not start within {START_SECONDS:g} seconds"
        ) from None
    except asyncio.CancelledError:
        await lifespan.abandon()
        raise
    mount.state.update(lifespan.state)
    started.append((mount, lifespan))


async def _stop_all(
    mounts: list[Mount], started: list[tuple[Mount, Lifespan]]
) -> LifespanFailed | None:
    """Shut every mount down, whatever the others do, and return the first failure."""
    failure: LifespanFailed | None = None
    for mount, lifespan in reversed(started):
        failure = await _stop(mount, lifespan) or failure
    for mount in mounts:
        mount.state.clear()
    return failure


async def _stop(mount: Mount, lifespan: Lifespan) -> LifespanFailed | None:
    try:
        await asyncio.wait_for(lifespan.shutdown(), STOP_SECONDS)
    except LifespanFailed as error:
        named = LifespanFailed(f"{mount.label}: {error}")
        named.__cause__ = error
        return named
    except asyncio.TimeoutError:
        logger.error(  # noqa: TRY400  # the traceback would be ours
            "%s: its shutdown took longer than %g seconds", mount.label, STOP_SECONDS
        )
        await lifespan.abandon()
    return None
