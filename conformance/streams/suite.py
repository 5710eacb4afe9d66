"""The suite object that the parts of `conformance.streams` fill, and the servers that they ask."""

from conformance.case import Suite
from conformance.server import Options

SUITE = Suite("streams")
NATIVE = Options(app="conformance.streams.application:app")
SECURED = Options(app="conformance.streams.application:secured")
NEEDS = frozenset({"timers"})  # this project's server: the application is its own
