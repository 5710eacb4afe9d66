"""The suite object that the parts of `conformance.asgi` fill."""

from conformance.case import Suite

SUITE = Suite("asgi")
