"""The suite `streams`: its parts register themselves here."""

from conformance.streams import leaving, memory, sockets, stopping, uploads
from conformance.streams.suite import SUITE

__all__ = ["SUITE", "leaving", "memory", "sockets", "stopping", "uploads"]
