"""The suite `asgi`: its parts register themselves here, in the checklist's order."""

from conformance.asgi import base, extensions, http, lifespan, websocket
from conformance.asgi.suite import SUITE

__all__ = ["SUITE", "base", "extensions", "http", "lifespan", "websocket"]

_PARTS = "BHWLE"  # the checklist's order
SUITE.cases.sort(key=lambda case: (_PARTS.index(case.id[0]), int(case.id[1:].split("-")[0])))
