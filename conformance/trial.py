"""One run of one case: the server it talks to, its observations, and the connections that end with it."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from conformance.server import Command, Options, Server
from conformance.verdict import NotApplicableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.client import Connection, Response
    from conformance.observer import Observer

_tags = itertools.count(1)


class Trial(contextlib.ExitStack):
    """What a case gets. Leaving it closes whatever it opened."""

    def __init__(
        self, command: Command, server: Server, observer: Observer, capabilities: frozenset[str]
    ) -> None:
        super().__init__()
        self.command = command
        self.server = server
        self.observer = observer
        self.capabilities = capabilities
        self.connections = 0
        self.tag = self.new_tag()

    def new_tag(self) -> str:
        """Begin a new tag for what follows and return it."""
        self.tag = f"t{next(_tags)}"
        return self.tag

    def need(self, capability: str) -> None:
        """End the trial as not applicable unless the server has `capability`."""
        if capability not in self.capabilities:
            raise NotApplicableError(f"no {capability}")

    def target(self, handler: str, suffix: str = "") -> str:
        """Return the request target of one of the handlers in `conformance.asgi.apps`."""
        return f"/{handler}/{self.tag}{suffix}"

    def connect(
        self, *, receive_buffer: int | None = None, server: Server | None = None
    ) -> Connection:
        """Open a connection that closes with the trial."""
        self.connections += 1
        return self.enter_context((server or self.server).connect(receive_buffer=receive_buffer))

    def ask(
        self,
        handler: str,
        suffix: str = "",
        *,
        method: str = "GET",
        headers: Iterable[str] = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Response:
        """Send one request on a fresh connection and return the answer."""
        return self.connect().ask(
            self.target(handler, suffix), method=method, headers=headers, body=body, version=version
        )

    def seen(self, label: str, *, count: int = 1, timeout: float = 3.0) -> Any:
        """Wait for an observation with the current tag."""
        return self.observer.wait(self.tag, label, count=count, timeout=timeout)

    def all_seen(self, label: str, *, count: int = 1) -> list[Any]:
        """Wait for `count` observations with the current tag and return all."""
        self.seen(label, count=count)
        return self.observer.all(self.tag, label)

    def scope(
        self,
        suffix: str = "",
        *,
        method: str = "GET",
        headers: Iterable[str] = (),
        version: str = "1.1",
    ) -> dict[str, Any]:
        """Send one request and return the scope that the application got for it."""
        self.new_tag()
        self.ask("scope", suffix, method=method, headers=headers, version=version)
        scope: dict[str, Any] = self.seen("scope")
        return scope

    def start(self, options: Options, *, ready: bool = True) -> Server:
        """Start a server of the trial's own."""
        server = self.enter_context(Server(self.command, options, self.observer.path))
        if ready:
            server.wait_ready()
        return server
