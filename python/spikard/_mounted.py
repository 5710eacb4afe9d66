"""One request of a mounted application, as the doors serve it: policies and hooks stand around it.

On our own server a mount that nothing in Python stands around is served by
`src/bridge/native/mounted.rs` instead; both keep the same rules.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from spikard._hooks import run_on_response
from spikard._problems import problem, too_long
from spikard.exceptions import HTTPException
from spikard.responses import Response
from spikard_asgi.application import log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spikard._exchange import AsgiExchange
    from spikard._slots import Slots
    from spikard._spikard import Call, Filter
    from spikard.datastructures import Request
    from spikard_asgi.application import Receive, Scope, Send

__all__ = ["Answering", "mount_scope"]

_log = logging.getLogger("spikard.error")

X_REQUEST_ID = b"x-request-id"

_OF_A_PARENT = ("router", "app_root_path")
"""What Starlette keeps for the URLs of an application and its mounts: a Starlette application
below us must not look for its routes in one above us."""

_BODIES = (
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
    "http.response.trailers",
)
"""Events that the head of the response must go out before."""


def mount_scope(scope: Scope, call: Call, headers: list[tuple[bytes, bytes]] | None) -> None:
    """Make the scope that of the mount that is to be called.

    It is the same dict, as with Starlette's mounts: middleware around the application sees which
    route of the mounted one was it.

    Args:
        scope: Of the request.
        call: Decided: a mount.
        headers: As hooks left them, if they looked.
    """
    prefix, application, state = call.mount
    head = call.head
    root_path: str = head.root_path.rstrip("/")
    path: str = scope["path"]
    if root_path and path != root_path and not path.startswith(root_path + "/"):
        # ASGI: `path` has the `root_path`; not every host sees to it.
        scope["path"] = root_path + path
        scope["raw_path"] = root_path.encode() + head.raw_path
    scope["root_path"] = root_path + prefix
    for name in _OF_A_PARENT:
        scope.pop(name, None)
    scope["endpoint"] = application
    fields = list(scope["headers"]) if headers is None else headers
    if head.request_id is not None:
        fields = [(name, value) for name, value in fields if name.lower() != X_REQUEST_ID]
        fields.append((X_REQUEST_ID, head.request_id.encode("latin-1")))
    scope["headers"] = fields
    if state:
        scope["state"] = {**scope.get("state", {}), **state}
    if head.claims is not None:
        scope.setdefault("state", {})["claims"] = head.claims


class Answering:
    """What a mounted application answers, until it has.

    The head is held back until the body begins, so that a failure before can still be answered.

    Args:
        hooks: `on_response` of the application around the mount.
        slots: Those of that application: the mount has a place in them.
        call: The request as the pipeline has it.
        request: The same as Python has it.
        exchange: The request's connection.
        give: ``await give(response)`` sends a whole response in the place of the mount's.
    """

    def __init__(
        self,
        hooks: list[Any],
        slots: Slots,
        call: Call,
        request: Request,
        exchange: AsgiExchange,
        give: Callable[[Response], Awaitable[None]],
    ) -> None:
        self.is_started = False
        self.is_complete = False
        self.refused: HTTPException | None = None
        self._hooks = hooks
        self._slots: Slots | None = slots
        self._call = call
        self._request = request
        self._exchange = exchange
        self._receive: Receive = exchange.receive
        self._send: Send = exchange.send
        self._give = give
        self._given: bytes | None = request._body  # noqa: SLF001  # a hook has read it
        self._length = 0
        self._start: dict[str, Any] | None = None
        self._filter: Filter | None = None

    async def receive(self) -> dict[str, Any]:
        """ASGI's `receive`: the body within its limit."""
        if self._given is not None:
            body, self._given = self._given, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self.refused is not None:
            return {"type": "http.disconnect"}
        event = await self._receive()
        if event["type"] == "http.request":
            try:
                event = self._admitted(event)
            except HTTPException as error:
                # The application hears a disconnect; the client is told why.
                self.refused = error
                return {"type": "http.disconnect"}
        return event

    def _admitted(self, event: dict[str, Any]) -> dict[str, Any]:
        limit, decoder = self._exchange.limit, self._exchange.decoder
        if decoder is not None:
            is_last = not event.get("more_body", False)
            body = decoder.decode(bytes(event.get("body", b"")), limit, is_last=is_last)
            event = {**event, "body": body}
        if limit is not None:
            self._length += len(event.get("body", b""))
            if self._length > limit:
                raise too_long(limit)
        return event

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI's `send`: hooks and policies have a say about the head, policies encode the body."""
        kind = event["type"]
        if self.is_complete or self.refused is not None:
            return
        if kind == "http.response.start" and self._start is None:
            self._start = event
            return
        start = self._start
        if start is None or kind not in _BODIES:
            await self._send(event)  # out of order, a hint, or an extension's
            return
        if not self.is_started:
            begun = await self._begun(start, event)
            if begun is None:
                return
            event = begun
        elif kind == "http.response.body" and self._filter is not None:
            event = self._encoded(event)
        if kind == "http.response.trailers":
            self.is_complete = not event.get("more_trailers", False)
        else:
            self.is_complete = not event.get("more_body", False) and not start.get("trailers")
        await self._send(event)

    async def _begun(self, start: dict[str, Any], event: dict[str, Any]) -> dict[str, Any] | None:
        """Send the head, and return the first event of the body as it is to be sent.

        `None` when a hook has answered instead.
        """
        response = Response(None, start["status"])
        response.raw_headers = [
            (bytes(name).lower(), bytes(value)) for name, value in start.get("headers") or ()
        ]
        own = response
        if self._hooks:
            response = await self._hooked(response)
        self.is_started = True
        self.leave()
        if self._exchange.deadline is not None:
            self._exchange.deadline.lift()
        if response is not own:
            self.is_complete = True
            await self._give(response)
            return None
        status, headers = response.status_code, response.raw_headers
        if event["type"] != "http.response.body":
            headers = self._call.accept(headers)  # a file goes out as it is
        elif event.get("more_body", False) or start.get("trailers"):
            status, headers, _, self._filter = self._call.finish(status, headers)
            if self._filter is not None:
                event = self._encoded(event)
        else:
            had_length = any(name == b"content-length" for name, _ in headers)
            body: bytes | None = bytes(event.get("body", b""))
            status, headers, body, pieces = self._call.finish(status, headers, body)
            if pieces is not None and body is not None:  # a long one
                body = await asyncio.to_thread(pieces.whole, body)
                headers.append((b"content-length", b"%d" % len(body)))
            elif not had_length and self._request.method == "HEAD":
                # The body that it would have is longer than none.
                headers = [field for field in headers if field[0] != b"content-length"]
            event = {**event, "body": body}
        await self._send({**start, "status": status, "headers": headers})
        return event

    def leave(self) -> None:
        """Give the application's place back: the head has gone out, or never will."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.leave()

    async def _hooked(self, response: Response) -> Response:
        try:
            return await run_on_response(self._hooks, self._request, response)
        except Exception as error:  # whatever a hook raised is not the mount's to handle
            log_failure(error)
            return problem(500)

    def _encoded(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._filter is None:
            return event
        body = self._filter.push(bytes(event.get("body", b"")))
        if not event.get("more_body", False):
            body += self._filter.finish()
        return {**event, "body": body}

    def unfinished(self) -> Response | None:
        """Return what to answer when the application has returned, `None` when it has answered."""
        if self.is_started:
            if not self.is_complete:
                _log.error("the application returned before its response was complete")
            return None
        if not self._request.is_disconnected():
            _log.error("the application returned without a response")
        return problem(500)
